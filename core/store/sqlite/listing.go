package sqlite

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dispatchai/dispatchai/core/store"
)

// ListIssues finds the page's issues in an index first and then reads those.
func (s *Store) ListIssues(ctx context.Context, filter store.IssueFilter) (_ store.IssuePage, err error) {
	defer s.metrics.observe("list_issues", time.Now(), &err)
	limit := filter.PageSize()
	inner, args, err := listQuery(filter, limit+1)
	if err != nil {
		return store.IssuePage{}, err
	}
	// The text depends on the filter, so it is not cached.
	rows, err := s.reader.db.QueryContext(ctx, `SELECT `+issueColumns("''")+` FROM (`+inner+`) page CROSS JOIN issues i ON i.id = page.id`+issueJoins+`
		ORDER BY i.updated_at DESC, i.id DESC`, args...)
	if err != nil {
		return store.IssuePage{}, s.explain(err)
	}
	var page store.IssuePage
	var last store.Cursor
	err = scanAll(rows, func() error {
		row, err := scanIssue(rows)
		if err != nil {
			return err
		}
		if len(page.Issues) == limit {
			page.Next = last.String()
			return nil
		}
		page.Issues = append(page.Issues, row.state)
		last = store.Cursor{UpdatedAt: row.state.Issue.UpdatedAt, ID: row.id}
		return nil
	})
	if err != nil {
		return store.IssuePage{}, s.explain(err)
	}
	return page, nil
}

// listQuery selects the id of each issue of a page. Only what the filter names
// is in the text, so that SQLite can choose the index that serves it.
func listQuery(filter store.IssueFilter, limit int) (query string, args []any, err error) {
	var where strings.Builder
	add := func(condition string, values ...any) {
		where.WriteString(" AND " + condition)
		args = append(args, values...)
	}
	equal := func(column, value string) {
		if value != "" {
			add("i."+column+" = ?", store.CleanText(value))
		}
	}
	switch {
	case len(filter.RepositoryIDs) == 1:
		add("i.repository_id = ?", filter.RepositoryIDs[0])
	case filter.RepositoryIDs != nil:
		add("i.repository_id IN (SELECT value FROM json_each(?))", numbersJSON(filter.RepositoryIDs))
	}
	equal("state", filter.State)
	equal("category", filter.Category)
	equal("priority", filter.Priority)
	equal("component", filter.Component)
	equal("status", string(filter.Status))
	if filter.Search != "" {
		words := store.QueryWords(filter.Search)
		if len(words) == 0 {
			add("0")
		} else {
			// A word holds letters and digits only; in quotes it is no operator.
			add(`i.id IN (SELECT rowid FROM issue_search WHERE issue_search MATCH ?)`, `"`+strings.Join(words, `"* AND "`)+`"*`)
		}
	}
	if filter.Cursor != "" {
		cursor, err := store.ParseCursor(filter.Cursor)
		if err != nil {
			return "", nil, err
		}
		add("(i.updated_at, i.id) < (?, ?)", micros(cursor.UpdatedAt), cursor.ID)
	}
	return `SELECT i.id FROM issues i WHERE i.deleted = 0` + where.String() + `
		AND EXISTS (SELECT 1 FROM repositories r WHERE r.id = i.repository_id AND r.removed = 0)
		ORDER BY i.updated_at DESC, i.id DESC LIMIT ?`, append(args, limit), nil
}

// FindIssue reads the issue by the index over GitHub's ID.
func (s *Store) FindIssue(ctx context.Context, id int64) (_ store.IssueState, err error) {
	defer s.metrics.observe("find_issue", time.Now(), &err)
	rows, err := s.reader.query(ctx, `SELECT `+issueColumns("i.body")+` FROM issues i`+issueJoins+`
		WHERE i.github_id = ? AND i.deleted = 0 AND r.removed = 0 ORDER BY i.id DESC LIMIT 1`, id)
	if err != nil {
		return store.IssueState{}, s.explain(err)
	}
	var found *issueRow
	err = scanAll(rows, func() error {
		var err error
		found, err = scanIssue(rows)
		return err
	})
	switch {
	case err != nil:
		return store.IssueState{}, s.explain(err)
	case found == nil:
		return store.IssueState{}, fmt.Errorf("issue %d: %w", id, store.ErrNotFound)
	}
	return found.state, nil
}

// Stats counts over indices alone, in one moment.
func (s *Store) Stats(ctx context.Context, repositoryIDs []int64) (_ store.Stats, err error) {
	defer s.metrics.observe("stats", time.Now(), &err)
	stats := store.Stats{ByCategory: make(map[string]int64), ByPriority: make(map[string]int64)}
	tx, err := s.reader.db.BeginTx(ctx, nil)
	if err != nil {
		return stats, s.explain(err)
	}
	defer func() { _ = tx.Rollback() }()
	shown, args := `(SELECT id FROM repositories WHERE removed = 0)`, []any(nil)
	if repositoryIDs != nil {
		shown, args = `(SELECT id FROM repositories WHERE removed = 0 AND id IN (SELECT value FROM json_each(?)))`, []any{numbersJSON(repositoryIDs)}
	}
	rows, err := tx.QueryContext(ctx, `SELECT count(*) FROM `+shown, args...)
	if err != nil {
		return stats, s.explain(err)
	}
	if err := scanOne(rows, &stats.Repositories); err != nil {
		return stats, s.explain(err)
	}
	rows, err = tx.QueryContext(ctx, `SELECT state, status, category, priority, count(*), sum(corrections), sum(corrections > 0)
		FROM issues WHERE deleted = 0 AND repository_id IN `+shown+` GROUP BY repository_id, state, status, category, priority`, args...)
	if err != nil {
		return stats, s.explain(err)
	}
	err = scanAll(rows, func() error {
		var state, status, category, priority string
		var issues, corrections, corrected int64
		if err := rows.Scan(&state, &status, &category, &priority, &issues, &corrections, &corrected); err != nil {
			return err
		}
		stats.Issues += issues
		stats.Corrections += corrections
		stats.Corrected += corrected
		if state == "open" {
			stats.Open += issues
		}
		if status != string(store.StatusReceived) {
			stats.Classified += issues
		}
		if category != "" {
			stats.ByCategory[category] += issues
		}
		if priority != "" {
			stats.ByPriority[priority] += issues
		}
		return nil
	})
	if err != nil {
		return stats, s.explain(err)
	}
	rows, err = tx.QueryContext(ctx, `SELECT coalesce(sum(state IN ('written', 'confirmed', 'removing')), 0), coalesce(sum(state = 'vetoed'), 0)
		FROM label_ledger WHERE repository_id IN `+shown, args...)
	if err != nil {
		return stats, s.explain(err)
	}
	return stats, s.explain(errors.Join(scanOne(rows, &stats.LabelsOnIssues, &stats.Vetoes), tx.Rollback()))
}
