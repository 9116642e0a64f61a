package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/dispatchai/dispatchai/core/store"
)

const (
	// queueLength bounds the writes that wait; further callers wait for a
	// place as long as their context lasts.
	queueLength = 1024
	// A transaction takes in no further writes after this many or this long.
	groupOperations = 128
	groupDuration   = 25 * time.Millisecond
)

// writer runs all writes, one after the other, on one connection. Those that
// wait at the same time share a transaction, each behind a savepoint of its own,
// so that one that fails takes back its own changes only; all are answered
// after the one commit.
type writer struct {
	conn    *sql.Conn
	vectors *vectorCache
	explain func(error) error
	logger  *slog.Logger
	metrics *metrics

	queue   chan *operation
	closing chan struct{}
	stopped chan struct{}
	failure atomic.Pointer[error] // of the newest commit, nil when it went well

	// Owned by the loop.
	statements  map[string]*sql.Stmt
	dataVersion int64
}

// operation is one write that waits for its turn.
type operation struct {
	ctx   context.Context
	run   func(*tx) error
	state atomic.Int32
	err   error // valid once done is closed
	done  chan struct{}
}

const (
	queued int32 = iota
	taken
	abandoned
)

func (o *operation) finish(err error) {
	o.err = err
	close(o.done)
}

func newWriter(conn *sql.Conn, vectors *vectorCache, explain func(error) error, logger *slog.Logger) *writer {
	return &writer{
		conn:       conn,
		vectors:    vectors,
		explain:    explain,
		logger:     logger,
		queue:      make(chan *operation, queueLength),
		closing:    make(chan struct{}),
		stopped:    make(chan struct{}),
		statements: make(map[string]*sql.Stmt),
	}
}

// do runs the write in a transaction and returns when it is durable. When the
// context ends before the write has its turn, nothing of it happens;
// afterwards do waits for the outcome, so that an answer is never a guess.
func (w *writer) do(ctx context.Context, run func(*tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-w.closing:
		return store.ErrClosed
	default:
	}
	op := &operation{ctx: ctx, run: run, done: make(chan struct{})}
	select {
	case w.queue <- op:
	case <-ctx.Done():
		return ctx.Err()
	case <-w.closing:
		return store.ErrClosed
	}
	select {
	case <-op.done:
	case <-ctx.Done():
		if op.state.CompareAndSwap(queued, abandoned) {
			return ctx.Err()
		}
		<-op.done
	case <-w.stopped:
		if op.state.CompareAndSwap(queued, abandoned) {
			return store.ErrClosed
		}
		<-op.done
	}
	return op.err
}

// loop runs until close is called.
func (w *writer) loop() {
	defer close(w.stopped)
	for {
		select {
		case <-w.closing:
			return
		case op := <-w.queue:
			w.group(op)
		}
	}
}

// group runs the operation and those that wait behind it in one transaction.
func (w *writer) group(op *operation) {
	started := time.Now()
	t := &tx{writer: w}
	var kept []*operation
	// abort answers everything that rested on the transaction.
	abort := func(err error) {
		err = w.explain(err)
		w.logger.Error("write failed", "operations", len(kept), "error", err)
		w.failure.Store(&err)
		for _, o := range kept {
			o.finish(err)
		}
	}
	for n := 1; op != nil; n++ {
		switch {
		case !op.state.CompareAndSwap(queued, taken):
		case op.ctx.Err() != nil:
			op.finish(op.ctx.Err())
		default:
			err, broken := w.run(t, op)
			if broken != nil {
				kept = append(kept, op)
				abort(broken)
				return
			}
			if err != nil {
				err = w.explain(err)
				if diskFailure(err) {
					w.failure.Store(&err)
				}
				op.finish(err)
			} else {
				kept = append(kept, op)
			}
		}
		op = nil
		if n < groupOperations && time.Since(started) < groupDuration {
			select {
			case op = <-w.queue:
			default:
			}
		}
	}
	if !t.begun {
		return
	}
	committing := time.Now()
	if err := t.control("COMMIT"); err != nil {
		t.rollback()
		abort(err)
		return
	}
	if t.wrote {
		w.metrics.committed(len(kept), time.Since(committing))
		w.failure.Store(nil)
	}
	w.vectors.apply(t.vectors)
	for _, o := range kept {
		o.finish(nil)
	}
}

