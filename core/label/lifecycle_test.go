package label_test

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/dispatchai/dispatchai/app/simulate"
	"github.com/dispatchai/dispatchai/core/label"
	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

// TestWritesStopInTheMiddle: when an installation is suspended, removed, or loses
// the repository while its issues are being labelled, no further write is made,
// though GitHub would still take it here; what waits is labelled once the App is back.
func TestWritesStopInTheMiddle(t *testing.T) {
	t.Parallel()
	const issues, before = 12, 3
	type change = store.InstallationChange
	for name, c := range map[string]struct {
		stop, back func(r triage.Repository, at time.Time) change
	}{
		"suspended": {
			func(r triage.Repository, at time.Time) change {
				return change{Installation: &triage.Installation{ID: r.InstallationID, Suspended: true, UpdatedAt: at}}
			},
			func(r triage.Repository, at time.Time) change {
				return change{Installation: &triage.Installation{ID: r.InstallationID, UpdatedAt: at}}
			},
		},
		"the repository removed": {
			func(r triage.Repository, _ time.Time) change { return change{Removed: []int64{r.ID}} },
			func(r triage.Repository, _ time.Time) change { return change{Upserted: []triage.Repository{r}} },
		},
		"uninstalled": {
			func(r triage.Repository, at time.Time) change {
				return change{Installation: &triage.Installation{ID: r.InstallationID, Removed: true, UpdatedAt: at}}
			},
			nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := unlimited(t)
			repo := f.repository("octo", "parser")
			r := f.known(repo)
			w := f.make("one")
			var keys []triage.IssueKey
			for range issues {
				key := f.open(repo)
				keys = append(keys, key)
				f.give(w, f.result(repo, key, says{"category": "bug"}))
			}
			apply := func(event string, c change, at time.Time) {
				c.EventID, c.At = event, at
				if err := f.store.ApplyInstallation(f.ctx, c); err != nil {
					t.Error(err)
				}
			}
			reads := 0
			var stop sync.Once
			stopped := make(chan struct{})
			f.github.InjectFault(simulate.Fault{Route: readRoute, Status: http.StatusTeapot, Match: func(*http.Request) bool {
				if reads++; reads > before { // between the plan and the write
					stop.Do(func() {
						apply("stop", c.stop(r, f.now()), f.now())
						close(stopped)
					})
				}
				return false
			}})
			w = f.start("two", func(c *label.Config) { c.PerInstallation = 1 })
			select {
			case <-stopped:
			case <-f.ctx.Done():
				t.Fatal("the labelling never began")
			}
			// Another installation is served meanwhile, twice over: the claims went round.
			other := f.repository("other", "parser")
			for range 2 {
				n := f.open(other)
				f.give(w, f.result(other, n, says{"category": "bug"}))
				f.want(other, n.Number, "bug")
			}
			written := 0
			for _, key := range keys {
				writes, err := f.github.BotLabelWrites(repo, key.Number)
				f.check(err)
				written += writes["bug"]
			}
			if written != before {
				t.Errorf("%d issues were labelled, want the %d before the stop", written, before)
			}
			f.until("the rows that were not labelled wait", func() bool {
				n, err := f.store.DesiredPending(f.ctx)
				return err == nil && n == issues-before
			})
			if c.back == nil {
				return
			}
			at := f.now().Add(time.Second)
			apply("back", c.back(r, at), at)
			for _, key := range keys {
				f.want(repo, key.Number, "bug")
			}
			f.settled()
			for _, key := range keys {
				f.once(repo, key.Number, "bug")
			}
		})
	}
}

// TestAnArchivedRepositoryIsLeftAlone: its rows are settled, and GitHub is not asked.
func TestAnArchivedRepositoryIsLeftAlone(t *testing.T) {
	f := unlimited(t)
	repo := f.repository("octo", "parser")
	r := f.known(repo)
	r.Archived = true
	f.check(f.store.ApplyInstallation(f.ctx, store.InstallationChange{EventID: "archived", At: f.now(), Described: []triage.Repository{r}}))
	w := f.start("one")
	f.give(w, f.result(repo, f.open(repo), says{"category": "bug"}))
	f.until("it is settled", func() bool { return w.counter(f, "dispatchai_label_issues_total", "archived") == 1 })
	f.settled()
	if got := f.github.Requests()[addRoute]; got != 0 {
		t.Errorf("%d writes", got)
	}
}
