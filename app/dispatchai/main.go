// Command dispatchai is the GitHub App that triages issues: the service, its
// demo and its tools.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/dispatchai/dispatchai/core/confine"
)

func main() {
	confine.Enter()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the process at once: everything acknowledged is durable.
	context.AfterFunc(ctx, stop)
	err := newCommand().ExecuteContext(ctx)
	stop()
	if err != nil {
		if !errors.Is(err, errReported) {
			printFaults(err)
		}
		os.Exit(1)
	}
}

// errReported ends a command whose report already says what is wrong.
var errReported = errors.New("see the report")

func newCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "dispatchai",
		Short:         "Triages the issues of your GitHub repositories",
		Long:          "DispatchAI receives the webhooks of a GitHub App, has classifier plugins judge every issue,\nlabels it on GitHub and shows it live on a dashboard where people correct it.",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(
		serveCommand(), setupCommand(), demoCommand(), doctorCommand(), backfillCommand(), gapsCommand(), deadCommand(), erasuresCommand(), migrateCommand(), pluginCommand(), relayCommand(), undoCommand(), usageCommand(), challengerCommand(), versionCommand(),
	)
	return root
}

// printFaults prints every fault of an error on a line of its own.
func printFaults(err error) {
	lines := strings.Split(strings.TrimSpace(err.Error()), "\n")
	if len(lines) == 1 {
		fmt.Fprintln(os.Stderr, "dispatchai:", lines[0])
		return
	}
	fmt.Fprintf(os.Stderr, "dispatchai: %d things need to be put right:\n", len(lines))
	for _, l := range lines {
		fmt.Fprintln(os.Stderr, "  -", l)
	}
}
