package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

// ledger is the newest rows of some issues, by label key.
type ledger map[triage.IssueKey]map[string]triage.LedgerEntry

const ledgerColumns = `repository_id, number, label_key, name, field, value, source, plugin, version, confidence,
	event_id, state, actor, created_at, updated_at`

// loadLedger reads the newest rows of the issues.
func loadLedger(ctx context.Context, q querier, keys []triage.IssueKey) (ledger, error) {
	found := make(ledger)
	if len(keys) == 0 {
		return found, nil
	}
	err := eachLedgerEntry(ctx, q, keys, func(key string, e triage.LedgerEntry) { found.put(key, e) })
	return found, err
}

func (l ledger) get(issue triage.IssueKey, key string) *triage.LedgerEntry {
	if e, ok := l[issue][key]; ok {
		return &e
	}
	return nil
}

func (l ledger) put(key string, e triage.LedgerEntry) {
	rows := l[e.Issue]
	if rows == nil {
		rows = make(map[string]triage.LedgerEntry)
		l[e.Issue] = rows
	}
	rows[key] = e
}

// eachLedgerEntry yields the newest rows of the issues, label by label.
func eachLedgerEntry(ctx context.Context, q querier, keys []triage.IssueKey, yield func(key string, e triage.LedgerEntry)) error {
	rows, err := q.query(ctx, `SELECT `+ledgerEntryColumns+`
		FROM json_each(?) k CROSS JOIN label_ledger l
		ON l.repository_id = k.value ->> 0 AND l.number = k.value ->> 1`, issueKeysJSON(keys))
	if err != nil {
		return err
	}
	return scanLedger(rows, yield)
}

const ledgerEntryColumns = `l.repository_id, l.number, l.label_key, l.name, l.field, l.value, l.source, l.plugin, l.version, l.confidence,
	l.event_id, l.state, l.actor, l.created_at, l.updated_at`

func scanLedger(rows *sql.Rows, yield func(key string, e triage.LedgerEntry)) error {
	return scanAll(rows, func() error {
		var e triage.LedgerEntry
		var key string
		var created, updated int64
		if err := rows.Scan(&e.Issue.RepositoryID, &e.Issue.Number, &key, &e.Name, &e.Field, &e.Value, &e.Source, &e.Plugin, &e.Version, &e.Confidence,
			&e.EventID, &e.State, &e.Actor, &created, &updated); err != nil {
			return err
		}
		e.CreatedAt, e.UpdatedAt = fromMicros(created), fromMicros(updated)
		yield(key, e)
		return nil
	})
}

// replace makes e the label's newest row, and the present one, if any, history.
func (l ledger) replace(t *tx, key string, e triage.LedgerEntry) error {
	present := l.get(e.Issue, key)
	if present != nil {
		if err := l.keep(t, key, *present); err != nil {
			return err
		}
	}
	l.put(key, e)
	if present == nil {
		return writeLedgerEntry(t, `INSERT INTO label_ledger (`+ledgerColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, key, e)
	}
	return writeLedgerEntry(t, `UPDATE label_ledger SET name = ?4, field = ?5, value = ?6, source = ?7, plugin = ?8, version = ?9, confidence = ?10,
		event_id = ?11, state = ?12, actor = ?13, created_at = ?14, updated_at = ?15
		WHERE repository_id = ?1 AND number = ?2 AND label_key = ?3`, key, e)
}

// keep leaves the newest row alone and makes e history.
func (ledger) keep(t *tx, key string, e triage.LedgerEntry) error {
	return writeLedgerEntry(t, `INSERT INTO label_ledger_history (`+ledgerColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, key, e)
}

func writeLedgerEntry(t *tx, statement, key string, e triage.LedgerEntry) error {
	_, err := t.exec(statement, e.Issue.RepositoryID, e.Issue.Number, key, e.Name, string(e.Field), e.Value, string(e.Source), e.Plugin, e.Version, e.Confidence,
		e.EventID, string(e.State), e.Actor, micros(e.CreatedAt), micros(e.UpdatedAt))
	return err
}

// observeLabels applies what an event tells about labels.
func observeLabels(t *tx, l ledger, issue triage.IssueKey, eventID string, observations []store.LedgerObservation) error {
	for _, o := range observations {
		key := store.LabelKey(o.Label)
		if next, changed := store.Observe(l.get(issue, key), issue, eventID, o); changed {
			if err := l.replace(t, key, next); err != nil {
				return err
			}
		}
	}
	return nil
}

