package sqlite

import (
	"context"
	"fmt"
	"time"

	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

// IssueTypes reads all of the issues with one statement.
func (s *Store) IssueTypes(ctx context.Context, keys []triage.IssueKey) (_ map[triage.IssueKey]store.TypedIssue, err error) {
	defer s.metrics.observe("issue_types", time.Now(), &err)
	found := make(map[triage.IssueKey]store.TypedIssue)
	if len(keys) == 0 {
		return found, ctx.Err()
	}
	rows, err := s.reader.query(ctx, `SELECT t.repository_id, t.number, t.type, t.event_id, t.state, t.at
		FROM json_each(?) k CROSS JOIN typed_issues t ON t.repository_id = k.value ->> 0 AND t.number = k.value ->> 1`, issueKeysJSON(keys))
	if err != nil {
		return nil, s.explain(err)
	}
	return found, s.explain(scanAll(rows, func() error {
		var i store.TypedIssue
		var at int64
		err := rows.Scan(&i.Issue.RepositoryID, &i.Issue.Number, &i.Type, &i.EventID, &i.State, &at)
		i.At = fromMicros(at)
		found[i.Issue] = i
		return err
	}))
}

// RecordIssueType writes one row.
func (s *Store) RecordIssueType(ctx context.Context, row store.TypedIssue) (err error) {
	defer s.metrics.observe("record_issue_type", time.Now(), &err)
	if row, err = row.Normalize(); err != nil {
		return fmt.Errorf("sqlite store: %w", err)
	}
	return s.writer.do(ctx, func(t *tx) error {
		_, err := t.exec(`INSERT INTO typed_issues (repository_id, number, type, event_id, state, at) VALUES (?, ?, ?, ?, ?, ?)
			ON CONFLICT (repository_id, number) DO UPDATE SET type = excluded.type, event_id = excluded.event_id, state = excluded.state, at = excluded.at
			WHERE typed_issues.state = 'intended'`,
			row.Issue.RepositoryID, row.Issue.Number, row.Type, row.EventID, string(row.State), micros(row.At))
		return err
	})
}
