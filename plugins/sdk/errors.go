package sdk

import (
	"errors"
	"time"
)

// ErrNotLaunched is what Serve returns when no host started the process.
var ErrNotLaunched = errors.New("this program is a DispatchAI classifier plugin: it is started by DispatchAI, not by hand; name its path in the configuration, try it with `dispatchai plugin test PATH`, or set DISPATCHAI_PLUGIN_DEBUG=1 to run it under a debugger")

type permanentError struct{ err error }

func (e *permanentError) Error() string { return e.err.Error() }
func (e *permanentError) Unwrap() error { return e.err }

// Permanent marks an error of Classify as the issue's own fault: asking again
// is of no use. Permanent(nil) is nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &permanentError{err}
}

// IsPermanent tells whether err, or what it wraps, was marked by Permanent.
func IsPermanent(err error) bool {
	var p *permanentError
	return errors.As(err, &p)
}

type delayError struct {
	err   error
	after time.Duration
}

func (e *delayError) Error() string { return e.err.Error() }
func (e *delayError) Unwrap() error { return e.err }

// RetryAfter marks an error of Classify as none of the fault - a rate
// limit, an outage of a model server: the host asks again after d (a second at
// least) without counting the attempt. RetryAfter(nil, d) is nil.
func RetryAfter(err error, d time.Duration) error {
	if err == nil {
		return nil
	}
	return &delayError{err: err, after: max(d, time.Second)}
}

// RetryDelay gives the delay of an error that was marked by RetryAfter.
func RetryDelay(err error) (time.Duration, bool) {
	var d *delayError
	if !errors.As(err, &d) {
		return 0, false
	}
	return d.after, true
}
