package triage

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"
)

func TestIssueKey(t *testing.T) {
	for _, c := range []struct {
		text string
		want IssueKey // zero: an error
	}{
		{"1#1", IssueKey{1, 1}},
		{"648213377#812", IssueKey{648213377, 812}},
		{"9223372036854775807#9223372036854775807", IssueKey{math.MaxInt64, math.MaxInt64}},
		{"", IssueKey{}}, {"#", IssueKey{}}, {"1", IssueKey{}}, {"1#", IssueKey{}}, {"#1", IssueKey{}}, {"0#1", IssueKey{}}, {"1#0", IssueKey{}},
		{"-1#1", IssueKey{}}, {"1#-1", IssueKey{}}, {"1#2#3", IssueKey{}}, {"1# 2", IssueKey{}}, {"a#b", IssueKey{}}, {"1.5#2", IssueKey{}},
		{"9223372036854775808#1", IssueKey{}}, {"1#9223372036854775808", IssueKey{}}, {"１#１", IssueKey{}},
		// Only one spelling, or one issue would have records under two keys.
		{"+1#1", IssueKey{}}, {"1#+1", IssueKey{}}, {"01#1", IssueKey{}}, {"1#007", IssueKey{}},
	} {
		got, err := ParseIssueKey(c.text)
		if got != c.want || (err == nil) != (c.want != IssueKey{}) {
			t.Errorf("ParseIssueKey(%q) = %+v, %v; want %+v", c.text, got, err, c.want)
		}
		if err == nil && got.String() != c.text {
			t.Errorf("%q is written back as %q", c.text, got)
		}
	}
}

func FuzzParseIssueKey(f *testing.F) {
	for _, s := range []string{"1#1", "648213377#812", "#", "1#2#3", "-1#+1", "0x1#1", "1_0#1", "9223372036854775808#1", "\x00#\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		key, err := ParseIssueKey(s)
		if err != nil {
			if key != (IssueKey{}) {
				t.Errorf("%q: an error and the key %v", s, key)
			}
			return
		}
		if key.RepositoryID <= 0 || key.Number <= 0 || key.String() != s {
			t.Errorf("%q is read as %+v, which is written %q", s, key, key)
		}
	})
}

func TestIssueHasLabel(t *testing.T) {
	issue := Issue{Labels: []string{"kind/Bug", "Σύνδεσης"}}
	for name, want := range map[string]bool{"kind/bug": true, "KIND/BUG": true, "kind/Bug": true, "bug": false, "": false, "σύνδεσησ": true} {
		if issue.HasLabel(name) != want {
			t.Errorf("HasLabel(%q) is %t", name, !want)
		}
	}
}

func FuzzLabelKey(f *testing.F) {
	for _, s := range []string{"Bug", "ſ", "İ", "K", "ẞ", "ΌΔΟΣ", "\xff", "ǅ"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		key := LabelKey(s)
		if again := LabelKey(key); again != key {
			t.Errorf("the key of %q is %q, whose key is %q", s, key, again)
		}
		if lower := strings.ToLower(s); LabelKey(lower) != key && !strings.ContainsAny(s, "İ") {
			t.Errorf("%q and %q have the keys %q and %q", s, lower, key, LabelKey(lower))
		}
	})
}

func TestRepositoryName(t *testing.T) {
	for full, want := range map[string][2]string{"northquay/lockwicket": {"northquay", "lockwicket"}, "": {"", ""}, "alone": {"alone", ""}} {
		r := Repository{FullName: full}
		if r.Owner() != want[0] || r.Name() != want[1] {
			t.Errorf("%q: owner %q, name %q", full, r.Owner(), r.Name())
		}
	}
}

func TestFields(t *testing.T) {
	for _, f := range Fields() {
		if !f.Valid() {
			t.Errorf("%s is listed and not valid", f)
		}
		if f.Multiple() && f != FieldTags && f != FieldAssignees {
			t.Errorf("%s holds several values", f)
		}
	}
	if Field("mood").Valid() || Field("").Valid() {
		t.Error("a field that is not listed is valid")
	}
	c := Classification{Fields: map[Field]Answer{FieldTags: {}, FieldSentiment: {}, FieldCategory: {Values: []string{"bug"}}, "mood": {}}}
	if got, want := c.SortedFields(), []Field{FieldCategory, FieldTags, FieldSentiment}; !slices.Equal(got, want) {
		t.Errorf("the fields in order are %v, want %v", got, want)
	}
	if c.Value(FieldCategory) != "bug" || c.Value(FieldTags) != "" || c.Value(FieldEffort) != "" {
		t.Error("the values are not those of the fields")
	}
}

