package sdk

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	pb "github.com/dispatchai/dispatchai/proto/dispatchai/classifier/v1"
)

// parentPoll is how often a plugin looks whether its parent process still is
// the one that started it, where the end of standard input does not tell.
const parentPoll = time.Second

// ServeOption changes how Serve serves.
type ServeOption func(*serveConfig)

type serveConfig struct {
	parallel int
	log      *slog.Logger
}

// Parallel sets how many issues of one batch are classified at once, GOMAXPROCS
// unless given. A classifier that waits for a server does well with more.
func Parallel(n int) ServeOption {
	return func(c *serveConfig) { c.parallel = n }
}

// Serve makes the process a plugin: it answers the host that started it until
// the host ends it or is itself gone, and then returns nil. It is the last
// thing that main does. An error says that no host started the process
// (ErrNotLaunched) or that the classifier is not fit to be served.
//
// Where no host started it and DebugKey is set to 1, it waits on a socket of
// its own, prints how a host is told of it, and ends with an interrupt.
//
// Serve takes over standard input and output, which carry the handshake. What
// is printed to standard output or standard error afterwards goes to the
// host's log.
func Serve(c Classifier, options ...ServeOption) error {
	config := serveConfig{log: Logger()}
	for _, o := range options {
		o(&config)
	}
	debugging := false
	if os.Getenv(CookieKey) != CookieValue {
		var err error
		if v := os.Getenv(DebugKey); v != "" {
			if debugging, err = strconv.ParseBool(v); err != nil {
				return fmt.Errorf("%s is %q; set it to 1 to serve without DispatchAI starting this program", DebugKey, bounded(v))
			}
		}
		if !debugging {
			return ErrNotLaunched
		}
	}
	s, err := newServer(c, config.parallel, config.log)
	if err != nil {
		return err
	}
	if debugging {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		return serveDebug(ctx, s, os.Stdout)
	}
	stop := &stopper{}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go watchParent(ctx, stop.stop)

	goplugin.Serve(&goplugin.ServeConfig{
		HandshakeConfig: goplugin.HandshakeConfig{
			ProtocolVersion:  ProtocolVersion,
			MagicCookieKey:   CookieKey,
			MagicCookieValue: CookieValue,
		},
		VersionedPlugins: map[int]goplugin.PluginSet{
			ProtocolVersion: {"classifier": &service{server: s}},
		},
		GRPCServer: func(o []grpc.ServerOption) *grpc.Server {
			return stop.guard(newGRPCServer(s, o...))
		},
		Logger: hclog.New(&hclog.LoggerOptions{Level: hclog.Warn, Output: os.Stderr, JSONFormat: true}),
	})
	return nil
}

// NewServer gives a server that answers for the classifier on any listener,
// without the handshake by which a host starts a process. It is for tests; a
// plugin calls Serve.
func NewServer(c Classifier, options ...grpc.ServerOption) (*grpc.Server, error) {
	s, err := newServer(c, 0, Logger())
	if err != nil {
		return nil, err
	}
	g := newGRPCServer(s, options...)
	pb.RegisterClassifierServiceServer(g, s)
	return g, nil
}

// newGRPCServer gives a server with the protocol's bounds. The windows let a
// whole batch through without a pause for credit.
func newGRPCServer(s *server, options ...grpc.ServerOption) *grpc.Server {
	return grpc.NewServer(append(options,
		grpc.MaxRecvMsgSize(MaxMessageBytes),
		grpc.MaxSendMsgSize(MaxMessageBytes),
		grpc.InitialWindowSize(MaxMessageBytes),
		grpc.InitialConnWindowSize(2*MaxMessageBytes),
		grpc.ReadBufferSize(128<<10),
		grpc.WriteBufferSize(128<<10),
		grpc.ChainUnaryInterceptor(s.recoverUnary),
		grpc.ChainStreamInterceptor(s.recoverStream),
	)...)
}

// Logger gives a logger whose records arrive in the host's log under the
// plugin's name, with the level they have here. Do not log secrets.
func Logger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// service hands the server to go-plugin.
type service struct {
	goplugin.NetRPCUnsupportedPlugin
	server *server
}

func (p *service) GRPCServer(_ *goplugin.GRPCBroker, g *grpc.Server) error {
	pb.RegisterClassifierServiceServer(g, p.server)
	return nil
}

func (p *service) GRPCClient(_ context.Context, _ *goplugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return pb.NewClassifierServiceClient(conn), nil
}

// stopper stops a server that may not exist yet.
type stopper struct {
	mu      sync.Mutex
	stopped bool
	server  *grpc.Server
}

func (s *stopper) guard(g *grpc.Server) *grpc.Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.server = g
	if s.stopped {
		g.Stop()
	}
	return g
}

func (s *stopper) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	if s.server != nil {
		s.server.Stop()
	}
}

// watchParent calls gone when the host is no more. A host gives its plugins a
// pipe as standard input that it never writes to, so that the pipe's end is
// the host's end, noticed at once; where standard input is anything else, and
// where another process inherited the pipe, the parent's process ID tells.
func watchParent(ctx context.Context, gone func()) {
	ended := make(chan struct{})
	if info, err := os.Stdin.Stat(); err == nil && info.Mode()&os.ModeNamedPipe != 0 {
		// The read cannot be interrupted; it ends with the pipe or the process.
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			close(ended)
		}()
	}
	parent := os.Getppid()
	tick := time.NewTicker(parentPoll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ended:
			gone()
			return
		case <-tick.C:
			if os.Getppid() != parent {
				gone()
				return
			}
		}
	}
}
