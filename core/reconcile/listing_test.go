package reconcile

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/dispatchai/dispatchai/core/github"
	"github.com/dispatchai/dispatchai/core/triage"
)

// TestListingSkipsNothing: issues that change while they are listed, many of them
// within one second, are all seen as they were or as they became.
func TestListingSkipsNothing(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 1))
		const perPage = 5
		second := func(n int) time.Time { return time.Unix(1_700_000_000+int64(n), 0).UTC() }
		changed := make([]time.Time, 1+random.IntN(60))
		for i := range changed {
			changed[i] = second(random.IntN(1 + random.IntN(20)))
		}
		now := 30
		seen := make(map[int]bool)
		l := newListing(time.Time{})
		for requests := 0; ; requests++ {
			if requests > 2000 {
				t.Fatalf("seed %d: it never ends", seed)
			}
			var matching []int
			for i, at := range changed {
				if !at.Before(l.from) {
					matching = append(matching, i)
				}
			}
			slices.SortStableFunc(matching, func(a, b int) int { return cmp.Or(changed[a].Compare(changed[b]), a-b) })
			first := min((l.page-1)*perPage, len(matching))
			page := matching[first:min(first+perPage, len(matching))]
			list := github.IssueList{Full: len(page) == perPage}
			for _, i := range page {
				list.Issues = append(list.Issues, github.ListedIssue{Issue: triage.Issue{Number: i + 1, UpdatedAt: changed[i]}})
			}
			for _, fresh := range l.take(list) {
				i := fresh.Issue.Number - 1
				seen[i] = true
				if random.IntN(3) > 0 && now < 120 {
					// It is labelled, which changes it.
					changed[i] = second(now)
					now += random.IntN(2)
				}
			}
			if !l.next(list) {
				break
			}
		}
		for i := range changed {
			if !seen[i] {
				t.Fatalf("seed %d: issue %d of %d was skipped", seed, i+1, len(changed))
			}
		}
	}
}
