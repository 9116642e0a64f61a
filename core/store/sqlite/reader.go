package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/dispatchai/dispatchai/core/triage"
)

// querier is where rows are read from: the reader, or the transaction under way.
type querier interface {
	// query's text becomes a cached statement; there must be a fixed number of them.
	query(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// reader reads what was committed, over connections that cannot write.
type reader struct {
	db *sql.DB

	mu         sync.Mutex
	statements map[string]*sql.Stmt
}

func newReader(db *sql.DB) *reader {
	return &reader{db: db, statements: make(map[string]*sql.Stmt)}
}

func (r *reader) query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	s, err := r.statement(ctx, query)
	if err != nil {
		return nil, err
	}
	return s.QueryContext(ctx, args...)
}

func (r *reader) statement(ctx context.Context, query string) (*sql.Stmt, error) {
	r.mu.Lock()
	s, ok := r.statements[query]
	r.mu.Unlock()
	if ok {
		return s, nil
	}
	s, err := r.db.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if other, ok := r.statements[query]; ok {
		return other, s.Close()
	}
	r.statements[query] = s
	return s, nil
}

func (r *reader) close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	for _, s := range r.statements {
		errs = append(errs, s.Close())
	}
	clear(r.statements)
	return errors.Join(append(errs, r.db.Close())...)
}

// scanOne reads the only row.
func scanOne(rows *sql.Rows, into ...any) error {
	return scanAll(rows, func() error { return rows.Scan(into...) })
}

// scanAll calls scan for each row and closes the rows.
func scanAll(rows *sql.Rows, scan func() error) error {
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := scan(); err != nil {
			return err
		}
	}
	return errors.Join(rows.Err(), rows.Close())
}

// Lists of keys reach a statement as one JSON text, for json_each.

func issueKeysJSON(keys []triage.IssueKey) string {
	buf := make([]byte, 0, 2+len(keys)*20)
	buf = append(buf, '[')
	for i, k := range keys {
		if i > 0 {
			buf = append(buf, ',')
		}
		buf = append(buf, '[')
		buf = strconv.AppendInt(buf, k.RepositoryID, 10)
		buf = append(buf, ',')
		buf = strconv.AppendInt(buf, int64(k.Number), 10)
		buf = append(buf, ']')
	}
	return string(append(buf, ']'))
}

func numbersJSON(numbers []int64) string {
	buf := make([]byte, 0, 2+len(numbers)*10)
	buf = append(buf, '[')
	for i, n := range numbers {
		if i > 0 {
			buf = append(buf, ',')
		}
		buf = strconv.AppendInt(buf, n, 10)
	}
	return string(append(buf, ']'))
}

// toJSON is for values that always have a JSON form.
func toJSON(value any) (string, error) {
	text, err := json.Marshal(value)
	return string(text), err
}

// micros is how a time is stored; the zero time has a number as well.
func micros(t time.Time) int64 { return t.UnixMicro() }

func fromMicros(n int64) time.Time {
	t := time.UnixMicro(n).UTC()
	if t.IsZero() {
		return time.Time{}
	}
	return t
}

func optionalMicros(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return micros(t)
}

func fromOptionalMicros(n sql.NullInt64) time.Time {
	if !n.Valid {
		return time.Time{}
	}
	return fromMicros(n.Int64)
}
