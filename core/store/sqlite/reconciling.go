package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

// AdoptRepositories inserts the rows that are missing.
func (s *Store) AdoptRepositories(ctx context.Context, now time.Time) (adopted []triage.Repository, err error) {
	defer s.metrics.observe("adopt_repositories", time.Now(), &err)
	// Most of the time there is none, and a read shows it.
	rows, err := s.reader.query(ctx, unadopted)
	if err != nil {
		return nil, s.explain(err)
	}
	some := false
	if err := scanAll(rows, func() error { some = true; return nil }); err != nil || !some {
		return nil, s.explain(err)
	}
	return adopted, s.writer.do(ctx, func(t *tx) error {
		adopted = nil
		rows, err := t.query(ctx, unadopted)
		if err != nil {
			return err
		}
		var known []time.Time
		if err := scanAll(rows, func() error {
			var r triage.Repository
			var described, membership int64
			if err := rows.Scan(&r.ID, &r.InstallationID, &r.FullName, &r.Private, &described, &membership); err != nil {
				return err
			}
			at := fromMicros(membership)
			if at.IsZero() {
				at = fromMicros(described) // heard of through one of its issues
			}
			adopted, known = append(adopted, r), append(known, at)
			return nil
		}); err != nil {
			return err
		}
		for i, r := range adopted {
			if err := beginReconciling(t, r.ID, known[i], now); err != nil {
				return err
			}
		}
		return nil
	})
}

// ExpectRepositories inserts the rows that are missing.
func (s *Store) ExpectRepositories(ctx context.Context, repositories []triage.Repository, since, now time.Time) (err error) {
	defer s.metrics.observe("expect_repositories", time.Now(), &err)
	if len(repositories) == 0 {
		return ctx.Err()
	}
	return s.writer.do(ctx, func(t *tx) error {
		for _, r := range repositories {
			if err := beginReconciling(t, r.ID, since, now); err != nil {
				return err
			}
		}
		return nil
	})
}

func beginReconciling(t *tx, repositoryID int64, since, now time.Time) error {
	_, err := t.exec(`INSERT INTO reconciliations (repository_id, since, etag, due_at, labels_due, listed, missing, changed, last_error)
		VALUES (?, ?, '', ?, 0, 0, 0, 0, '') ON CONFLICT (repository_id) DO NOTHING`, repositoryID, micros(since), micros(now))
	return err
}

const unadopted = `SELECT id, installation_id, full_name, private, described_at, membership_at FROM repositories r
	WHERE removed = 0 AND installation_id <> 0 AND NOT EXISTS (SELECT 1 FROM reconciliations c WHERE c.repository_id = r.id)`

const reconciliationColumns = `r.id, r.installation_id, r.full_name, r.private, c.since, c.etag, c.started_at, c.completed_at, c.due_at, c.labels_due,
	c.listed, c.missing, c.changed, c.found_at, c.last_error`

func scanReconciliation(rows *sql.Rows) (c store.Reconciliation, err error) {
	var since, due int64
	var started, completed, found sql.NullInt64
	r := &c.Repository
	err = rows.Scan(&r.ID, &r.InstallationID, &r.FullName, &r.Private, &since, &c.ETag, &started, &completed, &due, &c.LabelsDue,
		&c.Listed, &c.Missing, &c.Changed, &found, &c.Error)
	c.Since, c.Due = fromMicros(since), fromMicros(due)
	c.StartedAt, c.CompletedAt, c.FoundAt = fromOptionalMicros(started), fromOptionalMicros(completed), fromOptionalMicros(found)
	return c, err
}

