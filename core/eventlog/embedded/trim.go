package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/dispatchai/dispatchai/core/eventlog"
)

// trimTimeout bounds one round of trimming.
const trimTimeout = 30 * time.Second

// trimmer deletes what every group has read, whole segments at a time, and
// never a partition's last: the broker finds the end of a partition by its
// files, and would start at zero again without any. Compacted topics it leaves
// to the compactor.
type trimmer struct {
	dir      string
	groups   map[string][]string
	readBack int64
	interval time.Duration
	disk     *disk
	logger   *slog.Logger
	cluster  *eventlog.Cluster
	letters  *eventlog.DeadLetters
	client   *kgo.Client
	admin    *kadm.Client
	compact  *compactor
	kicked   chan struct{}
	trimmed  prometheus.Counter

	// Of the last time that issues.dead was read: its size then, the oldest open
	// letter, and how soon it may be read again.
	deadSize   int64
	deadOldest int64
	deadNext   time.Time

	mu      sync.Mutex
	slowest string // what keeps the log from being trimmed further, for people
}

func newTrimmer(b *Broker, cluster *eventlog.Cluster) (*trimmer, error) {
	trimmed, err := register(b.opts.Registerer, prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: "dispatchai", Subsystem: "eventlog", Name: "embedded_trimmed_bytes_total",
		Help: "Bytes of the embedded log deleted after every group had read them.",
	}))
	if err != nil {
		return nil, err
	}
	client, err := kgo.NewClient(append(dialOptions(b.opts.Dir), kgo.ClientID("dispatchai-trim"), kgo.DisableClientMetrics())...)
	if err != nil {
		return nil, fmt.Errorf("embedded log: %w", err)
	}
	t := &trimmer{
		dir:      filepath.Join(dataDir(b.opts.Dir), "partitions"),
		groups:   b.opts.Groups,
		readBack: b.opts.ReadBackBytes,
		interval: b.opts.TrimInterval,
		disk:     b.disk,
		logger:   b.logger,
		cluster:  cluster,
		letters:  eventlog.NewDeadLetters(cluster, nil, b.logger),
		client:   client,
		admin:    kadm.NewClient(client),
		kicked:   make(chan struct{}, 1),
		trimmed:  trimmed,
	}
	if t.compact, err = newCompactor(b, client, t.admin, cluster); err != nil {
		client.Close()
		return nil, err
	}
	return t, nil
}

func (t *trimmer) close() {
	t.client.Close()
	t.cluster.Close()
}

// kick asks for a round soon.
func (t *trimmer) kick() {
	select {
	case t.kicked <- struct{}{}:
	default:
	}
}

// holder says which group keeps the log from being trimmed, or "".
func (t *trimmer) holder() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.slowest
}

func (t *trimmer) run(ctx context.Context) {
	ticker := time.NewTicker(t.interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-t.kicked:
		}
		if err := t.disk.measure(0); err != nil {
			t.logger.Error("the event log cannot be measured", "err", err)
		}
		bounded, cancel := context.WithTimeout(ctx, trimTimeout)
		err := errors.Join(t.trim(bounded), t.compact.round(bounded))
		cancel()
		if err != nil && ctx.Err() == nil {
			t.logger.Error("the event log cannot be trimmed; it will be tried again", "err", err)
		}
		// A full log asks for a round with every append that it refuses.
		select {
		case <-ctx.Done():
			return
		case <-time.After(remeasure):
		}
	}
}

