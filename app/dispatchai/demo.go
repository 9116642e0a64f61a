package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/dispatchai/dispatchai/app"
	"github.com/dispatchai/dispatchai/app/simulate"
	"github.com/dispatchai/dispatchai/core/plugin"
)

type demo struct {
	listen, dataDir string
	speed           float64
	seed            uint64
	faults, asJSON  bool
	plugins         []string
	challenger      string
}

func demoCommand() *cobra.Command {
	d := &demo{}
	c := &cobra.Command{
		Use:   "demo",
		Short: "Watch the whole pipeline at work on a simulated GitHub",
		Long: "Runs a simulated GitHub on which people open issues, and the service beside it: signed webhooks, the event log,\n" +
			"a classifier plugin, the store, labels written through GitHub's REST API, and the live dashboard. Everything but\n" +
			"GitHub is what serve runs. Nothing is needed but this binary, and nothing leaves this machine.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if !c.Flags().Changed("seed") {
				n, err := rand.Int(rand.Reader, big.NewInt(1_000_000))
				if err != nil {
					return err
				}
				d.seed = n.Uint64()
			}
			return d.run(c.Context(), c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	c.Flags().StringVar(&d.listen, "listen", "127.0.0.1:8080", "host:port of the dashboard")
	c.Flags().StringVar(&d.dataDir, "data-dir", "", "keep what is stored here (default: a temporary directory, removed at the end)")
	c.Flags().Float64Var(&d.speed, "speed", 1, "how many times faster than people issues are opened")
	c.Flags().Uint64Var(&d.seed, "seed", 0, "repeat the course of an earlier demo (printed at its start)")
	c.Flags().BoolVar(&d.faults, "faults", false, "delay, drop, double and reorder webhooks on the way")
	c.Flags().StringArrayVar(&d.plugins, "plugin", nil, "ask this classifier first: `NAME=PATH`, of an executable or of a directory with a plugin.json (may be given again)")
	c.Flags().StringVar(&d.challenger, "challenger", "", "ask this classifier beside the others, without any effect: `NAME=PATH`, or the name of a built-in one")
	c.Flags().BoolVar(&d.asJSON, "json", false, "print what happens as JSON lines")
	return c
}

func (d *demo) run(ctx context.Context, out, errOut io.Writer) (err error) {
	if d.speed <= 0 {
		return fmt.Errorf("--speed: %v is not above zero", d.speed)
	}
	if d.dataDir == "" {
		if d.dataDir, err = os.MkdirTemp("", "dispatchai-demo-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(d.dataDir)) }()
	}
	story := &story{out: out, asJSON: d.asJSON}
	secret := rand.Text()
	simulation := simulate.Options{Seed: d.seed, WebhookSecret: secret, OnEvent: story.tell}
	if d.faults {
		simulation.DeliveryFaults = simulate.DeliveryFaults{Delay: 0.2, MaxDelay: 3 * time.Second, Drop: 0.02, Double: 0.05, Reorder: 0.1}
	}
	github, err := simulate.New(simulation)
	if err != nil {
		return err
	}
	if err := github.Start(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, github.Close()) }()

	options := app.DefaultOptions()
	options.Demo = true
	options.Listen, options.DataDir = d.listen, d.dataDir
	if err := d.choose(&options); err != nil {
		return err
	}
	options.WebhookSecrets = []string{secret}
	options.AppID, options.PrivateKey, options.GitHubAPIURL = github.AppID(), string(github.PrivateKeyPEM()), github.URL()
	if err := options.Validate(); err != nil {
		return err
	}
	a, err := app.New(ctx, options, backends(), newLogger(errOut, slogWarn))
	if err != nil {
		return err
	}
	story.open(a.Addr().String(), github.URL(), d)

	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return a.Run(groupCtx) })
	if d.faults {
		group.Go(func() error { return redeliver(groupCtx, github, story) })
	}
	group.Go(func() error {
		err := github.SetWebhookURL("http://" + a.Addr().String() + "/webhook/github")
		if err != nil {
			return err
		}
		if err = github.Play(groupCtx, simulate.PlayOptions{Speed: d.speed}); err == nil {
			story.say("Every issue of the demo has been opened. The dashboard stays up until you press Ctrl-C.")
		}
		if errors.Is(err, context.Canceled) || errors.Is(err, simulate.ErrClosed) {
			return nil
		}
		return err
	})
	return group.Wait()
}

// choose puts the demo's own classifiers before the others, and its challenger beside them.
func (d *demo) choose(options *app.Options) error {
	var chain []string
	for _, p := range d.plugins {
		located, err := locate(p)
		if err != nil {
			return fmt.Errorf("--plugin: %w", err)
		}
		chain = append(chain, located)
	}
	options.Plugins = append(chain, options.Plugins...)
	if d.challenger == "" {
		return nil
	}
	located := d.challenger
	if !slices.Contains(builtInNames(), located) {
		var err error
		if located, err = locate(located); err != nil {
			return fmt.Errorf("--challenger: %w", err)
		}
	}
	options.Challenger, _, _ = strings.Cut(located, "=")
	options.Plugins = append(options.Plugins, located)
	return nil
}

