package sqlite

import (
	"strings"
	"testing"
	"time"

	"github.com/dispatchai/dispatchai/core/store"
)

// TestQueryPlans sees to it that every listing is served by an index in its
// order, and that nothing reads whole tables.
func TestQueryPlans(t *testing.T) {
	s := openStore(t, Options{})
	plan := func(query string, args ...any) string {
		rows, err := s.reader.db.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+query, args...)
		if err != nil {
			t.Fatal(err)
		}
		var steps []string
		err = scanAll(rows, func() error {
			var id, parent, unused int
			var step string
			err := rows.Scan(&id, &parent, &unused, &step)
			steps = append(steps, step)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(steps, "\n")
	}
	cursor := store.Cursor{UpdatedAt: time.Unix(1, 0), ID: 3}.String()
	for index, filter := range map[string]store.IssueFilter{
		"issues_by_update":     {},
		"issues_by_repository": {RepositoryIDs: []int64{1}},
		"issues_by_state":      {State: "open"},
		"issues_by_status":     {Status: store.StatusCorrected},
		"issues_by_category":   {Category: "bug"},
		"issues_by_priority":   {Priority: "high"},
		"issues_by_component":  {Component: "parser"},
	} {
		for _, from := range []string{"", cursor} {
			filter.Cursor = from
			query, args, err := listQuery(filter, 51)
			if err != nil {
				t.Fatal(err)
			}
			got := plan(query, args...)
			if !strings.Contains(got, index) || strings.Contains(got, "TEMP B-TREE") || strings.Contains(got, "SCAN i ") && filter.Cursor != "" {
				t.Errorf("filter %+v:\n%s", filter, got)
			}
			if from != "" && !strings.Contains(got, "(updated_at") && !strings.Contains(got, "updated_at<") {
				t.Errorf("the cursor of %+v is not sought in the index:\n%s", filter, got)
			}
		}
	}
	for _, query := range []string{
		`SELECT ` + issueColumns("i.body") + ` FROM json_each('[]') k CROSS JOIN issues i ON i.repository_id = k.value ->> 0 AND i.number = k.value ->> 1` + issueJoins,
		`SELECT ` + issueColumns("i.body") + ` FROM issues i` + issueJoins + ` WHERE i.github_id = 1 AND i.deleted = 0 AND r.removed = 0 ORDER BY i.id DESC LIMIT 1`,
		`SELECT issue_id FROM issue_embeddings WHERE repository_id = 1 AND model = 'm'`,
		`SELECT number FROM issue_embeddings WHERE repository_id = 1 AND model = 'm' AND vocabulary = 2 AND number > 3 ORDER BY number LIMIT 4`,
		`SELECT event_id FROM applied_events WHERE applied_at < 1 ORDER BY applied_at LIMIT 1`,
		`SELECT id FROM desired_labels WHERE settled = 0 AND claimed_by IS NULL AND installation_id = 1 AND not_before <= 1 ORDER BY backfill, received_at, id LIMIT 1`,
		`UPDATE desired_labels SET claimed_by = NULL WHERE settled = 0 AND claimed_by IS NOT NULL AND installation_id = 1`,
		`UPDATE desired_labels SET settled = 1 WHERE repository_id = 2 AND number = 3 AND revision >= 1 AND settled = 0`,
		`UPDATE installation_leases SET owner = NULL, lease_until = NULL WHERE owner IS NOT NULL AND lease_until <= 1`,
		`UPDATE repositories SET removed = 1 WHERE installation_id = 2 AND membership_at <= 1`,
	} {
		got := plan(query)
		for _, step := range strings.Split(got, "\n") {
			if strings.HasPrefix(step, "SCAN") && !strings.Contains(step, "VIRTUAL TABLE") || strings.Contains(step, "TEMP B-TREE") && !strings.Contains(step, "json_group_array") {
				t.Errorf("%s:\n%s", query, got)
			}
		}
	}
}