// trim deletes the segments that nobody needs.
func (t *trimmer) trim(ctx context.Context) error {
	readBack := t.readBack
	if t.disk.pressed() {
		readBack = 0
	}
	partitions, err := t.candidates(readBack)
	if err != nil || len(partitions) == 0 {
		return err
	}
	if err := t.protect(ctx, partitions); err != nil {
		return err
	}
	offsets := make(kadm.Offsets)
	var freed int64
	for _, p := range partitions {
		// Delete up to the start of the first segment that somebody needs.
		cut := 0
		for cut < p.spare && p.segments[cut+1].base <= p.needed {
			freed += p.segments[cut].size
			cut++
		}
		if cut > 0 {
			offsets.AddOffset(p.topic, p.id, p.segments[cut].base, -1)
		}
	}
	if len(offsets) == 0 {
		return nil
	}
	responses, err := t.admin.DeleteRecords(ctx, offsets)
	if err != nil {
		return fmt.Errorf("delete records: %w", err)
	}
	var errs []error
	responses.Each(func(r kadm.DeleteRecordsResponse) {
		// Already below the start: another client was faster.
		if r.Err != nil && !errors.Is(r.Err, kerr.OffsetOutOfRange) {
			errs = append(errs, fmt.Errorf("delete records of %s partition %d: %w", r.Topic, r.Partition, r.Err))
		}
	})
	if err := errors.Join(errs...); err != nil {
		return err
	}
	t.trimmed.Add(float64(freed))
	t.logger.Debug("event log trimmed", "bytes", freed)
	return t.disk.measure(0)
}

// candidate is a partition with segments that may be spared.
type candidate struct {
	topic    string
	id       int32
	segments []segment
	spare    int   // that many segments are not needed for reading back
	needed   int64 // the lowest offset that a group still has to read
}

// candidates lists the partitions that keep more than readBack bytes and their
// last segment.
func (t *trimmer) candidates(readBack int64) ([]*candidate, error) {
	names, err := filepath.Glob(filepath.Join(t.dir, "*-*"))
	if err != nil {
		return nil, err
	}
	var found []*candidate
	for _, dir := range names {
		name := filepath.Base(dir)
		dash := strings.LastIndexByte(name, '-')
		id, err := strconv.ParseInt(name[dash+1:], 10, 32)
		if err != nil {
			continue
		}
		segs, err := segments(dir)
		if err != nil {
			return nil, err
		}
		topic, err := url.PathUnescape(name[:dash])
		if err != nil || eventlog.Compacted(topic) {
			continue
		}
		c := &candidate{topic: topic, id: int32(id), segments: segs}
		var kept int64
		for i := len(segs) - 1; i > 0; i-- {
			kept += segs[i].size
			if kept >= readBack {
				c.spare = i
				break
			}
		}
		if c.spare > 0 {
			found = append(found, c)
		}
	}
	return found, nil
}

// protect finds out what the groups still have to read.
func (t *trimmer) protect(ctx context.Context, partitions []*candidate) error {
	var slowest string
	var most int64
	committed := make(map[string]kadm.OffsetResponses)
	for group := range t.groups {
		offsets, err := t.admin.FetchOffsets(ctx, group)
		if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
			return fmt.Errorf("offsets of group %s: %w", group, err)
		}
		committed[group] = offsets
	}
	for _, p := range partitions {
		last := p.segments[len(p.segments)-1].base
		p.needed = -1
		for group, topics := range t.groups {
			if !slices.Contains(topics, p.topic) {
				continue
			}
			at := int64(0)
			if o, ok := committed[group].Lookup(p.topic, p.id); ok && o.Err == nil && o.At >= 0 {
				at = o.At
			}
			if p.needed < 0 || at < p.needed {
				p.needed = at
			}
			if behind := last - at; behind > most {
				most = behind
				slowest = fmt.Sprintf("group %s has read %s only up to offset %d and is at least %d records behind", group, p.topic, at, behind)
			}
		}
		if p.topic == eventlog.TopicIssuesDead && p.needed < 0 {
			if err := t.protectLetters(ctx, p); err != nil {
				return err
			}
		}
		p.needed = max(p.needed, 0)
	}
	t.mu.Lock()
	t.slowest = slowest
	t.mu.Unlock()
	return nil
}

// protectLetters keeps the dead letters that nobody has settled. All of them
// are read for it, so it is done when they have changed, and takes no more than
// a twentieth of the time.
func (t *trimmer) protectLetters(ctx context.Context, p *candidate) error {
	var size int64
	for _, s := range p.segments {
		size += s.size
	}
	p.needed = t.deadOldest
	start := time.Now()
	if size == t.deadSize || start.Before(t.deadNext) {
		return nil
	}
	oldest, err := t.letters.Oldest(ctx)
	t.deadNext = time.Now().Add(20 * time.Since(start))
	if err != nil {
		return err
	}
	p.needed = oldest[p.id]
	t.deadSize, t.deadOldest = size, p.needed
	return nil
}
