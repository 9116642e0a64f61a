package plugin

import (
	"context"
	"errors"
	"fmt"
	"os"

	"google.golang.org/grpc"
)

// Trial is one run of a plugin for those who want to know what it really says:
// started like any other, but neither configured nor supervised, and what it
// answers comes as it is.
type Trial struct {
	plugin  *Plugin
	process *process
}

// Try starts a plugin and waits until it is connected. Close must be called.
func Try(ctx context.Context, spec Spec, options Options) (*Trial, error) {
	p, err := newPlugin(spec, options)
	if err != nil {
		return nil, err
	}
	pr, err := p.greet(ctx, p.spec)
	if err != nil {
		p.cancel()
		return nil, errors.Join(err, p.removeRunDir())
	}
	return &Trial{plugin: p, process: pr}, nil
}

// Conn is the connection to the plugin.
func (t *Trial) Conn() grpc.ClientConnInterface { return t.process.conn }

// Describe asks the plugin who it is, and checks that.
func (t *Trial) Describe(ctx context.Context) (Description, error) {
	ctx, cancel := context.WithTimeout(ctx, t.plugin.options.CallTimeout)
	defer cancel()
	if err := t.plugin.describe(ctx, t.process); err != nil {
		return Description{}, fmt.Errorf("plugin %s: %w", t.plugin.name, err)
	}
	return t.process.description, nil
}

// Owned tells whether the host started the process, and may end it.
func (t *Trial) Owned() bool { return t.process.spec.Reattach == "" }

// HangUp ends the process's standard input, as the end of its host would. It is
// for processes that are owned.
func (t *Trial) HangUp() error {
	l, ok := t.process.carrier.(*launched)
	if !ok {
		return errors.New("the plugin was started by somebody else, who has its standard input")
	}
	if err := l.stdin.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}

// Ended is closed when the process has ended; Cause then says how.
func (t *Trial) Ended() <-chan struct{} { return t.process.over() }

// Cause says how the process ended.
func (t *Trial) Cause() error { return t.process.ended() }

// Close ends the process at once, where it is owned, and waits until it is gone.
func (t *Trial) Close() error {
	t.plugin.cancel()
	t.process.stop(0)
	return t.plugin.removeRunDir()
}
