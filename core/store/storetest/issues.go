package storetest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

var issueTests = map[string]func(*testing.T, store.Store){
	"everything written is read": func(t *testing.T, s store.Store) {
		issue := newIssue(1, 7, 10)
		c := classified("e1", issue, 3, "bug", "high")
		c.Similar = []triage.Neighbour{{IssueID: 4, Number: 5, Title: "Near", State: "closed", URL: "https://x", Similarity: 0.5}}
		c.Embedding = &store.Embedding{Model: "m", Vector: []float32{1, 2, 0}}
		c.Classification.Hold = "its text steers"
		c.Classification.PassedOver = []triage.PassedOver{{Plugin: "openai", Reason: triage.PassedSlow, Detail: "no answer within 10s"}}
		priority := c.Classification.Fields[triage.FieldPriority]
		priority.FallbackFor = "openai"
		c.Classification.Fields[triage.FieldPriority] = priority
		want := store.IssueState{
			Issue: issue, Revision: 1, ReceivedAt: at(11), Position: store.Position{Partition: 1, Offset: 3},
			TextHash: "hash of e1", Classification: c.Classification, Similar: c.Similar,
		}
		equal(t, "result", apply(t, s, c)[0], want)
		equal(t, "loaded", load(t, s, issue.Key()), want)
		events, err := s.AppliedEvents(testContext(t), []string{"e1", "other"})
		check(t, err)
		if len(events) != 1 || events["e1"].AppliedAt.IsZero() {
			t.Fatalf("applied events %+v", events)
		}
		equal(t, "event", events["e1"], store.AppliedEvent{EventID: "e1", Issue: issue.Key(), EventType: triage.Classified, AppliedAt: events["e1"].AppliedAt})
	},
	"unknown keys are absent": func(t *testing.T, s store.Store) {
		issue := newIssue(1, 1, 0)
		apply(t, s, received("e1", issue, 1))
		states, err := s.LoadIssues(testContext(t), []triage.IssueKey{issue.Key(), {RepositoryID: 1, Number: 2}, {RepositoryID: 2, Number: 1}, issue.Key()})
		check(t, err)
		if len(states) != 1 {
			t.Fatalf("%d states, want 1", len(states))
		}
		for _, none := range [][]triage.IssueKey{nil, {}} {
			states, err := s.LoadIssues(testContext(t), none)
			check(t, err)
			equal(t, "states", len(states), 0)
		}
		states2, err := s.ApplyIssues(testContext(t), nil)
		check(t, err)
		equal(t, "states", len(states2), 0)
		events, err := s.AppliedEvents(testContext(t), nil)
		check(t, err)
		equal(t, "events", len(events), 0)
	},
	"an issue with nothing set": func(t *testing.T, s store.Store) {
		bare := triage.Issue{Repository: triage.Repository{ID: 3}, Number: 4}
		apply(t, s, store.IssueChange{EventID: "e", Issue: bare})
		got := load(t, s, bare.Key())
		want := bare
		want.Labels = []string{}
		equal(t, "issue", got.Issue, want)
		if !got.ReceivedAt.IsZero() || got.Issue.ClosedAt != nil || got.Classification != nil || got.Corrections != nil || got.Similar != nil || got.Deleted {
			t.Fatalf("state %+v", got)
		}
	},
	"times keep microseconds in UTC": func(t *testing.T, s store.Store) {
		issue := newIssue(1, 1, 0)
		issue.UpdatedAt = time.Date(2026, 5, 6, 7, 8, 9, 123456789, time.FixedZone("", 3600))
		result := apply(t, s, received("e1", issue, 1))[0]
		want := time.Date(2026, 5, 6, 6, 8, 9, 123456000, time.UTC)
		if got := load(t, s, issue.Key()).Issue.UpdatedAt; !got.Equal(want) || got.Location() != time.UTC || !result.Issue.UpdatedAt.Equal(want) {
			t.Fatalf("%v, want %v", got, want)
		}
	},
	"an event counts once": func(t *testing.T, s store.Store) {
		issue := newIssue(1, 1, 0)
		first := apply(t, s, classified("e1", issue, 1, "bug", "high"))[0]
		again := classified("e1", newIssue(1, 1, 60), 9, "feature", "low")
		again.Issue.Title = "Other"
		again.Corrections = []triage.Correction{{Field: triage.FieldCategory, New: []string{"x"}, Actor: "a"}}
		equal(t, "result", apply(t, s, again, again)[1], first)
		equal(t, "loaded", load(t, s, issue.Key()), first)
	},
	"an event counts once within a batch": func(t *testing.T, s store.Store) {
		issue := newIssue(1, 1, 0)
		states := apply(t, s, received("e1", issue, 1), received("e1", issue, 1), received("e2", issue, 2))
		equal(t, "revisions", []int64{states[0].Revision, states[1].Revision, states[2].Revision}, []int64{1, 1, 2})
	},
	"results come in the order given": func(t *testing.T, s store.Store) {
		var changes []store.IssueChange
		for i := range 300 {
			changes = append(changes, received(fmt.Sprint("e", i), newIssue(int64(1+i%3), 300-i, float64(i)), int64(i)))
		}
		for i, state := range apply(t, s, changes...) {
			equal(t, "key", state.Issue.Key(), changes[i].Issue.Key())
			equal(t, "revision", state.Revision, int64(1))
		}
	},
	"older updated_at changes no column": func(t *testing.T, s store.Store) {
		issue := newIssue(1, 1, 100)
		apply(t, s, received("e1", issue, 5))
		stale := newIssue(1, 1, 99)
		stale.Title, stale.State = "Stale", "closed"
		change := classified("e2", stale, 6, "bug", "high")
		state := apply(t, s, change)[0]
		equal(t, "issue", state.Issue, issue)
		equal(t, "received", state.ReceivedAt, at(101))
		equal(t, "position", state.Position, store.Position{Partition: 1, Offset: 5})
		equal(t, "revision", state.Revision, int64(2))
		equal(t, "classification", state.Classification, change.Classification)
		equal(t, "loaded", load(t, s, issue.Key()), state)
	},
	"position decides between equal updated_at": func(t *testing.T, s store.Store) {
		issue := newIssue(1, 1, 100)
		apply(t, s, received("e1", issue, 5))
		for i, step := range []struct {
			position store.Position
			title    string
			want     string
		}{
			{store.Position{Partition: 1, Offset: 4}, "lower", issue.Title},
			{store.Position{Partition: 1, Offset: 5}, "same", "same"},
			{store.Position{Partition: 1, Offset: 6}, "higher", "higher"},
			{store.Position{Partition: 1, Offset: 5}, "lower again", "higher"},
		} {
			next := issue
			next.Title = step.title
			change := received(fmt.Sprint("f", i), next, 0)
			change.Position = step.position
			equal(t, step.title, apply(t, s, change)[0].Issue.Title, step.want)
		}
		moved := issue
		moved.Title = "moved"
		change := received("g1", moved, 0)
		change.Position, change.ReceivedAt = store.Position{Partition: 0, Offset: 1}, at(100)
		equal(t, "another partition, received before", apply(t, s, change)[0].Issue.Title, "higher")
		change.EventID, change.ReceivedAt = "g2", at(101)
		equal(t, "another partition, not received before", apply(t, s, change)[0].Issue.Title, "moved")
	},
	"newer updated_at wins over position": func(t *testing.T, s store.Store) {
		apply(t, s, received("e1", newIssue(1, 1, 100), 5))
		next := newIssue(1, 1, 101)
		next.Title, next.ClosedAt, next.Labels = "Newer", nil, []string{}
		state := apply(t, s, received("e2", next, 2))[0]
		equal(t, "issue", state.Issue, next)
		equal(t, "loaded", load(t, s, next.Key()), state)
	},
	"partial changes leave the columns": func(t *testing.T, s store.Store) {
		issue := newIssue(1, 1, 100)
		before := apply(t, s, received("e1", issue, 5))[0]
		change := partial("p1", issue.Key())
		change.Issue.UpdatedAt, change.Issue.Title = at(900), "ignored"
		change.Classification = newClassification("p1", "bug", "low")
		state := apply(t, s, change)[0]
		equal(t, "issue", state.Issue, issue)
		equal(t, "position", state.Position, before.Position)
		equal(t, "revision", state.Revision, int64(2))
		equal(t, "category", state.Classification.Value(triage.FieldCategory), "bug")
		equal(t, "loaded", load(t, s, issue.Key()), state)
	},
	"partial change of an unknown issue": func(t *testing.T, s store.Store) {
		key := triage.IssueKey{RepositoryID: 1, Number: 9}
		change := partial("p1", key)
		change.Corrections = []triage.Correction{{Field: triage.FieldCategory, New: []string{"bug"}, Actor: "a"}}
		state := apply(t, s, change)[0]
		equal(t, "revision", state.Revision, int64(0))
		equal(t, "key", state.Issue.Key(), key)
		events, err := s.AppliedEvents(testContext(t), []string{"p1"})
		check(t, err)
		equal(t, "applied", len(events), 0)
		apply(t, s, received("e1", newIssue(1, 9, 0), 1))
		equal(t, "now", len(apply(t, s, change)[0].Corrections), 1)
	},
	"the newest classification stands": func(t *testing.T, s store.Store) {
		issue := newIssue(1, 1, 0)
		apply(t, s, classified("e1", issue, 1, "bug", "high"))
		second := classified("e2", issue, 2, "feature", "low")
		second.Similar = []triage.Neighbour{{IssueID: 1, Number: 2, Similarity: 1}}
		state := apply(t, s, second)[0]
		equal(t, "classification", state.Classification, second.Classification)
		equal(t, "hash", state.TextHash, "hash of e2")
		none := received("e3", newIssue(1, 1, 1), 3)
		none.TextHash, none.Similar = "not written", []triage.Neighbour{{Number: 9}}
		state = apply(t, s, none)[0]
		equal(t, "classification", state.Classification, second.Classification)
		equal(t, "hash", state.TextHash, "hash of e2")
		equal(t, "similar", state.Similar, second.Similar)
		equal(t, "loaded", load(t, s, issue.Key()), state)
	},
	"deleted is final": func(t *testing.T, s store.Store) {
		issue := newIssue(1, 1, 100)
		apply(t, s, received("e1", issue, 5))
		gone := received("e2", newIssue(1, 1, 50), 2) // older, and yet gone
		gone.Deleted = true
		equal(t, "deleted", apply(t, s, gone)[0].Deleted, true)
		equal(t, "deleted", apply(t, s, received("e3", newIssue(1, 1, 200), 9))[0].Deleted, true)
		equal(t, "loaded", load(t, s, issue.Key()).Deleted, true)
		first := received("e4", newIssue(1, 2, 0), 9)
		first.Deleted = true
		equal(t, "deleted at once", apply(t, s, first)[0].Deleted, true)
	},
	"a batch is all or nothing": func(t *testing.T, s store.Store) {
		issue := newIssue(1, 1, 0)
		if _, err := s.ApplyIssues(testContext(t), []store.IssueChange{received("e1", issue, 1), received("", newIssue(1, 2, 0), 2)}); err == nil {
			t.Fatal("no error for a change without EventID")
		}
		wide := classified("e2", newIssue(1, 3, 0), 3, "bug", "high")
		wide.Embedding = &store.Embedding{Model: "m", Vector: make([]float32, store.MaxDimensions+1)}
		if _, err := s.ApplyIssues(testContext(t), []store.IssueChange{received("e1", issue, 1), wide}); err == nil {
			t.Fatal("no error for a vector that is too long")
		}
		states, err := s.LoadIssues(testContext(t), []triage.IssueKey{issue.Key()})
		check(t, err)
		equal(t, "states", len(states), 0)
	},
	"the repository's row": func(t *testing.T, s store.Store) {
		issue := newIssue(1, 1, 100)
		issue.Repository.FullName = "acme/new"
		apply(t, s, received("e1", issue, 1))
		stale := newIssue(1, 2, 50)
		stale.Repository.FullName, stale.Repository.Private = "acme/old", false
		equal(t, "name", apply(t, s, received("e2", stale, 2))[0].Issue.Repository, issue.Repository)
		fresh := newIssue(1, 3, 150)
		fresh.Repository.FullName, fresh.Repository.InstallationID = "acme/newest", 77
		equal(t, "name", apply(t, s, received("e3", fresh, 3))[0].Issue.Repository, fresh.Repository)
		equal(t, "name of the others", load(t, s, stale.Key()).Issue.Repository, fresh.Repository)
		unsaid := newIssue(1, 4, 200)
		unsaid.Repository = triage.Repository{ID: 1, Private: true}
		equal(t, "what is not said", apply(t, s, received("e4", unsaid, 4))[0].Issue.Repository, fresh.Repository)
		known, err := s.LoadRepositories(testContext(t), []int64{1, 2})
		check(t, err)
		equal(t, "directory", known, map[int64]store.RepositoryState{1: {Repository: fresh.Repository, Labels: []triage.RepositoryLabel{}}})
	},
	"a cancelled context changes nothing": func(t *testing.T, s store.Store) {
		ctx, cancel := context.WithCancel(testContext(t))
		cancel()
		issue := newIssue(1, 1, 0)
		_, err := s.ApplyIssues(ctx, []store.IssueChange{received("e1", issue, 1)})
		wantError(t, err, context.Canceled)
		_, err = s.LoadIssues(ctx, []triage.IssueKey{issue.Key()})
		wantError(t, err, context.Canceled)
		states, err := s.LoadIssues(testContext(t), []triage.IssueKey{issue.Key()})
		check(t, err)
		equal(t, "states", len(states), 0)
	},
}

