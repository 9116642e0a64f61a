package simulate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

// played runs the demo on a virtual clock and returns its course.
func played(t *testing.T, seed uint64, speed float64) ([]string, time.Duration, *GitHub) {
	t.Helper()
	begin := time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC)
	clock := NewVirtual(begin)
	g := start(t, Options{Clock: clock, Seed: seed})
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	var course []string
	var lasted time.Duration
	done := make(chan error, 1)
	go func() {
		done <- g.Play(ctx, PlayOptions{Corpus: testCorpus(t), Speed: speed, OnEvent: func(e Event) {
			lasted = e.At.Sub(begin)
			course = append(course, fmt.Sprintf("%s#%d %s by %s %s", e.Repository, e.Number, e.Action, e.Actor, e.About))
		}})
	}()
	ticks := make(chan error, 1)
	go func() {
		for {
			if err := clock.WaitForTimers(ctx, 1); err != nil {
				ticks <- err
				return
			}
			clock.Advance(time.Second)
		}
	}()
	must(t, <-done)
	cancel()
	if err := <-ticks; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	return course, lasted, g
}

func TestPlayIsDeterminedByTheSeed(t *testing.T) {
	one, lasted, g := played(t, 1, 1)
	if lasted < 13*2*time.Second || lasted > 13*7*time.Second {
		t.Errorf("14 issues took %v, want one each 2 to 6 s", lasted)
	}
	count := 0
	for range g.AllIssues() {
		count++
	}
	if count != 14 || len(g.Installations()) != 2 {
		t.Errorf("%d issues, %d installations; want 14 and 2", count, len(g.Installations()))
	}
	if again, _, _ := played(t, 1, 1); !slices.Equal(one, again) {
		t.Errorf("the same seed gave another course:\n%q\n%q", one, again)
	}
	fast, quick, _ := played(t, 1, 10)
	if !slices.Equal(one, fast) || quick > lasted/2 {
		t.Errorf("at speed 10 the course took %v of %v, or differs:\n%q\n%q", quick, lasted, one, fast)
	}
	if other, _, _ := played(t, 2, 1); slices.Equal(one, other) {
		t.Error("another seed gave the same course")
	}
	acts := slices.DeleteFunc(slices.Clone(one), func(s string) bool { return len(s) > 0 && slices.Contains([]string{"opened"}, word(s)) })
	if len(acts) == 0 {
		t.Errorf("nobody did anything but open issues: %q", one)
	}
}

func word(s string) string {
	var repo, action string
	_, _ = fmt.Sscan(s, &repo, &action)
	return action
}

func TestAMaintainerCorrectsTheApp(t *testing.T) {
	g := start(t, Options{})
	ctx := testContext(t)
	corpus := testCorpus(t)
	must(t, g.AddCorpus(ctx, corpus))
	tidepool := corpus[0]
	n, err := g.OpenIssue(ctx, tidepool.FullName(), NewIssue{Author: tidepool.Issues[0].Author, Title: tidepool.Issues[0].Title})
	must(t, err)
	inst, err := g.InstallationOf(tidepool.FullName())
	must(t, err)
	_, _, err = client(t, g, inst).Issues.AddLabelsToIssue(ctx, tidepool.Repository.Owner, tidepool.Repository.Name, n, []string{"kind/docs", "area/storage"})
	must(t, err)
	p := &play{g: g}
	must(t, p.relabel(ctx, &scene{repo: tidepool, issue: tidepool.Issues[0], number: n}, tidepool.Maintainers()[2]))
	is, err := g.Issue(tidepool.FullName(), n)
	must(t, err)
	if want := []string{"area/storage", "kind/bug"}; !slices.Equal(is.Labels, want) {
		t.Errorf("labels after the correction: %q, want %q", is.Labels, want)
	}
}
