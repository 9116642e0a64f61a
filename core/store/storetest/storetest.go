// Package storetest holds every implementation of store.Store to the text of
// its interface. A new implementation is done when Run passes under the race
// detector.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

// Run runs the suite. open gives a new, empty store for each test and sees to
// closing it (t.Cleanup); closing it twice must do no harm.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	for _, group := range []struct {
		name  string
		tests map[string]func(*testing.T, store.Store)
	}{
		{"Issues", issueTests},
		{"Texts", textTests},
		{"Corrections", correctionTests},
		{"Observations", observationTests},
		{"Directives", directiveTests},
		{"Requests", requestTests},
		{"Neighbours", neighbourTests},
		{"Embeddings", embeddingTests},
		{"Directory", directoryTests},
		{"Configuring", configuringTests},
		{"Suggesting", suggestingTests},
		{"Typing", typingTests},
		{"Desired", desiredTests},
		{"Ledger", ledgerTests},
		{"Erasing", erasingTests},
		{"Reconciling", reconcilingTests},
		{"Usage", usageTests},
		{"Challenging", challengingTests},
		{"Reader", readerTests},
		{"Lifecycle", lifecycleTests},
		{"Concurrency", concurrencyTests},
	} {
		t.Run(group.name, func(t *testing.T) {
			for name, test := range group.tests {
				t.Run(name, func(t *testing.T) { test(t, open(t)) })
			}
		})
	}
}

// base is the time the tests count from.
var base = time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC)

func at(seconds float64) time.Time {
	return base.Add(time.Duration(seconds * float64(time.Second)))
}

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("%s differs (-want +got):\n%s", what, diff)
	}
}

func wantError(t *testing.T, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("error %v, want %v", err, target)
	}
}

// newIssue is an issue with every column set, updated at the given second.
func newIssue(repositoryID int64, number int, updated float64) triage.Issue {
	closed := at(updated - 1)
	return triage.Issue{
		ID:                repositoryID*1_000_000 + int64(number),
		Repository:        triage.Repository{ID: repositoryID, InstallationID: repositoryID * 10, FullName: fmt.Sprintf("acme/repo-%d", repositoryID), Private: true},
		Number:            number,
		Title:             fmt.Sprintf("Title of %d", number),
		Body:              "A body.\r\n\tWith lines 🙂 and עברית.",
		State:             "open",
		Author:            triage.Actor{Login: "octocat", Type: triage.ActorUser},
		AuthorAssociation: "CONTRIBUTOR",
		Labels:            []string{"kind/bug", "Needs Triage"},
		URL:               fmt.Sprintf("https://github.example/acme/repo-%d/issues/%d", repositoryID, number),
		CreatedAt:         at(-3600),
		UpdatedAt:         at(updated),
		ClosedAt:          &closed,
	}
}

// newClassification says the category and priority, with all that can hang on it.
func newClassification(eventID, category, priority string) *triage.Classification {
	answer := func(values ...string) triage.Answer {
		return triage.Answer{Values: values, Confidence: 0.75, Reason: "Because.", Source: triage.SourcePlugin, Plugin: "rules", Version: "1.2.3"}
	}
	return &triage.Classification{
		DeliveryID: eventID,
		Fields: map[triage.Field]triage.Answer{
			triage.FieldCategory: answer(category), triage.FieldPriority: answer(priority),
			triage.FieldComponent: answer("parser"), triage.FieldTags: answer("one", "two"),
		},
		Reasoning:    "It follows.",
		Usage:        triage.Usage{InputTokens: 7, OutputTokens: 9, CostUSD: 0.0125},
		ClassifiedAt: at(5),
	}
}

// received is the change that an issue's first webhook makes.
func received(eventID string, issue triage.Issue, offset int64) store.IssueChange {
	return store.IssueChange{
		EventID: eventID, EventType: triage.Classified, ReceivedAt: issue.UpdatedAt.Add(time.Second),
		Position: store.Position{Partition: 1, Offset: offset}, Issue: issue,
	}
}

// classified is received with a classification.
func classified(eventID string, issue triage.Issue, offset int64, category, priority string) store.IssueChange {
	c := received(eventID, issue, offset)
	c.Classification = newClassification(eventID, category, priority)
	c.TextHash = "hash of " + eventID
	return c
}

// partial is a change that leaves the issue's columns alone.
func partial(eventID string, key triage.IssueKey) store.IssueChange {
	return store.IssueChange{
		EventID: eventID, EventType: triage.Corrected, ReceivedAt: at(50), Position: store.Position{Partition: 1, Offset: 50}, Partial: true,
		Issue: triage.Issue{Repository: triage.Repository{ID: key.RepositoryID}, Number: key.Number},
	}
}

func apply(t *testing.T, s store.Store, changes ...store.IssueChange) []store.IssueState {
	t.Helper()
	states, err := s.ApplyIssues(testContext(t), changes)
	check(t, err)
	if len(states) != len(changes) {
		t.Fatalf("%d states for %d changes", len(states), len(changes))
	}
	return states
}

func load(t *testing.T, s store.Store, key triage.IssueKey) store.IssueState {
	t.Helper()
	states, err := s.LoadIssues(testContext(t), []triage.IssueKey{key})
	check(t, err)
	state, ok := states[key]
	if !ok {
		t.Fatalf("issue %s is not stored", key)
	}
	return state
}

// randomVector is a unit-free vector with the given number of places set.
func randomVector(r *rand.Rand, places, set int) []float32 {
	v := make([]float32, places)
	for range set {
		v[r.IntN(places)] = float32(r.NormFloat64())
	}
	return v
}

func longText(n int) string { return strings.Repeat("long text ", n/10+1)[:n] }
