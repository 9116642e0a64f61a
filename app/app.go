// Package app puts the parts of DispatchAI together: it validates the
// configuration once, opens what the process's roles need in order, runs them,
// and stops them in the opposite order. Concrete backends come from the caller.
package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"github.com/dispatchai/dispatchai/app/gateway"
	"github.com/dispatchai/dispatchai/app/ingress"
	"github.com/dispatchai/dispatchai/app/relay"
	"github.com/dispatchai/dispatchai/core/classify"
	"github.com/dispatchai/dispatchai/core/confine"
	"github.com/dispatchai/dispatchai/core/eventlog"
	"github.com/dispatchai/dispatchai/core/github"
	"github.com/dispatchai/dispatchai/core/label"
	"github.com/dispatchai/dispatchai/core/plugin"
	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

// The consumer groups of the pipeline.
const (
	GroupClassify  = "classify"
	GroupDirectory = "directory"
	GroupLabel     = "label"
)

// Groups tells which topics each consumer group reads; the embedded log forgets
// a record only when every group of its topic has read it.
func Groups() map[string][]string {
	return map[string][]string{
		GroupClassify:  {eventlog.TopicIssuesRaw},
		GroupDirectory: {eventlog.TopicInstallationsRaw},
		GroupLabel:     {eventlog.TopicIssuesEnriched},
	}
}

// Backends are the concrete parts, chosen by the command.
type Backends struct {
	OpenStore func(ctx context.Context, o Options, logger *slog.Logger, r prometheus.Registerer) (store.Store, error)
	OpenLog   func(ctx context.Context, o Options, logger *slog.Logger, r prometheus.Registerer) (Log, error)
	// AttachLog reaches the log beside a process that owns it.
	AttachLog func(ctx context.Context, o Options, logger *slog.Logger) (Log, error)
	// BuiltIn says how to run a built-in plugin with settings.
	BuiltIn   func(name string, settings json.RawMessage) (plugin.Spec, error)
	Dashboard fs.FS
	Version   string
}

// Log is an opened event log.
type Log struct {
	Config eventlog.Config
	Close  func() error
	// Usage, where the log has a bound of its own, is how much of it is taken, in
	// bytes on disk; nil otherwise.
	Usage func() (used, bound int64)
}

// App is a process with its parts opened and its listener bound.
type App struct {
	options  Options
	backends Backends
	logger   *slog.Logger
	registry *prometheus.Registry

	listener  net.Listener
	log       eventlog.Config
	logUsage  func() (used, bound int64)
	cluster   *eventlog.Cluster
	producer  *eventlog.Producer
	table     *eventlog.Table // nil where no role follows one
	store     store.Store
	github    *github.Client
	plugins   []*plugin.Plugin
	revisions *revisions // nil where no plugins run
	switched  *prometheus.GaugeVec
	name      string   // of this run, among all processes
	groups    []string // consumer groups that the process is a member of
	gateway   *gateway.Gateway
	server    *http.Server
	health    *health
	workers   []component
	stopFuncs []func() error
}

// component runs until its context ends and then returns nil.
type component struct {
	name string
	run  func(ctx context.Context) error
}

// New opens everything that the roles need. After an error nothing is left
// open. The options must have passed Validate.
func New(ctx context.Context, o Options, b Backends, logger *slog.Logger) (_ *App, err error) {
	a := &App{options: o, backends: b, logger: logger, registry: prometheus.NewRegistry()}
	a.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	defer func() {
		if err != nil {
			err = errors.Join(err, a.close())
		}
	}()
	if err := os.MkdirAll(o.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("DISPATCHAI_DATA_DIR: %w", err)
	}
	if err := a.openStorage(ctx); err != nil {
		return nil, err
	}
	if err := a.openWorkers(); err != nil {
		return nil, err
	}
	if err := a.openDebug(ctx); err != nil {
		return nil, err
	}
	if err := a.openServer(ctx); err != nil {
		return nil, err
	}
	return a, nil
}

// onStop registers what undoes an opening; the last registered runs first.
func (a *App) onStop(f func() error) { a.stopFuncs = append(a.stopFuncs, f) }

func (a *App) close() error {
	var errs []error
	for i := len(a.stopFuncs) - 1; i >= 0; i-- {
		errs = append(errs, a.stopFuncs[i]())
	}
	a.stopFuncs = nil
	return errors.Join(errs...)
}

