package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

// issueRow is an issue's state with its number in this database.
type issueRow struct {
	id    int64 // 0: not stored
	state store.IssueState
	// erased: nothing is kept of the deleted issue but its numbers.
	erased bool

	// What the transaction under way has still to do to the search index:
	// forget the words from before it, and add new ones.
	created      bool
	unsearchable bool
	words        *string
}

// issueColumns selects what scanIssue reads, from issues i, repositories r and
// issue_classifications c. One statement, so that all of it is of one moment.
func issueColumns(body string) string {
	return `i.id, i.repository_id, i.number, i.github_id, i.title, ` + body + `, i.state,
	i.author_login, i.author_type, i.author_association, i.labels, i.url,
	i.created_at, i.updated_at, i.closed_at, i.deleted,
	i.revision, i.received_at, i.log_partition, i.log_offset, i.text_hash,
	r.installation_id, r.full_name, r.private, r.archived, r.removed,
	c.issue_id IS NOT NULL, coalesce(c.delivery_id, ''), coalesce(c.fields, ''), coalesce(c.reasoning, ''),
	coalesce(c.hold, ''), coalesce(c.passed_over, ''),
	coalesce(c.input_tokens, 0), coalesce(c.output_tokens, 0), coalesce(c.cost_usd, 0.0),
	coalesce(c.similar, ''), coalesce(c.classified_at, 0),
	CASE WHEN i.corrections > 0 THEN (
		SELECT json_group_array(json_object('event_id', k.event_id, 'field', k.field, 'old', json(k.old_values),
			'new', json(k.new_values), 'actor', k.actor, 'reason', k.reason, 'source', k.source, 'micros', k.at) ORDER BY k.at, k.id)
		FROM corrections k WHERE k.issue_id = i.id) ELSE '' END,
	i.deleted = 1 AND EXISTS (SELECT 1 FROM deleted_issues e WHERE e.issue_id = i.id AND e.erased = 1),
	CASE WHEN i.deleted = 1 THEN (
		SELECT m.moved_repository_id || '#' || m.moved_number FROM deleted_issues m WHERE m.issue_id = i.id) END,
	coalesce((SELECT d.directives FROM issue_directives d WHERE d.issue_id = i.id), '')`
}

const issueJoins = `
	JOIN repositories r ON r.id = i.repository_id
	LEFT JOIN issue_classifications c ON c.issue_id = i.id`

// loadIssues reads the issues that are stored, by key.
func loadIssues(ctx context.Context, q querier, keys []triage.IssueKey) (map[triage.IssueKey]*issueRow, error) {
	issues := make(map[triage.IssueKey]*issueRow, len(keys))
	if len(keys) == 0 {
		return issues, nil
	}
	rows, err := q.query(ctx, `SELECT `+issueColumns("i.body")+`
		FROM json_each(?) k CROSS JOIN issues i ON i.repository_id = k.value ->> 0 AND i.number = k.value ->> 1`+issueJoins,
		issueKeysJSON(keys))
	if err != nil {
		return nil, err
	}
	return issues, scanAll(rows, func() error {
		row, err := scanIssue(rows)
		if err != nil {
			return err
		}
		issues[row.state.Issue.Key()] = row
		return nil
	})
}

func scanIssue(rows *sql.Rows) (*issueRow, error) {
	row := &issueRow{}
	s := &row.state
	i, r := &s.Issue, &s.Issue.Repository
	var (
		labels, fields, similar, corrections, directives, passedOver sql.RawBytes
		created, updated, received, classifiedAt                     int64
		closed                                                       sql.NullInt64
		moved                                                        sql.NullString
		classified                                                   bool
		c                                                            triage.Classification
	)
	err := rows.Scan(&row.id, &r.ID, &i.Number, &i.ID, &i.Title, &i.Body, &i.State,
		&i.Author.Login, &i.Author.Type, &i.AuthorAssociation, &labels, &i.URL,
		&created, &updated, &closed, &s.Deleted,
		&s.Revision, &received, &s.Position.Partition, &s.Position.Offset, &s.TextHash,
		&r.InstallationID, &r.FullName, &r.Private, &r.Archived, &r.Removed,
		&classified, &c.DeliveryID, &fields, &c.Reasoning, &c.Hold, &passedOver,
		&c.Usage.InputTokens, &c.Usage.OutputTokens, &c.Usage.CostUSD,
		&similar, &classifiedAt, &corrections, &row.erased, &moved, &directives)
	if err != nil {
		return nil, err
	}
	if moved.Valid {
		if s.MovedTo, err = triage.ParseIssueKey(moved.String); err != nil {
			return nil, fmt.Errorf("what became of issue %s: %w", i.Key(), err)
		}
	}
	i.CreatedAt, i.UpdatedAt, s.ReceivedAt = fromMicros(created), fromMicros(updated), fromMicros(received)
	if closed.Valid {
		at := fromMicros(closed.Int64)
		i.ClosedAt = &at
	}
	if err := json.Unmarshal(labels, &i.Labels); err != nil {
		return nil, fmt.Errorf("labels of issue %s: %w", i.Key(), err)
	}
	if classified {
		c.ClassifiedAt = fromMicros(classifiedAt)
		if err := json.Unmarshal(fields, &c.Fields); err != nil {
			return nil, fmt.Errorf("classification of issue %s: %w", i.Key(), err)
		}
		if len(passedOver) > len("[]") {
			if err := json.Unmarshal(passedOver, &c.PassedOver); err != nil {
				return nil, fmt.Errorf("classifiers passed over for issue %s: %w", i.Key(), err)
			}
		}
		if err := json.Unmarshal(similar, &s.Similar); err != nil {
			return nil, fmt.Errorf("similar issues of issue %s: %w", i.Key(), err)
		}
		s.Classification = &c
	}
	if len(corrections) > 0 {
		var stored []struct {
			triage.Correction
			Micros int64 `json:"micros"`
		}
		if err := json.Unmarshal(corrections, &stored); err != nil {
			return nil, fmt.Errorf("corrections of issue %s: %w", i.Key(), err)
		}
		for _, k := range stored {
			k.Issue, k.At = i.Key(), fromMicros(k.Micros)
			s.Corrections = append(s.Corrections, k.Correction)
		}
	}
	if len(directives) > 0 {
		if err := json.Unmarshal(directives, &s.Directives); err != nil {
			return nil, fmt.Errorf("directives of issue %s: %w", i.Key(), err)
		}
	}
	return row, nil
}
