package triage

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestEffective(t *testing.T) {
	plugin := Classification{DeliveryID: "d-1", Reasoning: "because", Fields: map[Field]Answer{
		FieldCategory: {Values: []string{"bug"}, Confidence: 0.8, Source: SourcePlugin, Plugin: "rules", Version: "1.0.0"},
		FieldPriority: {Values: []string{"low"}, Confidence: 0.7, Source: SourcePlugin, Plugin: "rules"},
	}}
	at := func(n float64, id string, f Field, values ...string) Correction {
		return Correction{EventID: id, Field: f, New: values, Actor: "ann", Reason: "seen it", Source: FromDashboard, At: second(n)}
	}
	for _, c := range []struct {
		name        string
		corrections []Correction
		want        map[Field]string // values and event
	}{
		{"none", nil, map[Field]string{FieldCategory: "bug", FieldPriority: "low"}},
		{"one", []Correction{at(1, "c1", FieldCategory, "feature")}, map[Field]string{FieldCategory: "feature c1", FieldPriority: "low"}},
		{"a field no classifier answered", []Correction{at(1, "c1", FieldTags, "ui", "sync")}, map[Field]string{FieldCategory: "bug", FieldPriority: "low", FieldTags: "ui,sync c1"}},
		{"does not apply", []Correction{at(1, "c1", FieldCategory)}, map[Field]string{FieldCategory: " c1", FieldPriority: "low"}},
		{"the last word", []Correction{at(1, "c1", FieldCategory, "feature"), at(2, "c2", FieldCategory, "question")}, map[Field]string{FieldCategory: "question c2", FieldPriority: "low"}},
		{"the last word, brought first", []Correction{at(2, "c2", FieldCategory, "question"), at(1, "c1", FieldCategory, "feature")}, map[Field]string{FieldCategory: "question c2", FieldPriority: "low"}},
		{"at the same time the later in line", []Correction{at(1, "c1", FieldCategory, "feature"), at(1, "c2", FieldCategory, "question")}, map[Field]string{FieldCategory: "question c2", FieldPriority: "low"}},
		{"each field for itself", []Correction{at(2, "c2", FieldPriority, "high"), at(1, "c1", FieldCategory, "feature")}, map[Field]string{FieldCategory: "feature c1", FieldPriority: "high c2"}},
	} {
		before := fmt.Sprintf("%+v %+v", plugin, c.corrections)
		effective := Effective(plugin, c.corrections)
		got := map[Field]string{}
		for f, a := range effective.Fields {
			got[f] = strings.Join(a.Values, ",")
			if a.Source == SourceHuman {
				got[f] += " " + a.EventID
				if a.Confidence != 1 || a.Actor != "ann" || a.Reason != "seen it" || a.Plugin != "" || a.AskedAt.IsZero() || a.Values == nil {
					t.Errorf("%s: a human's answer is %+v", c.name, a)
				}
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%s: effective %v, want %v", c.name, got, c.want)
		}
		if after := fmt.Sprintf("%+v %+v", plugin, c.corrections); after != before {
			t.Errorf("%s: the arguments were changed", c.name)
		}
		if effective.DeliveryID != "d-1" || effective.Reasoning != "because" {
			t.Errorf("%s: lost what the classification carries: %+v", c.name, effective)
		}
	}

	// A label change is known to the second, whenever its delivery came.
	fromLabel := at(7.9, "d-2", FieldCategory, "feature")
	fromLabel.Source = FromGitHub
	if got := Effective(plugin, []Correction{fromLabel}).Fields[FieldCategory].AskedAt; !got.Equal(second(7)) {
		t.Errorf("a label change of second 7 counts as asked at %v", got)
	}
	if got := Effective(plugin, []Correction{at(7.9, "c1", FieldCategory, "feature")}).Fields[FieldCategory].AskedAt; !got.Equal(second(7.9)) {
		t.Errorf("a correction of 7.9 counts as asked at %v", got)
	}
	if data, err := json.Marshal(Effective(Classification{}, []Correction{at(1, "c1", FieldCategory)}).Fields[FieldCategory]); err != nil || !strings.Contains(string(data), `"values":[]`) {
		t.Errorf("an answer that does not apply is %s, %v", data, err)
	}
}

func TestCorrectionsFromLabel(t *testing.T) {
	taxonomy := NewTaxonomy(named("kind/bug", "bug", "kind/feature", "priority: high", "ui", "sync", "good first issue", "wontfix", "crash"))
	held := func(f Field, values ...string) *Classification {
		return &Classification{Fields: map[Field]Answer{f: {Values: values, Source: SourcePlugin}}}
	}
	for _, c := range []struct {
		name   string
		action string
		label  string
		on     []string // on the issue after the change; nil: not told
		held   *Classification
		want   string // "" is no correction
	}{
		{"a category", "labeled", "kind/feature", []string{"kind/feature"}, held(FieldCategory, "bug"), `category ["bug"] -> ["feature"]`},
		{"a category beside the old one", "labeled", "kind/feature", []string{"kind/bug", "kind/feature"}, held(FieldCategory, "bug"), `category ["bug"] -> ["feature"]`},
		{"in another spelling", "labeled", "Kind/Feature", []string{"kind/feature"}, held(FieldCategory, "bug"), `category ["bug"] -> ["feature"]`},
		{"nothing was held of the field", "labeled", "priority: high", []string{"priority: high"}, held(FieldCategory, "bug"), `priority [] -> ["high"]`},
		{"nothing was held at all", "labeled", "kind/bug", []string{"kind/bug"}, nil, `category [] -> ["bug"]`},
		{"what is held already", "labeled", "bug", []string{"bug"}, held(FieldCategory, "bug"), ""},
		{"one kind of what is held", "labeled", "crash", []string{"crash"}, held(FieldCategory, "bug"), ""},
		{"a label without a meaning", "labeled", "wontfix", []string{"wontfix"}, held(FieldCategory, "bug"), ""},
		{"a label the repository lacks", "labeled", "kind/regression", []string{"kind/regression"}, held(FieldCategory, "bug"), ""},
		{"undone before the delivery was written", "labeled", "kind/feature", []string{}, held(FieldCategory, "bug"), ""},
		{"the event does not tell the issue's labels", "labeled", "kind/feature", nil, held(FieldCategory, "bug"), `category ["bug"] -> ["feature"]`},

		{"a category taken off", "unlabeled", "kind/bug", []string{}, held(FieldCategory, "bug"), `category ["bug"] -> []`},
		{"another category taken off", "unlabeled", "kind/feature", []string{"kind/bug"}, held(FieldCategory, "bug"), ""},
		{"taken off, nothing held", "unlabeled", "kind/bug", []string{}, nil, ""},
		{"another label still says so", "unlabeled", "bug", []string{"kind/bug"}, held(FieldCategory, "bug"), ""},
		{"put on again before the delivery was written", "unlabeled", "kind/bug", []string{"kind/bug"}, held(FieldCategory, "bug"), ""},
		{"one of two categories taken off", "unlabeled", "kind/feature", []string{"kind/bug", "ui"}, held(FieldCategory, "feature"), `category ["feature"] -> ["bug"]`},
		{"taken off, the issue's labels not told", "unlabeled", "kind/bug", nil, held(FieldCategory, "bug"), `category ["bug"] -> []`},

		{"taken off, and the label renamed or deleted since", "unlabeled", "Type: Bug", []string{"ui"}, held(FieldCategory, "bug"), `category ["bug"] -> []`},
		{"taken off, renamed, and put on again", "unlabeled", "Type: Bug", []string{"kind/bug"}, held(FieldCategory, "bug"), ""},
		{"a mere rank taken off, and deleted since", "unlabeled", "P1", []string{}, held(FieldPriority, "high"), ""},
		{"taken off, and deleted since, of another category", "unlabeled", "regression", []string{"kind/feature"}, held(FieldCategory, "feature"), ""},

		{"a tag more", "labeled", "ui", []string{"sync", "ui"}, held(FieldTags, "sync"), `tags ["sync"] -> ["sync" "ui"]`},
		{"a tag more, and one that was held but never written", "labeled", "ui", []string{"ui"}, held(FieldTags, "sync"), `tags ["sync"] -> ["ui"]`},
		{"a tag more, beside one that nobody held", "labeled", "ui", []string{"good first issue", "ui"}, nil, `tags [] -> ["good-first-issue" "ui"]`},
		{"a tag more, the issue's labels not told", "labeled", "ui", nil, held(FieldTags, "sync"), `tags ["sync"] -> ["sync" "ui"]`},
		{"a tag less", "unlabeled", "ui", []string{"sync", "kind/bug"}, held(FieldTags, "ui", "sync"), `tags ["ui" "sync"] -> ["sync"]`},
		{"a tag less, and one that was held but never written", "unlabeled", "ui", []string{}, held(FieldTags, "ui", "sync"), `tags ["ui" "sync"] -> []`},
		{"a tag less, the issue's labels not told", "unlabeled", "ui", nil, held(FieldTags, "ui", "sync"), `tags ["ui" "sync"] -> ["sync"]`},
		{"neither on nor off", "edited", "ui", []string{"ui"}, nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := Event{
				ID: "d-9", Kind: KindLabelChange, Action: c.action, ReceivedAt: second(90), Repository: Repository{ID: 7}, Number: 12,
				Sender: Actor{Login: "ann", Type: ActorUser}, Label: &RepositoryLabel{Name: c.label}, Issue: &Issue{Labels: c.on, UpdatedAt: second(5)},
			}
			before := fmt.Sprintf("%+v %+v", c.held, c.on)
			got := ""
			for _, k := range CorrectionsFromLabel(e, taxonomy, c.held) {
				got += fmt.Sprintf("%s %q -> %q", k.Field, k.Old, k.New)
				want := Correction{EventID: "d-9", Issue: IssueKey{7, 12}, Field: k.Field, Old: k.Old, New: k.New, Actor: "ann", Reason: c.action + " " + c.label, Source: FromGitHub, At: second(6).Add(-time.Microsecond)}
				if fmt.Sprintf("%+v", k) != fmt.Sprintf("%+v", want) || k.Old == nil || k.New == nil {
					t.Errorf("the correction is %+v, want %+v", k, want)
				}
			}
			if got != c.want {
				t.Errorf("corrects %s, want %s", got, c.want)
			}
			if after := fmt.Sprintf("%+v %+v", c.held, c.on); after != before {
				t.Errorf("the arguments were changed from %s to %s", before, after)
			}
		})
	}
	if got := CorrectionsFromLabel(Event{Action: "labeled"}, taxonomy, nil); got != nil {
		t.Errorf("an event without a label corrects %v", got)
	}
}

