package plugin

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// replacement is a process that is ready to take the place of the one that runs.
type replacement struct {
	process *process
	taken   chan struct{} // closed when it has
}

// Replace runs the plugin by another spec from now on: another executable, other
// settings, or both. The new process starts beside the one that runs and takes its
// place when it is ready; calls in progress end where they began, and no call is
// refused meanwhile. After an error everything is as before. Calls of Replace come
// one at a time.
func (p *Plugin) Replace(ctx context.Context, spec Spec) error {
	gone := &UnavailableError{Plugin: p.name, State: Closed, RetryAfter: time.Minute}
	if p.ctx.Err() != nil {
		return gone
	}
	before := p.Spec()
	if spec.Name != p.name {
		return fmt.Errorf("plugin %s cannot be replaced by one of the name %s", p.name, spec.Name)
	}
	if before.Reattach != "" || spec.Reattach != "" {
		return fmt.Errorf("plugin %s is run by a person, who replaces it by running another", p.name)
	}
	spec, err := checkSpec(spec)
	if err != nil {
		return err
	}
	p.redact.learn(spec.Settings)
	// Both processes need their hosts while both run.
	both := slices.Concat(before.Hosts, spec.Hosts)
	p.proxy.hosts.Store(&both)
	process, err := p.launch(ctx, spec)
	if err != nil {
		p.proxy.hosts.Store(&before.Hosts)
		return err
	}
	r := replacement{process: process, taken: make(chan struct{})}
	select {
	case p.replacements <- r:
		<-r.taken
		return nil
	case <-ctx.Done():
		err = fmt.Errorf("replace plugin %s: %w", p.name, ctx.Err())
	case <-p.done:
		err = gone
	}
	process.stop(0)
	p.proxy.hosts.Store(&before.Hosts)
	return err
}

// adopt makes the spec of a process that is ready the plugin's own.
func (p *Plugin) adopt(r replacement) *process {
	defer close(r.taken)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.spec = r.process.spec
	p.enterLocked(Running, r.process, time.Time{})
	return r.process
}

// drain lets the calls of a process end that another has taken the place of, and
// then ends it.
func (p *Plugin) drain(process *process) {
	idle := make(chan struct{})
	go func() {
		process.calls.Wait()
		close(idle)
	}()
	limit := time.NewTimer(max(p.options.CallTimeout, p.options.FitTimeout))
	defer limit.Stop()
	select {
	case <-idle:
	case <-process.over():
	case <-limit.C:
	case <-p.ctx.Done():
	}
	process.stop(p.options.StopTimeout)
	<-idle
	hosts := p.Spec().Hosts
	p.proxy.hosts.Store(&hosts)
	p.log.Info("plugin was replaced", "version", process.description.Version, "pid", process.pid())
}
