package plugin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/dispatchai/dispatchai/plugins/sdk"
)

// attachedBackoff bounds the wait before a plugin that a person runs is looked
// for again: they have just started it, and watch.
const attachedBackoff = time.Second

// attached is a plugin that a person started, under a debugger for instance.
// The host only connects to it.
type attached struct {
	settings sdk.Reattach
	ctx      context.Context
	cancel   context.CancelFunc
	conn     *grpc.ClientConn
	watched  bool
	gone     chan struct{} // closed when the connection is
}

func attach(path string) (*attached, error) {
	settings, err := sdk.ReadReattach(path)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &attached{settings: settings, ctx: ctx, cancel: cancel, gone: make(chan struct{})}, nil
}

func (a *attached) connect() (*grpc.ClientConn, int, error) {
	protocol := 0
	for _, v := range a.settings.Protocols {
		if slices.Contains(protocols(), v) {
			protocol = max(protocol, v)
		}
	}
	if protocol == 0 {
		return nil, 0, errors.New(notGreeted + protocolFault(versionList(a.settings.Protocols)))
	}
	conn, err := grpc.NewClient("passthrough:plugin", append(dialOptions(),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithIdleTimeout(0),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", a.settings.Socket)
		}))...)
	if err != nil {
		return nil, 0, err
	}
	a.conn = conn
	conn.Connect()
	for state := conn.GetState(); state != connectivity.Ready; state = conn.GetState() {
		if state == connectivity.TransientFailure {
			return nil, 0, fmt.Errorf(notGreeted+"nothing answers on the socket %s; start the plugin again with %s=1", a.settings.Socket, sdk.DebugKey)
		}
		if !conn.WaitForStateChange(a.ctx, state) {
			return nil, 0, errors.New(notGreeted + "it was given up before it answered")
		}
	}
	a.watched = true
	go func() {
		defer close(a.gone)
		conn.WaitForStateChange(a.ctx, connectivity.Ready)
	}()
	return conn, protocol, nil
}

func (a *attached) abandon() { a.cancel() }

// stop leaves the plugin alone: it is the person's who started it.
func (a *attached) stop(time.Duration) {
	a.cancel()
	if a.watched {
		<-a.gone
	}
	if a.conn != nil {
		_ = a.conn.Close()
	}
}

func (a *attached) over() <-chan struct{} { return a.gone }
func (a *attached) ended() error          { return errors.New("whoever runs it has ended it") }
func (a *attached) pid() int              { return a.settings.PID }
func (a *attached) lastWords() string     { return "" }