// DueReconciliations leaves out what nobody may read now.
func (s *Store) DueReconciliations(ctx context.Context, now time.Time, limit int) (due []store.Reconciliation, err error) {
	defer s.metrics.observe("due_reconciliations", time.Now(), &err)
	rows, err := s.reader.query(ctx, `SELECT `+reconciliationColumns+` FROM reconciliations c JOIN repositories r ON r.id = c.repository_id
		LEFT JOIN installations n ON n.id = r.installation_id
		WHERE c.due_at <= ? AND r.removed = 0 AND coalesce(n.suspended, 0) = 0 AND coalesce(n.removed, 0) = 0
		ORDER BY c.since, c.repository_id LIMIT ?`, micros(now), limit)
	if err != nil {
		return nil, s.explain(err)
	}
	return due, s.explain(scanAll(rows, func() error {
		c, err := scanReconciliation(rows)
		due = append(due, c)
		return err
	}))
}

// SaveReconciliation replaces the row and covers what it makes good.
func (s *Store) SaveReconciliation(ctx context.Context, c store.Reconciliation) (err error) {
	defer s.metrics.observe("save_reconciliation", time.Now(), &err)
	return s.writer.do(ctx, func(t *tx) error {
		// Somebody hastened it when it is due earlier than it would be, and since the start.
		if _, err := t.exec(`UPDATE reconciliations SET since = ?1, etag = ?2, started_at = ?3, completed_at = ?4,
				due_at = CASE WHEN ?13 OR due_at >= ?3 AND due_at < ?5 THEN due_at ELSE ?5 END,
				labels_due = CASE WHEN due_at >= ?3 THEN max(labels_due, ?6) ELSE ?6 END, listed = ?7, missing = ?8, changed = ?9, found_at = ?10, last_error = ?11
			WHERE repository_id = ?12`,
			micros(c.Since), store.CleanText(c.ETag), optionalMicros(c.StartedAt), optionalMicros(c.CompletedAt), micros(c.Due), c.LabelsDue,
			c.Listed, c.Missing, c.Changed, optionalMicros(c.FoundAt), store.CleanText(c.Error), c.Repository.ID,
			!c.Completed && c.Error == ""); err != nil || !c.Completed {
			return err
		}
		return cover(t, `repository_id = ?`, c.StartedAt, c.Repository.ID)
	})
}

// HastenReconciliations is one statement.
func (s *Store) HastenReconciliations(ctx context.Context, completedBefore, now time.Time) (err error) {
	defer s.metrics.observe("hasten_reconciliations", time.Now(), &err)
	return s.writer.do(ctx, func(t *tx) error {
		_, err := t.exec(`UPDATE reconciliations SET due_at = min(due_at, ?), labels_due = 1 WHERE completed_at IS NULL OR completed_at < ?`, micros(now), micros(completedBefore))
		return err
	})
}

// StartBackfill replaces the row of an earlier request.
func (s *Store) StartBackfill(ctx context.Context, b store.Backfill) (err error) {
	defer s.metrics.observe("start_backfill", time.Now(), &err)
	if b.Repository.ID <= 0 || b.RequestID == "" {
		return fmt.Errorf("sqlite store: a backfill of repository %d with the request %q", b.Repository.ID, b.RequestID)
	}
	return s.writer.do(ctx, func(t *tx) error {
		_, err := t.exec(`INSERT INTO backfills (repository_id, request_id, state, since, asked_by, asked_at, status, begun_at, position, total, listed, enqueued, unchanged,
				updated_at, finished_at, not_before, last_error)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (repository_id) DO UPDATE SET request_id = excluded.request_id, state = excluded.state, since = excluded.since,
				asked_by = excluded.asked_by, asked_at = excluded.asked_at, status = excluded.status, begun_at = excluded.begun_at, position = excluded.position, total = excluded.total,
				listed = excluded.listed, enqueued = excluded.enqueued, unchanged = excluded.unchanged, updated_at = excluded.updated_at,
				finished_at = excluded.finished_at, not_before = excluded.not_before, last_error = excluded.last_error
			WHERE backfills.request_id <> excluded.request_id`,
			b.Repository.ID, store.CleanText(b.RequestID), store.CleanText(b.State), optionalMicros(b.Since), store.CleanText(b.AskedBy), micros(b.AskedAt),
			string(b.Status), optionalMicros(b.Begun), optionalMicros(b.Position), b.Total, b.Listed, b.Enqueued, b.Unchanged, micros(b.UpdatedAt), optionalMicros(b.FinishedAt),
			micros(b.NotBefore), store.CleanText(b.Error))
		return err
	})
}

