package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

const suggestionColumns = `g.repository_id, g.number, g.suggestion, g.state, g.github_id, g.created_at, g.updated_at, g.etag, g.look_at`

// Suggestions reads all of the issues with one statement.
func (s *Store) Suggestions(ctx context.Context, keys []triage.IssueKey) (_ map[triage.IssueKey][]store.Suggestion, err error) {
	defer s.metrics.observe("suggestions", time.Now(), &err)
	found, err := loadSuggestions(ctx, s.reader, keys)
	return found, s.explain(err)
}

func loadSuggestions(ctx context.Context, q querier, keys []triage.IssueKey) (map[triage.IssueKey][]store.Suggestion, error) {
	found := make(map[triage.IssueKey][]store.Suggestion)
	if len(keys) == 0 {
		return found, nil
	}
	rows, err := q.query(ctx, `SELECT `+suggestionColumns+` FROM (SELECT DISTINCT value ->> 0 AS repository_id, value ->> 1 AS number FROM json_each(?)) k
		CROSS JOIN label_suggestions g ON g.repository_id = k.repository_id AND g.number = k.number ORDER BY g.repository_id, g.number, g.label_key`, issueKeysJSON(keys))
	if err != nil {
		return nil, err
	}
	return found, scanAll(rows, func() error {
		g, err := scanSuggestion(rows)
		found[g.Issue] = append(found[g.Issue], g)
		return err
	})
}

func scanSuggestion(rows *sql.Rows) (g store.Suggestion, err error) {
	var label sql.RawBytes
	var created, updated int64
	var look sql.NullInt64
	if err := rows.Scan(&g.Issue.RepositoryID, &g.Issue.Number, &label, &g.State, &g.GitHubID, &created, &updated, &g.ETag, &look); err != nil {
		return g, err
	}
	g.CreatedAt, g.UpdatedAt, g.LookAt = fromMicros(created), fromMicros(updated), fromOptionalMicros(look)
	if err := json.Unmarshal(label, &g.SuggestedLabel); err != nil {
		return g, fmt.Errorf("suggestion for %s: %w", g.Issue, err)
	}
	return g, nil
}

// RecordSuggestions writes the suggestions in one transaction.
func (s *Store) RecordSuggestions(ctx context.Context, suggestions []store.Suggestion) (err error) {
	defer s.metrics.observe("record_suggestions", time.Now(), &err)
	clean := make([]store.Suggestion, len(suggestions))
	labels := make([]string, len(suggestions))
	for i, g := range suggestions {
		if clean[i], err = g.Normalize(); err != nil {
			return fmt.Errorf("sqlite store: %w", err)
		}
		if labels[i], err = toJSON(clean[i].SuggestedLabel); err != nil {
			return fmt.Errorf("sqlite store: %w", err)
		}
	}
	if len(clean) == 0 {
		return ctx.Err()
	}
	return s.writer.do(ctx, func(t *tx) error {
		for i, g := range clean {
			if _, err := t.exec(`INSERT INTO label_suggestions (repository_id, number, label_key, suggestion, state, github_id, created_at, updated_at, etag, look_at)
				VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
				ON CONFLICT (repository_id, number, label_key) DO UPDATE SET suggestion = excluded.suggestion, state = excluded.state,
					github_id = excluded.github_id, created_at = excluded.created_at, updated_at = excluded.updated_at, etag = excluded.etag, look_at = excluded.look_at
				WHERE label_suggestions.state NOT IN ('approved', 'dismissed')`,
				g.Issue.RepositoryID, g.Issue.Number, store.LabelKey(g.Name), labels[i], string(g.State), g.GitHubID,
				micros(g.CreatedAt), micros(g.UpdatedAt), g.ETag, optionalMicros(g.LookAt)); err != nil {
				return err
			}
		}
		return nil
	})
}

// ClaimSuggestions hands out issues by a small index.
func (s *Store) ClaimSuggestions(ctx context.Context, now, again time.Time, limit int) (issues []store.SuggestedIssue, err error) {
	defer s.metrics.observe("claim_suggestions", time.Now(), &err)
	now, again = store.CleanTime(now), store.CleanTime(again)
	if limit <= 0 || !again.After(now) {
		return nil, fmt.Errorf("sqlite store: claim of %d suggestions until %s: both must be set", limit, again)
	}
	rows, err := s.reader.query(ctx, `SELECT EXISTS (SELECT 1 FROM label_suggestions WHERE state = 'pending' AND look_at <= ?)`, micros(now))
	if err != nil {
		return nil, s.explain(err)
	}
	var any bool
	if err := scanOne(rows, &any); err != nil || !any {
		return nil, s.explain(err)
	}
	err = s.writer.do(ctx, func(t *tx) error {
		issues, err = claimSuggestions(t, now, again, limit)
		return err
	})
	if err != nil {
		return nil, err
	}
	return issues, nil
}

func claimSuggestions(t *tx, now, again time.Time, limit int) ([]store.SuggestedIssue, error) {
	rows, err := t.query(context.Background(), `SELECT g.repository_id, g.number, r.installation_id, r.full_name, r.private
		FROM label_suggestions g
			JOIN repositories r ON r.id = g.repository_id
			LEFT JOIN installations n ON n.id = r.installation_id
		WHERE g.state = 'pending' AND g.look_at <= ? AND r.removed = 0 AND coalesce(n.suspended, 0) = 0 AND coalesce(n.removed, 0) = 0
		GROUP BY g.repository_id, g.number ORDER BY min(g.look_at), g.repository_id, g.number LIMIT ?`, micros(now), limit)
	if err != nil {
		return nil, err
	}
	var issues []store.SuggestedIssue
	var keys []triage.IssueKey
	err = scanAll(rows, func() error {
		var i store.SuggestedIssue
		r := &i.Repository
		err := rows.Scan(&r.ID, &i.Number, &r.InstallationID, &r.FullName, &r.Private)
		issues, keys = append(issues, i), append(keys, triage.IssueKey{RepositoryID: r.ID, Number: i.Number})
		return err
	})
	if err != nil || len(issues) == 0 {
		return nil, err
	}
	found, err := loadSuggestions(context.Background(), t, keys)
	if err != nil {
		return nil, err
	}
	for i, key := range keys {
		issues[i].Suggestions = found[key]
	}
	_, err = t.exec(`UPDATE label_suggestions SET look_at = ?1 WHERE state = 'pending' AND look_at <= ?2
		AND (repository_id, number) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?3))`, micros(again), micros(now), issueKeysJSON(keys))
	return issues, err
}