func (a *App) openStorage(ctx context.Context) error {
	opened, err := a.backends.OpenLog(ctx, a.options, a.logger.With("part", "log"), a.registry)
	if err != nil {
		return err
	}
	a.onStop(opened.Close)
	a.log, a.logUsage = opened.Config, opened.Usage
	if a.cluster, err = eventlog.NewCluster(opened.Config, a.logger); err != nil {
		return err
	}
	a.onStop(func() error { a.cluster.Close(); return nil })
	if err := a.cluster.EnsureTopics(ctx); err != nil {
		return err
	}
	a.producer, err = eventlog.NewProducer(opened.Config, eventlog.ProducerConfig{Logger: a.logger, Registerer: a.registry})
	if err != nil {
		return err
	}
	a.onStop(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
		defer cancel()
		return a.producer.Close(ctx)
	})
	if a.store, err = a.backends.OpenStore(ctx, a.options, a.logger.With("part", "store"), a.registry); err != nil {
		return err
	}
	a.onStop(a.store.Close)
	if len(a.options.KafkaSeeds) == 0 {
		// The embedded log is open in one process at a time: whoever held a lease is gone.
		return a.store.ReleaseLeases(ctx)
	}
	return nil
}

func (a *App) openWorkers() (err error) {
	o := a.options
	host, _ := os.Hostname()
	started := time.Now()
	a.name = processName(host, started)
	if a.switched, err = newSwitchedGauge(a.registry); err != nil {
		return err
	}
	if err := a.openTable(); err != nil {
		return err
	}
	if o.has(RoleClassify) || o.has(RoleLabel) {
		client, err := newGitHubClient(o, a.backends, a.logger.With("part", "github"), a.registry)
		if err != nil {
			return err
		}
		a.github = client
	}
	if o.has(RoleClassify) {
		if err := a.openClassify(); err != nil {
			return err
		}
	}
	if o.has(RoleLabel) {
		worker := label.New(label.Config{
			Store: a.store, GitHub: a.github, Concurrency: issuesAtOnce, Owner: a.name, LookAfter: o.Poll,
			Logger: a.logger.With("part", "label"), Registerer: a.registry,
		})
		a.workers = append(a.workers, component{"label scheduler", worker.Run})
		if err := a.consume(eventlog.ConsumerConfig{
			Group: GroupLabel, Topics: []string{eventlog.TopicIssuesEnriched}, Handler: worker.HandleEnriched,
		}); err != nil {
			return err
		}
	}
	if o.has(RoleGateway) {
		g, err := gateway.New(gateway.Config{
			Store: a.store, Publisher: a.producer, Log: a.log, Dashboard: a.backends.Dashboard,
			Overview: a.overview, Token: o.APIToken, Open: o.Demo, Origins: o.AllowedOrigins, Version: a.backends.Version,
			Logger: a.logger.With("part", "gateway"), Registerer: a.registry,
		})
		if err != nil {
			return err
		}
		a.gateway = g
		a.workers = append(a.workers, component{"gateway", g.Run})
	}
	reporter := &reporter{app: a, host: host, started: started}
	a.workers = append(a.workers, component{"maintenance", a.maintain}, component{"reporter", reporter.run})
	return nil
}