// The states that the app believes in are those that people see as its labels.
func TestLedgerStateHolds(t *testing.T) {
	for state, want := range map[LedgerState]bool{
		LedgerIntended: false, LedgerWritten: true, LedgerConfirmed: true, LedgerRemoving: true,
		LedgerRemoved: false, LedgerVetoed: false, LedgerForeign: false, "": false,
	} {
		if state.Holds() != want {
			t.Errorf("%q holds: %t", state, !want)
		}
	}
}

// What lies on the log must be read back as it was, by this version and others.
func TestEventJSON(t *testing.T) {
	e := Event{
		ID: "d-1", Kind: KindCorrection, ReceivedAt: second(1.5), Repository: Repository{ID: 7, InstallationID: 3, FullName: "northquay/lockwicket"}, Number: 12,
		Sender: Actor{Login: "ann", Type: ActorUser}, Correction: &CorrectionInput{Field: FieldTags, Values: []string{}, Actor: "ann"},
	}
	data, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	var back Event
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(back)
	if err != nil || string(again) != string(data) {
		t.Errorf("%s is read back as %s, %v", data, again, err)
	}
	if back.IssueKey() != (IssueKey{7, 12}) || (Event{Repository: Repository{ID: 7}}).IssueKey() != (IssueKey{}) {
		t.Error("the event's issue key is not its issue's")
	}
	// Fields that only some answers have stay away from the others.
	if data, err := json.Marshal(Answer{Values: []string{"bug"}, Source: SourcePlugin, Plugin: "rules"}); err != nil || strings.Contains(string(data), "asked_at") {
		t.Errorf("a plugin's answer is written %s, %v", data, err)
	}
	d := DesiredLabel{Name: "kind/bug", Source: SourceHuman, AskedAt: second(2.5)}
	data, err = json.Marshal(d)
	var readBack DesiredLabel
	if err != nil || json.Unmarshal(data, &readBack) != nil || readBack != d {
		t.Errorf("%+v is read back as %+v (%s, %v)", d, readBack, data, err)
	}
}

func TestSuperseded(t *testing.T) {
	change := Event{Kind: KindLabelChange, Action: "labeled", Label: &RepositoryLabel{Name: "UI"}, Issue: &Issue{UpdatedAt: second(5), Labels: []string{"ui"}}}
	undone := Event{Kind: KindLabelChange, Action: "unlabeled", Label: &RepositoryLabel{Name: "ui"}, Issue: &Issue{UpdatedAt: second(5)}}
	for _, c := range []struct {
		name   string
		event  Event
		newest Issue
		want   bool
	}{
		{"undone since", change, Issue{UpdatedAt: second(6)}, true},
		{"stands", change, Issue{UpdatedAt: second(6), Labels: []string{"ui"}}, false},
		{"newer than what is known", change, Issue{UpdatedAt: second(4)}, false},
		{"of the same second", change, Issue{UpdatedAt: second(5)}, false},
		{"put on again since", undone, Issue{UpdatedAt: second(6), Labels: []string{"UI"}}, true},
		{"still off", undone, Issue{UpdatedAt: second(6)}, false},
		{"nothing is known", change, Issue{}, false},
		{"no label change", Event{Kind: KindIssue, Action: "labeled"}, Issue{UpdatedAt: second(6)}, false},
		{"an event without its issue", Event{Kind: KindLabelChange, Action: "labeled", Label: change.Label}, Issue{UpdatedAt: second(6)}, false},
	} {
		if got := c.event.Superseded(c.newest); got != c.want {
			t.Errorf("%s: superseded %t, want %t", c.name, got, c.want)
		}
	}
}

func TestInstallationAllows(t *testing.T) {
	n := Installation{Grant: &Grant{
		Permissions: map[string]string{"issues": "write", "metadata": "read", "checks": "odd", "single_file": "read"},
		SingleFiles: []string{".github/dispatchai.yml"},
	}}
	for _, tc := range []struct {
		permission, level string
		want              bool
	}{
		{"issues", "read", true}, {"issues", "write", true}, {"issues", "admin", false}, {"metadata", "read", true}, {"metadata", "write", false},
		{"checks", "read", false}, {"contents", "read", false}, {"issues", "", false}, {"issues", "odd", false}, {"", "read", false},
	} {
		if got := n.Allows(tc.permission, tc.level); got != tc.want {
			t.Errorf("%s: %s is allowed: %v, want %v", tc.permission, tc.level, got, tc.want)
		}
	}
	if !n.AllowsFile(".github/dispatchai.yml") || n.AllowsFile("README.md") {
		t.Error("the single file is not the one that may be read")
	}
	n.Grant.Permissions["contents"] = "read"
	if !n.AllowsFile("README.md") {
		t.Error("with contents any file may be read")
	}
	for name, barred := range map[string]Installation{"suspended": {Grant: n.Grant, Suspended: true}, "removed": {Grant: n.Grant, Removed: true}, "never told": {}} {
		if barred.Allows("issues", "read") || barred.AllowsFile("README.md") {
			t.Errorf("%s: it is allowed something", name)
		}
	}
}
