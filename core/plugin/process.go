package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/dispatchai/dispatchai/plugins/sdk"
	pb "github.com/dispatchai/dispatchai/proto/dispatchai/classifier/v1"
)

// process is one run of a plugin: started, connected, configured.
type process struct {
	client      *goplugin.Client
	runner      *processRunner
	output      *output
	service     pb.ClassifierServiceClient
	health      grpc_health_v1.HealthClient
	description Description
	started     time.Time
	// answered tells that it was of use at least once.
	answered atomic.Bool
	// heard is when it last answered a call or a ping, in Unix nanoseconds.
	heard atomic.Int64

	once      sync.Once
	condemned chan struct{}
	cause     error // set before condemned is closed
}

// launch starts the plugin's executable and makes it ready for calls. When it
// fails, nothing of the process is left.
func (p *Plugin) launch(ctx context.Context) (*process, error) {
	out := newOutput(p.log, p.redact, p.metrics)
	run := &processRunner{
		path:   p.spec.Path,
		args:   p.spec.Args,
		dir:    p.workDir,
		extra:  out.writer("stdout"),
		exited: make(chan struct{}),
	}
	client := goplugin.NewClient(&goplugin.ClientConfig{
		HandshakeConfig: goplugin.HandshakeConfig{
			ProtocolVersion:  sdk.ProtocolVersion,
			MagicCookieKey:   sdk.CookieKey,
			MagicCookieValue: sdk.CookieValue,
		},
		VersionedPlugins: map[int]goplugin.PluginSet{sdk.ProtocolVersion: {"classifier": dispenser{}}},
		RunnerFunc: func(_ hclog.Logger, cmd *exec.Cmd, sockets string) (runner.Runner, error) {
			run.env, run.sockets = append(p.environment(), cmd.Env...), sockets
			return run, nil
		},
		AllowedProtocols: []goplugin.Protocol{goplugin.ProtocolGRPC},
		SkipHostEnv:      true,
		UnixSocketConfig: &goplugin.UnixSocketConfig{TempDir: p.runDir},
		// Later than the host's own, which says more.
		StartTimeout: 2 * p.options.StartTimeout,
		Logger:       hclog.New(&hclog.LoggerOptions{Level: hclog.Off, Output: io.Discard}),
		Stderr:       out.writer("stderr"),
		SyncStdout:   out.writer("stdout"),
		SyncStderr:   out.writer("stderr"),
		GRPCDialOptions: []grpc.DialOption{
			grpc.WithDefaultCallOptions(
				grpc.MaxCallRecvMsgSize(sdk.MaxMessageBytes),
				grpc.MaxCallSendMsgSize(sdk.MaxMessageBytes)),
			grpc.WithInitialWindowSize(sdk.MaxMessageBytes),
			grpc.WithInitialConnWindowSize(2 * sdk.MaxMessageBytes),
			grpc.WithReadBufferSize(128 << 10),
			grpc.WithWriteBufferSize(128 << 10),
		},
	})
	pr := &process{client: client, runner: run, output: out, started: time.Now(), condemned: make(chan struct{})}
	err := p.within(ctx, pr, p.options.StartTimeout, p.connect)
	if err == nil {
		err = p.within(ctx, pr, p.options.FitTimeout, p.loadModels)
	}
	if err != nil {
		if run.pid() != 0 && !errors.Is(err, errRefused) && !errors.Is(err, context.DeadlineExceeded) {
			select {
			case <-run.exited:
				err = fmt.Errorf("%w (%w)", err, run.ended())
			case <-time.After(exitGrace):
			}
		}
		pr.stop(0)
		return nil, fmt.Errorf("plugin %s did not start from %s: %w%s", p.spec.Name, p.spec.Path, err, out.lastLines())
	}
	pr.heard.Store(time.Now().UnixNano())
	return pr, nil
}

// within takes one step of a start. Its end, when it comes to that, is the end
// of the process, as go-plugin heeds no context but notices that.
func (p *Plugin) within(ctx context.Context, pr *process, limit time.Duration, step func(context.Context, *process) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = pr.runner.Kill(context.Background()) })
	defer stop()
	err := step(ctx, pr)
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("it was not ready within %s: %w (%w)", limit, err, ctx.Err())
	}
	return err
}

// errRefused marks what the plugin said no to while it was well.
var errRefused = errors.New("refused")

