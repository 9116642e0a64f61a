package app_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/dispatchai/dispatchai/app"
	"github.com/dispatchai/dispatchai/core/eventlog"
	"github.com/dispatchai/dispatchai/core/github"
	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/store/sqlite"
	"github.com/dispatchai/dispatchai/core/triage"
)

// page is a log that takes so many appends and then no more.
type page struct {
	left    int
	records []eventlog.Record
}

func (p *page) Append(_ context.Context, records ...eventlog.Record) error {
	if p.left--; p.left < 0 {
		return errors.New("interrupted")
	}
	p.records = append(p.records, records...)
	return nil
}

// labelledIssue stores an issue that a version of a plugin calls a bug, and labelled so.
func labelledIssue(t *testing.T, s store.Store, number int, version string, change func(*store.IssueChange, *triage.LedgerEntry)) {
	t.Helper()
	at := time.Date(2026, 5, 1, 0, 0, number, 0, time.UTC)
	answer := triage.Answer{Values: []string{"bug"}, Confidence: 0.9, Source: triage.SourcePlugin, Plugin: "rules", Version: version}
	c := store.IssueChange{
		EventID: fmt.Sprint("opened-", number), EventType: triage.Classified, ReceivedAt: at,
		Issue: triage.Issue{
			ID: int64(number), Repository: triage.Repository{ID: 1, InstallationID: 2, FullName: testRepo}, Number: number, State: "open", Title: "It crashes", UpdatedAt: at,
		},
		Classification: &triage.Classification{Fields: map[triage.Field]triage.Answer{triage.FieldCategory: answer}, ClassifiedAt: at},
	}
	e := triage.LedgerEntry{
		Issue: c.Issue.Key(), State: triage.LedgerConfirmed, CreatedAt: at, UpdatedAt: at,
		DesiredLabel: triage.DesiredLabel{Name: "kind/bug", Field: triage.FieldCategory, Value: "bug", Source: triage.SourcePlugin, Plugin: "rules", Version: version},
	}
	if change != nil {
		change(&c, &e)
	}
	if _, err := s.ApplyIssues(t.Context(), []store.IssueChange{c}); err != nil {
		t.Fatal(err)
	}
	if err := s.RecordLedger(t.Context(), []triage.LedgerEntry{e}); err != nil {
		t.Fatal(err)
	}
}

func undoStore(t *testing.T) store.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(t.TempDir(), "store.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if err := s.ApplyInstallation(t.Context(), store.InstallationChange{
		EventID: "installed", At: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), Upserted: []triage.Repository{{ID: 1, InstallationID: 2, FullName: testRepo}},
	}); err != nil {
		t.Fatal(err)
	}
	if err := s.SaveRepositoryLabels(t.Context(), 1, []triage.RepositoryLabel{{Name: "kind/bug"}}, time.Now()); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestUndoInterrupted: what was handed over before an interruption is handed
// over again as the same events, and the rest after it.
func TestUndoInterrupted(t *testing.T) {
	t.Parallel()
	s := undoStore(t)
	const issues = 450
	for n := 1; n <= issues; n++ {
		labelledIssue(t, s, n, "1.0.0", nil)
	}
	undo := app.Undo{Plugin: "rules", Since: time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC), Actor: "operator", Now: time.Now}
	first, done := &page{left: 2}, 0
	if _, err := undo.Run(t.Context(), s, first, func(n int) { done += n }); err == nil || done != 400 {
		t.Fatalf("interrupted after %d issues: %v", done, err)
	}
	second := &page{left: 100}
	report, err := undo.Run(t.Context(), s, second, func(int) {})
	if err != nil || report.Issues != issues || report.Labels != issues {
		t.Fatalf("the second run reports %+v, %v", report, err)
	}
	ids := map[string]bool{}
	for i, r := range append(first.records, second.records...) {
		e, err := github.ParseWebhook(r.Header(eventlog.HeaderEvent), r.Header(eventlog.HeaderDelivery), r.Value, time.Time{})
		if err != nil || r.Key != e.IssueKey().String() || e.Undo == nil || e.Undo.Actor != "operator" {
			t.Fatalf("record %d is %+v, %v", i, e, err)
		}
		ids[e.ID] = true
	}
	if len(second.records) != issues || len(ids) != issues {
		t.Errorf("%d issues were handed over as %d events, and %d in the second run", issues, len(ids), len(second.records))
	}
}

