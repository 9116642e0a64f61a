package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/dispatchai/dispatchai/app"
	"github.com/dispatchai/dispatchai/core/eventlog"
)

// openedLog is the event log as a tool reaches it.
type openedLog struct {
	options  app.Options
	cluster  *eventlog.Cluster
	producer *eventlog.Producer
}

// withLog opens the log that the flags and the environment name, beside a
// running service or without one.
func withLog(c *cobra.Command, flags *optionFlags, use func(openedLog) error) (err error) {
	options, err := flags.read(c)
	if err != nil {
		return err
	}
	logger := newLogger(c.ErrOrStderr(), slogWarn)
	if err := logExists(options); err != nil {
		return err
	}
	log, err := attachLog(c.Context(), options, logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	cluster, err := eventlog.NewCluster(log.Config, logger)
	if err != nil {
		return err
	}
	defer cluster.Close()
	if err := cluster.EnsureTopics(c.Context()); err != nil {
		return err
	}
	producer, err := eventlog.NewProducer(log.Config, eventlog.ProducerConfig{Logger: logger})
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		err = errors.Join(err, producer.Close(ctx))
	}()
	return use(openedLog{options, cluster, producer})
}

// logExists keeps a tool that was pointed at the wrong directory from making a
// log there and finding it empty.
func logExists(o app.Options) error {
	if len(o.KafkaSeeds) > 0 {
		return nil
	}
	if _, err := os.Stat(filepath.Join(o.DataDir, logDir)); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no event log in %s; name the service's data directory with --data-dir or DISPATCHAI_DATA_DIR", o.DataDir)
	} else if err != nil {
		return fmt.Errorf("DISPATCHAI_DATA_DIR: %w", err)
	}
	return nil
}
