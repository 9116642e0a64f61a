package plugin

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// supervise owns the plugin's process: it starts it, notices its end, kills it
// where it hangs, and starts it again.
func (p *Plugin) supervise() {
	defer close(p.done)
	delays := backoff.NewExponentialBackOff()
	delays.InitialInterval = p.options.MinBackoff
	delays.MaxInterval = p.options.MaxBackoff
	again := "plugin is restarted"
	if p.Spec().Reattach != "" {
		delays.MaxInterval, again = min(p.options.MaxBackoff, attachedBackoff), "plugin is waited for"
	}
	delays.Multiplier = 2
	delays.RandomizationFactor = 0.3
	delays.Reset()
	var next *process // that takes the place of the one before
	for p.ctx.Err() == nil {
		process := next
		next = nil
		reason := "start failed"
		var err error
		if process == nil {
			p.enter(Starting, nil, time.Time{})
			process, err = p.launch(p.ctx, p.Spec())
		}
		if err == nil {
			p.enter(Running, process, time.Time{})
			p.log.Info("plugin runs", "version", process.description.Version, "pid", process.pid())
			reason, next, err = p.watch(process)
			if next != nil {
				p.retired.Go(func() { p.drain(process) })
				delays.Reset()
				continue
			}
			p.retire(process)
			if p.ctx.Err() != nil {
				process.stop(p.options.StopTimeout)
			} else {
				process.stop(0)
			}
			if process.answered.Load() || time.Since(process.started) >= p.options.StableAfter {
				delays.Reset()
			}
		}
		if p.ctx.Err() != nil {
			break
		}
		delay := delays.NextBackOff()
		p.metrics.restarts.WithLabelValues(reason).Inc()
		p.mu.Lock()
		p.restarts++
		p.lastErr = err
		p.mu.Unlock()
		p.enter(BackingOff, nil, time.Now().Add(delay))
		p.log.Warn(again, "reason", reason, "error", err, "delay", delay)
		timer := time.NewTimer(delay)
		select {
		case <-timer.C:
		case r := <-p.replacements:
			next = p.adopt(r)
		case <-p.ctx.Done():
		}
		timer.Stop()
	}
	p.enter(Closed, nil, time.Time{})
	if next != nil {
		next.stop(p.options.StopTimeout)
	}
	p.retired.Wait()
}

// watch waits for the end of a process, for a reason to end it, or for the one that
// takes its place.
func (p *Plugin) watch(process *process) (reason string, next *process, err error) {
	tick := time.NewTicker(p.options.PingInterval)
	defer tick.Stop()
	weigh, stop := p.weighing(process)
	defer stop()
	missed := 0
	for {
		select {
		case <-p.ctx.Done():
			return "closed", nil, nil
		case r := <-p.replacements:
			return "replaced", p.adopt(r), nil
		case <-process.over():
			return "exited", nil, process.ended()
		case <-process.condemned:
			if errors.Is(process.cause, errHung) {
				return "hung", nil, process.cause
			}
			// A connection breaks a moment before the exit that it comes from is seen.
			select {
			case <-process.over():
				return "exited", nil, process.ended()
			case <-time.After(exitGrace):
				return "disconnected", nil, process.cause
			}
		case <-weigh:
			if err := p.weigh(process); err != nil {
				return "memory", nil, err
			}
		case <-tick.C:
			// A busy process is held to its calls' deadlines instead, unless its
			// callers always give up before those.
			if p.calls.Load() > 0 && process.silence() < p.options.CallTimeout {
				missed = 0
				continue
			}
			if err := process.ping(p.ctx, p.options.PingInterval); err == nil {
				missed = 0
			} else if missed++; missed == 2 {
				return "hung", nil, fmt.Errorf("%w: it gave no sign of life for %s", errHung, 2*p.options.PingInterval)
			}
		}
	}
}

// exitGrace is how long a process whose connection broke may take to be seen
// ending, so that its exit status can be told.
const exitGrace = 250 * time.Millisecond

var errHung = errors.New("the process hangs")

// enter changes the state and wakes those who wait for a change.
func (p *Plugin) enter(s State, current *process, resume time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.enterLocked(s, current, resume)
}

func (p *Plugin) enterLocked(s State, current *process, resume time.Time) {
	up := 0.0
	if s == Running {
		up = 1
	}
	p.metrics.up.Set(up)
	p.state, p.since, p.resume, p.current = s, time.Now(), resume, current
	if current != nil {
		p.description = current.description
	}
	close(p.changed)
	p.changed = make(chan struct{})
}

// retire makes sure that nobody asks a process that is about to end.
func (p *Plugin) retire(process *process) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current == process {
		p.enterLocked(BackingOff, nil, time.Now().Add(p.options.MinBackoff))
	}
}

// condemn has a process killed and restarted.
func (p *Plugin) condemn(process *process, cause error) {
	p.fault(cause)
	p.retire(process)
	process.condemn(cause)
}

// fault remembers what went wrong last, for Health and UnavailableError.
func (p *Plugin) fault(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lastErr = err
}

// enlist gives the process to ask, or an UnavailableError. The caller says when it
// is done with it: until then the process is not ended because of another.
func (p *Plugin) enlist() (*process, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current == nil {
		return nil, p.unavailableLocked()
	}
	p.current.calls.Add(1)
	return p.current, nil
}

// running gives the process to ask, or an UnavailableError.
func (p *Plugin) running() (*process, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current != nil {
		return p.current, nil
	}
	return nil, p.unavailableLocked()
}

func (p *Plugin) unavailableLocked() *UnavailableError {
	after := 250 * time.Millisecond
	switch p.state {
	case BackingOff:
		// What follows the back-off is a start, which takes a moment too.
		after = max(time.Until(p.resume), 0) + 100*time.Millisecond
	case Closed:
		after = time.Minute
	}
	return &UnavailableError{Plugin: p.name, State: p.state, RetryAfter: after, Err: p.lastErr}
}

// awaitRunning waits until the process runs, through restarts that are not
// more than patience away.
func (p *Plugin) awaitRunning(ctx context.Context, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, p.options.StartTimeout+patience)
	defer cancel()
	for {
		p.mu.Lock()
		state, changed, resume, err := p.state, p.changed, p.resume, p.unavailableLocked()
		p.mu.Unlock()
		switch {
		case state == Running:
			return nil
		case state == Closed, state == BackingOff && time.Until(resume) > patience:
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return err
		}
	}
}
