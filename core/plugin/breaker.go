package plugin

import (
	"context"
	"errors"
	"time"

	"github.com/sony/gobreaker/v2"
)

// A plugin that fails call after call is left alone for a while, so that issues
// go to other classifiers at once instead of each waiting for the next failure.
const (
	// failuresInRow open the circuit, and so do failuresAmong calls of the last
	// failureWindow when at least half of those failed.
	failuresInRow = 5
	failuresAmong = 20
	failureWindow = time.Minute
)

// breaker is the plugin's circuit breaker. The crash of one process counts once,
// however many calls it takes with it.
type breaker struct {
	circuit *gobreaker.TwoStepCircuitBreaker[struct{}]
}

// errUncounted is a call's end that says nothing about the plugin's health.
var errUncounted = errors.New("uncounted")

func (p *Plugin) newBreaker() *breaker {
	return &breaker{circuit: gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		Name:         p.name,
		Interval:     failureWindow,
		BucketPeriod: failureWindow / 6,
		Timeout:      p.options.Cooldown,
		ReadyToTrip: func(c gobreaker.Counts) bool {
			return c.ConsecutiveFailures >= failuresInRow || c.Requests >= failuresAmong && 2*c.TotalFailures >= c.Requests
		},
		IsExcluded: func(err error) bool { return errors.Is(err, errUncounted) },
		OnStateChange: func(_ string, _, to gobreaker.State) {
			// The breaker's lock is held: nothing here may ask it.
			p.turn(to)
		},
	})}
}

// turn notes a change of the circuit for people and monitoring.
func (p *Plugin) turn(to gobreaker.State) {
	p.mu.Lock()
	defer p.mu.Unlock()
	open := to != gobreaker.StateClosed
	switch to {
	case gobreaker.StateOpen:
		p.tried = time.Now().Add(p.options.Cooldown)
		p.metrics.opened.Inc()
		p.log.Warn("plugin is left alone for a while: call after call fails", "cooldown", p.options.Cooldown, "error", p.lastErr)
	case gobreaker.StateClosed:
		p.log.Info("plugin answers again")
	}
	if open == p.open {
		return
	}
	p.open = open
	value := 0.0
	if open {
		value = 1
	}
	p.metrics.open.Set(value)
	close(p.changed)
	p.changed = make(chan struct{})
}

// allow asks for leave to make a call. done must be given the call's end: nil,
// a failure, or errUncounted.
func (p *Plugin) allow() (done func(error), err error) {
	done, err = p.breaker.circuit.Allow()
	if err == nil {
		return done, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	after := time.Until(p.tried)
	if errors.Is(err, gobreaker.ErrTooManyRequests) {
		after = 0 // one call is on trial
	}
	return nil, &UnavailableError{Plugin: p.name, State: Tripped, RetryAfter: max(after, minRetry), Err: p.lastErr}
}

// minRetry is the least wait that a caller is told.
const minRetry = 250 * time.Millisecond

// counted is what a call's end means to the breaker.
func (p *Plugin) counted(process *process, err error) error {
	failure, failed := errors.AsType[*CallError](err)
	switch {
	case err == nil, errors.Is(err, ErrUnsupported):
		return nil
	case !failed, errors.Is(err, context.Canceled):
		return errUncounted
	case failure.How == Crashed || errors.Is(err, errHung):
		if !process.blamed.CompareAndSwap(false, true) {
			return errUncounted
		}
	}
	return err
}
