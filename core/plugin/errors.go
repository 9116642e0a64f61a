package plugin

import (
	"errors"
	"fmt"
	"time"
)

// ErrUnavailable is what errors.Is finds in every error that says nothing about
// the work: the plugin could not be asked. See UnavailableError.
var ErrUnavailable = errors.New("plugin unavailable")

// ErrUnsupported is what errors.Is finds when the plugin does not offer the call.
var ErrUnsupported = errors.New("the plugin does not offer this")

// UnavailableError says that the plugin cannot be asked just now: its process
// is starting, waits out a back-off or is closed, its slots are taken, it failed
// call after call, or it asked to be left alone for a while. Wait RetryAfter and ask
// again; the attempt does not count against the work. errors.Is finds ErrUnavailable.
type UnavailableError struct {
	Plugin string
	State  State
	// RetryAfter is when to ask again; it is never zero.
	RetryAfter time.Duration
	// Err is the last fault, where there was one.
	Err error
}

func (e *UnavailableError) Error() string {
	s := fmt.Sprintf("plugin %s is %s; ask again in %s", e.Plugin, e.State, e.RetryAfter.Round(time.Millisecond))
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap gives ErrUnavailable and the last fault.
func (e *UnavailableError) Unwrap() []error {
	if e.Err == nil {
		return []error{ErrUnavailable}
	}
	return []error{ErrUnavailable, e.Err}
}

// Failure says how a call failed.
type Failure string

// The ways in which a call fails.
const (
	// Crashed: the process ended, or its connection broke, during the call.
	Crashed Failure = "crashed"
	// TimedOut: no answer within Options.CallTimeout. The process was killed
	// unless it said so itself.
	TimedOut Failure = "timeout"
	// Malformed: the answer was not one: too large, undecodable, or for something else.
	Malformed Failure = "malformed"
	// Failed: the plugin answered with an error.
	Failed Failure = "failed"
)

// CallError says that a call was made for this very work and failed: the
// attempt counts. Of a batch the host first finds out which item is the cause
// (see Plugin.Classify).
type CallError struct {
	Plugin string
	Method string
	How    Failure
	Err    error
}

func (e *CallError) Error() string {
	return fmt.Sprintf("plugin %s: %s %s: %v", e.Plugin, e.Method, e.How, e.Err)
}

func (e *CallError) Unwrap() error { return e.Err }

// ItemError is the plugin's own error for one issue. The attempt counts.
type ItemError struct {
	Plugin string
	// Message is the plugin's, bounded and cleaned.
	Message string
	// Permanent tells that the plugin says asking again is of no use.
	Permanent bool
}

func (e *ItemError) Error() string {
	if e.Permanent {
		return fmt.Sprintf("plugin %s cannot classify this issue: %s", e.Plugin, e.Message)
	}
	return fmt.Sprintf("plugin %s: %s", e.Plugin, e.Message)
}

// RetryAfter gives how long to wait before asking again when err is an
// UnavailableError, and false when it is anything else.
func RetryAfter(err error) (time.Duration, bool) {
	var u *UnavailableError
	if errors.As(err, &u) {
		return u.RetryAfter, true
	}
	return 0, false
}
