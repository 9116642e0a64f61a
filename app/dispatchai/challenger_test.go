package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

// TestChallenger: the command shows scores and disagreements beside a service that has
// the store open.
func TestChallenger(t *testing.T) {
	dir, s := openedStore(t)
	run := func(args ...string) (string, error) {
		return runCommand(t, challengerCommand(), append([]string{"--data-dir", dir}, args...)...)
	}
	if out, err := run(); err != nil || !strings.Contains(out, "No challenger has been asked.") {
		t.Fatalf("without any: %v\n%s", err, out)
	}
	now := time.Now()
	repository := triage.Repository{ID: 7, FullName: "acme/shop"}
	err := s.ApplyInstallation(t.Context(), store.InstallationChange{
		EventID: "i", At: now, Installation: &triage.Installation{ID: 1, Account: "acme", UpdatedAt: now}, Upserted: []triage.Repository{repository},
	})
	if err != nil {
		t.Fatal(err)
	}
	says := func(plugin, value string, confidence float64) triage.Opinion {
		return triage.Opinion{Plugin: plugin, Values: []string{value}, Confidence: confidence, Sure: confidence > 0.5}
	}
	for n := 1; n <= 2; n++ {
		change := store.IssueChange{
			EventID: string(rune('a' + n)), EventType: triage.Classified, ReceivedAt: now,
			Issue: triage.Issue{ID: int64(n), Number: n, Repository: repository, Title: "It \x1b[31mcrashes", State: "open", CreatedAt: now, UpdatedAt: now},
			Classification: &triage.Classification{DeliveryID: "d", ClassifiedAt: now, Fields: map[triage.Field]triage.Answer{
				triage.FieldCategory: {Values: []string{"bug"}, Confidence: 0.9, Plugin: "rules", Source: triage.SourcePlugin},
			}},
		}
		if n == 2 {
			change.Corrections = []triage.Correction{{Field: triage.FieldCategory, New: []string{"feature"}, Actor: "maria", Source: triage.FromDashboard}}
		}
		if _, err := s.ApplyIssues(t.Context(), []store.IssueChange{change}); err != nil {
			t.Fatal(err)
		}
		if err := s.RecordComparisons(t.Context(), []store.Comparison{{
			Issue: triage.IssueKey{RepositoryID: 7, Number: n}, Challenger: "openai", Version: "1.0.0", At: now, Fields: map[triage.Field]store.Contrast{
				triage.FieldCategory: {Champion: says("rules", "bug", 0.9), Challenger: says("openai", "feature", 0.8)},
				triage.FieldPriority: {Challenger: says("openai", "high", 0.3)},
			},
		}}); err != nil {
			t.Fatal(err)
		}
	}
	out, err := run("--repo", "ACME/shop")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"acme/shop   openai 1.0.0  category  2         0%      1       0% (0-79%)   100% (21-100%)",
		"acme/shop   openai 1.0.0  priority  2         100%    0       -            -",
		"acme/shop#1  category  bug 90%  feature 80%",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("it lacks %q:\n%s", want, out)
		}
	}
	if strings.Contains(out, "\x1b") || strings.Contains(out, "shop#2") {
		t.Errorf("it has what it must not:\n%s", out)
	}
	out, err = run("--json", "--limit", "1")
	if err != nil {
		t.Fatal(err)
	}
	var r challengerReport
	if err := json.Unmarshal([]byte(out), &r); err != nil || len(r.Scores) != 2 || len(r.Disagreements) != 1 || r.Disagreements[0].Says.Champion.Plugin != "rules" {
		t.Errorf("%v: %s", err, out)
	}
	for _, args := range [][]string{{"--repo", "acme/nowhere"}, {"--limit", "0"}, {"--data-dir", t.TempDir()}} {
		if out, err := run(args...); err == nil {
			t.Errorf("%v: %s", args, out)
		}
	}
}
