package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

// TestUsage: the command adds up what the store has, beside a service that has it open.
func TestUsage(t *testing.T) {
	dir, s := openedStore(t)
	now := time.Now()
	err := s.ApplyInstallation(t.Context(), store.InstallationChange{
		EventID: "i", At: now, Installation: &triage.Installation{ID: 1, Account: "acme", UpdatedAt: now},
		Upserted: []triage.Repository{{ID: 7, FullName: "acme/shop"}, {ID: 8, FullName: "acme/docs"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	entry := func(day time.Time, repository int64, answers int64, cost float64) store.UsageEntry {
		return store.UsageEntry{Day: day, RepositoryID: repository, Plugin: "openai", Answers: answers, Cached: 1, Usage: triage.Usage{InputTokens: 100 * answers, CostUSD: cost}}
	}
	err = s.AddUsage(t.Context(), []store.UsageEntry{
		entry(now, 7, 10, 0.001), entry(now.AddDate(0, 0, -1), 7, 10, 0.002), entry(now, 8, 2, 0.5), entry(now.AddDate(0, 0, -40), 8, 2, 9),
	})
	if err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) (string, error) {
		return runCommand(t, usageCommand(), append([]string{"--data-dir", dir}, args...)...)
	}
	out, err := run("--json")
	if err != nil {
		t.Fatal(err)
	}
	var r usageReport
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Rows) != 2 || r.Rows[0].Repository != "acme/docs" || r.Rows[1].CostUSD != 0.003 || r.Rows[1].Answers != 20 || r.Rows[1].Per1000 != 0.15 ||
		r.Sum.CostUSD != 0.503 || r.Today != 0.501 {
		t.Errorf("%s", out)
	}
	if out, err = run("--by-day", "--repo", "acme/shop"); err != nil || !strings.Contains(out, "$0.0020") || strings.Contains(out, "acme/docs") || strings.Count(out, "acme/shop") != 2 {
		t.Errorf("by day (%v):\n%s", err, out)
	}
	for _, wrong := range [][]string{{"--repo", "acme/nothing"}, {"--days", "0"}} {
		if out, err := run(wrong...); err == nil {
			t.Errorf("%v printed %s", wrong, out)
		}
	}
}
