package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"

	"github.com/cli/browser"
	"github.com/spf13/cobra"

	"github.com/dispatchai/dispatchai/app/relay"
	"github.com/dispatchai/dispatchai/app/setup"
)

func setupCommand() *cobra.Command {
	flags := &optionFlags{}
	var (
		cfg       setup.Config
		asJSON    bool
		noBrowser bool
	)
	c := &cobra.Command{
		Use:   "setup",
		Short: "Create the GitHub App from a page on this machine, and check that its deliveries arrive",
		Long: "Shows a page that has GitHub register the App with the permissions it needs and no more, keeps its secrets in the\n" +
			"data directory, and ends when a signed delivery from GitHub arrived. One that was interrupted goes on where it was.\n" +
			"Until the service runs, setup itself takes the first delivery at the service's address (DISPATCHAI_LISTEN).",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			options, err := flags.read(c)
			if err != nil {
				return err
			}
			cfg.DataDir, cfg.WebhookListen = options.DataDir, options.Listen
			cfg.UserAgent, cfg.Logger = "DispatchAI/"+version(), newLogger(c.ErrOrStderr(), slogWarn)
			cfg.Forward = forwardFrom
			if cfg.RelayURL != "" {
				if cfg.RelayURL, err = relay.NewChannel(c.Context(), cfg.RelayURL); err != nil {
					return fmt.Errorf("--relay: %w", err)
				}
			}
			if !noBrowser && !asJSON && hasDesktop() {
				cfg.OpenBrowser = browser.OpenURL
			}
			report := &setupReport{out: c.OutOrStdout(), asJSON: asJSON}
			cfg.Report = report.tell
			s, err := setup.New(cfg)
			if err != nil {
				return err
			}
			result, err := s.Run(c.Context())
			if err != nil {
				if c.Context().Err() != nil {
					return errors.New("interrupted; `dispatchai setup` goes on from here")
				}
				return err
			}
			return report.end(result)
		},
	}
	c.Flags().StringVar(&cfg.WebhookURL, "webhook-url", "", "how GitHub reaches the service: https://HOST, or with the path if it is not /webhook/github")
	c.Flags().StringVar(&cfg.RelayURL, "relay", "", "channel of a webhook relay instead, or its /new, for development on a machine without a public address")
	c.Flags().StringVar(&cfg.Org, "org", "", "organisation that the App is to belong to (default: whoever is signed in at GitHub)")
	c.Flags().StringVar(&cfg.GitHubURL, "github-url", "", "web site of a GitHub Enterprise Server (default https://github.com)")
	c.Flags().StringVar(&cfg.Name, "name", "", "the App's name, which is to be unique on GitHub")
	c.Flags().BoolVar(&cfg.Public, "public", false, "let other accounts install the App")
	c.Flags().BoolVar(&cfg.Strict, "strict", false, "no permission to read contents; the one configuration file is named by hand in the App's settings")
	c.Flags().BoolVar(&cfg.Checks, "checks", false, "permission to show faults of a configuration file as a check on its commit")
	c.Flags().StringVar(&cfg.Listen, "listen", "127.0.0.1:0", "address of the page, on this machine only (default: a free port)")
	c.Flags().StringVar(&flags.dataDir, "data-dir", "", "directory for everything that is stored (DISPATCHAI_DATA_DIR)")
	c.Flags().BoolVar(&cfg.Move, "move", false, "send the deliveries of the App that is set up to another --webhook-url or --relay")
	c.Flags().BoolVar(&cfg.Force, "force", false, "register another App although there is one; that one is kept beside it")
	c.Flags().DurationVar(&cfg.CheckTimeout, "check-timeout", 5*time.Minute, "how long to wait for a delivery to arrive")
	c.Flags().BoolVar(&noBrowser, "no-browser", false, "do not open a browser")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON lines")
	return c
}

// forwardFrom runs the relay's client.
func forwardFrom(ctx context.Context, channel, target string, verify func(body []byte, signature string) error) error {
	client, err := relay.NewClient(relay.ClientConfig{Channel: channel, Target: target, Verify: verify, UserAgent: "DispatchAI/" + version()})
	if err != nil {
		return err
	}
	return client.Run(ctx)
}

// hasDesktop tells whether a browser would open in front of somebody, rather
// than take over the terminal.
func hasDesktop() bool {
	return runtime.GOOS == "darwin" || runtime.GOOS == "windows" || os.Getenv("DISPLAY") != "" || os.Getenv("WAYLAND_DISPLAY") != "" || os.Getenv("WSL_DISTRO_NAME") != ""
}

// setupReport tells on the terminal how it goes.
type setupReport struct {
	out    io.Writer
	asJSON bool
}

func (r *setupReport) tell(p setup.Progress) {
	if r.asJSON {
		_ = json.NewEncoder(r.out).Encode(p)
		return
	}
	switch p.Event {
	case "page":
		fmt.Fprintf(r.out, "\n  DispatchAI setup\n\n  %s\n    %s\n\n", p.Text, p.URL)
	case "trouble":
		fmt.Fprintf(r.out, "  !  %s\n", clean(p.Text, 1000))
	case "done":
		fmt.Fprintf(r.out, "\n  %s\n    %s\n", p.Text, p.URL)
	default:
		fmt.Fprintf(r.out, "  -  %s\n", clean(p.Text, 1000))
	}
}

func (r *setupReport) end(result setup.Result) error {
	if r.asJSON {
		return nil
	}
	fmt.Fprintf(r.out, "\n  Start the service:\n    %s\n", clean(setup.ServeCommand(result.DataDir), 1000))
	if result.StrictContents {
		fmt.Fprintf(r.out, "\n  Name the one file that the App may read: Single file, read-only, .github/dispatchai.yml\n    %s\n", result.PermissionsURL())
	}
	fmt.Fprintln(r.out)
	return nil
}