// Ledger reads all of the issues with one statement; each issue's rows are in the order of their labels.
func (s *Store) Ledger(ctx context.Context, keys []triage.IssueKey) (_ map[triage.IssueKey][]triage.LedgerEntry, err error) {
	defer s.metrics.observe("ledger", time.Now(), &err)
	found := make(map[triage.IssueKey][]triage.LedgerEntry)
	seen := make(map[triage.IssueKey]bool, len(keys))
	unique := make([]triage.IssueKey, 0, len(keys))
	for _, k := range keys {
		if !seen[k] {
			seen[k] = true
			unique = append(unique, k)
		}
	}
	err = eachLedgerEntry(ctx, s.reader, unique, func(_ string, e triage.LedgerEntry) { found[e.Issue] = append(found[e.Issue], e) })
	if err != nil {
		return nil, s.explain(err)
	}
	return found, nil
}

// mayWrite is store.ErrSuspended when the App may not write in one of the
// repositories now. One that is not known is no obstacle.
func mayWrite(t *tx, repositoryIDs []int64) error {
	if len(repositoryIDs) == 0 {
		return nil
	}
	rows, err := t.query(context.Background(), `SELECT r.id FROM json_each(?) k CROSS JOIN repositories r ON r.id = k.value
			LEFT JOIN installations n ON n.id = r.installation_id
		WHERE r.removed = 1 OR coalesce(n.suspended, 0) = 1 OR coalesce(n.removed, 0) = 1`, numbersJSON(repositoryIDs))
	if err != nil {
		return err
	}
	var stopped int64
	if err := scanAll(rows, func() error { return rows.Scan(&stopped) }); err != nil {
		return err
	}
	if stopped != 0 {
		return fmt.Errorf("repository %d is removed, or its installation is removed or suspended: %w", stopped, store.ErrSuspended)
	}
	return nil
}

// ListLedger walks the ledger in the order of its primary key; few ever ask, so
// there is no index that each label would have to pay for.
func (s *Store) ListLedger(ctx context.Context, filter store.LedgerFilter) (_ []triage.LedgerEntry, err error) {
	defer s.metrics.observe("list_ledger", time.Now(), &err)
	if filter.Plugin == "" || filter.Issues <= 0 {
		return nil, fmt.Errorf("sqlite store: ledger filter %+v: Plugin and Issues must be set", filter)
	}
	repositories, all := "[]", filter.RepositoryIDs == nil
	if !all {
		repositories = numbersJSON(filter.RepositoryIDs)
	}
	const chosen = `l.source <> 'human' AND l.plugin = ?1 AND (?2 = '' OR l.version = ?2) AND l.created_at >= ?3`
	rows, err := s.reader.query(ctx, `SELECT `+ledgerEntryColumns+` FROM (
			SELECT DISTINCT l.repository_id, l.number FROM label_ledger l
			WHERE (l.repository_id, l.number) > (?4, ?5) AND `+chosen+` AND (?6 OR l.repository_id IN (SELECT value FROM json_each(?7)))
			ORDER BY l.repository_id, l.number LIMIT ?8
		) page JOIN label_ledger l ON l.repository_id = page.repository_id AND l.number = page.number
		WHERE `+chosen+`
		ORDER BY l.repository_id, l.number, l.label_key`,
		store.CleanText(filter.Plugin), store.CleanText(filter.Version), micros(store.CleanTime(filter.Since)),
		filter.After.RepositoryID, filter.After.Number, all, repositories, filter.Issues)
	if err != nil {
		return nil, s.explain(err)
	}
	var page []triage.LedgerEntry
	if err := scanLedger(rows, func(_ string, e triage.LedgerEntry) { page = append(page, e) }); err != nil {
		return nil, s.explain(err)
	}
	return page, nil
}

// RecordLedger writes the rows by the rules of store.JudgeEntry.
func (s *Store) RecordLedger(ctx context.Context, entries []triage.LedgerEntry) (err error) {
	defer s.metrics.observe("record_ledger", time.Now(), &err)
	clean := make([]triage.LedgerEntry, len(entries))
	keys := make([]triage.IssueKey, len(entries))
	for i, e := range entries {
		if clean[i], err = store.NormalizeEntry(e); err != nil {
			return fmt.Errorf("sqlite store: %w", err)
		}
		keys[i] = e.Issue
	}
	if len(clean) == 0 {
		return ctx.Err()
	}
	var announced []int64 // repositories that are about to be written to
	for _, e := range clean {
		if id := e.Issue.RepositoryID; (e.State == triage.LedgerIntended || e.State == triage.LedgerRemoving) && !slices.Contains(announced, id) {
			announced = append(announced, id)
		}
	}
	return s.writer.do(ctx, func(t *tx) error {
		if err := mayWrite(t, announced); err != nil {
			return err
		}
		l, err := loadLedger(context.Background(), t, keys)
		if err != nil {
			return err
		}
		for _, e := range clean {
			key := store.LabelKey(e.Name)
			switch store.JudgeEntry(l.get(e.Issue, key), e) {
			case store.Replace:
				err = l.replace(t, key, e)
			case store.Keep:
				err = l.keep(t, key, e)
			case store.Refuse:
				err = fmt.Errorf("label %q of %s was vetoed since the ledger was read: %w", e.Name, e.Issue, store.ErrConflict)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}
