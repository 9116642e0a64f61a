// Package sqlite keeps the store in one SQLite file: the store of an
// installation that fits on one machine.
//
// The file is written by one goroutine over one connection and read over a few
// others. Writes that are waiting at the same time share one transaction, and
// with it one sync to disk. Everything that was acknowledged survives a crash of
// the process and of the machine (write-ahead log, synchronous=FULL).
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/pressly/goose/v3"
	"github.com/prometheus/client_golang/prometheus"
	driver "modernc.org/sqlite"

	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/migrations"
)

const (
	// applicationID stands in the file's header and tells our files from others'.
	applicationID = 0x44_50_41_49 // "DPAI"
	readers       = 4
	// busyTimeout is how long a lock of another process is waited for.
	busyTimeout = 5 * time.Second
	// defaultVectorCache is the default of Options.VectorCacheBytes.
	defaultVectorCache = 32 << 20
	// pruneBatch is how many events one transaction of Prune forgets.
	pruneBatch = 2000
)

// Options says where the store is and who is told about it.
type Options struct {
	// Path is the database file; its directory must exist. The file is created
	// when missing, readable by its owner only.
	Path string
	// Logger takes a line per migration and per failed commit; nil is silent.
	Logger *slog.Logger
	// Registerer takes the metrics dispatchai_store_*; nil means none.
	Registerer prometheus.Registerer
	// VectorCacheBytes bounds the memory that keeps the vectors of recently
	// used repositories; 0 means 32 MiB.
	VectorCacheBytes int64
}

// Store is a store.Store in a SQLite file. Several processes may have the same
// file open; another one's writes are seen at once, except that Neighbours may
// miss another process's newest issues until this one writes next.
type Store struct {
	schemaVersion int64
	path          string
	db            *sql.DB // the writer's only connection comes from here
	reader        *reader
	writer        *writer
	vectors       *vectorCache
	configs       *lru.Cache[int64, *store.Configuration]
	metrics       *metrics

	closeOnce sync.Once
	closeErr  error
}

var _ store.Store = (*Store)(nil)

// Open opens or creates the store and brings its schema up to date. The errors
// say what to do about them: a directory that is missing or not writable, a
// file that is no DispatchAI database or is damaged, a database that a newer
// version has migrated already.
func Open(ctx context.Context, options Options) (_ *Store, err error) {
	if options.Path == "" {
		return nil, errors.New("sqlite store: no path was given")
	}
	path, err := filepath.Abs(options.Path)
	if err != nil {
		return nil, fmt.Errorf("sqlite store %s: %w", options.Path, err)
	}
	logger := options.Logger
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	logger = logger.With("component", "store", "path", path)
	if err := prepareFile(path); err != nil {
		return nil, fmt.Errorf("sqlite store: %w", err)
	}

	s := &Store{path: path}
	// The allocator rounds a page with its header up to 8 KiB, so that a cache takes
	// twice the size that is set; what it does not hold, the system's own cache does.
	// What is deleted or replaced is overwritten: erased text must not stay in the file.
	s.db, err = openDB(path, 1, "_txlock=immediate", "_pragma=cache_size(-4096)", "_pragma=secure_delete(1)")
	if err != nil {
		return nil, s.explain(err)
	}
	defer func() {
		if err != nil {
			_ = s.db.Close()
		}
	}()
	if err := s.migrate(ctx, logger); err != nil {
		return nil, err
	}
	readDB, err := openDB(path, readers, "_pragma=query_only(1)", "_pragma=cache_size(-1024)")
	if err != nil {
		return nil, s.explain(err)
	}
	defer func() {
		if err != nil {
			_ = readDB.Close()
		}
	}()
	if err = readDB.PingContext(ctx); err != nil {
		return nil, s.explain(err)
	}
	cacheBytes := options.VectorCacheBytes
	if cacheBytes <= 0 {
		cacheBytes = defaultVectorCache
	}
	s.vectors = newVectorCache(cacheBytes)
	if s.configs, err = lru.New[int64, *store.Configuration](cachedConfigurations); err != nil {
		return nil, err
	}
	s.reader = newReader(readDB)
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return nil, s.explain(err)
	}
	s.writer = newWriter(conn, s.vectors, s.explain, logger)
	if s.metrics, err = newMetrics(options.Registerer, s.writer, s.vectors); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("sqlite store: metrics: %w", err)
	}
	s.writer.metrics = s.metrics
	go s.writer.loop()
	return s, nil
}

