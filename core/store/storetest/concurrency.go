package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

var lifecycleTests = map[string]func(*testing.T, store.Store){
	"ping": func(t *testing.T, s store.Store) {
		check(t, s.Ping(testContext(t)))
		ctx, cancel := context.WithCancel(testContext(t))
		cancel()
		if err := s.Ping(ctx); err == nil {
			t.Fatal("no error with a cancelled context")
		}
	},
	"prune forgets events, not what they did": func(t *testing.T, s store.Store) {
		var changes []store.IssueChange
		for i := range 3000 {
			changes = append(changes, received(fmt.Sprint("e", i), newIssue(1, i%3+1, float64(i)), int64(i)))
		}
		apply(t, s, changes...)
		install(t, s, installed(0))
		events, err := s.Prune(testContext(t), time.Now().Add(-time.Hour))
		check(t, err)
		equal(t, "recent events", events, int64(0))
		events, err = s.Prune(testContext(t), time.Now().Add(time.Hour))
		check(t, err)
		equal(t, "events", events, int64(3001))
		applied, err := s.AppliedEvents(testContext(t), []string{"e0", "e2999", "installed"})
		check(t, err)
		equal(t, "applied", len(applied), 0)
		equal(t, "revision", load(t, s, triage.IssueKey{RepositoryID: 1, Number: 1}).Revision, int64(1000))
	},
	"closed": func(t *testing.T, s store.Store) {
		apply(t, s, received("e1", newIssue(1, 1, 0), 1))
		check(t, s.Close())
		ctx := testContext(t)
		for name, call := range map[string]func() error{
			"Ping":          func() error { return s.Ping(ctx) },
			"Prune":         func() error { _, err := s.Prune(ctx, at(0)); return err },
			"LoadIssues":    func() error { _, err := s.LoadIssues(ctx, []triage.IssueKey{ledgerKey}); return err },
			"AppliedEvents": func() error { _, err := s.AppliedEvents(ctx, []string{"e"}); return err },
			"ApplyIssues": func() error {
				_, err := s.ApplyIssues(ctx, []store.IssueChange{received("e2", newIssue(1, 1, 0), 1)})
				return err
			},
			"Neighbours": func() error {
				_, err := s.Neighbours(ctx, []store.NeighbourQuery{{RepositoryID: 1, Limit: 1, Embedding: store.Embedding{Model: "m", Vector: []float32{1}}}})
				return err
			},
			"ApplyInstallation":    func() error { return s.ApplyInstallation(ctx, installed(0)) },
			"LoadRepositories":     func() error { _, err := s.LoadRepositories(ctx, []int64{1}); return err },
			"SaveRepositoryLabels": func() error { return s.SaveRepositoryLabels(ctx, 1, nil, at(0)) },
			"LoadInstallation":     func() error { _, err := s.LoadInstallation(ctx, 1); return err },
			"SaveDesired":          func() error { return s.SaveDesired(ctx, []store.Desired{desired(1, 1, 1, 0)}) },
			"ClaimDesired": func() error {
				_, err := s.ClaimDesired(ctx, store.Claim{Owner: "a", LeaseFor: 1, MaxInstallations: 1, MaxIssues: 1})
				return err
			},
			"FinishDesired":       func() error { return s.FinishDesired(ctx, []store.DesiredResult{done(1, 1, 1)}) },
			"ReleaseInstallation": func() error { return s.ReleaseInstallation(ctx, store.Release{InstallationID: 1, Owner: "a"}) },
			"Ledger":              func() error { _, err := s.Ledger(ctx, []triage.IssueKey{ledgerKey}); return err },
			"RecordLedger":        func() error { return s.RecordLedger(ctx, []triage.LedgerEntry{entry(triage.LedgerWritten, 1)}) },
			"DesiredPending":      func() error { _, err := s.DesiredPending(ctx); return err },
			"ListIssues":          func() error { _, err := s.ListIssues(ctx, store.IssueFilter{}); return err },
			"FindIssue":           func() error { _, err := s.FindIssue(ctx, 1); return err },
			"Stats":               func() error { _, err := s.Stats(ctx, nil); return err },
			"ListRepositories":    func() error { _, err := s.ListRepositories(ctx); return err },
		} {
			if err := call(); !errors.Is(err, store.ErrClosed) {
				t.Errorf("%s: error %v, want %v", name, err, store.ErrClosed)
			}
		}
		check(t, s.Close())
	},
}

// together runs n goroutines and waits for them; the first error fails the test.
func together(t *testing.T, n int, run func(i int) error) {
	t.Helper()
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = run(i) })
	}
	wg.Wait()
	check(t, errors.Join(errs...))
}

