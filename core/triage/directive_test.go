package triage

import (
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func withdrawn(plugin, version string, f Field, value string, second int) Withdrawal {
	return Withdrawal{EventID: "undo", Plugin: plugin, Version: version, Field: f, Value: value, Actor: "ann", At: start.Add(time.Duration(second) * time.Second)}
}

func TestWithdrawals(t *testing.T) {
	c := Classification{Fields: map[Field]Answer{
		FieldCategory:  {Values: []string{"bug"}, Source: SourcePlugin, Plugin: "rules", Version: "1"},
		FieldTags:      {Values: []string{"ui", "sync"}, Source: SourcePlugin, Plugin: "rules", Version: "1"},
		FieldComponent: {Values: []string{"cli"}, Source: SourceHuman, Actor: "bob"},
	}}
	d := Directives{}.With(Directives{Withdrawals: []Withdrawal{
		withdrawn("rules", "1", FieldCategory, "bug", 10), withdrawn("rules", "1", FieldTags, "ui", 10), withdrawn("", "", FieldComponent, "cli", 10),
	}})
	left := d.Without(c)
	if _, any := left.Fields[FieldCategory]; any || !slices.Equal(left.Fields[FieldTags].Values, []string{"sync"}) || left.Value(FieldComponent) != "cli" {
		t.Errorf("left is %+v", left.Fields)
	}
	if c.Value(FieldCategory) != "bug" || len(c.Fields[FieldTags].Values) != 2 {
		t.Errorf("the classification itself was changed: %+v", c.Fields)
	}
	for _, other := range []Answer{
		{Values: []string{"bug"}, Plugin: "rules", Version: "2"}, {Values: []string{"bug"}, Plugin: "openai", Version: "1"}, {Values: []string{"feature"}, Plugin: "rules", Version: "1"},
	} {
		if _, any := d.Withhold(FieldCategory, other); !any {
			t.Errorf("%+v is withheld", other)
		}
	}
	for second, holds := range map[int]bool{9: true, 10: false, 11: false} {
		anew := Directives{AskedAnew: start.Add(time.Duration(second) * time.Second)}
		for name, both := range map[string]Directives{"asked afterwards": d.With(anew), "heard of first": anew.With(d)} {
			if got := len(both.Withdrawals) > 0; got != holds {
				t.Errorf("asked anew at %d, %s: withdrawn is %t", second, name, got)
			}
		}
	}
}

func TestDirectivesAreBounded(t *testing.T) {
	var d Directives
	for n := range 3 * MaxWithdrawals {
		d = d.With(Directives{
			Withdrawals: []Withdrawal{withdrawn("rules", "1", FieldTags, strings.Repeat("x", n+1), n), withdrawn("rules", "1", FieldCategory, "bug", n)},
			Replies:     strings.Repeat("é", 100),
		})
	}
	if len(d.Withdrawals) != MaxWithdrawals || d.Withdrawals[0].At.Before(start.Add(200*time.Second)) {
		t.Errorf("%d withdrawals are kept, from %v on", len(d.Withdrawals), d.Withdrawals[0].At)
	}
	if n := slices.IndexFunc(d.Withdrawals, withdrawn("rules", "1", FieldCategory, "bug", 0).same); n < 0 {
		t.Error("an answer withdrawn again and again was forgotten")
	}
	if len(d.Replies) > MaxReplies || len(d.Replies) < MaxReplies-4 || !utf8.ValidString(d.Replies) {
		t.Errorf("%d bytes of replies are kept", len(d.Replies))
	}
}

func TestTheLaterWordOnIgnoringCounts(t *testing.T) {
	ignore := Directives{Ignored: true, IgnoredBy: "ann", IgnoredAt: start}
	resume := Directives{IgnoredBy: "bob", IgnoredAt: start.Add(time.Second)}
	for name, d := range map[string]Directives{"in order": ignore.With(resume), "late": resume.With(ignore)} {
		if d.Ignored || d.IgnoredBy != "bob" {
			t.Errorf("%s: %+v", name, d)
		}
	}
	if !(Directives{}).With(ignore).Ignored || (Directives{}).With(ignore).IsZero() || !(Directives{}).IsZero() {
		t.Error("to leave the issue alone is not remembered")
	}
}
