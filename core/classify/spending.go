package classify

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/dispatchai/dispatchai/core/plugin"
	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

// Budget bounds what answers may cost on one UTC day, in US dollars; 0 is no
// bound. What is under way when a bound is reached may exceed it, by no more than
// calls in progress turn out dearer than the ones before.
type Budget struct {
	Total         float64
	PerRepository float64
}

// spending keeps the account of what plugins' answers cost.
type spending struct {
	store   store.Usage
	now     func() time.Time
	logger  *slog.Logger
	metrics metrics

	mu       sync.Mutex
	average  map[string]float64 // cost of an issue, by plugin, of late
	reserved reservation        // for what is under way
	told     time.Time          // the day of which a reached bound was logged
}

// reservation is what calls under way are expected to cost.
type reservation struct {
	total        float64
	byRepository map[int64]float64
}

func newSpending(c Config, m metrics) *spending {
	return &spending{
		store: c.Store, now: c.Now, logger: c.Logger, metrics: m,
		average: make(map[string]float64), reserved: reservation{byRepository: make(map[int64]float64)},
	}
}

// reserve notes what a call is expected to cost.
func (s *spending) reserve(name string, items []plugin.Item) reservation {
	s.mu.Lock()
	defer s.mu.Unlock()
	each := s.average[name]
	if each == 0 {
		return reservation{}
	}
	r := reservation{byRepository: make(map[int64]float64)}
	for _, item := range items {
		r.total += each
		r.byRepository[item.Repository.ID] += each
	}
	s.reserved.add(r, 1)
	return r
}

// release takes a reservation back.
func (s *spending) release(r reservation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reserved.add(r, -1)
}

func (r *reservation) add(other reservation, sign float64) {
	r.total += sign * other.total
	for id, amount := range other.byRepository {
		r.byRepository[id] += sign * amount
		if r.byRepository[id] < 1e-12 {
			delete(r.byRepository, id)
		}
	}
}

// usageTimeout bounds the writing of what a call cost.
const usageTimeout = 10 * time.Second

// settle takes what a call did cost into the account.
func (s *spending) settle(ctx context.Context, name string, items []plugin.Item, outcomes []plugin.Outcome, reserved reservation) {
	byRepository := make(map[int64]*store.UsageEntry)
	var cost float64
	answers := 0
	for i, o := range outcomes {
		if o.Usage == (triage.Usage{}) && !o.Cached {
			continue
		}
		id := items[i].Repository.ID
		e := byRepository[id]
		if e == nil {
			e = &store.UsageEntry{Day: s.now(), RepositoryID: id, Plugin: name}
			byRepository[id] = e
		}
		e.Answers++
		if o.Cached {
			e.Cached++
		}
		e.Usage = e.Plus(o.Usage)
		cost += o.Usage.CostUSD
		answers++
	}
	defer func() {
		s.release(reserved)
		s.mu.Lock()
		defer s.mu.Unlock()
		if answers > 0 {
			// The tenth part of what is new follows prices and issues soon enough, and
			// does not jump with one long issue.
			if was, known := s.average[name]; known {
				s.average[name] = was + (cost/float64(answers)-was)/10
			} else {
				s.average[name] = cost / float64(answers)
			}
		}
	}()
	if len(byRepository) == 0 {
		return
	}
	entries := make([]store.UsageEntry, 0, len(byRepository))
	for _, e := range byRepository {
		entries = append(entries, *e)
		s.metrics.cost.WithLabelValues(name).Add(e.CostUSD)
		s.metrics.tokens.WithLabelValues(name, "input").Add(float64(e.InputTokens))
		s.metrics.tokens.WithLabelValues(name, "output").Add(float64(e.OutputTokens))
		s.metrics.cachedAnswers.WithLabelValues(name).Add(float64(e.Cached))
	}
	// What was paid is written down even while the service stops.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), usageTimeout)
	defer cancel()
	if err := s.store.AddUsage(ctx, entries); err != nil {
		s.logger.ErrorContext(ctx, "what a plugin's answers cost could not be stored, so the budget does not count it", "plugin", name, "cost_usd", cost, "error", err)
	}
}

// account is a moment's view of the day's spending, with what is under way.
type account struct {
	spent    store.Spending
	reserved reservation
}

// today reads the account; without a bound among budgets it is nil.
func (s *spending) today(ctx context.Context, repositoryIDs []int64, bounded bool) (*account, error) {
	if !bounded {
		return nil, nil
	}
	spent, err := s.store.Spent(ctx, s.now(), repositoryIDs)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a := &account{spent: spent, reserved: reservation{byRepository: make(map[int64]float64)}}
	a.reserved.add(s.reserved, 1)
	return a, nil
}

// exhausted tells whether the budget forbids to ask the plugin for the
// repository, and why. Plugins that cost nothing today are never held to it.
func (a *account) exhausted(name string, repositoryID int64, b Budget) (why string, exhausted bool) {
	if a == nil || a.spent.ByPlugin[name] == 0 {
		return "", false
	}
	if of := a.spent.ByRepository[repositoryID] + a.reserved.byRepository[repositoryID]; b.PerRepository > 0 && of >= b.PerRepository {
		return fmt.Sprintf("the repository's budget of $%.2f for the day (UTC) is spent", b.PerRepository), true
	}
	if b.Total > 0 && a.spent.Total+a.reserved.total >= b.Total {
		return fmt.Sprintf("the server's budget of $%.2f for the day (UTC) is spent", b.Total), true
	}
	return "", false
}

// tell logs, once a day, that a bound is reached.
func (s *spending) tell(ctx context.Context, name, why string) {
	day := store.Day(s.now())
	s.mu.Lock()
	first := !s.told.Equal(day)
	s.told = day
	s.mu.Unlock()
	if first {
		s.logger.WarnContext(ctx, "issues are classified without a plugin, because the budget is spent", "plugin", name, "why", why)
	}
}