// run runs one operation inside the transaction, which it begins when that was
// not done yet. err is the operation's own failure, which has left no trace;
// broken means that the whole transaction is lost.
func (w *writer) run(t *tx, op *operation) (err, broken error) {
	alone := !t.begun
	if alone {
		if err := t.begin(); err != nil {
			t.rollback()
			return nil, err
		}
	} else if err := t.control("SAVEPOINT operation"); err != nil {
		t.rollback()
		return nil, err
	}
	mark := len(t.vectors)
	err = op.run(t)
	if err != nil {
		t.vectors = t.vectors[:mark]
	}
	switch {
	case err != nil && alone:
		t.rollback()
	case err != nil:
		if undo := t.control("ROLLBACK TO operation"); undo != nil {
			// SQLite has taken back everything by itself, as it may when the disk fails.
			t.rollback()
			return nil, errors.Join(err, undo)
		}
		fallthrough
	case !alone:
		if release := t.control("RELEASE operation"); release != nil {
			t.rollback()
			return nil, release
		}
	}
	return err, nil
}

// close ends the loop and answers what still waits with store.ErrClosed.
func (w *writer) close() error {
	close(w.closing)
	<-w.stopped
	var errs []error
	for _, s := range w.statements {
		errs = append(errs, s.Close())
	}
	return errors.Join(append(errs, w.conn.Close())...)
}

// tx is the transaction under way, as operations see it. It is used by the
// writer's goroutine only.
type tx struct {
	writer *writer
	begun  bool
	wrote  bool
	// vectors is what the vector cache is told after the commit.
	vectors []vectorUpdate
}

func (t *tx) begin() error {
	if err := t.control("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	t.begun, t.wrote = true, false
	// On this connection the number changes only when another process wrote,
	// about which the cache was not told.
	rows, err := t.query(context.Background(), "PRAGMA data_version")
	if err != nil {
		return err
	}
	var version int64
	if err := scanOne(rows, &version); err != nil {
		return err
	}
	if last := t.writer.dataVersion; last != 0 && last != version {
		t.writer.vectors.purge()
	}
	t.writer.dataVersion = version
	return nil
}

// rollback takes back everything; when SQLite did so already it changes nothing.
func (t *tx) rollback() {
	_ = t.control("ROLLBACK")
	t.begun = false
	t.vectors = nil
}

// control runs a statement that governs the transaction.
func (t *tx) control(statement string) error {
	s, err := t.statement(statement)
	if err != nil {
		return err
	}
	_, err = s.ExecContext(context.Background())
	return err
}

// exec returns how many rows were changed. Every text becomes a cached
// statement, so there must be a fixed number of them.
func (t *tx) exec(query string, args ...any) (int64, error) {
	result, err := t.result(query, args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// insert returns the number that the new row was given.
func (t *tx) insert(query string, args ...any) (int64, error) {
	result, err := t.result(query, args...)
	if err != nil {
		return 0, err
	}
	return result.LastInsertId()
}

func (t *tx) result(query string, args ...any) (sql.Result, error) {
	t.wrote = true
	s, err := t.statement(query)
	if err != nil {
		return nil, err
	}
	return s.ExecContext(context.Background(), args...)
}

// query ignores the context: an operation that has its turn runs to its end.
func (t *tx) query(_ context.Context, query string, args ...any) (*sql.Rows, error) {
	s, err := t.statement(query)
	if err != nil {
		return nil, err
	}
	return s.QueryContext(context.Background(), args...)
}

func (t *tx) statement(query string) (*sql.Stmt, error) {
	if s, ok := t.writer.statements[query]; ok {
		return s, nil
	}
	s, err := t.writer.conn.PrepareContext(context.Background(), query)
	if err != nil {
		return nil, err
	}
	t.writer.statements[query] = s
	return s, nil
}
