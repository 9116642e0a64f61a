package eventlog

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Handler works on a batch: records of any of the Consumer's topics, at most
// one of each key, none of which is in another batch at the same time. It
// returns one outcome per record, in the same order:
//
//   - nil: the record is done, its effects are durable;
//   - Permanent(err): trying again is useless, move it to the dead letters;
//   - RetryAfter(d, err): not now, and not the record's fault. It is tried
//     again after d, as often as it takes;
//   - any other error: the attempt failed. The record is tried again with
//     growing delays, alone, and moved to the dead letters after
//     ConsumerConfig.MaxAttempts.
//
// A record that waits holds up later records of its own key and nothing else.
// A slice of another length, or a panic, is a failed attempt of every record.
//
// An outage of something the handler depends on is best reported with
// RetryAfter, or it uses up the attempts of records that are not at fault. Long
// delays belong in the store rather than here, since a record that waits takes
// room in the Consumer's buffer and keeps the offsets after it from being
// committed.
//
// The records are the handler's to read, not to change. ctx ends at the
// handler's deadline or when a stopping Consumer has waited long enough.
type Handler func(ctx context.Context, batch []*Record) []error

type permanentError struct{ err error }

func (e *permanentError) Error() string { return e.err.Error() }
func (e *permanentError) Unwrap() error { return e.err }

// Permanent marks an error as one that trying again cannot heal.
func Permanent(err error) error {
	if err == nil {
		err = errors.New("permanent failure")
	}
	return &permanentError{err}
}

type retryAfterError struct {
	after time.Duration
	err   error
}

func (e *retryAfterError) Error() string { return fmt.Sprintf("%v (retry after %s)", e.err, e.after) }
func (e *retryAfterError) Unwrap() error { return e.err }

// RetryAfter asks for another attempt after d, without counting this one.
func RetryAfter(d time.Duration, err error) error {
	if err == nil {
		err = errors.New("not now")
	}
	return &retryAfterError{max(d, 0), err}
}

// Detach gives the outcomes of n records of a batch whose handling goes on after
// the handler has returned, so that what waits for something slow does not hold
// a slot that others need. rest is called once, in a goroutine of the
// Consumer's, and gives the outcomes of the n records in their order; its ctx is
// like the handler's. Until then the records count as in flight: later records
// of their keys wait, and so does the mark. Where too many are detached already,
// rest runs on the slot.
func Detach(n int, rest func(ctx context.Context) []error) []error {
	d := &detached{rest: rest, n: n}
	outcomes := make([]error, n)
	for i := range outcomes {
		outcomes[i] = &detachedError{d, i}
	}
	return outcomes
}

// detached is a part of a batch whose handling goes on.
type detached struct {
	rest func(ctx context.Context) []error
	n    int
}

// detachedError is an outcome that is not known yet. Seen as an error it is one:
// of a handler that detaches what it detached before.
type detachedError struct {
	of    *detached
	index int
}

func (*detachedError) Error() string { return "the handler detached the record a second time" }

// IsPermanent tells whether an outcome sends its record to the dead letters at once.
func IsPermanent(err error) bool {
	var permanent *permanentError
	return errors.As(err, &permanent)
}
