package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dispatchai/dispatchai/app"
)

func serveCommand() *cobra.Command {
	flags := &optionFlags{}
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run the service",
		Long:  "Runs the service until it is interrupted. The configuration comes from the environment (see README.md); flags win over it.",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			options, err := flags.load(c)
			if err != nil {
				return err
			}
			logger := newLogger(c.ErrOrStderr(), options.Level())
			saveMemory()
			a, err := app.New(c.Context(), options, backends(), logger)
			if err != nil {
				return err
			}
			return a.Run(c.Context())
		},
	}
	flags.add(c)
	flags.addRelay(c)
	return c
}

// gcPercent trades a little speed for memory: the process is to fit a small
// server. Under full load it costs about a tenth of the throughput and saves a
// fifth of the memory (docs/benchmarks.md).
const gcPercent = 40

// saveMemory sets the garbage collector up, unless the operator has.
func saveMemory() {
	if os.Getenv("GOGC") == "" && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetGCPercent(gcPercent)
	}
}

// optionFlags are the options that have a flag.
type optionFlags struct {
	listen, dataDir, roles, relay string
}

func (f *optionFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.listen, "listen", "", "host:port to listen on (DISPATCHAI_LISTEN)")
	c.Flags().StringVar(&f.dataDir, "data-dir", "", "directory for everything that is stored (DISPATCHAI_DATA_DIR)")
	c.Flags().StringVar(&f.roles, "roles", "", "comma-separated roles: "+strings.Join(app.AllRoles(), ", ")+" (DISPATCHAI_ROLES)")
}

// addRelay is for serve alone.
func (f *optionFlags) addRelay(c *cobra.Command) {
	c.Flags().StringVar(&f.relay, "relay", "", "channel of a webhook relay to listen to, for development (DISPATCHAI_RELAY_URL)")
}

// load reads the environment, lets the flags win, and validates the whole.
func (f *optionFlags) load(c *cobra.Command) (app.Options, error) {
	options, err := f.read(c)
	return options, errors.Join(err, options.Validate())
}

func (f *optionFlags) read(c *cobra.Command) (app.Options, error) {
	options, err := app.LoadOptions()
	if c.Flags().Changed("listen") {
		options.Listen = f.listen
	}
	if c.Flags().Changed("data-dir") {
		options.DataDir = f.dataDir
	}
	if c.Flags().Changed("roles") {
		options.Roles = strings.Split(f.roles, ",")
	}
	if c.Flags().Changed("relay") {
		options.RelayURL = f.relay
	}
	return options, err
}

func newLogger(w io.Writer, level slog.Level) *slog.Logger {
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level}))
}

func plural(n int, one, many string) string {
	if n == 1 {
		return fmt.Sprintf("%d %s", n, one)
	}
	return fmt.Sprintf("%d %s", n, many)
}
