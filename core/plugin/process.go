package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/dispatchai/dispatchai/plugins/sdk"
	pb "github.com/dispatchai/dispatchai/proto/dispatchai/classifier/v1"
)

// process is one run of a plugin: started or found, connected, configured.
type process struct {
	carrier
	spec        Spec
	conn        *grpc.ClientConn
	service     pb.ClassifierServiceClient
	health      grpc_health_v1.HealthClient
	description Description
	started     time.Time
	// answered tells that it was of use at least once.
	answered atomic.Bool
	// blamed tells that its end counts already (see breaker).
	blamed atomic.Bool
	// calls are those in progress; it grows under the plugin's lock, and no more
	// once another process has taken its place.
	calls sync.WaitGroup
	// heard is when it last answered a call or a ping, in Unix nanoseconds.
	heard atomic.Int64

	once      sync.Once
	condemned chan struct{}
	cause     error // set before condemned is closed
}

// carrier is what stands behind the connection to a plugin: a process that the
// host started, or one that a person did.
type carrier interface {
	// connect waits for the plugin to answer and says which version of the
	// protocol it speaks. It heeds abandon, and no context.
	connect() (conn *grpc.ClientConn, protocol int, err error)
	// abandon gives the plugin up at once; it may be called at any time.
	abandon()
	// stop ends what is the host's to end and waits until it is gone: at once, or
	// after grace when the plugin does not end by itself.
	stop(grace time.Duration)
	// over is closed when the plugin is gone; ended then says how.
	over() <-chan struct{}
	ended() error
	pid() int
	// lastWords gives the end of the output as the end of an error's text.
	lastWords() string
}

// launch starts the plugin, or finds the one that was started, and makes it
// ready for calls. When it fails, nothing of a process is left.
func (p *Plugin) launch(ctx context.Context, spec Spec) (*process, error) {
	pr, err := p.greet(ctx, spec)
	if err != nil {
		return nil, err
	}
	err = p.within(ctx, pr, p.options.StartTimeout, p.introduce)
	if err == nil {
		err = p.within(ctx, pr, p.options.FitTimeout, p.loadModels)
	}
	if err != nil {
		return nil, p.failed(pr, err)
	}
	return pr, nil
}

// carrier is what this plugin is reached through.
func (p *Plugin) carrier(spec Spec) (carrier, error) {
	if spec.Reattach == "" {
		return p.launched(spec), nil
	}
	a, err := attach(spec.Reattach)
	if err != nil {
		return nil, fmt.Errorf("plugin %s: %w", p.name, err)
	}
	return a, nil
}

// greet gives a plugin that is connected, and asked nothing yet.
func (p *Plugin) greet(ctx context.Context, spec Spec) (*process, error) {
	c, err := p.carrier(spec)
	if err != nil {
		return nil, err
	}
	pr := &process{carrier: c, spec: spec, started: time.Now(), condemned: make(chan struct{})}
	err = p.within(ctx, pr, p.options.StartTimeout, func(context.Context, *process) error {
		conn, protocol, err := c.connect()
		if err != nil {
			return errors.New(p.redact.text(err.Error(), 500))
		}
		pr.service = pb.NewClassifierServiceClient(conn)
		pr.health = grpc_health_v1.NewHealthClient(conn)
		pr.conn, pr.description.Protocol = conn, protocol
		return nil
	})
	if err != nil {
		return nil, p.failed(pr, err)
	}
	pr.heard.Store(time.Now().UnixNano())
	return pr, nil
}

// failed ends a process that did not become ready, and says why as well as can
// be known.
func (p *Plugin) failed(pr *process, err error) error {
	if pr.pid() != 0 && !errors.Is(err, errRefused) && !errors.Is(err, context.DeadlineExceeded) {
		select {
		case <-pr.over():
			err = fmt.Errorf("%w (%w)", err, pr.ended())
		case <-time.After(exitGrace):
		}
	}
	pr.stop(0)
	if pr.spec.Reattach != "" {
		return fmt.Errorf("plugin %s could not be reached by %s: %w", p.name, pr.spec.Reattach, err)
	}
	return fmt.Errorf("plugin %s did not start from %s: %w%s", p.name, pr.spec.Path, err, pr.lastWords())
}

// within takes one step of a start. Its end, when it comes to that, is the end
// of the process, as go-plugin heeds no context but notices that.
func (p *Plugin) within(ctx context.Context, pr *process, limit time.Duration, step func(context.Context, *process) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	stop := context.AfterFunc(ctx, pr.abandon)
	defer stop()
	err := step(ctx, pr)
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("it was not ready within %s: %w (%w)", limit, err, ctx.Err())
	}
	return err
}

// errRefused marks what the plugin said no to while it was well.
var errRefused = errors.New("refused")

// introduce asks the plugin who it is, and hands it its settings.
func (p *Plugin) introduce(ctx context.Context, pr *process) error {
	if err := p.describe(ctx, pr); err != nil {
		return err
	}
	return p.configure(ctx, pr)
}

func (p *Plugin) describe(ctx context.Context, pr *process) error {
	response, err := pr.service.Describe(ctx, &pb.DescribeRequest{})
	if err != nil {
		return fmt.Errorf("it did not describe itself: %w", p.said(err))
	}
	d, err := checkDescription(response)
	if err != nil {
		return fmt.Errorf("%w: its description of itself is not valid: %w", errRefused, err)
	}
	if m := pr.spec.Manifest; m != nil {
		if err := m.agrees(d); err != nil {
			return err
		}
	}
	d.Protocol = pr.description.Protocol
	pr.description = d
	return nil
}

// configure hands the settings to a process.
func (p *Plugin) configure(ctx context.Context, pr *process) error {
	settings := pr.spec.Settings
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

// checkDescription checks what a plugin says of itself.
func checkDescription(r *pb.DescribeResponse) (Description, error) {
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
