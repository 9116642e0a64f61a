package eventlog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Headers of a dead letter, besides those of the record that died.
const (
	headerDeadError     = "dead-error"
	headerDeadAttempts  = "dead-attempts"
	headerDeadTopic     = "dead-topic"
	headerDeadPartition = "dead-partition"
	headerDeadOffset    = "dead-offset"
	headerDeadTime      = "dead-time"
	headerDeadGroup     = "dead-group"
	// headerDeadReference says that the value was left where it is, in the
	// original topic, because of its size.
	headerDeadReference = "dead-reference"
	// headerDeadResolved marks a record that says of another letter, whose ID
	// it carries, that it needs no more attention.
	headerDeadResolved = "dead-resolved"

	deadPrefix = "dead-"
)

// HeaderReplayedFrom is on a replayed record: the ID of the dead letter.
const HeaderReplayedFrom = "replayed-from"

// maxErrorBytes bounds the error kept with a letter.
const maxErrorBytes = 4 << 10

// newLetter makes the dead letter of a record.
func newLetter(rec *Record, group string, cause error, attempts int, now time.Time) Record {
	letter := Record{Topic: TopicIssuesDead, Key: rec.Key, Value: rec.Value}
	for _, h := range rec.Headers {
		// A replayed record that dies again starts anew.
		if !strings.HasPrefix(h.Key, deadPrefix) {
			letter.Headers = append(letter.Headers, h)
		}
	}
	add := func(key, value string) {
		letter.Headers = append(letter.Headers, Header{Key: key, Value: []byte(value)})
	}
	add(headerDeadError, truncate(cause.Error(), maxErrorBytes))
	add(headerDeadAttempts, strconv.Itoa(attempts))
	add(headerDeadTopic, rec.Topic)
	add(headerDeadPartition, strconv.Itoa(int(rec.Partition)))
	add(headerDeadOffset, strconv.FormatInt(rec.Offset, 10))
	add(headerDeadTime, now.UTC().Format(time.RFC3339Nano))
	add(headerDeadGroup, group)
	return letter
}

// byReference leaves the value of a letter in its original topic.
func byReference(letter Record) Record {
	letter.Value = nil
	letter.SetHeader(headerDeadReference, letter.Header(headerDeadTopic)+"/"+letter.Header(headerDeadPartition)+"/"+letter.Header(headerDeadOffset))
	return letter
}