// prepareFile sees to it that the file exists with mode 0600. An existing file
// is not opened here, because closing it again would drop the locks that this
// process may hold on it through another Store.
func prepareFile(path string) error {
	info, err := os.Stat(path)
	switch {
	case err == nil && !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a file: give the path of the database file itself", path)
	case err == nil:
		if info.Mode().Perm()&0o077 != 0 {
			if err := os.Chmod(path, 0o600); err != nil {
				return fmt.Errorf("%s can be read by others and that cannot be changed (run as its owner, or chmod 600 it): %w", path, err)
			}
		}
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("the database file cannot be reached (check the path and its permissions): %w", err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("the database file cannot be created (check that its directory exists and is writable): %w", err)
	}
	return f.Close()
}

func openDB(path string, connections int, parameters ...string) (*sql.DB, error) {
	dsn := (&url.URL{Scheme: "file", Path: filepath.ToSlash(path)}).String() +
		"?_pragma=busy_timeout(" + strconv.FormatInt(busyTimeout.Milliseconds(), 10) + ")" +
		"&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)" +
		"&_pragma=temp_store(MEMORY)&_pragma=wal_autocheckpoint(4000)&_pragma=journal_size_limit(67108864)" +
		"&_dqs=0&_error_rc=1"
	for _, p := range parameters {
		dsn += "&" + p
	}
	connector, err := driver.NewConnector(dsn)
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db, nil
}

// migrate claims a new file for us and applies what migrations are missing.
func (s *Store) migrate(ctx context.Context, logger *slog.Logger) error {
	if err := s.claimFile(ctx); err != nil {
		return err
	}
	files, err := migrations.SQLite()
	if err != nil {
		return fmt.Errorf("sqlite store: migrations: %w", err)
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, s.db, files,
		goose.WithDisableGlobalRegistry(true), goose.WithSlog(slog.New(slog.DiscardHandler)))
	if err != nil {
		return fmt.Errorf("sqlite store: migrations: %w", err)
	}
	for attempt := 1; ; attempt++ {
		current, target, err := provider.GetVersions(ctx)
		if err != nil {
			return s.explain(err)
		}
		if current > target {
			return fmt.Errorf("sqlite store %s: its schema has version %d and this program knows versions up to %d: run the newer DispatchAI that migrated it, or restore the backup made before", s.path, current, target)
		}
		if current == target {
			s.schemaVersion = current
			return nil
		}
		results, err := provider.Up(ctx)
		for _, r := range results {
			if r.Error == nil {
				logger.Info("migration applied", "version", r.Source.Version, "file", filepath.Base(r.Source.Path), "duration", r.Duration)
			}
		}
		// Another process may have applied the same migration in between; then
		// there is less or nothing left to do.
		if err != nil && (attempt == 3 || ctx.Err() != nil) {
			return s.explain(fmt.Errorf("migration: %w", err))
		}
	}
}

func (s *Store) claimFile(ctx context.Context) error {
	var id, tables int64
	if err := s.db.QueryRowContext(ctx, "PRAGMA application_id").Scan(&id); err != nil {
		return s.explain(err)
	}
	if id == applicationID {
		return nil
	}
	if err := s.db.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&tables); err != nil {
		return s.explain(err)
	}
	if id != 0 || tables != 0 {
		return fmt.Errorf("sqlite store %s: this is the SQLite database of another program: give another path", s.path)
	}
	if _, err := s.db.ExecContext(ctx, "PRAGMA application_id = "+strconv.Itoa(applicationID)); err != nil {
		return s.explain(err)
	}
	return nil
}

// SchemaVersion is the number of the newest migration that was applied.
func (s *Store) SchemaVersion() int64 { return s.schemaVersion }

// Ping proves that the database can be read and that the writer gets its turn.
// After a write that failed for want of a working disk it also proves that
// writing is possible again.
func (s *Store) Ping(ctx context.Context) (err error) {
	defer s.metrics.observe("ping", time.Now(), &err)
	rows, err := s.reader.query(ctx, "SELECT 1")
	if err != nil {
		return s.explain(err)
	}
	if err := errors.Join(rows.Close(), rows.Err()); err != nil {
		return s.explain(err)
	}
	return s.writer.do(ctx, func(t *tx) error {
		if t.writer.failure.Load() == nil {
			return nil
		}
		// A row that needs pages of its own, and goes again in the same transaction.
		if _, err := t.exec(`INSERT INTO applied_events (event_id, repository_id, number, event_type, applied_at)
			VALUES ('probe ' || hex(randomblob(8192)), 0, 0, '', ?)`, micros(time.Now())); err != nil {
			return err
		}
		_, err := t.exec(`DELETE FROM applied_events WHERE event_id >= 'probe ' AND event_id < 'probe!' AND length(event_id) > 16384`)
		return err
	})
}

// Prune forgets the events applied before the given time, a few thousand per
// transaction, so that other writes get their turn in between. When it fails, events
// counts those that are gone already.
func (s *Store) Prune(ctx context.Context, before time.Time) (events int64, err error) {
	defer s.metrics.observe("prune", time.Now(), &err)
	for {
		var gone int64
		err := s.writer.do(ctx, func(t *tx) error {
			var err error
			gone, err = t.exec(`DELETE FROM applied_events WHERE event_id IN (
				SELECT event_id FROM applied_events WHERE applied_at < ? ORDER BY applied_at LIMIT ?)`, micros(before), pruneBatch)
			return err
		})
		if err != nil {
			return events, err
		}
		events += gone
		if gone < pruneBatch {
			return events, nil
		}
	}
}

// Close lets the transaction under way finish, refuses what still waits with
// store.ErrClosed, and closes the file.
func (s *Store) Close() error {
	s.closeOnce.Do(func() {
		writerErr := s.writer.close()
		s.closeErr = errors.Join(s.reader.close(), writerErr, s.db.Close())
		s.metrics.unregister()
	})
	return s.closeErr
}