// hostile is text that some database or other trips over.
var hostile = map[string]struct{ in, want string }{
	"NUL":                {"a\x00b", "a\uFFFDb"},
	"invalid UTF-8":      {"a\xff\xfeb", "a\uFFFDb"},
	"a cut rune":         {"a\xe2\x82", "a\uFFFD"},
	"a surrogate":        {"a\xed\xa0\x80b", "a\uFFFDb"},
	"astral and RTL":     {"🙂\u202Eעברית\u200F", "🙂\u202Eעברית\u200F"},
	"SQL":                {`'; DROP TABLE issues; -- "%_\`, `'; DROP TABLE issues; -- "%_\`},
	"JSON":               {`{"a":[null,"\u0000"]}` + "\u2028<>&", `{"a":[null,"\u0000"]}` + "\u2028<>&"},
	"control characters": {"\x01\x1b[31m\x7f\r\n", "\x01\x1b[31m\x7f\r\n"},
}

var textTests = map[string]func(*testing.T, store.Store){
	"in every text of an issue": func(t *testing.T, s store.Store) {
		number := 0
		for name, text := range hostile {
			number++
			change := func(x string) store.IssueChange {
				issue := newIssue(1, number, 0)
				issue.Title, issue.Body, issue.State, issue.URL, issue.AuthorAssociation = x, x, x, x, x
				issue.Author = triage.Actor{Login: x, Type: triage.ActorType(x)}
				issue.Labels = []string{x, "plain"}
				issue.Repository.FullName = x
				issue.Repository.ID = int64(number)
				c := store.IssueChange{EventID: fmt.Sprint("e", number, x), EventType: triage.EventType(x), ReceivedAt: at(1), Issue: issue, TextHash: x}
				c.Classification = &triage.Classification{
					DeliveryID: x, Reasoning: x, ClassifiedAt: at(2),
					Fields: map[triage.Field]triage.Answer{
						triage.FieldCategory: {Values: []string{x}, Reason: x, Source: triage.Source(x), Plugin: x, Version: x, Actor: x},
						triage.FieldPriority: {Values: []string{x}}, triage.FieldComponent: {Values: []string{x}},
						triage.Field("own" + x): {Values: []string{}},
					},
				}
				c.Similar = []triage.Neighbour{{Title: x, State: x, URL: x}}
				c.Embedding = &store.Embedding{Model: x, Vector: []float32{1}}
				c.Corrections = []triage.Correction{{EventID: fmt.Sprint("k", number, x), Field: triage.Field(x), Old: []string{x}, New: []string{x}, Actor: x, Reason: x, Source: triage.CorrectionSource(x), At: at(3)}}
				c.Ledger = []store.LedgerObservation{{Label: x, State: triage.LedgerVetoed, Actor: x, At: at(4)}}
				return c
			}
			in, want := change(text.in), change(text.want)
			key := in.Issue.Key()
			want.Corrections[0].Issue = key
			expected := store.IssueState{
				Issue: want.Issue, Revision: 1, ReceivedAt: at(1), TextHash: text.want,
				Classification: want.Classification, Similar: want.Similar, Corrections: want.Corrections,
			}
			equal(t, name, apply(t, s, in)[0], expected)
			equal(t, name+", loaded", load(t, s, key), expected)
			events, err := s.AppliedEvents(testContext(t), []string{in.EventID})
			check(t, err)
			equal(t, name+", event", events[in.EventID].EventID, in.EventID)
			equal(t, name+", again", apply(t, s, in)[0].Revision, int64(1))
			ledger, err := s.Ledger(testContext(t), []triage.IssueKey{key})
			check(t, err)
			equal(t, name+", ledger", ledger[key], []triage.LedgerEntry{{
				Issue: key, DesiredLabel: triage.DesiredLabel{Name: text.want, Source: triage.SourceHuman, EventID: want.EventID},
				State: triage.LedgerVetoed, Actor: text.want, CreatedAt: at(4), UpdatedAt: at(4),
			}})
			page, err := s.ListIssues(testContext(t), store.IssueFilter{RepositoryIDs: []int64{int64(number)}, Category: text.in, State: text.in})
			check(t, err)
			// The correction is of a field of its own, so the category stands.
			equal(t, name+", listed", len(page.Issues), 1)
			near, err := s.Neighbours(testContext(t), []store.NeighbourQuery{{
				RepositoryID: key.RepositoryID, Embedding: store.Embedding{Model: text.in, Vector: []float32{1}}, Limit: 1,
			}})
			check(t, err)
			equal(t, name+", neighbours", len(near[0]), 1)
		}
	},
	"in every text of the directory and of desired labels": func(t *testing.T, s store.Store) {
		id := int64(0)
		for name, text := range hostile {
			id++
			in := text.in
			check(t, s.ApplyInstallation(testContext(t), store.InstallationChange{
				EventID: fmt.Sprint("i", id, in), At: at(1), Installation: &triage.Installation{ID: id, Account: in, UpdatedAt: at(1)},
				Upserted: []triage.Repository{{ID: id, FullName: in}},
			}))
			check(t, s.SaveRepositoryLabels(testContext(t), id, []triage.RepositoryLabel{{Name: in, Color: in, Description: in}}, at(2)))
			n, err := s.LoadInstallation(testContext(t), id)
			check(t, err)
			equal(t, name, n, triage.Installation{ID: id, Account: text.want, UpdatedAt: at(1)})
			repositories, err := s.LoadRepositories(testContext(t), []int64{id})
			check(t, err)
			equal(t, name, repositories[id], store.RepositoryState{
				Repository: triage.Repository{ID: id, InstallationID: id, FullName: text.want},
				Labels:     []triage.RepositoryLabel{{Name: text.want, Color: text.want, Description: text.want}}, LabelsAt: at(2),
			})
			label := func(x string) triage.DesiredLabel {
				return triage.DesiredLabel{Name: x, Field: triage.Field(x), Value: x, Source: triage.Source(x), Plugin: x, Version: x, Confidence: 0.5, EventID: x}
			}
			key := triage.IssueKey{RepositoryID: id, Number: 1}
			configure(t, s, id)
			check(t, s.SaveDesired(testContext(t), []store.Desired{{Issue: key, InstallationID: id, Revision: 1, EventID: in, Traceparent: in, Labels: []triage.DesiredLabel{label(in)}, ReceivedAt: at(1)}}))
			claimed, err := s.ClaimDesired(testContext(t), store.Claim{Owner: in, Now: at(10), LeaseFor: time.Minute, MaxInstallations: 1, MaxIssues: 1})
			check(t, err)
			if len(claimed) != 1 {
				t.Fatalf("%s: %d installations claimed", name, len(claimed))
			}
			equal(t, name, claimed[0].Rows, []store.Desired{{Issue: key, InstallationID: id, Revision: 1, EventID: text.want, Traceparent: text.want, Labels: []triage.DesiredLabel{label(text.want)}, ReceivedAt: at(1)}})
			check(t, s.FinishDesired(testContext(t), []store.DesiredResult{{Issue: key, Revision: 1, NotBefore: at(1000), Error: in}}))
			check(t, s.ReleaseInstallation(testContext(t), store.Release{InstallationID: id, Owner: in}))
			entry := triage.LedgerEntry{Issue: key, DesiredLabel: label(in), State: triage.LedgerIntended, Actor: in, UpdatedAt: at(3)}
			check(t, s.RecordLedger(testContext(t), []triage.LedgerEntry{entry}))
			ledger, err := s.Ledger(testContext(t), []triage.IssueKey{key})
			check(t, err)
			equal(t, name, ledger[key], []triage.LedgerEntry{{Issue: key, DesiredLabel: label(text.want), State: triage.LedgerIntended, Actor: text.want, CreatedAt: at(3), UpdatedAt: at(3)}})
		}
	},
	"the longest texts": func(t *testing.T, s store.Store) {
		issue := newIssue(1, 1, 0)
		issue.Title = strings.Repeat("ü", 250)
		issue.Body = strings.Repeat("🙂", 65536)
		apply(t, s, received("e1", issue, 1))
		equal(t, "issue", load(t, s, issue.Key()).Issue, issue)
		issue = newIssue(1, 2, 0)
		issue.Body = longText(65536)
		apply(t, s, received("e2", issue, 2))
		equal(t, "issue", load(t, s, issue.Key()).Issue, issue)
	},
}