func truncate(s string, n int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// DeadLetter is a record that failed for good.
type DeadLetter struct {
	// ID is `partition-offset` in issues.dead, and stays the same.
	ID string `json:"id"`
	// Topic, Partition and Offset tell where the record came from, Group which
	// consumers gave it up.
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	Group     string `json:"group"`
	Key       string `json:"key"`
	// Delivery and Event are the headers of that name.
	Delivery string    `json:"delivery,omitempty"`
	Event    string    `json:"event,omitempty"`
	Error    string    `json:"error"`
	Attempts int       `json:"attempts"`
	Time     time.Time `json:"time"`
	// Size is that of the value in bytes. With Reference the value is not among
	// the dead letters but only in the original topic, as long as that keeps it.
	Size      int  `json:"size"`
	Reference bool `json:"reference,omitempty"`
	// Resolved says how the letter was settled: "replayed", "discarded", or ""
	// if it is open.
	Resolved string `json:"resolved,omitempty"`

	// Value and Headers, without those that begin with dead-, are set by Show
	// alone.
	Value   []byte            `json:"-"`
	Headers map[string]string `json:"headers,omitempty"`
}

// ErrNoLetter says that there is no dead letter with that ID.
var ErrNoLetter = errors.New("no such dead letter")

// DeadLetters lists, shows and replays the records that failed for good. It is
// safe for use from another process than the one that consumes.
type DeadLetters struct {
	cfg     Config
	cluster *Cluster
	prod    *Producer
	logger  *slog.Logger
}

// NewDeadLetters works on the log of the cluster. The producer is needed for
// Replay and Discard alone, and stays the caller's to close.
func NewDeadLetters(cluster *Cluster, producer *Producer, logger *slog.Logger) *DeadLetters {
	return &DeadLetters{cfg: cluster.cfg, cluster: cluster, prod: producer, logger: orDiscard(logger)}
}

// ListOptions choose among the dead letters.
type ListOptions struct {
	// Limit is how many are returned at most, the oldest first. Zero means 100.
	Limit int
	// After, an ID, continues a list.
	After string
	// Resolved includes the letters that were replayed or discarded.
	Resolved bool
}

// List returns dead letters, the oldest first, without values and headers.
func (d *DeadLetters) List(ctx context.Context, opts ListOptions) ([]DeadLetter, error) {
	limit := opts.Limit
	if limit <= 0 {
		limit = 100
	}
	afterPartition, afterOffset := int32(-1), int64(-1)
	if opts.After != "" {
		var err error
		if afterPartition, afterOffset, err = parseLetterID(opts.After); err != nil {
			return nil, err
		}
	}
	letters, err := d.index(ctx)
	if err != nil {
		return nil, err
	}
	list := []DeadLetter{}
	for _, l := range letters {
		if len(list) == limit {
			break
		}
		if l.Resolved != "" && !opts.Resolved {
			continue
		}
		p, o, err := parseLetterID(l.ID)
		if err != nil {
			return nil, err
		}
		if p < afterPartition || p == afterPartition && o <= afterOffset {
			continue
		}
		list = append(list, l)
	}
	return list, nil
}

// Show returns one letter in full. The error is ErrNoLetter if there is none;
// if the value was left in the original topic and is gone from there, the
// letter is returned together with an error that says so.
func (d *DeadLetters) Show(ctx context.Context, id string) (DeadLetter, error) {
	letter, rec, err := d.fetch(ctx, id)
	if err != nil {
		return letter, err
	}
	letters, err := d.index(ctx)
	if err != nil {
		return letter, err
	}
	for _, l := range letters {
		if l.ID == id {
			letter.Resolved = l.Resolved
		}
	}
	letter.Headers = make(map[string]string)
	for _, h := range rec.Headers {
		if !strings.HasPrefix(h.Key, deadPrefix) {
			letter.Headers[h.Key] = strings.ToValidUTF8(string(h.Value), "\uFFFD")
		}
	}
	letter.Value = rec.Value
	if letter.Reference {
		original, err := d.original(ctx, letter)
		if err != nil {
			return letter, err
		}
		letter.Value = original.Value
	}
	return letter, nil
}

// Replay appends the letters' records to their original topics, with their keys
// and headers and HeaderReplayedFrom, and marks the letters as replayed. It
// returns the IDs that were; those that already were are appended once more
// only if they are named. A crash in between may replay a letter twice, which
// is harmless, as every effect is idempotent.
func (d *DeadLetters) Replay(ctx context.Context, ids ...string) (replayed []string, err error) {
	for _, id := range ids {
		if err := d.replay(ctx, id); err != nil {
			return replayed, fmt.Errorf("replay %s: %w", id, err)
		}
		replayed = append(replayed, id)
	}
	return replayed, nil
}

// ReplayAll replays every open letter, the oldest first, those included that
// arrived before the call and no others.
func (d *DeadLetters) ReplayAll(ctx context.Context) (replayed []string, err error) {
	letters, err := d.index(ctx)
	if err != nil {
		return nil, err
	}
	for _, l := range letters {
		if l.Resolved != "" {
			continue
		}
		if err := d.replay(ctx, l.ID); err != nil {
			return replayed, fmt.Errorf("replay %s: %w", l.ID, err)
		}
		replayed = append(replayed, l.ID)
	}
	return replayed, nil
}

// Discard marks letters as needing no more attention, without replaying them.
func (d *DeadLetters) Discard(ctx context.Context, ids ...string) error {
	for _, id := range ids {
		if _, _, err := d.fetch(ctx, id); err != nil {
			return fmt.Errorf("discard %s: %w", id, err)
		}
		if err := d.resolve(ctx, id, "discarded"); err != nil {
			return fmt.Errorf("discard %s: %w", id, err)
		}
	}
	return nil
}

func (d *DeadLetters) replay(ctx context.Context, id string) error {
	letter, rec, err := d.fetch(ctx, id)
	if err != nil {
		return err
	}
	if letter.Topic == "" {
		return errors.New("the letter does not say which topic it came from")
	}
	again := Record{Topic: letter.Topic, Key: rec.Key, Value: rec.Value}
	for _, h := range rec.Headers {
		if !strings.HasPrefix(h.Key, deadPrefix) && h.Key != HeaderReplayedFrom {
			again.Headers = append(again.Headers, h)
		}
	}
	if letter.Reference {
		original, err := d.original(ctx, letter)
		if err != nil {
			return err
		}
		again.Value, again.Headers = original.Value, original.Headers
	}
	again.SetHeader(HeaderReplayedFrom, id)
	if err := d.prod.Append(ctx, again); err != nil {
		return err
	}
	if err := d.resolve(ctx, id, "replayed"); err != nil {
		return fmt.Errorf("it was appended to %s but could not be marked: %w", letter.Topic, err)
	}
	d.logger.Info("dead letter replayed", "id", id, "topic", letter.Topic, "key", rec.Key, "delivery", letter.Delivery)
	return nil
}

func (d *DeadLetters) resolve(ctx context.Context, id, how string) error {
	return d.prod.Append(ctx, Record{
		Topic: TopicIssuesDead, Key: id,
		Headers: []Header{{headerDeadResolved, []byte(id)}, {"dead-how", []byte(how)}},
	})
}

// Oldest returns per partition of issues.dead the offset below which every
// letter is resolved, so that records before it may be deleted.
func (d *DeadLetters) Oldest(ctx context.Context) (map[int32]int64, error) {
	ends, err := endOffsets(ctx, d.cluster.admin, TopicIssuesDead)
	if err != nil {
		return nil, err
	}
	oldest := make(map[int32]int64)
	for id, end := range ends {
		oldest[id.id] = end
	}
	letters, err := d.index(ctx)
	if err != nil {
		return nil, err
	}
	for _, l := range letters {
		if l.Resolved != "" {
			continue
		}
		p, o, err := parseLetterID(l.ID)
		if err != nil {
			return nil, err
		}
		oldest[p] = min(oldest[p], o)
	}
	return oldest, nil
}

// index reads issues.dead from start to end and keeps all but the values.
func (d *DeadLetters) index(ctx context.Context) ([]DeadLetter, error) {
	var letters []DeadLetter
	resolved := make(map[string]string)
	err := scan(ctx, d.cfg, d.cluster.admin, d.logger, TopicIssuesDead, func(r *Record) {
		if id := r.Header(headerDeadResolved); id != "" {
			resolved[id] = cmp.Or(r.Header("dead-how"), "replayed")
			return
		}
		letters = append(letters, letterOf(r))
	})
	if err != nil {
		return nil, fmt.Errorf("dead letters: %w", err)
	}
	for i := range letters {
		letters[i].Resolved = resolved[letters[i].ID]
	}
	slices.SortStableFunc(letters, func(a, b DeadLetter) int {
		ap, ao, _ := parseLetterID(a.ID)
		bp, bo, _ := parseLetterID(b.ID)
		return cmp.Or(cmp.Compare(ap, bp), cmp.Compare(ao, bo))
	})
	return letters, nil
}

func (d *DeadLetters) fetch(ctx context.Context, id string) (DeadLetter, *Record, error) {
	partition, offset, err := parseLetterID(id)
	if err != nil {
		return DeadLetter{}, nil, err
	}
	rec, err := fetchOne(ctx, d.cfg, d.cluster.admin, d.logger, partitionID{TopicIssuesDead, partition}, offset)
	if err != nil {
		return DeadLetter{}, nil, fmt.Errorf("dead letter %s: %w", id, err)
	}
	if rec == nil || rec.Header(headerDeadResolved) != "" {
		return DeadLetter{}, nil, fmt.Errorf("%w: %s", ErrNoLetter, id)
	}
	return letterOf(rec), rec, nil
}

func (d *DeadLetters) original(ctx context.Context, l DeadLetter) (*Record, error) {
	rec, err := fetchOne(ctx, d.cfg, d.cluster.admin, d.logger, partitionID{l.Topic, l.Partition}, l.Offset)
	if err == nil && rec == nil {
		err = errors.New("the log no longer has it")
	}
	if err != nil {
		return nil, fmt.Errorf("the value of letter %s was too large to be kept with it, and %s partition %d offset %d cannot be read: %w",
			l.ID, l.Topic, l.Partition, l.Offset, err)
	}
	return rec, nil
}

func letterOf(r *Record) DeadLetter {
	number := func(key string) int64 {
		n, err := strconv.ParseInt(r.Header(key), 10, 64)
		if err != nil {
			return 0
		}
		return n
	}
	text := func(s string) string { return strings.ToValidUTF8(strings.Clone(s), "\uFFFD") }
	l := DeadLetter{
		ID:        fmt.Sprintf("%d-%d", r.Partition, r.Offset),
		Topic:     r.Header(headerDeadTopic),
		Partition: int32(number(headerDeadPartition)),
		Offset:    number(headerDeadOffset),
		Group:     r.Header(headerDeadGroup),
		Key:       text(r.Key),
		Delivery:  text(r.Header(HeaderDelivery)),
		Event:     text(r.Header(HeaderEvent)),
		Error:     text(r.Header(headerDeadError)),
		Attempts:  int(number(headerDeadAttempts)),
		Time:      r.Time,
		Size:      len(r.Value),
		Reference: r.Header(headerDeadReference) != "",
	}
	if t, err := time.Parse(time.RFC3339Nano, r.Header(headerDeadTime)); err == nil {
		l.Time = t
	}
	return l
}

func parseLetterID(id string) (partition int32, offset int64, err error) {
	p, o, ok := strings.Cut(id, "-")
	if ok {
		var p64 int64
		if p64, err = strconv.ParseInt(p, 10, 32); err == nil && p64 >= 0 {
			if offset, err = strconv.ParseInt(o, 10, 64); err == nil && offset >= 0 {
				return int32(p64), offset, nil
			}
		}
	}
	return 0, 0, fmt.Errorf("%w: %q is not an ID such as 0-42", ErrNoLetter, truncate(id, 64))
}