// TestUndoSpares: each reason to leave a label, and that none is forgotten.
func TestUndoSpares(t *testing.T) {
	t.Parallel()
	s := undoStore(t)
	at := time.Date(2026, 5, 2, 0, 0, 0, 0, time.UTC)
	state := func(l triage.LedgerState) func(*store.IssueChange, *triage.LedgerEntry) {
		return func(_ *store.IssueChange, e *triage.LedgerEntry) { e.State = l }
	}
	answered := func(plugin, version string, confidence float64) func(*store.IssueChange, *triage.LedgerEntry) {
		return func(c *store.IssueChange, _ *triage.LedgerEntry) {
			c.Classification.Fields[triage.FieldCategory] = triage.Answer{Values: []string{"bug"}, Confidence: confidence, Source: triage.SourcePlugin, Plugin: plugin, Version: version}
		}
	}
	for n, c := range map[int]struct {
		version string
		change  func(*store.IssueChange, *triage.LedgerEntry)
	}{
		1: {"1.0.0", nil},
		2: {"1.0.0", state(triage.LedgerVetoed)},
		3: {"1.0.0", state(triage.LedgerForeign)},
		4: {"1.0.0", state(triage.LedgerRemoved)},
		5: {"1.0.0", func(c *store.IssueChange, _ *triage.LedgerEntry) {
			c.Corrections = []triage.Correction{{Field: triage.FieldCategory, New: []string{"bug"}, Actor: "maia", Source: triage.FromDashboard, At: at}}
		}},
		6: {"1.0.0", answered("openai", "3", 0.9)},
		7: {"1.0.0", func(c *store.IssueChange, _ *triage.LedgerEntry) {
			c.Directives = triage.Directives{Ignored: true, IgnoredBy: "maia", IgnoredAt: at}
		}},
		8:  {"1.0.0", func(c *store.IssueChange, _ *triage.LedgerEntry) { c.Deleted = true }},
		9:  {"1.0.0", state(triage.LedgerIntended)},
		10: {"1.0.0", answered("openai", "3", 0.1)}, // says so too, but not surely enough for a label
		11: {"2.0.0", nil},
		12: {"1.0.0", answered("rules", "2.0.0", 0.9)}, // a newer version of the same says so by now
	} {
		labelledIssue(t, s, n, c.version, c.change)
	}
	for version, want := range map[string]struct {
		off    int
		spared map[app.SpareReason]int
	}{
		"":      {5, map[app.SpareReason]int{app.SpareVetoed: 1, app.SpareOthers: 1, app.SpareCorrected: 1, app.SpareAnother: 1, app.SpareIgnored: 1, app.SpareGone: 1}},
		"1.0.0": {3, map[app.SpareReason]int{app.SpareVetoed: 1, app.SpareOthers: 1, app.SpareCorrected: 1, app.SpareAnother: 2, app.SpareIgnored: 1, app.SpareGone: 1}},
		"2.0.0": {1, nil},
	} {
		report, err := app.Undo{Plugin: "rules", Version: version, Actor: "operator", Now: time.Now}.Plan(t.Context(), s)
		if err != nil || len(report.Repositories) != 1 {
			t.Fatalf("%+v, %v", report, err)
		}
		one := report.Repositories[0]
		got := map[app.SpareReason]int{}
		for _, l := range one.Spare {
			got[l.Reason] += l.Count
		}
		if report.Labels != want.off || report.Issues != want.off || len(one.Remove) != 1 || one.Remove[0].Count != want.off || fmt.Sprint(got) != fmt.Sprint(want.spared) {
			t.Errorf("version %q: off %d of %d issues, spared %v; want %d and %v", version, report.Labels, report.Issues, got, want.off, want.spared)
		}
	}
	late, err := app.Undo{Plugin: "rules", Since: at, Actor: "operator", Now: time.Now}.Plan(t.Context(), s)
	if err != nil || late.Labels+late.Spared != 0 {
		t.Errorf("since a later time: %+v, %v", late, err)
	}
}

// TestUndoFollowsTheConfiguration: what is still wanted, and what is left alone, is
// for the repository's own configuration to say.
func TestUndoFollowsTheConfiguration(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		config func(*triage.RepositoryConfig)
		off    int
		spared app.SpareReason
	}{
		"applied":              {func(*triage.RepositoryConfig) {}, 1, ""},
		"suggested":            {func(c *triage.RepositoryConfig) { c.Mode = triage.ModeSuggest }, 0, app.SpareHeld},
		"left to others":       {func(c *triage.RepositoryConfig) { c.Mode = triage.ModeShadow }, 0, app.SpareHeld},
		"another's surer word": {func(c *triage.RepositoryConfig) { c.Thresholds = triage.Thresholds{triage.FieldCategory: 0.2} }, 0, app.SpareAnother},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, ctx := undoStore(t), t.Context()
			config := triage.DefaultRepositoryConfig()
			c.config(&config)
			jobs, err := s.ClaimConfigurations(ctx, store.ConfigurationClaim{Owner: "test", Now: time.Now(), LeaseFor: time.Minute, Limit: 1})
			if err != nil || len(jobs) != 1 {
				t.Fatalf("%d repositories are due to be read: %v", len(jobs), err)
			}
			if err := s.SaveConfiguration(ctx, store.ConfigurationResult{
				RepositoryID: 1, Owner: jobs[0].Owner, Marks: jobs[0].Marks, Configuration: &store.Configuration{Config: config}, NextDue: time.Now().Add(time.Hour), Because: store.DuePeriodic,
			}); err != nil {
				t.Fatal(err)
			}
			labelledIssue(t, s, 1, "1.0.0", func(change *store.IssueChange, _ *triage.LedgerEntry) {
				change.Classification.Fields[triage.FieldCategory] = triage.Answer{Values: []string{"bug"}, Confidence: 0.3, Source: triage.SourcePlugin, Plugin: "openai", Version: "3"}
			})
			report, err := app.Undo{Plugin: "rules", Actor: "operator", Now: time.Now}.Plan(ctx, s)
			if err != nil || report.Labels != c.off || report.Spared != 1-c.off {
				t.Fatalf("%+v, %v", report, err)
			}
			if c.off == 0 && report.Repositories[0].Spare[0].Reason != c.spared {
				t.Errorf("spared as %q, want %q", report.Repositories[0].Spare[0].Reason, c.spared)
			}
		})
	}
}
