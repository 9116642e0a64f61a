package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
	"google.golang.org/grpc"

	"github.com/dispatchai/dispatchai/core/confine"
	"github.com/dispatchai/dispatchai/plugins/sdk"
	pb "github.com/dispatchai/dispatchai/proto/dispatchai/classifier/v1"
)

// protocols are the versions of the protocol that the host speaks. A plugin
// chooses the highest that it speaks too.
func protocols() []int { return []int{sdk.ProtocolVersion} }

// launched is a process that the host starts, and ends.
type launched struct {
	*processRunner
	client *goplugin.Client
	output *output
	unfit  error // why there cannot be a process
}

// notGreeted begins what is said of a plugin that could not be connected to.
const notGreeted = "it did not greet as a DispatchAI plugin: "

func (p *Plugin) launched(spec Spec) *launched {
	out := newOutput(p.log, p.redact, p.metrics)
	run := &processRunner{extra: out.writer("stdout"), exited: make(chan struct{})}
	versions := make(map[int]goplugin.PluginSet)
	for _, v := range protocols() {
		versions[v] = goplugin.PluginSet{"classifier": dispenser{}}
	}
	l := &launched{processRunner: run, output: out}
	l.client = goplugin.NewClient(&goplugin.ClientConfig{
		HandshakeConfig:  goplugin.HandshakeConfig{MagicCookieKey: sdk.CookieKey, MagicCookieValue: sdk.CookieValue},
		VersionedPlugins: versions,
		RunnerFunc: func(_ hclog.Logger, cmd *exec.Cmd, sockets string) (runner.Runner, error) {
			run.sockets = sockets
			run.cmd, l.unfit = p.confined(spec, append(p.environment(), cmd.Env...), sockets)
			if l.unfit != nil {
				close(run.exited)
				return nil, l.unfit
			}
			return run, nil
		},
		AllowedProtocols: []goplugin.Protocol{goplugin.ProtocolGRPC},
		SkipHostEnv:      true,
		UnixSocketConfig: &goplugin.UnixSocketConfig{TempDir: p.runDir},
		// Later than the host's own, which says more.
		StartTimeout:    2 * p.options.StartTimeout,
		Logger:          hclog.New(&hclog.LoggerOptions{Level: hclog.Off, Output: io.Discard}),
		Stderr:          out.writer("stderr"),
		SyncStdout:      out.writer("stdout"),
		SyncStderr:      out.writer("stderr"),
		GRPCDialOptions: dialOptions(),
	})
	return l
}

// confined is the command of the plugin's process.
func (p *Plugin) confined(spec Spec, env []string, sockets string) (*exec.Cmd, error) {
	if m := spec.Manifest; m != nil {
		if err := m.verify(); err != nil {
			return nil, err
		}
	}
	return p.options.Confinement.Command(confine.Program{
		Name: p.name, Path: spec.Path, Args: spec.Args, Env: env,
		Home: p.workDir, Room: p.runDir, Writes: []string{sockets, filepath.Dir(p.proxyAddress())}, Hidden: p.options.Hidden,
		MemoryBytes: dataPerMemory * p.options.MemoryBytes,
	})
}

// dataPerMemory is how much more a process may reserve than use: runtimes reserve
// in advance.
const dataPerMemory = 8

// dialOptions are the protocol's bounds. The windows let a whole batch through
// without a pause for credit.
func dialOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(sdk.MaxMessageBytes),
			grpc.MaxCallSendMsgSize(sdk.MaxMessageBytes)),
		grpc.WithInitialWindowSize(sdk.MaxMessageBytes),
		grpc.WithInitialConnWindowSize(2 * sdk.MaxMessageBytes),
		grpc.WithReadBufferSize(128 << 10),
		grpc.WithWriteBufferSize(128 << 10),
	}
}

func (l *launched) connect() (*grpc.ClientConn, int, error) {
	protocol, err := l.client.Client()
	if err != nil {
		if l.unfit != nil {
			return nil, 0, l.unfit
		}
		return nil, 0, errors.New(notGreeted + handshakeFault(err))
	}
	connection, ok := protocol.(*goplugin.GRPCClient)
	if !ok {
		return nil, 0, errors.New(notGreeted + "it does not speak gRPC")
	}
	return connection.Conn, l.client.NegotiatedVersion(), nil
}

func (l *launched) abandon() { _ = l.Kill(context.Background()) }

func (l *launched) stop(grace time.Duration) {
	if grace > 0 {
		timer := time.AfterFunc(grace, l.abandon)
		defer timer.Stop()
	} else {
		l.abandon()
	}
	l.client.Kill()
	l.release()
	l.output.flush()
}

func (l *launched) over() <-chan struct{} { return l.exited }

func (l *launched) lastWords() string { return l.output.lastLines() }

// handshakeFault says in a line what go-plugin says in several.
func handshakeFault(err error) string {
	s := err.Error()
	if line, ok := strings.CutPrefix(s, "Unrecognized remote plugin message: "); ok {
		line, _, _ = strings.Cut(line, "\n")
		if strings.TrimSpace(line) == "" {
			return "it ended without a word; is it a plugin, and built for this system?"
		}
		return fmt.Sprintf("it printed %q; is it a plugin?", cutText(line, 200))
	}
	s, _, _ = strings.Cut(s, "\n")
	if rest, ok := strings.CutPrefix(s, "incompatible API version with plugin. Plugin version: "); ok {
		version, _, _ := strings.Cut(rest, ",")
		return protocolFault(version)
	}
	return s
}

// protocolFault says that host and plugin have no version of the protocol in common.
func protocolFault(spoken string) string {
	return fmt.Sprintf("it speaks version %s of the plugin protocol, and this DispatchAI version %s; update whichever is older (a plugin: build it with the SDK of this DispatchAI)", spoken, versionList(protocols()))
}

func versionList(versions []int) string {
	versions = slices.Sorted(slices.Values(versions))
	words := make([]string, len(versions))
	for i, v := range versions {
		words[i] = strconv.Itoa(v)
	}
	return strings.Join(words, ", ")
}

// dispenser satisfies go-plugin, which wants to know what a plugin offers; the
// host takes the connection and makes its own client.
type dispenser struct {
	goplugin.NetRPCUnsupportedPlugin
}

func (dispenser) GRPCServer(*goplugin.GRPCBroker, *grpc.Server) error {
	return errors.New("the host serves nothing")
}

func (dispenser) GRPCClient(_ context.Context, _ *goplugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return pb.NewClassifierServiceClient(conn), nil
}
