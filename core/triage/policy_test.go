package triage

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

// A small language for the table below. Labels are "bug", "feat" (category),
// "crit" (priority), "ui", "docs" (tags); times are seconds after start.
var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func second(n float64) time.Time { return start.Add(time.Duration(n * float64(time.Second))) }

func tableTaxonomy() Taxonomy {
	return NewTaxonomy(named("kind/bug", "bug", "kind/feature", "priority/critical", "ui", "good first issue", "wontfix"))
}

func wish(name string, source Source) DesiredLabel {
	d := DesiredLabel{Name: name, Source: source, EventID: "wish", Confidence: 0.9}
	m, _ := tableTaxonomy().Means(name)
	d.Field, d.Value = m.Field, m.Value
	if source == SourceHuman {
		d.AskedAt = second(100.5)
	} else {
		d.Plugin, d.Version = "rules", "1.0.0"
	}
	return d
}

func row(name string, state LedgerState, at float64) LedgerEntry {
	d := wish(name, SourcePlugin)
	d.EventID = "earlier"
	return LedgerEntry{DesiredLabel: d, State: state, CreatedAt: second(at), UpdatedAt: second(at)}
}

func added(name, by string, at float64) LabelEvent {
	return LabelEvent{Label: name, Added: true, Actor: Actor{Login: by, Type: ActorUser}, Ours: by == "app[bot]", Created: second(at).Truncate(time.Second)}
}

func removed(name, by string, at float64) LabelEvent {
	e := added(name, by, at)
	e.Added = false
	return e
}

// show writes a plan in one line.
func show(p LabelPlan) string {
	if p.NeedHistory {
		if p.Add != nil || p.Remove != nil || p.Settle != nil || p.Skipped != nil || p.Unclear {
			return fmt.Sprintf("need history, and yet: %+v", p)
		}
		return "need history"
	}
	var parts []string
	for _, e := range p.Settle {
		s := "settle " + e.Name + "=" + string(e.State)
		if e.Actor != "" {
			s += " by " + e.Actor
		}
		parts = append(parts, s)
	}
	for _, d := range p.Add {
		parts = append(parts, "add "+d.Name)
	}
	for _, e := range p.Remove {
		parts = append(parts, "remove "+e.Name)
	}
	for _, s := range p.Skipped {
		parts = append(parts, "skip "+s.Label+": "+string(s.Reason))
	}
	if p.Unclear {
		parts = append(parts, "unclear")
	}
	return strings.Join(parts, "; ")
}

