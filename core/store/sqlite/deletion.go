package sqlite

import (
	"context"
	"slices"

	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

// noteDeletion remembers since when and why an issue is deleted, and what it has
// become. The first news of it gives the time, so that it is not kept longer.
func noteDeletion(t *tx, issueID int64, c store.IssueChange) error {
	var repositoryID, number any
	if c.MovedTo != (triage.IssueKey{}) {
		repositoryID, number = c.MovedTo.RepositoryID, c.MovedTo.Number
	}
	_, err := t.exec(`INSERT INTO deleted_issues (issue_id, deleted_at, because, moved_repository_id, moved_number, erased) VALUES (?, ?, ?, ?, ?, 0)
		ON CONFLICT (issue_id) DO UPDATE SET because = excluded.because,
			moved_repository_id = excluded.moved_repository_id, moved_number = excluded.moved_number
		WHERE deleted_issues.moved_repository_id IS NULL AND excluded.moved_repository_id IS NOT NULL`,
		issueID, micros(c.ReceivedAt), string(c.Because), repositoryID, number)
	return err
}

// longestMove bounds how often an issue is followed from one repository to the next.
const longestMove = 16

// moveCorrections lets corrections follow transferred issues: those of the
// issues that moved, when what they have become is known, and those that waited
// for an issue that has just become known. States that the caller answers with are
// brought up to date.
func moveCorrections(t *tx, issues map[triage.IssueKey]*issueRow, keys []triage.IssueKey, states []store.IssueState) error {
	var moved, created []triage.IssueKey
	for key, row := range issues {
		if row.state.MovedTo != (triage.IssueKey{}) && len(row.state.Corrections) > 0 {
			moved = append(moved, key)
		}
		if row.created {
			created = append(created, key)
		}
	}
	waiting, err := movedTo(t, created)
	if err != nil {
		return err
	}
	for _, key := range append(moved, waiting...) {
		touched, err := moveCorrectionsOf(t, key)
		if err != nil {
			return err
		}
		for key, state := range touched {
			if row := issues[key]; row != nil {
				row.state = state
			}
			for i := range keys {
				if keys[i] == key {
					states[i] = state
				}
			}
		}
	}
	return nil
}

// movedTo lists the issues that have become one of those given, over however many
// transfers, and had corrections.
func movedTo(t *tx, created []triage.IssueKey) ([]triage.IssueKey, error) {
	if len(created) == 0 {
		return nil, nil
	}
	rows, err := t.query(context.Background(), `WITH RECURSIVE moved (id, repository_id, number) AS (
			SELECT i.id, i.repository_id, i.number
			FROM json_each(?) k CROSS JOIN deleted_issues d ON d.moved_repository_id = k.value ->> 0 AND d.moved_number = k.value ->> 1
				JOIN issues i ON i.id = d.issue_id
			UNION
			SELECT i.id, i.repository_id, i.number
			FROM moved m CROSS JOIN deleted_issues d ON d.moved_repository_id = m.repository_id AND d.moved_number = m.number
				JOIN issues i ON i.id = d.issue_id
		)
		SELECT m.repository_id, m.number FROM moved m JOIN issues i ON i.id = m.id WHERE i.corrections > 0 ORDER BY m.id`, issueKeysJSON(created))
	if err != nil {
		return nil, err
	}
	var from []triage.IssueKey
	return from, scanAll(rows, func() error {
		var key triage.IssueKey
		err := rows.Scan(&key.RepositoryID, &key.Number)
		from = append(from, key)
		return err
	})
}

// moveCorrectionsOf gives the corrections of a transferred issue to what it has
// become, and returns the states of both. While that is not known, nothing happens.
func moveCorrectionsOf(t *tx, key triage.IssueKey) (map[triage.IssueKey]store.IssueState, error) {
	ctx := context.Background()
	load := func(key triage.IssueKey) (*issueRow, error) {
		rows, err := loadIssues(ctx, t, []triage.IssueKey{key})
		return rows[key], err
	}
	from, err := load(key)
	if err != nil || from == nil {
		return nil, err
	}
	to := from
	for range longestMove {
		next := to.state.MovedTo
		if to, err = load(next); err != nil || to == nil {
			return nil, err
		}
		if to.state.MovedTo == (triage.IssueKey{}) {
			break
		}
	}
	if to.state.Deleted || to.state.Issue.Repository.Removed || to.id == from.id {
		return nil, nil
	}
	if _, err := t.exec(`UPDATE corrections SET issue_id = ? WHERE issue_id = ?`, to.id, from.id); err != nil {
		return nil, err
	}
	source, target := from.state, to.state
	for _, k := range source.Corrections {
		k.Issue = target.Issue.Key()
		at := len(target.Corrections)
		for at > 0 && target.Corrections[at-1].At.After(k.At) {
			at--
		}
		target.Corrections = slices.Insert(target.Corrections, at, k)
	}
	source.Corrections = nil
	target.Revision++
	touched := map[triage.IssueKey]store.IssueState{key: source, target.Issue.Key(): target}
	for id, s := range map[int64]store.IssueState{from.id: source, to.id: target} {
		category, priority, component := listedValues(s)
		if _, err := t.exec(`UPDATE issues SET revision = ?, status = ?, category = ?, priority = ?, component = ?, corrections = ? WHERE id = ?`,
			s.Revision, string(s.Status()), category, priority, component, len(s.Corrections), id); err != nil {
			return nil, err
		}
	}
	return touched, nil
}