func (a *App) openClassify() error {
	o := a.options
	hosting, err := o.hosting(confine.Probe(), a.logger, a.registry)
	if err != nil {
		return err
	}
	classifiers := make([]classify.Classifier, 0, len(o.plugins))
	for _, choice := range o.plugins {
		spec, err := pluginSpec(choice, a.backends)
		if err != nil {
			return err
		}
		spec.WorkDir = filepath.Join(o.DataDir, "plugins", choice.name)
		p, err := plugin.Start(spec, hosting)
		if err != nil {
			return fmt.Errorf("DISPATCHAI_PLUGINS: %w", err)
		}
		a.onStop(p.Close)
		a.plugins = append(a.plugins, p)
		classifiers = append(classifiers, p)
	}
	a.revisions = newRevisions(a)
	a.workers = append(a.workers, component{"plugin revisions", a.revisions.run})
	a.openEraser()
	a.openRefresher()
	worker, err := classify.New(classify.Config{
		Store: a.store, Publisher: a.producer, GitHub: a.github, Classifiers: classifiers, Enabled: a.pluginEnabled, ConfigurationWait: configurationWait,
		Challenger: o.Challenger, Patience: o.PluginPatience, Budget: classify.Budget{Total: o.DailyBudgetUSD, PerRepository: o.RepositoryDailyBudgetUSD},
		Policy: a.retriage, Logger: a.logger.With("part", "classify"), Registerer: a.registry,
	})
	if err != nil {
		return err
	}
	a.onStop(func() error { worker.Close(); return nil })
	a.workers = append(a.workers, component{"upkeep of embeddings", worker.KeepEmbeddings})
	if err := a.consume(eventlog.ConsumerConfig{
		Group: GroupClassify, Topics: []string{eventlog.TopicIssuesRaw}, Handler: worker.HandleIssues, Express: classify.Express,
	}); err != nil {
		return err
	}
	if err := a.consume(eventlog.ConsumerConfig{
		Group: GroupDirectory, Topics: []string{eventlog.TopicInstallationsRaw}, Handler: worker.HandleInstallations,
	}); err != nil {
		return err
	}
	a.openReconciler()
	return nil
}

// needsInfoLabel stands on issues whose author was asked, where the repository has it.
const needsInfoLabel = "needs-info"

// retriage is what has a repository's issues looked at again.
func (a *App) retriage(int64) triage.RetriagePolicy {
	p := triage.DefaultRetriagePolicy()
	p.NeedsInfoLabel = needsInfoLabel
	if len(a.options.NeedsInfo) > 0 {
		p.NeedsInfo = triage.NeedsInfoConfig{
			Ask: true, Answers: a.options.NeedsInfo, Categories: []string{"bug"},
			Comment: "Thank you for the report. To look into it we need a little more; please add it to the description above, or answer here:",
		}
	}
	return p
}

// configurationWait is how long an issue of a repository that was never heard of
// waits for the repository's configuration before it is classified without.
const configurationWait = 30 * time.Second

// consumerBufferBytes bounds what each consumer has fetched and not finished: a
// second of the highest load is enough, and a small server has little memory.
const consumerBufferBytes = 3 << 20

// issuesAtOnce is how many issues are labelled at a time: most of them wait for
// GitHub, or for the store to sync what others wrote as well.
const issuesAtOnce = 256

// Three batches keep the plugin, the store and the log busy at once; larger ones
// hold up the label worker's small writes in the store.
const (
	batchRecords    = 128
	batchesInFlight = 3
)

// newGitHubClient is the App's client as the options describe it.
func newGitHubClient(o Options, b Backends, logger *slog.Logger, r prometheus.Registerer) (*github.Client, error) {
	return github.NewClient(github.ClientConfig{
		APIURL: o.GitHubAPIURL, AppID: o.AppID, PrivateKey: o.privateKey, UserAgent: "DispatchAI/" + b.Version,
		Logger: logger, Registerer: r,
	})
}

func (a *App) consume(cc eventlog.ConsumerConfig) error {
	cc.Producer, cc.Registerer = a.producer, a.registry
	cc.MaxBufferedBytes, cc.DrainTimeout = consumerBufferBytes, drainTimeout
	cc.MaxBatchRecords, cc.MaxInFlightBatches = batchRecords, batchesInFlight
	cc.Logger = a.logger.With("part", cc.Group)
	consumer, err := eventlog.NewConsumer(a.log, cc)
	if err != nil {
		return err
	}
	a.groups = append(a.groups, cc.Group)
	a.workers = append(a.workers, component{cc.Group + " consumer", func(ctx context.Context) error {
		if a.table != nil {
			// What an operator decided before this process started counts from its
			// first record on.
			select {
			case <-a.table.CaughtUp():
			case <-ctx.Done():
				return nil
			}
		}
		if a.revisions != nil {
			select {
			case <-a.revisions.inForce:
			case <-ctx.Done():
				return nil
			}
		}
		return consumer.Run(ctx)
	}})
	return nil
}