// locate makes NAME=PATH one that does not depend on the working directory.
func locate(p string) (string, error) {
	name, path, ok := strings.Cut(p, "=")
	if !ok || name == "" || path == "" {
		return "", fmt.Errorf("%q is not NAME=PATH", p)
	}
	if strings.HasPrefix(path, app.ReattachPrefix) {
		return p, nil
	}
	found, err := exec.LookPath(path)
	if info, statErr := os.Stat(path); statErr == nil && (info.IsDir() || filepath.Base(path) == plugin.ManifestFile) {
		found, err = path, nil
	}
	if err != nil {
		return "", fmt.Errorf("there is no executable at %s, and no directory with a %s", path, plugin.ManifestFile)
	}
	if path, err = filepath.Abs(found); err != nil {
		return "", err
	}
	return name + "=" + path, nil
}

// redeliverEvery is how often the demo looks for webhooks that did not arrive.
const redeliverEvery = 2 * time.Second

// redeliver is the operator who has GitHub send again what it could not deliver:
// GitHub itself never does.
func redeliver(ctx context.Context, github *simulate.GitHub, story *story) error {
	ticker := time.NewTicker(redeliverEvery)
	defer ticker.Stop()
	asked := make(map[string]int) // by GUID, how many failed attempts it had then
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		arrived, failed := make(map[string]bool), make(map[string]int)
		for _, a := range github.Attempts() {
			if a.Failed() {
				failed[a.GUID]++
			} else {
				arrived[a.GUID] = true
			}
		}
		again := 0
		for guid, attempts := range failed {
			if arrived[guid] || asked[guid] == attempts {
				continue
			}
			asked[guid] = attempts
			switch err := github.Redeliver(ctx, guid); {
			case err == nil:
				again++
			case ctx.Err() != nil || errors.Is(err, simulate.ErrClosed):
				return nil
			case !errors.Is(err, simulate.ErrNotFound) && !errors.Is(err, simulate.ErrQueueFull):
				return err
			}
		}
		if again > 0 {
			story.say(fmt.Sprintf("GitHub could not deliver %s; sent again.", plural(again, "webhook", "webhooks")))
		}
	}
}

// story tells on the terminal what happens.
type story struct {
	mu     sync.Mutex
	out    io.Writer
	asJSON bool
}

func (s *story) open(address, githubURL string, d *demo) {
	host := strings.Replace(address, "127.0.0.1:", "localhost:", 1)
	if s.asJSON {
		s.line(map[string]any{"event": "started", "dashboard": "http://" + host, "github": githubURL, "seed": d.seed, "data_dir": d.dataDir})
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.out, "\n  DispatchAI demo\n\n  Dashboard         http://%s\n  Simulated GitHub  %s\n  Seed              %d (repeat with --seed %d)\n\n  People open issues now; labels follow within a second. Ctrl-C ends it.\n\n",
		host, githubURL, d.seed, d.seed)
}

func (s *story) say(text string) {
	if s.asJSON {
		s.line(map[string]any{"event": "note", "text": text})
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.out, "\n  %s\n\n", text)
}

func (s *story) line(v any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = json.NewEncoder(s.out).Encode(v)
}

// tell prints one event of the simulated GitHub.
func (s *story) tell(e simulate.Event) {
	if e.Number == 0 {
		return
	}
	if s.asJSON {
		s.line(map[string]any{
			"event": e.Event + "." + e.Action, "at": e.At, "repository": e.Repository, "number": e.Number,
			"title": e.Title, "actor": e.Actor, "bot": e.Bot, "about": e.About,
		})
		return
	}
	actor, about := clean(e.Actor, 40), clean(e.About, 60)
	var what string
	switch {
	case e.Action == "opened":
		what = fmt.Sprintf("%s opened “%s”", actor, clean(e.Title, 70))
	case e.Action == "labeled" && e.Bot:
		what = fmt.Sprintf("  → labelled %s", about)
	case e.Action == "unlabeled" && e.Bot:
		what = fmt.Sprintf("  → took off %s", about)
	case e.Action == "labeled":
		what = fmt.Sprintf("  %s put on %s", actor, about)
	case e.Action == "unlabeled":
		what = fmt.Sprintf("  %s took off %s", actor, about)
	case e.Event == "issue_comment":
		what = fmt.Sprintf("  %s commented", actor)
	default:
		what = fmt.Sprintf("  %s: %s", actor, e.Action)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.out, "  %s  %-28s %s\n", e.At.Local().Format("15:04:05"), fmt.Sprintf("%s#%d", clean(e.Repository, 60), e.Number), what)
}
