package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dispatchai/dispatchai/core/confine"
	"github.com/dispatchai/dispatchai/core/eventlog"
	"github.com/dispatchai/dispatchai/core/plugin"
)

// Check is one finding of Diagnose.
type Check struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
}

// checkTimeout bounds each check.
const checkTimeout = 20 * time.Second

// Diagnose checks, beside a running service or without one, everything that the
// options name: the configuration itself (configFaults are what reading it
// said), the data directory, the event log, the store, GitHub's answer to the
// App's key, and each plugin by starting it. AttachLog in the backends reaches
// the log without disturbing its owner.
func Diagnose(ctx context.Context, o Options, b Backends, configFaults error) []Check {
	d := diagnosis{options: o, backends: b, logger: slog.New(slog.DiscardHandler)}
	d.configuration(errors.Join(configFaults, d.options.Validate()))
	if d.dataDirectory() {
		d.check(ctx, "event log", d.eventLog)
		d.check(ctx, "store", d.store)
	}
	if len(d.options.privateKey) > 0 && d.options.AppID > 0 {
		d.check(ctx, "GitHub", d.gitHub)
	}
	for _, choice := range d.options.plugins {
		d.check(ctx, "plugin "+choice.name, func(ctx context.Context) (string, error) { return d.plugin(ctx, choice) })
	}
	return d.checks
}

type diagnosis struct {
	options  Options
	backends Backends
	logger   *slog.Logger
	checks   []Check
}

func (d *diagnosis) add(name string, ok bool, detail string) {
	d.checks = append(d.checks, Check{Name: name, OK: ok, Detail: detail})
}

func (d *diagnosis) check(ctx context.Context, name string, f func(context.Context) (string, error)) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	detail, err := f(ctx)
	if err != nil {
		detail = err.Error()
	}
	d.add(name, err == nil, detail)
}

// configuration adds one finding per fault, named by its variable.
func (d *diagnosis) configuration(faults error) {
	if faults == nil {
		d.add("configuration", true, "complete")
		return
	}
	for line := range strings.SplitSeq(faults.Error(), "\n") {
		d.add("configuration", false, line)
	}
}

func (d *diagnosis) dataDirectory() bool {
	dir := d.options.DataDir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		d.add("data directory", false, "DISPATCHAI_DATA_DIR: "+err.Error())
		return false
	}
	f, err := os.CreateTemp(dir, ".doctor-*")
	if err != nil {
		d.add("data directory", false, fmt.Sprintf("DISPATCHAI_DATA_DIR: %s cannot be written to: %v (give it to the user that runs the service)", dir, err))
		return false
	}
	_ = f.Close()
	_ = os.Remove(f.Name())
	absolute, _ := filepath.Abs(dir)
	d.add("data directory", true, absolute)
	return true
}

func (d *diagnosis) eventLog(ctx context.Context) (string, error) {
	log, err := d.backends.AttachLog(ctx, d.options, d.logger)
	if err != nil {
		return "", err
	}
	defer func() { _ = log.Close() }()
	cluster, err := eventlog.NewCluster(log.Config, d.logger)
	if err != nil {
		return "", err
	}
	defer cluster.Close()
	if err := cluster.Ping(ctx); err != nil {
		return "", err
	}
	kind := "embedded"
	if len(d.options.KafkaSeeds) > 0 {
		kind = "Kafka at " + strings.Join(d.options.KafkaSeeds, ", ")
	}
	return kind + ", answers", nil
}

func (d *diagnosis) store(ctx context.Context) (string, error) {
	s, err := d.backends.OpenStore(ctx, d.options, d.logger, prometheus.NewRegistry())
	if err != nil {
		return "", err
	}
	defer func() { _ = s.Close() }()
	stats, err := s.Stats(ctx, nil)
	if err != nil {
		return "", err
	}
	pending, err := s.DesiredPending(ctx)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d issues in %d repositories; %d wait for their labels", stats.Issues, stats.Repositories, pending), nil
}

func (d *diagnosis) gitHub(ctx context.Context) (string, error) {
	client, err := newGitHubClient(d.options, d.backends, d.logger, prometheus.NewRegistry())
	if err != nil {
		return "", err
	}
	about, err := client.App(ctx)
	if err != nil {
		return "", err
	}
	if faults := about.Faults(); len(faults) > 0 {
		return "", errors.New(strings.Join(faults, " "))
	}
	webhook, err := client.WebhookURL(ctx)
	if err != nil {
		return "", err
	}
	// A relay's channel is a secret: whose it is says enough.
	address, err := url.Parse(webhook)
	if err != nil || address.Host == "" {
		return "", fmt.Errorf("the App %s has no usable webhook URL, so nothing is delivered: set it under App settings > General > Webhook to this service's /webhook/github", about.Slug)
	}
	return fmt.Sprintf("accepts the key of the App %s; installed %d times; delivers to %s", about.Slug, about.Installations, address.Host), nil
}

func (d *diagnosis) plugin(ctx context.Context, choice pluginChoice) (string, error) {
	spec, err := pluginSpec(choice, d.backends)
	if err != nil {
		return "", err
	}
	strength := confine.Probe()
	hosting, err := d.options.hosting(strength, d.logger, prometheus.NewRegistry())
	if err != nil {
		return "", err
	}
	p, err := plugin.Launch(ctx, spec, hosting)
	if err != nil {
		// That it would be started again is no news here; why it had to be is.
		var unavailable *plugin.UnavailableError
		if errors.As(err, &unavailable) && unavailable.Err != nil {
			err = unavailable.Err
		}
		return "", fmt.Errorf("DISPATCHAI_PLUGINS: %w", err)
	}
	defer func() { _ = p.Close() }()
	about := p.Describe()
	fields := make([]string, len(about.Fields))
	for i, f := range about.Fields {
		fields[i] = string(f)
	}
	return fmt.Sprintf("%s %s starts; sets %s; is confined with %s", about.Name, about.Version, strings.Join(fields, ", "), hosting.Confinement), nil
}