func (p *Plugin) connect(ctx context.Context, pr *process) error {
	protocol, err := pr.client.Client()
	if err != nil {
		return fmt.Errorf("it did not greet as a DispatchAI plugin: %s", p.redact.text(handshakeFault(err), 500))
	}
	connection, ok := protocol.(*goplugin.GRPCClient)
	if !ok {
		return errors.New("it does not speak gRPC")
	}
	pr.service = pb.NewClassifierServiceClient(connection.Conn)
	pr.health = grpc_health_v1.NewHealthClient(connection.Conn)
	response, err := pr.service.Describe(ctx, &pb.DescribeRequest{})
	if err != nil {
		return fmt.Errorf("it did not describe itself: %w", p.said(err))
	}
	if pr.description, err = describe(response); err != nil {
		return fmt.Errorf("%w: its description of itself is not valid: %w", errRefused, err)
	}
	p.mu.Lock()
	settings := p.settings
	p.mu.Unlock()
	return p.configure(ctx, pr, settings)
}

// configure hands the settings to a process.
func (p *Plugin) configure(ctx context.Context, pr *process, settings json.RawMessage) error {
	_, err := pr.service.Configure(ctx, &pb.ConfigureRequest{Settings: settings})
	if refused := p.refusal(err, settings); refused != nil {
		return refused
	}
	if err != nil && status.Code(err) != codes.Unimplemented {
		return fmt.Errorf("it could not be configured: %w", p.said(err))
	}
	return nil
}

// refusal is the plugin's no to its settings, or nil when err is something else.
func (p *Plugin) refusal(err error, settings json.RawMessage) error {
	switch code := status.Code(err); {
	case code == codes.InvalidArgument:
		return fmt.Errorf("%w: it does not accept its settings: %s", errRefused, p.redact.text(status.Convert(err).Message(), sdk.MaxReasonBytes))
	case code == codes.Unimplemented && hasSettings(settings):
		return fmt.Errorf("%w: it takes no settings, but settings are configured for it; remove them", errRefused)
	}
	return nil
}

func hasSettings(settings json.RawMessage) bool {
	var object map[string]json.RawMessage
	return json.Unmarshal(settings, &object) == nil && len(object) > 0
}

// said makes an error of a call fit to be shown: bounded, cleaned, without secrets.
func (p *Plugin) said(err error) error {
	s := status.Convert(err)
	return fmt.Errorf("%s: %s", s.Code(), p.redact.text(s.Message(), sdk.MaxReasonBytes))
}

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
	return s
}

// describe checks what a plugin says of itself.
func describe(r *pb.DescribeResponse) (Description, error) {
	d := sdk.Description{Name: r.GetName(), Version: r.GetVersion(), MaxBatch: int(r.GetMaxBatch())}
	if e := r.GetEmbedding(); e != nil {
		d.Embedding = &sdk.EmbeddingModel{Name: e.GetName(), Dimensions: int(e.GetDimensions()), Terms: e.GetTerms()}
	}
	out := Description{Name: d.Name, Version: d.Version, Embedding: d.Embedding, MaxBatch: d.MaxBatch}
	seen := make(map[pb.Field]bool)
	for _, f := range r.GetFields() {
		// A field of a later version of the protocol is none of ours.
		if known := fieldFromProto(f); known != "" && !seen[f] {
			seen[f] = true
			out.Fields = append(out.Fields, known)
		}
	}
	embeds := false
	for _, c := range r.GetCapabilities() {
		switch c {
		case pb.Capability_CAPABILITY_CONFIGURE:
			out.Configurable = true
		case pb.Capability_CAPABILITY_EMBED:
			embeds = true
		case pb.Capability_CAPABILITY_LEARN:
			out.Learns = true
		}
	}
	if err := d.Validate(); err != nil {
		return Description{}, err
	}
	if embeds != (d.Embedding != nil) {
		return Description{}, errors.New("an embedding model must be named when, and only when, it can embed")
	}
	return out, nil
}

// ping asks for a sign of life; any answer is one.
func (pr *process) ping(ctx context.Context, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	_, err := pr.health.Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: goplugin.GRPCServiceName})
	switch status.Code(err) {
	case codes.DeadlineExceeded, codes.Unavailable, codes.Canceled:
		return err
	}
	pr.heard.Store(time.Now().UnixNano())
	return nil
}

// silence is how long the process has not answered anything.
func (pr *process) silence() time.Duration { return time.Since(time.Unix(0, pr.heard.Load())) }

// condemn says that the process must be ended, and why; the first word counts.
func (pr *process) condemn(cause error) {
	pr.once.Do(func() {
		pr.cause = cause
		close(pr.condemned)
	})
}

// stop ends the process and waits until it is gone: killed at once, or after
// grace when it does not end by itself.
func (pr *process) stop(grace time.Duration) {
	if grace > 0 {
		timer := time.AfterFunc(grace, func() { _ = pr.runner.Kill(context.Background()) })
		defer timer.Stop()
	} else {
		_ = pr.runner.Kill(context.Background())
	}
	pr.client.Kill()
	pr.runner.release()
	pr.output.flush()
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