func TestPlanLabels(t *testing.T) {
	plugin := func(names ...string) (d []DesiredLabel) {
		for _, n := range names {
			d = append(d, wish(n, SourcePlugin))
		}
		return d
	}
	human := func(names ...string) (d []DesiredLabel) {
		for _, n := range names {
			d = append(d, wish(n, SourceHuman))
		}
		return d
	}
	with := func(d []DesiredLabel, change func(*DesiredLabel)) []DesiredLabel {
		for i := range d {
			change(&d[i])
		}
		return d
	}
	known := func(events ...LabelEvent) []LabelEvent { return append([]LabelEvent{}, events...) }
	on := func(names ...string) []string { return names }
	rows := func(rows ...LedgerEntry) []LedgerEntry { return rows }
	type history = []LabelEvent

	for _, c := range []struct {
		name    string
		desired []DesiredLabel
		on      []string
		ledger  []LedgerEntry
		history history // nil: not read
		want    string
	}{
		{"nothing", nil, nil, nil, nil, ""},
		{"a first label", plugin("kind/bug", "ui"), nil, nil, nil, "add kind/bug; add ui"},
		{"the repository's spelling is written", plugin("KIND/Bug"), nil, nil, nil, "add kind/bug"},
		{"twice desired is added once", plugin("ui", "UI"), nil, nil, nil, "add ui"},
		{"a label the repository lacks", plugin("kind/regression"), nil, nil, nil, "skip kind/regression: unknown_label"},
		{"a label no classifier may write", plugin("wontfix"), nil, nil, nil, "skip wontfix: unknown_label"},
		{"a label no person may have written for them", human("wontfix"), nil, nil, known(), "skip wontfix: unknown_label"},
		{"somebody put it there first", plugin("kind/bug"), on("Kind/BUG"), nil, nil, "settle kind/bug=foreign; skip kind/bug: present"},
		{"ours is there", plugin("ui"), on("ui"), rows(row("ui", LedgerConfirmed, 1)), nil, "skip ui: present"},
		{"theirs is there", plugin("ui"), on("ui"), rows(row("ui", LedgerForeign, 1)), nil, "skip ui: present"},

		// A field that somebody else's label decides.
		{"the category is taken", plugin("kind/feature"), on("kind/bug"), nil, nil, "skip kind/feature: field_taken"},
		{"the category is taken by a label in the ledger that is not ours", plugin("kind/feature"), on("kind/bug"), rows(row("kind/bug", LedgerForeign, 1)), nil, "skip kind/feature: field_taken"},
		{"another field is not taken", plugin("priority/critical"), on("kind/bug"), nil, nil, "add priority/critical"},
		{"a field of several values is not taken", plugin("good first issue"), on("ui"), nil, nil, "add good first issue"},
		{"the very same is said by another label", plugin("kind/bug"), on("bug"), nil, nil, "skip kind/bug: field_taken"},
		{"the very same is said by another label, to a person too", human("kind/bug"), on("bug"), nil, known(added("bug", "ann", 1)), "skip kind/bug: field_taken"},
		{"a person decides against another's label", human("kind/feature"), on("kind/bug"), nil, known(), "add kind/feature"},
		{"a label outside the vocabulary takes nothing", plugin("kind/bug"), on("wontfix", "no such"), nil, nil, "add kind/bug"},

		// Replacing our own.
		{"whose is it?", plugin("kind/feature"), on("kind/bug"), rows(row("kind/bug", LedgerConfirmed, 1)), nil, "need history"},
		{"ours gives way", plugin("kind/feature"), on("kind/bug"), rows(row("kind/bug", LedgerConfirmed, 1)), known(added("kind/bug", "app[bot]", 1)), "add kind/feature; remove kind/bug"},
		{"ours by another spelling", nil, on("Kind/Bug"), rows(row("kind/bug", LedgerWritten, 1)), known(added("KIND/BUG", "app[bot]", 1)), "remove kind/bug"},
		{"somebody took it off and put it on again", plugin("kind/feature"), on("kind/bug"), rows(row("kind/bug", LedgerConfirmed, 1)),
			known(added("kind/bug", "app[bot]", 1), removed("kind/bug", "ann", 2), added("kind/bug", "bob", 3)), "settle kind/bug=foreign by bob; skip kind/feature: field_taken"},
		{"no proof, no removal", nil, on("kind/bug"), rows(row("kind/bug", LedgerConfirmed, 1)), known(), "unclear"},
		{"a history that lags", nil, on("kind/bug"), rows(row("kind/bug", LedgerWritten, 5)), known(added("kind/bug", "app[bot]", 1), removed("kind/bug", "ann", 2)), "unclear"},
		{"theirs stays", nil, on("kind/bug"), rows(row("kind/bug", LedgerForeign, 1)), nil, ""},
		{"a person's stays, though no ledger knows it", nil, on("kind/bug"), nil, nil, ""},

		// Gone from the issue.
		{"gone: by whom?", plugin("ui"), nil, rows(row("ui", LedgerWritten, 1)), nil, "need history"},
		{"gone and unwanted: by whom?", nil, nil, rows(row("ui", LedgerConfirmed, 1)), nil, "need history"},
		{"taken off", plugin("ui"), nil, rows(row("ui", LedgerConfirmed, 1)), known(added("ui", "app[bot]", 1), removed("ui", "ann", 2)), "settle ui=vetoed by ann; skip ui: vetoed"},
		{"taken off by another bot", plugin("ui"), nil, rows(row("ui", LedgerWritten, 1)),
			known(added("ui", "app[bot]", 1), LabelEvent{Label: "ui", Actor: Actor{"stale[bot]", ActorBot}, Created: second(2)}), "settle ui=vetoed by stale[bot]; skip ui: vetoed"},
		{"gone without a trace (the label was deleted and made again)", plugin("ui"), nil, rows(row("ui", LedgerConfirmed, 1)), known(added("ui", "app[bot]", 1)), "settle ui=vetoed; skip ui: vetoed"},
		{"a person's that was taken off", plugin("ui"), nil, rows(row("ui", LedgerForeign, 1)), known(added("ui", "ann", 1), removed("ui", "ann", 2)), "settle ui=vetoed by ann; skip ui: vetoed"},
		{"gone by our own hand, though a webhook says otherwise", plugin("ui"), nil, rows(row("ui", LedgerConfirmed, 9)),
			known(added("ui", "app[bot]", 1), removed("ui", "app[bot]", 2)), "settle ui=removed; add ui"},
		{"gone by our own hand, and unwanted", nil, nil, rows(row("ui", LedgerConfirmed, 9)), known(added("ui", "app[bot]", 1), removed("ui", "app[bot]", 2)), "settle ui=removed"},

		// Vetoes.
		{"vetoed", plugin("ui"), nil, rows(row("ui", LedgerVetoed, 2)), nil, "skip ui: vetoed"},
		{"vetoed, and a person asks", human("ui"), nil, rows(row("ui", LedgerVetoed, 2)), nil, "need history"},
		{"vetoed, then a person asks", human("ui"), nil, rows(row("ui", LedgerVetoed, 2)), known(added("ui", "app[bot]", 1), removed("ui", "ann", 2)), "add ui"},
		{"vetoed, then a person asks within the second", human("ui"), nil, rows(row("ui", LedgerVetoed, 100)), known(removed("ui", "ann", 100.2)), "add ui"},
		{"asked, then vetoed", human("ui"), nil, rows(row("ui", LedgerVetoed, 2)), known(added("ui", "app[bot]", 1), removed("ui", "ann", 200)), "skip ui: vetoed"},
		{"asked, then taken off without news", human("ui"), nil, rows(row("ui", LedgerConfirmed, 1)), known(added("ui", "app[bot]", 101), removed("ui", "ann", 200)), "settle ui=vetoed by ann; skip ui: vetoed"},
		{"taken off without news, then asked", human("ui"), nil, rows(row("ui", LedgerConfirmed, 1)), known(added("ui", "app[bot]", 1), removed("ui", "ann", 50)), "add ui"},
		{"vetoed on the ledger's word alone, then asked", human("ui"), nil, rows(row("ui", LedgerVetoed, 2)), known(), "add ui"},
		{"asked, then vetoed on the ledger's word alone", human("ui"), nil, rows(row("ui", LedgerVetoed, 200)), known(), "skip ui: vetoed"},
		{"asked at an unknown time", with(human("ui"), func(d *DesiredLabel) { d.AskedAt = time.Time{} }), nil, rows(row("ui", LedgerVetoed, 2)), nil, "skip ui: vetoed"},
		{"vetoed, and put on again by a person: whose is it?", nil, on("ui"), rows(row("ui", LedgerVetoed, 2)), nil, "need history"},
		{"vetoed, and put on again by a person", nil, on("ui"), rows(row("ui", LedgerVetoed, 2)), known(removed("ui", "ann", 2), added("ui", "ann", 3)), "settle ui=foreign by ann"},
		{"vetoed by a webhook older than our own addition", nil, on("ui"), rows(row("ui", LedgerVetoed, 2)), known(removed("ui", "ann", 2), added("ui", "app[bot]", 3)), "settle ui=written; remove ui"},

		// A person asks for a label that the ledger does not know.
		{"a person asks", human("ui"), nil, nil, nil, "need history"},
		{"a person asks for a label that never was there", human("ui"), nil, nil, known(), "add ui"},
		{"a person put it on, another took it off", human("ui"), nil, nil, known(added("ui", "ann", 100), removed("ui", "bob", 101)), "settle ui=vetoed by bob; skip ui: vetoed"},
		{"people put it on and took it off, then one asks", human("ui"), nil, nil, known(added("ui", "ann", 1), removed("ui", "bob", 2)), "add ui"},
		{"a person put it on after the issue was read", human("ui"), nil, nil, known(added("ui", "ann", 101)), "skip ui: unclear; unclear"},

		// The history read before the first plan.
		{"people put it on and took it off before us", plugin("ui"), nil, nil, known(added("ui", "ann", 1), removed("ui", "bob", 2)), "settle ui=vetoed by bob; skip ui: vetoed"},
		{"a new label with its history", plugin("ui"), nil, nil, known(added("kind/bug", "ann", 1)), "add ui"},
		{"ours from before the ledger was lost", plugin("ui"), nil, nil, known(added("ui", "app[bot]", 1), removed("ui", "app[bot]", 2)), "add ui"},
		{"a label the repository lacks needs no row", plugin("no such"), nil, nil, known(added("no such", "ann", 1), removed("no such", "ann", 2)), "skip no such: unknown_label"},

		// Crashes.
		{"intended", plugin("ui"), nil, rows(row("ui", LedgerIntended, 1)), nil, "need history"},
		{"crashed before the call", plugin("ui"), nil, rows(row("ui", LedgerIntended, 1)), known(), "add ui"},
		{"crashed before the call, unwanted since", nil, nil, rows(row("ui", LedgerIntended, 1)), known(), ""},
		{"crashed after the call", plugin("ui"), on("ui"), rows(row("ui", LedgerIntended, 1)), known(added("ui", "app[bot]", 1)), "settle ui=written; skip ui: present"},
		{"crashed after the call, unwanted since", nil, on("ui"), rows(row("ui", LedgerIntended, 1)), known(added("ui", "app[bot]", 1)), "settle ui=written; remove ui"},
		{"crashed after the call, taken off since", plugin("ui"), nil, rows(row("ui", LedgerIntended, 1)), known(added("ui", "app[bot]", 1), removed("ui", "ann", 2)), "settle ui=vetoed by ann; skip ui: vetoed"},
		{"crashed before the call, and somebody added it", plugin("ui"), on("ui"), rows(row("ui", LedgerIntended, 1)), known(added("ui", "ann", 2)), "settle ui=foreign by ann; skip ui: present"},
		{"crashed before the call, with a veto that the request lifts", human("ui"), nil, rows(row("ui", LedgerIntended, 101)), known(added("ui", "app[bot]", 1), removed("ui", "ann", 2)), "add ui"},
		{"crashed after the call, gone without a trace", plugin("ui"), nil, rows(row("ui", LedgerIntended, 1)), known(added("ui", "app[bot]", 1)), "settle ui=vetoed; skip ui: vetoed"},
		{"intended, on, no trace yet", plugin("ui"), on("ui"), rows(row("ui", LedgerIntended, 1)), known(), "skip ui: present"},
		{"intended, on, no trace yet, unwanted", nil, on("ui"), rows(row("ui", LedgerIntended, 1)), known(), "unclear"},
		{"intended, off, others' trace", plugin("ui"), nil, rows(row("ui", LedgerIntended, 1)), known(added("ui", "ann", 2)), "skip ui: unclear; unclear"},
		{"crashed before the removal", nil, on("ui"), rows(row("ui", LedgerRemoving, 5)), known(added("ui", "app[bot]", 1)), "remove ui"},
		{"crashed after the removal", nil, nil, rows(row("ui", LedgerRemoving, 5)), known(added("ui", "app[bot]", 1), removed("ui", "app[bot]", 5)), "settle ui=removed"},
		{"crashed after the removal: by whom?", nil, nil, rows(row("ui", LedgerRemoving, 5)), nil, "need history"},
		{"somebody was faster with the removal", plugin("ui"), nil, rows(row("ui", LedgerRemoving, 5)), known(added("ui", "app[bot]", 1), removed("ui", "ann", 5)), "settle ui=vetoed by ann; skip ui: vetoed"},
		{"removing, wanted again", plugin("ui"), on("ui"), rows(row("ui", LedgerRemoving, 5)), nil, "skip ui: present"},
		{"removing, gone, no trace yet", plugin("ui"), nil, rows(row("ui", LedgerRemoving, 5)), known(added("ui", "app[bot]", 1)), "skip ui: unclear; unclear"},

		// Removed by ourselves.
		{"removed, wanted again: was it only us?", plugin("ui"), nil, rows(row("ui", LedgerRemoved, 5)), nil, "need history"},
		{"removed, wanted again", plugin("ui"), nil, rows(row("ui", LedgerRemoved, 5)), known(added("ui", "app[bot]", 1), removed("ui", "app[bot]", 5)), "add ui"},
		{"removed by us, then on and off by a person", plugin("ui"), nil, rows(row("ui", LedgerRemoved, 5)),
			known(added("ui", "app[bot]", 1), removed("ui", "app[bot]", 5), added("ui", "ann", 6), removed("ui", "ann", 7)), "settle ui=vetoed by ann; skip ui: vetoed"},
		{"removed, unwanted", nil, nil, rows(row("ui", LedgerRemoved, 5)), nil, ""},
		{"removed, and there again: whose is it?", nil, on("ui"), rows(row("ui", LedgerRemoved, 5)), nil, "need history"},
	} {
		t.Run(c.name, func(t *testing.T) {
			view := LabelView{Desired: c.desired, OnIssue: c.on, Ledger: c.ledger, Taxonomy: tableTaxonomy(), History: c.history, HistoryKnown: c.history != nil}
			before := fmt.Sprintf("%+v", view)
			plan := PlanLabels(view)
			if got := show(plan); got != c.want {
				t.Errorf("plan: %s\nwant: %s", got, c.want)
			}
			if after := fmt.Sprintf("%+v", view); after != before {
				t.Errorf("the view was changed\nfrom %s\nto   %s", before, after)
			}
			for _, e := range plan.Settle {
				if e.EventID == "" || e.Field == "" && e.Name != "no such" {
					t.Errorf("settles a row without its provenance: %+v", e)
				}
			}
			if view.HistoryKnown && plan.NeedHistory {
				t.Error("asks for the history it has")
			}
		})
	}
}