// A human's last word must win in whatever order and however late GitHub brings it.
func TestCorrectionsFromLabelInAnyOrder(t *testing.T) {
	taxonomy := NewTaxonomy(named("kind/bug", "kind/feature", "kind/support"))
	change := func(id, action, label string, at float64, on ...string) Event {
		return Event{
			ID: id, Kind: KindLabelChange, Action: action, Label: &RepositoryLabel{Name: label},
			Issue: &Issue{Labels: append([]string{}, on...), UpdatedAt: second(at)},
		}
	}
	// The app's "kind/bug" is replaced by "kind/feature", and that by "kind/support".
	events := []Event{
		change("1", "unlabeled", "kind/bug", 1),
		change("2", "labeled", "kind/feature", 2, "kind/feature"),
		change("3", "unlabeled", "kind/feature", 5),
		change("4", "labeled", "kind/support", 6, "kind/support"),
	}
	for _, order := range permutations(len(events)) {
		plugin := Classification{Fields: map[Field]Answer{FieldCategory: {Values: []string{"bug"}, Confidence: 0.9, Source: SourcePlugin}}}
		var corrections []Correction
		var newest Issue
		for place, i := range order {
			e := events[i]
			e.ReceivedAt = second(float64(100 + place))
			if e.Superseded(newest) {
				continue
			}
			if e.Issue.UpdatedAt.After(newest.UpdatedAt) {
				newest = *e.Issue
			}
			held := Effective(plugin, corrections)
			corrections = append(corrections, CorrectionsFromLabel(e, taxonomy, &held)...)
		}
		if got := Effective(plugin, corrections).Value(FieldCategory); got != "question" {
			t.Errorf("in the order %v the category ends as %q: %+v", order, got, corrections)
		}
	}
}

