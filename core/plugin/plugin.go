// Package plugin is the host's side of classifier plugins: it starts a plugin
// as a process of its own, keeps it running, and asks it. What a plugin answers
// is data: everything is checked against the protocol's bounds and the
// repository's own options before a caller sees it.
//
// A plugin's process inherits nothing but PATH; HOME and TMPDIR are private
// directories. It speaks gRPC over a Unix socket in a directory that nobody else
// can enter, and is confined as far as the system allows (see Options.Confinement).
package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"

	"github.com/dispatchai/dispatchai/core/confine"
	"github.com/dispatchai/dispatchai/core/triage"
	"github.com/dispatchai/dispatchai/plugins/sdk"
)

// Spec says which executable to run as a plugin, or where one runs already.
type Spec struct {
	// Name is the operator's name for the plugin: unique among the plugins of
	// the process, it stands in logs, metrics and every answer. Lower-case
	// letters, digits and dashes.
	Name string
	// Path is the executable; without a slash it is looked up in PATH.
	Path string
	Args []string
	// Reattach names, instead of Path, the file in which a plugin that a person
	// started says how to reach it (see sdk.DebugKey). Such a plugin is neither
	// started nor ended by the host: while it is gone it is waited for.
	Reattach string
	// Settings is a JSON object, or empty. Values under keys that speak of
	// secrets (key, token, secret, password, credential) are struck from
	// whatever the plugin logs or answers.
	Settings json.RawMessage
	// Manifest, where there is one, is what the plugin is held to: its executable
	// before every start, what it says of itself after it, and what it is told of issues.
	Manifest *Manifest
	// Hosts are what it may speak to, by a proxy of the host (see sdk.HTTPTransport).
	// Where it is confined to namespaces it has no other network.
	Hosts []Host
	// WorkDir is the plugin's working directory and HOME, made (mode 0700)
	// where it is missing and kept afterwards. Empty: a temporary one, removed by Close.
	WorkDir string
}

// Options are how the host treats a plugin. The zero value is usable.
type Options struct {
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	// CallTimeout bounds every call; a process that outlasts it is killed and
	// restarted. 30 seconds unless set. FitTimeout is the same for Fit and Load,
	// 10 minutes unless set.
	CallTimeout time.Duration
	FitTimeout  time.Duration
	// StartTimeout bounds a start: handshake, description, settings. 20 seconds unless set.
	StartTimeout time.Duration
	// StopTimeout is how long the process may take to end by itself when it is
	// closed, before it is killed. 2 seconds unless set.
	StopTimeout time.Duration
	// MaxConcurrent bounds the calls in progress, and MaxWaiting those that wait
	// for their turn; further ones are refused at once. Twice GOMAXPROCS and
	// eight times that unless set.
	MaxConcurrent int
	MaxWaiting    int
	// MaxBatch bounds the items of one call; the plugin's own bound counts too. 256 unless set.
	MaxBatch int
	// MinBackoff and MaxBackoff bound the wait before a restart: it doubles
	// with every process that ends without having been of any use, and starts
	// over after one that answered a call or ran for StableAfter. 50 ms, 30 s
	// and 10 s unless set.
	MinBackoff  time.Duration
	MaxBackoff  time.Duration
	StableAfter time.Duration
	// Cooldown is how long a plugin is left alone that failed call after call;
	// then one call shows whether it is well again. 10 seconds unless set.
	Cooldown time.Duration
	// PingInterval is how often an idle process is asked for a sign of life; two
	// missing in a row get it killed and restarted. 5 seconds unless set.
	PingInterval time.Duration
	// Confinement is what keeps the plugin to its own (see confine.Probe); the zero
	// value nothing but its environment. The program that hosts it must begin with
	// confine.Enter. Hidden are the host's files and directories that it must not see.
	Confinement confine.Strength
	Hidden      []string
	// MemoryBytes bounds the memory of the plugin with all processes that it starts:
	// one that takes more is killed and restarted. Linux only; 0 does not bound it.
	MemoryBytes int64
	// Models gives the models to load after every start of a plugin that
	// learns, before it is asked anything. An error among them is logged and
	// does not keep the plugin from running.
	Models func(ctx context.Context) iter.Seq2[sdk.Model, error]
}

