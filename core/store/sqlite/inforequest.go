package sqlite

import (
	"context"
	"fmt"
	"time"

	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

// LoadInfoRequest reads one row.
func (s *Store) LoadInfoRequest(ctx context.Context, issue triage.IssueKey) (r store.InfoRequest, err error) {
	defer s.metrics.observe("load_info_request", time.Now(), &err)
	rows, err := s.reader.query(ctx, `SELECT state, comment_id, text, updated_at FROM info_requests WHERE repository_id = ? AND number = ?`,
		issue.RepositoryID, issue.Number)
	if err != nil {
		return r, s.explain(err)
	}
	r.Issue = issue
	var updated int64
	if err := scanOne(rows, &r.State, &r.CommentID, &r.Text, &updated); err != nil {
		return r, s.explain(err)
	}
	if r.State != "" {
		r.UpdatedAt = fromMicros(updated)
	}
	return r, nil
}

// SaveInfoRequest writes one row.
func (s *Store) SaveInfoRequest(ctx context.Context, r store.InfoRequest) (err error) {
	defer s.metrics.observe("save_info_request", time.Now(), &err)
	if r.Issue.RepositoryID <= 0 || r.Issue.Number <= 0 {
		return fmt.Errorf("sqlite store: request: %s is not an issue", r.Issue)
	}
	return s.writer.do(ctx, func(t *tx) error {
		if r.State == store.RequestIntended {
			if err := mayWrite(t, []int64{r.Issue.RepositoryID}); err != nil {
				return err
			}
		}
		_, err := t.exec(`INSERT INTO info_requests (repository_id, number, state, comment_id, text, updated_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
			ON CONFLICT (repository_id, number) DO UPDATE SET state = ?3, comment_id = ?4, text = ?5, updated_at = ?6`,
			r.Issue.RepositoryID, r.Issue.Number, store.CleanText(string(r.State)), r.CommentID, store.CleanText(r.Text), micros(store.CleanTime(r.UpdatedAt)))
		return err
	})
}