// SaveBackfill changes the row of the request alone.
func (s *Store) SaveBackfill(ctx context.Context, b store.Backfill) (err error) {
	defer s.metrics.observe("save_backfill", time.Now(), &err)
	return s.writer.do(ctx, func(t *tx) error {
		n, err := t.exec(`UPDATE backfills SET status = ?, begun_at = ?, position = ?, total = ?, listed = ?, enqueued = ?, unchanged = ?, updated_at = ?, finished_at = ?,
				not_before = ?, last_error = ? WHERE repository_id = ? AND request_id = ?`,
			string(b.Status), optionalMicros(b.Begun), optionalMicros(b.Position), b.Total, b.Listed, b.Enqueued, b.Unchanged, micros(b.UpdatedAt), optionalMicros(b.FinishedAt),
			micros(b.NotBefore), store.CleanText(b.Error), b.Repository.ID, store.CleanText(b.RequestID))
		if err == nil && n == 0 {
			return fmt.Errorf("backfill %s of repository %d: %w", b.RequestID, b.Repository.ID, store.ErrConflict)
		}
		return err
	})
}

// Backfills reads all of them; there is at most one for each repository.
func (s *Store) Backfills(ctx context.Context) (all []store.Backfill, err error) {
	defer s.metrics.observe("backfills", time.Now(), &err)
	all, err = loadBackfills(ctx, s.reader)
	return all, s.explain(err)
}

func loadBackfills(ctx context.Context, q querier) (all []store.Backfill, err error) {
	rows, err := q.query(ctx, `SELECT b.repository_id, coalesce(r.installation_id, 0), coalesce(r.full_name, ''), coalesce(r.private, 1), coalesce(r.removed, 1),
			b.request_id, b.state, b.since, b.asked_by, b.asked_at, b.status, b.begun_at, b.position, b.total, b.listed, b.enqueued, b.unchanged,
			b.updated_at, b.finished_at, b.not_before, b.last_error
		FROM backfills b LEFT JOIN repositories r ON r.id = b.repository_id ORDER BY b.status <> 'running', b.asked_at DESC, b.repository_id`)
	if err != nil {
		return nil, err
	}
	return all, scanAll(rows, func() error {
		var b store.Backfill
		var since, begun, position, finished sql.NullInt64
		var asked, updated, notBefore int64
		r := &b.Repository
		err := rows.Scan(&r.ID, &r.InstallationID, &r.FullName, &r.Private, &r.Removed, &b.RequestID, &b.State, &since, &b.AskedBy, &asked, &b.Status, &begun, &position,
			&b.Total, &b.Listed, &b.Enqueued, &b.Unchanged, &updated, &finished, &notBefore, &b.Error)
		b.Since, b.Begun, b.Position, b.FinishedAt = fromOptionalMicros(since), fromOptionalMicros(begun), fromOptionalMicros(position), fromOptionalMicros(finished)
		b.AskedAt, b.UpdatedAt, b.NotBefore = fromMicros(asked), fromMicros(updated), fromMicros(notBefore)
		all = append(all, b)
		return err
	})
}

// Gaps reads everything in one moment.
func (s *Store) Gaps(ctx context.Context, since time.Time, repositoryIDs []int64) (_ store.GapReport, err error) {
	defer s.metrics.observe("gaps", time.Now(), &err)
	report, err := s.gaps(ctx, since, repositoryIDs)
	return report, s.explain(err)
}

