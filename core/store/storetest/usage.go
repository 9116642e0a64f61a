package storetest

import (
	"math"
	"testing"
	"time"

	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

var usageTests = map[string]func(*testing.T, store.Store){
	"amounts add up": func(t *testing.T, s store.Store) {
		ctx := testContext(t)
		day := store.Day(at(0))
		entry := func(day time.Time, repository int64, plugin string, answers, cached, in, out int64, cost float64) store.UsageEntry {
			return store.UsageEntry{
				Day: day, RepositoryID: repository, Plugin: plugin, Answers: answers, Cached: cached,
				Usage: triage.Usage{InputTokens: in, OutputTokens: out, CostUSD: cost},
			}
		}
		check(t, s.AddUsage(ctx, nil))
		// A token of the least price, a million times over, is exact.
		for range 10 {
			check(t, s.AddUsage(ctx, []store.UsageEntry{entry(at(5), 1, "openai", 1, 0, 1, 0, 0.000000075), entry(at(5), 1, "openai", 1, 1, 0, 0, 0)}))
		}
		check(t, s.AddUsage(ctx, []store.UsageEntry{
			entry(day.Add(24*time.Hour-time.Microsecond), 2, "openai", 1, 0, 100, 10, 0.25),
			entry(at(0), 2, "other", 1, 0, 0, 0, 0.5),
			entry(day.Add(24*time.Hour), 2, "openai", 1, 0, 7, 7, 4),
			entry(day.Add(-time.Microsecond), 1, "openai", 1, 0, 7, 7, 8),
		}))
		spent, err := s.Spent(ctx, at(0), []int64{1, 3})
		check(t, err)
		equal(t, "spent", spent, store.Spending{
			Total: 0.75000075, ByRepository: map[int64]float64{1: 0.00000075}, ByPlugin: map[string]float64{"openai": 0.25000075, "other": 0.5},
		})
		spent, err = s.Spent(ctx, at(0).Add(-48*time.Hour), []int64{1})
		check(t, err)
		equal(t, "a day without", spent, store.Spending{ByRepository: map[int64]float64{}, ByPlugin: map[string]float64{}})

		entries, err := s.UsageBetween(ctx, at(0), at(0), 0)
		check(t, err)
		equal(t, "a day", entries, []store.UsageEntry{
			entry(day, 1, "openai", 20, 10, 10, 0, 0.00000075), entry(day, 2, "openai", 1, 0, 100, 10, 0.25), entry(day, 2, "other", 1, 0, 0, 0, 0.5),
		})
		entries, err = s.UsageBetween(ctx, at(0).Add(-24*time.Hour), at(0).Add(24*time.Hour), 1)
		check(t, err)
		equal(t, "a repository", entries, []store.UsageEntry{entry(day.Add(-24*time.Hour), 1, "openai", 1, 0, 7, 7, 8), entry(day, 1, "openai", 20, 10, 10, 0, 0.00000075)})
	},
	"what is no amount is refused": func(t *testing.T, s store.Store) {
		for _, e := range []store.UsageEntry{
			{Day: at(0)}, {Day: at(0), Plugin: "p", Answers: -1},
			{Day: at(0), Plugin: "p", Usage: triage.Usage{CostUSD: math.NaN()}}, {Day: at(0), Plugin: "p", Usage: triage.Usage{CostUSD: math.Inf(1)}},
			{Day: at(0), Plugin: "p", Usage: triage.Usage{InputTokens: -1}},
		} {
			if err := s.AddUsage(testContext(t), []store.UsageEntry{{Day: at(0), Plugin: "good", Answers: 1}, e}); err == nil {
				t.Errorf("%+v was taken", e)
			}
		}
		entries, err := s.UsageBetween(testContext(t), at(0), at(0), 0)
		check(t, err)
		equal(t, "entries", len(entries), 0)
	},
}
