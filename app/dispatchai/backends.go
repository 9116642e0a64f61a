package main

import (
	"context"
	"log/slog"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dispatchai/dispatchai/app"
	"github.com/dispatchai/dispatchai/core/eventlog"
	"github.com/dispatchai/dispatchai/core/eventlog/embedded"
	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/store/sqlite"
	"github.com/dispatchai/dispatchai/web"
)

const (
	databaseFile = "dispatchai.db"
	logDir       = "log"
	slogWarn     = slog.LevelWarn
	// vectorCacheBytes hold the vectors of the repositories in use.
	vectorCacheBytes = 16 << 20
	// readBackBytes of each topic stay for gateways that start and pages that
	// reconnect: a thousand deliveries and more.
	readBackBytes = 16 << 20
)

// backends names what stands behind the interfaces of app.
func backends() app.Backends {
	return app.Backends{
		OpenStore: func(ctx context.Context, o app.Options, logger *slog.Logger, r prometheus.Registerer) (store.Store, error) {
			return sqlite.Open(ctx, sqlite.Options{Path: filepath.Join(o.DataDir, databaseFile), Logger: logger, Registerer: r, VectorCacheBytes: vectorCacheBytes})
		},
		OpenLog:   openLog,
		AttachLog: attachLog,
		BuiltIn:   builtIn,
		Dashboard: web.Dist(),
		Version:   version(),
	}
}

func openLog(ctx context.Context, o app.Options, logger *slog.Logger, r prometheus.Registerer) (app.Log, error) {
	if len(o.KafkaSeeds) > 0 {
		return app.Log{Config: eventlog.Kafka(o.KafkaSeeds), Close: func() error { return nil }}, nil
	}
	broker, err := embedded.Open(ctx, embedded.Options{
		Dir: filepath.Join(o.DataDir, logDir), MaxBytes: o.LogMaxBytes, Groups: app.Groups(), ReadBackBytes: readBackBytes, Logger: logger, Registerer: r,
	})
	if err != nil {
		return app.Log{}, err
	}
	return app.Log{Config: broker.Config(), Close: broker.Close, Usage: broker.Usage}, nil
}

// attachLog reaches the log for a tool: over the socket of a running service,
// or by opening the data directory when none runs.
func attachLog(ctx context.Context, o app.Options, logger *slog.Logger) (app.Log, error) {
	if len(o.KafkaSeeds) == 0 {
		if config, err := embedded.Dial(ctx, filepath.Join(o.DataDir, logDir)); err == nil {
			return app.Log{Config: config, Close: func() error { return nil }}, nil
		}
	}
	return openLog(ctx, o, logger, prometheus.NewRegistry())
}