func (s *Store) gaps(ctx context.Context, since time.Time, repositoryIDs []int64) (store.GapReport, error) {
	report := store.GapReport{Since: since.UTC(), Open: []store.MissingDelivery{}, Repositories: []store.RepositoryGaps{}}
	hour := since.Truncate(time.Hour)
	dtx, err := s.reader.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return report, err
	}
	defer func() { _ = dtx.Rollback() }()
	q := transactionReader{dtx}
	sweep, err := loadSweep(ctx, q)
	if err != nil {
		return report, err
	}
	report.SweptAt, report.SweptUntil, report.DirectoryAt = store.OptionalTime(sweep.FinishedAt), store.OptionalTime(sweep.Until), store.OptionalTime(sweep.DirectoryAt)
	d := &report.Deliveries
	rows, err := q.query(ctx, `SELECT coalesce(sum(made), 0), coalesce(sum(ignored), 0), coalesce(sum(failed), 0), coalesce(sum(asked), 0), coalesce(sum(healed), 0),
		coalesce(sum(given_up), 0), coalesce(sum(covered), 0) FROM delivery_hours WHERE hour >= ?`, micros(hour))
	if err != nil {
		return report, err
	}
	if err := scanOne(rows, &d.Made, &d.Ignored, &d.Failed, &d.Redelivered, &d.Healed, &d.GivenUp, &d.Covered); err != nil {
		return report, err
	}
	rows, err = q.query(ctx, `SELECT coalesce(sum(state = 'accepted'), 0), coalesce(sum(state = 'missing'), 0) FROM deliveries WHERE state <> 'held' AND delivered_at >= ?`, micros(hour))
	if err != nil {
		return report, err
	}
	if err := scanOne(rows, &d.Waiting, &d.Missing); err != nil {
		return report, err
	}
	d.Held = d.Made - d.Waiting - d.Missing - d.GivenUp
	rows, err = q.query(ctx, `SELECT `+missingColumns+` FROM deliveries WHERE state IN ('missing', 'given_up') AND delivered_at >= ? ORDER BY delivered_at, guid LIMIT ?`,
		micros(hour), store.MaxOpenShown)
	if err != nil {
		return report, err
	}
	if err := scanAll(rows, func() error {
		m, err := scanMissing(rows)
		report.Open = append(report.Open, m)
		return err
	}); err != nil {
		return report, err
	}
	report.Repositories, err = repositoryGaps(ctx, q, repositoryIDs)
	return report, err
}

func repositoryGaps(ctx context.Context, q querier, repositoryIDs []int64) ([]store.RepositoryGaps, error) {
	backfills, err := loadBackfills(ctx, q)
	if err != nil {
		return nil, err
	}
	byRepository := make(map[int64]store.Backfill, len(backfills))
	for _, b := range backfills {
		byRepository[b.Repository.ID] = b
	}
	rows, err := q.query(ctx, `SELECT `+reconciliationColumns+` FROM reconciliations c JOIN repositories r ON r.id = c.repository_id WHERE r.removed = 0`)
	if err != nil {
		return nil, err
	}
	all := []store.RepositoryGaps{}
	if err := scanAll(rows, func() error {
		c, err := scanReconciliation(rows)
		if err != nil || repositoryIDs != nil && !slices.Contains(repositoryIDs, c.Repository.ID) {
			return err
		}
		g := store.RepositoryGaps{
			ID: c.Repository.ID, FullName: c.Repository.FullName, ReconciledAt: store.OptionalTime(c.CompletedAt), ComparedTo: c.Since,
			Listed: c.Listed, Missing: c.Missing, Changed: c.Changed, FoundAt: store.OptionalTime(c.FoundAt), Error: c.Error,
		}
		if b, ok := byRepository[g.ID]; ok {
			report := b.Report()
			g.Backfill = &report
		}
		all = append(all, g)
		return nil
	}); err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b store.RepositoryGaps) int {
		return cmp.Or(cmp.Compare(a.FullName, b.FullName), cmp.Compare(a.ID, b.ID))
	})
	return all, nil
}

// transactionReader reads within one transaction; its statements are not kept.
type transactionReader struct{ tx *sql.Tx }

func (r transactionReader) query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return r.tx.QueryContext(ctx, query, args...)
}
