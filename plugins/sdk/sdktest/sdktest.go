// Package sdktest checks that a classifier keeps its side of the protocol: that
// it answers within its description and the repository's options, abstains
// where it must, survives what strangers write, heeds cancellation, and says
// the same thing twice. Use it from an ordinary test:
//
//	func TestConformance(t *testing.T) {
//		sdktest.Run(t, New(), sdktest.Options{})
//	}
//
// Run it with the race detector too: the checks call from many goroutines.
//
// The checks speak the protocol, so they serve a plugin in any language:
// `dispatchai plugin test PATH` makes the same ones of an executable, and those
// that only a process can be held to.
package sdktest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/dispatchai/dispatchai/plugins/sdk"
)

// Options say what may be expected of a classifier.
type Options struct {
	// Settings is handed to a Configurer first: a JSON object, or empty.
	Settings json.RawMessage
	// Varies tells that the same issue may be answered differently, as a
	// language model does: repeatability is not checked.
	Varies bool
	// Timeout bounds each call, 10 seconds unless set.
	Timeout time.Duration
	// Progress, where set, is told of every check that was made, in their order.
	Progress func(Result)
}

// Result is what came of one check.
type Result struct {
	// Check names what was tried: "description", "an empty issue" ...
	Check string
	// Err says what is wrong and what to do about it, nil when nothing is.
	Err  error
	Took time.Duration
}

// Fault is one way in which a classifier does not conform.
type Fault struct {
	// Check names what was tried: "description", "an empty issue" ...
	Check string
	Err   error
}

func (f Fault) Error() string { return f.Check + ": " + f.Err.Error() }

// T is what Run needs of a *testing.T.
type T interface {
	Helper()
	Error(args ...any)
	Context() context.Context
}

// Run fails the test for every fault that Check finds.
func Run(t T, c sdk.Classifier, options Options) {
	t.Helper()
	for _, f := range Check(t.Context(), c, options) {
		t.Error(f)
	}
}

// Check tries a classifier and lists its faults; there are none when it conforms.
func Check(ctx context.Context, c sdk.Classifier, options Options) []Fault {
	return CheckPlugin(ctx, func(context.Context) (*Plugin, error) { return serve(c) }, options)
}

// Plugin is a plugin that runs, as the checks reach it.
type Plugin struct {
	// Conn leads to the plugin's own answers, which nobody has looked at.
	Conn grpc.ClientConnInterface
	// Close ends the plugin.
	Close func() error
	// Process is set when the plugin is a process that was started for the checks.
	Process *Process

	// idle waits until no call is in progress in the plugin; nil where that
	// cannot be seen.
	idle func(context.Context) error
}

// Process is what stands behind a plugin, for the checks of how it ends.
type Process struct {
	// HangUp ends the process's standard input.
	HangUp func() error
	// Ended is closed when the process has ended; Cause then says how.
	Ended <-chan struct{}
	Cause func() error
}

// serve has a classifier answer in this process, over a connection in memory.
func serve(c sdk.Classifier) (*Plugin, error) {
	calls := &calls{none: make(chan struct{})}
	close(calls.none)
	server, err := sdk.NewServer(c, grpc.ChainUnaryInterceptor(calls.count))
	if err != nil {
		return nil, err
	}
	listener := bufconn.Listen(1 << 20)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	conn, err := grpc.NewClient("passthrough:classifier",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(sdk.MaxMessageBytes), grpc.MaxCallSendMsgSize(sdk.MaxMessageBytes)))
	if err != nil {
		server.Stop()
		return nil, errors.Join(err, <-served)
	}
	return &Plugin{Conn: conn, idle: calls.idle, Close: func() error {
		err := conn.Close()
		server.Stop()
		return errors.Join(err, <-served)
	}}, nil
}

// calls counts the calls in progress.
type calls struct {
	mu   sync.Mutex
	n    int
	none chan struct{} // closed while there are none
}

func (c *calls) count(ctx context.Context, r any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	c.mu.Lock()
	if c.n++; c.n == 1 {
		c.none = make(chan struct{})
	}
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.n--; c.n == 0 {
			close(c.none)
		}
	}()
	return handle(ctx, r)
}

func (c *calls) idle(ctx context.Context) error {
	c.mu.Lock()
	none := c.none
	c.mu.Unlock()
	select {
	case <-none:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("a call goes on: %w", ctx.Err())
	}
}