// by holds the answers of every plugin to the same thresholds.
func by(t Thresholds) func(string, Field) float64 {
	return func(_ string, f Field) float64 { return t.of(f) }
}

func TestDesiredLabels(t *testing.T) {
	taxonomy := tableTaxonomy()
	answer := func(confidence float64, values ...string) Answer {
		return Answer{Values: values, Confidence: confidence, Source: SourcePlugin, Plugin: "rules", Version: "1.2.0"}
	}
	classification := func(f Field, a Answer) Classification {
		return Classification{DeliveryID: "d-1", Fields: map[Field]Answer{f: a}}
	}
	least := DefaultThresholds()[FieldCategory]
	human := Answer{Values: []string{"bug"}, Source: SourceHuman, Actor: "ann", EventID: "c-1", AskedAt: second(3)}
	for _, c := range []struct {
		name string
		c    Classification
		thr  Thresholds
		want string
	}{
		{"sure enough", classification(FieldCategory, answer(least, "bug")), nil, "kind/bug"},
		{"not sure enough", classification(FieldCategory, answer(least-0.001, "bug")), nil, ""},
		{"a threshold of its own", classification(FieldCategory, answer(0.6, "bug")), Thresholds{FieldCategory: 0.61}, ""},
		{"a threshold of nought", classification(FieldCategory, answer(0, "bug")), Thresholds{FieldCategory: 0}, "kind/bug"},
		{"thresholds for other fields keep the defaults", classification(FieldCategory, answer(least-0.001, "bug")), Thresholds{FieldTags: 0.1}, ""},
		{"no number", classification(FieldCategory, answer(math.NaN(), "bug")), nil, ""},
		{"a human is always sure", classification(FieldCategory, human), nil, "kind/bug"},
		{"no label for the value", classification(FieldCategory, answer(1, "performance")), nil, ""},
		{"a value outside the taxonomy", classification(FieldTags, answer(1, "wontfix", "kind/bug", "ui")), nil, "ui"},
		{"a value of another field", classification(FieldTags, answer(1, "bug")), nil, ""},
		{"several tags, each once", classification(FieldTags, answer(1, "ui", "good-first-issue", "ui")), nil, "ui,good first issue"},
		{"one category, whatever the plugin says", classification(FieldCategory, answer(1, "bug", "feature")), nil, "kind/bug"},
		{"a field without labels", classification(FieldAssignees, answer(1, "ui")), nil, ""},
		{"a field that is not known", classification("mood", answer(1, "ui")), nil, ""},
		{"a human says it does not apply", classification(FieldCategory, Answer{Source: SourceHuman}), nil, ""},
		{"the order of the fields", Classification{Fields: map[Field]Answer{
			FieldTags: answer(1, "ui"), FieldPriority: answer(1, "critical"), FieldCategory: answer(1, "bug"),
		}}, nil, "kind/bug,priority/critical,ui"},
	} {
		var names []string
		for _, d := range desiredLabels(c.c, taxonomy, by(c.thr)) {
			names = append(names, d.Name)
		}
		if got := strings.Join(names, ","); got != c.want {
			t.Errorf("%s: desires %q, want %q", c.name, got, c.want)
		}
	}

	got := desiredLabels(classification(FieldCategory, answer(0.75, "bug")), taxonomy, by(nil))
	want := []DesiredLabel{{Name: "kind/bug", Field: FieldCategory, Value: "bug", Source: SourcePlugin, Plugin: "rules", Version: "1.2.0", Confidence: 0.75, EventID: "d-1"}}
	if !slices.Equal(got, want) {
		t.Errorf("a plugin's label carries %+v, want %+v", got, want)
	}
	got = desiredLabels(classification(FieldCategory, human), taxonomy, by(nil))
	want = []DesiredLabel{{Name: "kind/bug", Field: FieldCategory, Value: "bug", Source: SourceHuman, EventID: "c-1", AskedAt: second(3)}}
	if !slices.Equal(got, want) {
		t.Errorf("a human's label carries %+v, want %+v", got, want)
	}
	for _, f := range Fields() {
		if (DefaultThresholds()[f] > 0) != f.Labelled() {
			t.Errorf("%s: labelled %t, default threshold %v", f, f.Labelled(), DefaultThresholds()[f])
		}
	}
}

func BenchmarkPlanLabels(b *testing.B) {
	taxonomy := tableTaxonomy()
	view := LabelView{
		Desired:  []DesiredLabel{wish("kind/bug", SourcePlugin), wish("priority/critical", SourcePlugin), wish("ui", SourcePlugin)},
		Taxonomy: taxonomy,
	}
	b.ReportAllocs()
	for b.Loop() {
		PlanLabels(view)
	}
}