func (o Options) withDefaults() Options {
	set := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	set(&o.CallTimeout, 30*time.Second)
	set(&o.FitTimeout, 10*time.Minute)
	set(&o.StartTimeout, 20*time.Second)
	set(&o.StopTimeout, 2*time.Second)
	set(&o.MinBackoff, 50*time.Millisecond)
	set(&o.MaxBackoff, 30*time.Second)
	set(&o.StableAfter, 10*time.Second)
	set(&o.Cooldown, 10*time.Second)
	set(&o.PingInterval, 5*time.Second)
	if o.MaxConcurrent <= 0 {
		o.MaxConcurrent = 2 * runtime.GOMAXPROCS(0)
	}
	if o.MaxWaiting <= 0 {
		o.MaxWaiting = 8 * o.MaxConcurrent
	}
	if o.MaxBatch <= 0 {
		o.MaxBatch = 256
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Registerer == nil {
		o.Registerer = prometheus.NewRegistry()
	}
	return o
}

// Description is what a plugin says of itself, checked.
type Description struct {
	// Name is the plugin's name for itself; the operator's is Spec.Name.
	Name    string
	Version string
	// Fields are what it may set.
	Fields []triage.Field
	// Embedding is set when Embed may be called.
	Embedding *sdk.EmbeddingModel
	// Configurable tells that it takes settings, Learns that Fit, Load, Learn
	// and Forget may be called.
	Configurable bool
	Learns       bool
	// MaxBatch is its own bound on a batch; 0 when it states none.
	MaxBatch int
	// Protocol is the version of the protocol that host and plugin agreed on.
	Protocol int
}

// State is what a plugin's process is doing.
type State string

// The states of a plugin's process.
const (
	Starting   State = "starting"
	Running    State = "running"
	BackingOff State = "backing off"
	Busy       State = "busy"
	Closed     State = "closed"
	// Tripped: the process runs, but fails call after call and is left alone
	// (see Options.Cooldown).
	Tripped State = "circuit open"
)

// Health is a plugin's state for people and monitoring.
type Health struct {
	Name    string    `json:"name"`
	State   State     `json:"state"`
	Since   time.Time `json:"since"`
	Version string    `json:"version,omitempty"`
	// PID is the process's, while there is one.
	PID int `json:"pid,omitempty"`
	// Restarts counts the processes that ended, or failed to start, since Start.
	Restarts int `json:"restarts"`
	// LastError is the last fault, for an operator to act on.
	LastError string `json:"last_error,omitempty"`
}

// Plugin is a supervised plugin process. Its methods may be called from many
// goroutines at once.
type Plugin struct {
	name    string
	options Options
	log     *slog.Logger
	metrics *metrics
	redact  *redactor
	slots   *semaphore.Weighted
	breaker *breaker
	proxy   *proxy        // nil where it may speak to nobody
	calls   atomic.Int64  // in progress
	waiting atomic.Int64  // for a slot
	nextID  atomic.Uint64 // of items, never used twice

	runDir  string // holds the sockets, and HOME where the spec names none
	workDir string

	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{} // closed when the supervisor has ended

	replacements chan replacement
	retired      sync.WaitGroup // of processes that were replaced

	mu          sync.Mutex
	state       State
	since       time.Time
	resume      time.Time // when the next start is due, while backing off
	changed     chan struct{}
	current     *process // set while state is Running
	spec        Spec     // that the next process is started by
	description Description
	restarts    int
	lastErr     error
	open        bool      // the circuit
	tried       time.Time // when the next call shows whether the plugin is well
}

// Launch starts a plugin and waits until it runs. Where its first start fails,
// Launch says why, leaves nothing behind and does not try again: a fault in the
// configuration should be seen at once. Start is for those who would rather go on.
func Launch(ctx context.Context, spec Spec, options Options) (*Plugin, error) {
	p, err := Start(spec, options)
	if err != nil {
		return nil, err
	}
	if err := p.Ready(ctx); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// Start begins to run a plugin and returns at once; Ready waits for it. An
// error concerns the spec itself: a name, a path or settings that cannot be
// right. Everything else - a plugin that does not start, or ends - is met with a
// restart after a back-off and shows in Health. Close must be called.
func Start(spec Spec, options Options) (*Plugin, error) {
	p, err := newPlugin(spec, options)
	if err != nil {
		return nil, err
	}
	go p.supervise()
	return p, nil
}

// newPlugin checks the spec and makes the plugin's directories.
func newPlugin(spec Spec, options Options) (*Plugin, error) {
	options = options.withDefaults()
	spec, err := checkSpec(spec)
	if err != nil {
		return nil, err
	}
	m, err := newMetrics(options.Registerer, spec.Name)
	if err != nil {
		return nil, err
	}
	runDir, err := newRunDir()
	if err != nil {
		return nil, fmt.Errorf("plugin %s: %w", spec.Name, err)
	}
	workDir := spec.WorkDir
	if workDir == "" {
		workDir = filepath.Join(runDir, "home")
	}
	if err := os.MkdirAll(filepath.Join(workDir, "tmp"), 0o700); err != nil {
		return nil, errors.Join(fmt.Errorf("plugin %s: make its working directory: %w", spec.Name, err), os.RemoveAll(runDir))
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &Plugin{
		name:         spec.Name,
		spec:         spec,
		options:      options,
		log:          options.Logger.With("plugin", spec.Name),
		metrics:      m,
		redact:       newRedactor(spec.Settings),
		slots:        semaphore.NewWeighted(int64(options.MaxConcurrent)),
		runDir:       runDir,
		workDir:      workDir,
		ctx:          ctx,
		cancel:       cancel,
		done:         make(chan struct{}),
		state:        Starting,
		since:        time.Now(),
		changed:      make(chan struct{}),
		replacements: make(chan replacement),
	}
	p.breaker = p.newBreaker()
	// It leads nowhere where the spec names no hosts, and is there for one that does
	// when it takes this one's place.
	if p.proxy, err = p.openProxy(runDir, spec.Hosts); err != nil {
		return nil, errors.Join(fmt.Errorf("plugin %s: open its way to the network: %w", spec.Name, err), p.removeRunDir())
	}
	return p, nil
}

// Name is the operator's name for the plugin.
func (p *Plugin) Name() string { return p.name }

// Spec is what the plugin is run by now.
func (p *Plugin) Spec() Spec {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.spec
}

// Describe is what the plugin said of itself when it last started; it is zero
// until the first start has succeeded, and may change with a restart when the
// executable was replaced.
func (p *Plugin) Describe() Description {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.description
}

// Health is the plugin's state now.
func (p *Plugin) Health() Health {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := Health{Name: p.name, State: p.state, Since: p.since, Version: p.description.Version, Restarts: p.restarts}
	if p.current != nil {
		h.PID = p.current.pid()
	}
	if h.State == Running && p.open {
		h.State = Tripped
	}
	if p.lastErr != nil {
		h.LastError = p.lastErr.Error()
	}
	return h
}

// Changed returns a channel that is closed when the plugin's state next changes.
// Take it before asking for Health, so that no change is missed.
func (p *Plugin) Changed() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changed
}

// Ready waits until the plugin runs for the first time, or again. It returns
// the fault as soon as a start fails, though further ones are tried.
func (p *Plugin) Ready(ctx context.Context) error {
	for {
		p.mu.Lock()
		state, changed, err := p.state, p.changed, p.unavailableLocked()
		p.mu.Unlock()
		switch state {
		case Running:
			return nil
		case BackingOff, Closed:
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for plugin %s to start: %w", p.name, ctx.Err())
		}
	}
}

// Close ends the process - asked first, killed after Options.StopTimeout - and
// waits until it is gone. Calls in progress fail as unavailable.
func (p *Plugin) Close() error {
	p.cancel()
	<-p.done
	return p.removeRunDir()
}

func (p *Plugin) removeRunDir() error {
	if p.proxy != nil { // it may not have come to that
		_ = p.proxy.Close()
	}
	if err := os.RemoveAll(p.runDir); err != nil {
		return fmt.Errorf("plugin %s: remove its private directory: %w", p.name, err)
	}
	return nil
}

func checkSpec(spec Spec) (Spec, error) {
	var faults []error
	if err := (sdk.Description{Name: spec.Name, Version: "0.0.0"}).Validate(); err != nil {
		faults = append(faults, err)
	}
	if len(spec.Settings) > 0 {
		var object map[string]json.RawMessage
		if err := json.Unmarshal(spec.Settings, &object); err != nil {
			faults = append(faults, fmt.Errorf("the settings must be a JSON object: %w", err))
		}
	}
	var err error
	switch {
	case spec.Reattach == "":
		spec.Path, err = executable(spec.Path)
	case spec.Path != "" || len(spec.Args) > 0:
		err = errors.New("there is an executable and a file to reattach by; only one is possible")
	default:
		spec.Reattach, err = filepath.Abs(spec.Reattach)
	}
	if err != nil {
		faults = append(faults, err)
	}
	if err := errors.Join(faults...); err != nil {
		return spec, fmt.Errorf("plugin %q: %w", spec.Name, err)
	}
	return spec, nil
}

func executable(path string) (string, error) {
	if path == "" {
		return "", errors.New("the path of the executable is missing")
	}
	found, err := exec.LookPath(path)
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, exec.ErrNotFound):
		return "", fmt.Errorf("there is no executable at %s; check the plugin's path", path)
	case errors.Is(err, os.ErrPermission):
		return "", fmt.Errorf("%s is not executable; make it so with chmod +x", path)
	case err != nil:
		return "", fmt.Errorf("find the executable: %w", err)
	}
	return filepath.Abs(found)
}

// socketRoom is what go-plugin adds to a directory's name to name a socket in
// it; the system bounds a socket's whole name.
const (
	socketRoom = 48
	socketName = 103
)

// newRunDir makes a directory that only this user can enter, with a name short
// enough for sockets in it.
func newRunDir() (string, error) {
	var faults []error
	for _, parent := range []string{os.TempDir(), "/tmp"} {
		if len(parent)+len("/dispatchai-0123456789")+socketRoom > socketName {
			faults = append(faults, fmt.Errorf("the name of %s is too long for a Unix socket", parent))
			continue
		}
		dir, err := os.MkdirTemp(parent, "dispatchai-")
		if err == nil {
			return dir, nil
		}
		faults = append(faults, err)
	}
	return "", fmt.Errorf("make a private directory for the plugin's socket (set TMPDIR to a short writable path): %w", errors.Join(faults...))
}

// environment is all that a plugin sees of the host's environment; its home is added.
func (p *Plugin) environment() []string {
	return []string{"PATH=" + os.Getenv("PATH"), sdk.ProxyKey + "=" + p.proxyAddress()}
}