func permutations(n int) [][]int {
	if n == 0 {
		return [][]int{nil}
	}
	var all [][]int
	for _, p := range permutations(n - 1) {
		for i := range n {
			all = append(all, slices.Insert(slices.Clone(p), i, n-1))
		}
	}
	return all
}

func TestCorrectionTimes(t *testing.T) {
	for _, c := range []struct {
		name     string
		updated  time.Time
		received time.Time
		want     time.Time
	}{
		{"live", second(5), second(5.4), second(5.4)},
		{"late", second(5), second(8), second(6).Add(-time.Microsecond)},
		{"days late", second(5), second(260_000), second(6).Add(-time.Microsecond)},
		{"our clock is behind", second(5), second(3), second(3)},
		{"GitHub does not say", time.Time{}, second(3), second(3)},
	} {
		if got := (Event{ReceivedAt: c.received, Issue: &Issue{UpdatedAt: c.updated}}).changedAt(); !got.Equal(c.want) {
			t.Errorf("%s: changed at %v, want %v", c.name, got, c.want)
		}
	}
	if got := (Event{ReceivedAt: second(3)}).changedAt(); !got.Equal(second(3)) {
		t.Errorf("without an issue: changed at %v", got)
	}
}

func TestCorrectionInputValidate(t *testing.T) {
	taxonomy := NewTaxonomy(named("kind/bug", "ui", "sync"))
	many := slices.Repeat([]string{"ui"}, 21)
	for _, c := range []struct {
		in   CorrectionInput
		want string // part of the message; "" is no fault
	}{
		{CorrectionInput{Field: FieldCategory, Values: []string{"bug"}}, ""},
		{CorrectionInput{Field: FieldCategory, Values: []string{"performance"}}, ""}, // shown, though no label says it
		{CorrectionInput{Field: FieldCategory}, ""},
		{CorrectionInput{Field: FieldTags, Values: []string{"ui", "sync"}}, ""},
		{CorrectionInput{Field: FieldSummary, Values: []string{"It breaks."}}, ""},
		{CorrectionInput{Field: "mood"}, `no field "mood"`},
		{CorrectionInput{Field: FieldCategory, Values: []string{"bug", "feature"}}, "one value, not 2"},
		{CorrectionInput{Field: FieldCategory, Values: []string{"kind/bug"}}, "it can be bug, feature"},
		{CorrectionInput{Field: FieldComponent, Values: []string{"cli"}}, "the repository has no label for it"},
		{CorrectionInput{Field: FieldTags, Values: many}, "at most 20"},
		{CorrectionInput{Field: FieldSummary, Values: []string{""}}, "1 to 1,000"},
		{CorrectionInput{Field: FieldSummary, Values: []string{strings.Repeat("x", 1001)}}, "1 to 1,000"},
	} {
		err := c.in.Validate(taxonomy)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s=%q: %v, want %q", c.in.Field, c.in.Values, err, c.want)
		}
	}
}
