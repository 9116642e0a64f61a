package label_test

import (
	"testing"

	"github.com/dispatchai/dispatchai/core/label"
	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

// mode is a configuration with that mode for everything, and for single fields.
func mode(m triage.Mode, fields map[triage.Field]triage.Mode) triage.RepositoryConfig {
	c := triage.DefaultRepositoryConfig()
	c.Mode, c.Modes = m, fields
	return c
}

// stored makes an issue known to the store, so that its rows can be decided anew.
func (f *fixture) stored(full string, key triage.IssueKey, values says) {
	f.Helper()
	c := triage.Classification{DeliveryID: "stored", Fields: map[triage.Field]triage.Answer{}, ClassifiedAt: f.now()}
	for field, value := range values {
		c.Fields[field] = triage.Answer{Values: []string{value}, Confidence: 0.99, Source: triage.SourcePlugin, Plugin: "rules", Version: "1.0.0"}
	}
	_, err := f.store.ApplyIssues(f.ctx, []store.IssueChange{{
		EventID: "stored/" + key.String(), EventType: triage.Classified, ReceivedAt: f.now(), Classification: &c,
		Issue: triage.Issue{ID: 1, Repository: f.known(full), Number: key.Number, State: "open", UpdatedAt: f.now()},
	}})
	f.check(err)
}

// TestWaitingRowsObeyTheNewestConfiguration: what counts is what is in force when
// a label is written, however long its row has waited.
func TestWaitingRowsObeyTheNewestConfiguration(t *testing.T) {
	f := unlimited(t)
	full := f.repository("acme", "shop")
	shadowed, applied := f.open(full), f.open(full)
	w := f.make("a")
	for _, key := range []triage.IssueKey{shadowed, applied} {
		f.stored(full, key, says{triage.FieldCategory: "bug"})
	}
	f.give(w, f.result(full, shadowed, says{triage.FieldCategory: "bug"}))
	f.configure(full, mode(triage.ModeShadow, nil))
	stop := f.start("b")
	f.settled()
	stop.stop()
	f.once(full, shadowed.Number)

	f.give(w, f.result(full, applied, says{triage.FieldCategory: "bug"})) // under shadow
	f.configure(full, mode(triage.ModeApply, nil))
	f.start("c")
	f.want(full, applied.Number, "bug")
}

// TestNothingIsWrittenBeforeTheFilesWereRead: however long that takes.
func TestNothingIsWrittenBeforeTheFilesWereRead(t *testing.T) {
	f := unlimited(t)
	full := f.repository("acme", "shop")
	r := f.known(full)
	f.check(f.store.ApplyInstallation(f.ctx, store.InstallationChange{
		EventID: "again", At: f.now(), Configuration: store.ConfigurationMark{Because: store.DueNew, InstallationID: r.InstallationID, All: true, Forget: true},
	}))
	key := f.open(full)
	f.stored(full, key, says{triage.FieldCategory: "bug"})
	w := f.start("a")
	f.give(w, f.result(full, key, says{triage.FieldCategory: "bug"}))
	other := f.repository("beta", "shop")
	beside := f.open(other)
	f.give(w, f.result(other, beside, says{triage.FieldCategory: "bug"}))
	f.want(other, beside.Number, "bug") // nobody else waits
	f.once(full, key.Number)
	f.configure(full, triage.DefaultRepositoryConfig())
	f.want(full, key.Number, "bug")
}

// TestLabelsStayUnderShadow: what was written before the mode changed is left
// alone, whatever is said of the issue now.
func TestLabelsStayUnderShadow(t *testing.T) {
	f := unlimited(t)
	full := f.repository("acme", "shop")
	key := f.open(full)
	f.stored(full, key, says{triage.FieldCategory: "question", triage.FieldComponent: "docs"})
	w := f.start("a")
	f.give(w, f.result(full, key, says{triage.FieldCategory: "bug", triage.FieldComponent: "lexer"}))
	f.want(full, key.Number, "bug", "area/lexer")
	f.configure(full, mode(triage.ModeApply, map[triage.Field]triage.Mode{triage.FieldCategory: triage.ModeShadow}))
	f.give(w, f.result(full, key, says{triage.FieldCategory: "question", triage.FieldComponent: "docs"}))
	f.want(full, key.Number, "bug", "area/docs")
	// Not even a person's word writes in shadow.
	f.give(w, f.result(full, key, says{triage.FieldCategory: "!feature", triage.FieldComponent: "docs"}))
	f.settled()
	f.want(full, key.Number, "bug", "area/docs")
}

// TestSuggestModeKeepsItsHandsOff: a plugin's change of mind takes nothing off;
// a person's does.
func TestSuggestModeKeepsItsHandsOff(t *testing.T) {
	f := unlimited(t)
	full := f.repository("acme", "shop")
	key := f.open(full)
	w := f.start("a", func(c *label.Config) { c.PerInstallation = 1 })
	f.give(w, f.result(full, key, says{triage.FieldCategory: "bug"}))
	f.want(full, key.Number, "bug")
	f.configure(full, mode(triage.ModeSuggest, nil))
	f.give(w, f.result(full, key, says{triage.FieldCategory: "question"}))
	f.settled()
	f.want(full, key.Number, "bug")
	f.give(w, f.result(full, key, says{triage.FieldCategory: "!feature"}))
	f.want(full, key.Number, "feature")
	f.settled()
	// This server knows no suggestions: they are shown here alone, and taken back.
	all, err := f.store.Suggestions(f.ctx, []triage.IssueKey{key})
	f.check(err)
	if got := all[key]; len(got) != 1 || got[0].Name != "question" || got[0].State != store.SuggestionWithdrawn {
		t.Errorf("suggestions %+v", got)
	}
}

// TestNeverAndReacting: what the configuration forbids, and what workflows react
// to, is not written, whoever asks.
func TestNeverAndReacting(t *testing.T) {
	f := unlimited(t)
	full := f.repository("acme", "shop")
	c := triage.DefaultRepositoryConfig()
	c.Labels.Never = []string{"bug"}
	f.configure(full, c, "area/*")
	key := f.open(full)
	w := f.start("a")
	f.give(w, f.result(full, key, says{triage.FieldCategory: "!bug", triage.FieldComponent: "lexer"}))
	f.settled()
	f.once(full, key.Number)
	c.Labels.Allow = []string{"area/lexer"}
	f.configure(full, c, "area/*")
	f.give(w, f.result(full, key, says{triage.FieldCategory: "feature", triage.FieldComponent: "lexer"}))
	f.want(full, key.Number, "feature", "area/lexer")
}