var concurrencyTests = map[string]func(*testing.T, store.Store){
	"many apply to the same issues": func(t *testing.T, s store.Store) {
		ctx := testContext(t)
		const writers, rounds, issues = 12, 6, 3
		together(t, writers, func(w int) error {
			for round := range rounds {
				var changes []store.IssueChange
				for number := 1; number <= issues; number++ {
					offset := int64(round*writers + w)
					issue := newIssue(1, number, float64(offset/7))
					issue.Title = fmt.Sprint("offset ", offset)
					c := classified(fmt.Sprintf("e-%d-%d-%d", w, round, number), issue, offset, "bug", "high")
					c.Embedding = &store.Embedding{Model: "m", Vector: []float32{float32(w + 1), float32(round + 1)}}
					c.Corrections = []triage.Correction{{Field: triage.FieldCategory, New: []string{fmt.Sprint(offset)}, At: at(float64(offset))}}
					changes = append(changes, c, c) // each of them twice
				}
				if _, err := s.ApplyIssues(ctx, changes); err != nil {
					return err
				}
				found, err := s.Neighbours(ctx, []store.NeighbourQuery{{RepositoryID: 1, Embedding: store.Embedding{Model: "m", Vector: []float32{1, 1}}, Limit: 10}})
				if err != nil {
					return err
				}
				if len(found[0]) != issues {
					return fmt.Errorf("%d neighbours, want %d", len(found[0]), issues)
				}
			}
			return nil
		})
		last := int64(writers*rounds - 1)
		for number := 1; number <= issues; number++ {
			state := load(t, s, triage.IssueKey{RepositoryID: 1, Number: number})
			equal(t, "revision", state.Revision, int64(writers*rounds))
			equal(t, "title", state.Issue.Title, fmt.Sprint("offset ", last))
			equal(t, "position", state.Position.Offset, last)
			equal(t, "corrections", len(state.Corrections), writers*rounds)
			for i, k := range state.Corrections {
				equal(t, "correction", k.New, []string{fmt.Sprint(i)})
			}
		}
	},
	"the same event from everywhere": func(t *testing.T, s store.Store) {
		ctx := testContext(t)
		together(t, 32, func(int) error {
			states, err := s.ApplyIssues(ctx, []store.IssueChange{classified("e1", newIssue(1, 1, 0), 1, "bug", "high")})
			if err == nil && states[0].Revision != 1 {
				err = fmt.Errorf("revision %d", states[0].Revision)
			}
			return err
		})
	},
	"a failing write harms no other": func(t *testing.T, s store.Store) {
		ctx := testContext(t)
		record(t, s, entry(triage.LedgerVetoed, 1))
		together(t, 60, func(i int) error {
			if i%3 == 0 {
				other := entry(triage.LedgerIntended, 2)
				other.Issue.Number = 100 + i
				err := s.RecordLedger(ctx, []triage.LedgerEntry{other, entry(triage.LedgerIntended, 2)})
				if !errors.Is(err, store.ErrConflict) {
					return fmt.Errorf("want a conflict, not %w", err)
				}
				return nil
			}
			_, err := s.ApplyIssues(ctx, []store.IssueChange{received(fmt.Sprint("e", i), newIssue(1, i, 0), int64(i))})
			return err
		})
		for i := range 60 {
			key := triage.IssueKey{RepositoryID: 1, Number: 100 + i}
			equal(t, "rows of a failed write", len(ledgerOf(t, s, key)), 0)
			if i%3 != 0 {
				load(t, s, triage.IssueKey{RepositoryID: 1, Number: i})
			}
		}
	},
	"cancelled while waiting: all or nothing": func(t *testing.T, s store.Store) {
		ctx := testContext(t)
		applied := make([]bool, 200)
		together(t, len(applied), func(i int) error {
			short, cancel := context.WithTimeout(ctx, time.Duration(i)*50*time.Microsecond)
			defer cancel()
			_, err := s.ApplyIssues(short, []store.IssueChange{
				received(fmt.Sprint("a", i), newIssue(1, 2*i+1, 0), 1), received(fmt.Sprint("b", i), newIssue(1, 2*i+2, 0), 1)})
			applied[i] = err == nil
			if err != nil && !errors.Is(err, context.DeadlineExceeded) {
				return err
			}
			return nil
		})
		for i, want := range applied {
			states, err := s.LoadIssues(ctx, []triage.IssueKey{{RepositoryID: 1, Number: 2*i + 1}, {RepositoryID: 1, Number: 2*i + 2}})
			check(t, err)
			if got := len(states); want && got != 2 || !want && got != 0 {
				t.Fatalf("write %d: acknowledged %v, %d issues stored", i, want, got)
			}
		}
	},
	"each row is in one owner's hands": func(t *testing.T, s store.Store) {
		ctx := testContext(t)
		const installations, perInstallation = 12, 9
		var rows []store.Desired
		for i := range int64(installations) {
			for number := range perInstallation {
				rows = append(rows, desired(i+1, number+1, 1, float64(number)))
			}
		}
		save(t, s, rows...)
		var mu sync.Mutex
		handed := map[triage.IssueKey]int{}
		holder := map[int64]string{}
		together(t, 6, func(i int) error {
			owner := fmt.Sprint("owner ", i)
			for {
				claimed, err := s.ClaimDesired(ctx, store.Claim{Owner: owner, Now: at(100), LeaseFor: time.Hour, MaxInstallations: 2, MaxIssues: 4})
				if err != nil {
					return err
				}
				if len(claimed) == 0 {
					n, err := s.DesiredPending(ctx)
					if err != nil || n == 0 {
						return err
					}
					continue
				}
				for _, c := range claimed {
					mu.Lock()
					if other, held := holder[c.InstallationID]; held && other != owner {
						mu.Unlock()
						return fmt.Errorf("installation %d was leased to %s and %s", c.InstallationID, other, owner)
					}
					holder[c.InstallationID] = owner
					for _, d := range c.Rows {
						handed[d.Issue]++
					}
					mu.Unlock()
					var results []store.DesiredResult
					for _, d := range c.Rows {
						results = append(results, store.DesiredResult{Issue: d.Issue, Revision: d.Revision, Done: true})
					}
					if err := s.FinishDesired(ctx, results); err != nil {
						return err
					}
					mu.Lock()
					delete(holder, c.InstallationID)
					mu.Unlock()
					if err := s.ReleaseInstallation(ctx, store.Release{InstallationID: c.InstallationID, Owner: owner}); err != nil {
						return err
					}
				}
			}
		})
		equal(t, "rows", len(handed), installations*perInstallation)
		for key, n := range handed {
			if n != 1 {
				t.Fatalf("%s was handed out %d times", key, n)
			}
		}
	},
}
