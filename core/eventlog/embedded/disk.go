package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dispatchai/dispatchai/core/eventlog"
)

// disk keeps the log within its bound. Between two measurements it counts what
// is appended, uncompressed, and so rather too much.
type disk struct {
	dir      string
	maxBytes int64
	minFree  int64

	used     atomic.Int64 // as measured
	free     atomic.Int64
	appended atomic.Int64 // since

	mu        sync.Mutex // one measurement at a time
	measured  time.Time
	err       error
	compacted map[string]int64 // size of compacted topics, or more

	usedGauge prometheus.Gauge
}

// remeasure is how soon the directory is measured again because appends are
// about to be refused.
const remeasure = 100 * time.Millisecond

func newDisk(dir string, maxBytes, minFree int64, reg prometheus.Registerer) (*disk, error) {
	d := &disk{dir: dir, maxBytes: maxBytes, minFree: minFree, compacted: make(map[string]int64)}
	d.usedGauge = prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: "dispatchai", Subsystem: "eventlog", Name: "embedded_used_bytes", Help: "Size of the embedded log on disk.",
	})
	bound := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: "dispatchai", Subsystem: "eventlog", Name: "embedded_max_bytes", Help: "Bound of the embedded log on disk.",
	})
	bound.Set(float64(maxBytes))
	var err error
	if d.usedGauge, err = register(reg, d.usedGauge); err != nil {
		return nil, err
	}
	if _, err = register(reg, bound); err != nil {
		return nil, err
	}
	return d, d.measure(0)
}

func register[C prometheus.Collector](reg prometheus.Registerer, c C) (C, error) {
	if reg == nil {
		return c, nil
	}
	err := reg.Register(c)
	var already prometheus.AlreadyRegisteredError
	if errors.As(err, &already) {
		if existing, ok := already.ExistingCollector.(C); ok {
			return existing, nil
		}
	}
	if err != nil {
		return c, fmt.Errorf("embedded log: register metrics: %w", err)
	}
	return c, nil
}

// measure walks the directory unless it did so within maxAge.
func (d *disk) measure(maxAge time.Duration) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if maxAge > 0 && time.Since(d.measured) < maxAge {
		return d.err
	}
	before := d.appended.Load()
	var used int64
	err := filepath.WalkDir(d.dir, func(_ string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			var info fs.FileInfo
			if info, err = e.Info(); err == nil {
				used += info.Size()
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // trimmed meanwhile
		}
		return err
	})
	free, freeErr := freeBytes(d.dir)
	d.measured = time.Now()
	d.err = errors.Join(err, freeErr)
	if d.err != nil {
		d.err = fmt.Errorf("embedded log: cannot measure %s: %w", d.dir, d.err)
		return d.err
	}
	d.used.Store(used)
	d.free.Store(free)
	d.appended.Add(-before)
	d.usedGauge.Set(float64(used))
	return nil
}

// admit returns eventlog.ErrFull if so many bytes more would exceed the bounds.
// Each compacted topic has a small bound of its own, and room that the others
// cannot take: an operator must be heard when the log is full, and what
// processes report of themselves can never fill it.
func (d *disk) admit(topic string, bytes int64) error {
	bound := d.maxBytes
	switch {
	case eventlog.Compacted(topic):
		if err := d.admitCompacted(topic, bytes); err != nil {
			return err
		}
		bound += bound/4 + 2*maxCompactedTopic
	case topic != eventlog.TopicIssuesRaw && topic != eventlog.TopicInstallationsRaw:
		bound += bound / 4
	}
	err := d.fits(bound, bytes)
	if err != nil {
		if measureErr := d.measure(remeasure); measureErr != nil {
			return measureErr
		}
		err = d.fits(bound, bytes)
	}
	if err == nil {
		d.appended.Add(bytes)
	}
	return err
}

// maxCompactedTopic bounds a compacted topic on disk. Compaction keeps it to a
// fraction of that unless it has very many keys.
const maxCompactedTopic = 32 << 20

// admitCompacted counts what is appended to a compacted topic, and measures the
// topic anew where that seems too much.
func (d *disk) admitCompacted(topic string, bytes int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	used, known := d.compacted[topic]
	if !known || used+bytes > maxCompactedTopic {
		var err error
		if used, err = topicBytes(filepath.Join(d.dir, "partitions"), topic); err != nil {
			return fmt.Errorf("embedded log: cannot measure %s: %w", topic, err)
		}
	}
	if used+bytes > maxCompactedTopic {
		return fmt.Errorf("%w: the topic %s has reached its bound of %d MiB", eventlog.ErrFull, topic, maxCompactedTopic>>20)
	}
	d.compacted[topic] = used + bytes
	return nil
}

func (d *disk) fits(bound, bytes int64) error {
	more := d.appended.Load() + bytes
	if used := d.used.Load() + more; used > bound {
		return fmt.Errorf("%w: it has reached its bound of %d MiB on disk", eventlog.ErrFull, d.maxBytes>>20)
	}
	if free := d.free.Load() - more; free < d.minFree {
		return fmt.Errorf("%w: less than %d MiB would be left on the disk of %s", eventlog.ErrFull, d.minFree>>20, d.dir)
	}
	return nil
}

// pressed tells that the bound is near: read-back has to give way.
func (d *disk) pressed() bool {
	used := d.used.Load() + d.appended.Load()
	return used > d.maxBytes/10*8 || d.free.Load() < d.minFree*2
}