func (a *App) openServer(ctx context.Context) error {
	o := a.options
	mux := http.NewServeMux()
	a.health = newHealth(a)
	a.health.register(mux)
	var verify func(body []byte, signature string) error
	if o.has(RoleIngress) {
		verifier, err := github.NewVerifier(o.WebhookSecrets...)
		if err != nil {
			return fmt.Errorf("GITHUB_WEBHOOK_SECRET: %w", err)
		}
		handler, err := ingress.New(ingress.Config{
			Producer: a.producer, Verifier: verifier, TrustedProxies: o.proxies,
			MaxWebhookRequests: o.MaxWebhookRequests, Window: time.Duration(o.RateLimitWindowSeconds) * time.Second,
			Logger: a.logger.With("part", "ingress"), Registerer: a.registry,
		})
		if err != nil {
			return err
		}
		mux.Handle(webhookPath, handler)
		verify = verifier.Verify
	}
	if a.gateway != nil {
		mux.Handle("/", a.gateway)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.Listen)
	if err != nil {
		return fmt.Errorf("DISPATCHAI_LISTEN: %w (choose another with --listen, or stop what listens there)", err)
	}
	a.listener = listener
	a.onStop(func() error {
		if err := listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	})
	if verify != nil && o.RelayURL != "" {
		if err := a.openRelay(verify); err != nil {
			return err
		}
	}
	a.server = &http.Server{
		Handler: mux, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, WriteTimeout: time.Minute,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(a.logger.Handler(), slog.LevelDebug),
	}
	return nil
}

const webhookPath = "/webhook/github"

// openRelay brings what comes through a webhook relay to the process' own
// ingress, the way that GitHub's own deliveries take.
func (a *App) openRelay(verify func(body []byte, signature string) error) error {
	host, port, err := net.SplitHostPort(a.Addr().String())
	if err != nil {
		return err
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "localhost"
	}
	client, err := relay.NewClient(relay.ClientConfig{
		Channel: a.options.RelayURL, Target: "http://" + net.JoinHostPort(host, port) + webhookPath, Verify: verify,
		UserAgent: "DispatchAI/" + a.backends.Version, Logger: a.logger.With("part", "relay"),
	})
	if err != nil {
		return fmt.Errorf("DISPATCHAI_RELAY_URL: %w", err)
	}
	a.workers = append(a.workers, component{"webhook relay", client.Run})
	return nil
}

// Addr is the address that the process listens on.
func (a *App) Addr() net.Addr { return a.listener.Addr() }

// Orchestrators give a process 30 s to end. requestsTimeout bounds the wait for
// requests under way, drainTimeout the wait for batches under way after it; what
// is unfinished then is done again after the next start.
const (
	requestsTimeout = 12 * time.Second
	drainTimeout    = 10 * time.Second
)

// Run serves until ctx ends or a part fails, then stops everything in order:
// requests first, then the workers, then what they stand on.
func (a *App) Run(ctx context.Context) error {
	workersCtx, stopWorkers := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWorkers()
	failed := make(chan error, len(a.workers)+1)
	var group errgroup.Group
	start := func(c component) {
		group.Go(func() error {
			err := c.run(workersCtx)
			if err != nil {
				err = fmt.Errorf("%s: %w", c.name, err)
			} else if workersCtx.Err() == nil {
				err = fmt.Errorf("%s ended by itself", c.name)
			}
			if err != nil {
				failed <- err
			}
			return err
		})
	}
	for _, w := range a.workers {
		start(w)
	}
	serveDone := make(chan struct{})
	go func() {
		defer close(serveDone)
		if err := a.server.Serve(a.listener); !errors.Is(err, http.ErrServerClosed) {
			failed <- fmt.Errorf("http: %w", err)
		}
	}()
	a.health.ready.Store(true)
	a.logger.Info("ready", "addr", a.Addr().String(), "roles", a.options.Roles, "version", a.backends.Version)

	var cause error
	select {
	case <-ctx.Done():
		a.logger.Info("stopping")
	case cause = <-failed:
		a.logger.Error("stopping because a part failed", "error", cause)
	}
	a.health.ready.Store(false)
	shutdownCtx, cancel := context.WithTimeout(context.Background(), requestsTimeout)
	defer cancel()
	if a.gateway != nil {
		a.gateway.Disconnect()
	}
	if err := a.server.Shutdown(shutdownCtx); err != nil {
		a.logger.Warn("some requests were cut off", "error", err)
		_ = a.server.Close()
	}
	<-serveDone
	stopWorkers()
	_ = group.Wait()
	err := errors.Join(cause, a.close())
	a.logger.Info("stopped")
	return err
}
