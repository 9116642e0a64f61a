package sqlite

import (
	"context"
	"fmt"
	"time"

	"github.com/dispatchai/dispatchai/core/store"
)

// AddUsage adds all of the entries in one transaction.
func (s *Store) AddUsage(ctx context.Context, entries []store.UsageEntry) (err error) {
	defer s.metrics.observe("add_usage", time.Now(), &err)
	clean := make([]store.UsageEntry, len(entries))
	for i, e := range entries {
		if clean[i], err = e.Normalize(); err != nil {
			return fmt.Errorf("sqlite store: %w", err)
		}
	}
	if len(clean) == 0 {
		return ctx.Err()
	}
	return s.writer.do(ctx, func(t *tx) error {
		for _, e := range clean {
			if _, err := t.exec(`INSERT INTO plugin_usage (day, repository_id, plugin, answers, cached, input_tokens, output_tokens, cost)
				VALUES (?, ?, ?, ?, ?, ?, ?, ?)
				ON CONFLICT (day, repository_id, plugin) DO UPDATE SET answers = answers + excluded.answers, cached = cached + excluded.cached,
					input_tokens = input_tokens + excluded.input_tokens, output_tokens = output_tokens + excluded.output_tokens, cost = cost + excluded.cost`,
				e.Day.Format(time.DateOnly), e.RepositoryID, e.Plugin, e.Answers, e.Cached, e.InputTokens, e.OutputTokens, e.NanoDollars()); err != nil {
				return err
			}
		}
		return nil
	})
}

// Spent reads the day's part of the table once.
func (s *Store) Spent(ctx context.Context, day time.Time, repositoryIDs []int64) (_ store.Spending, err error) {
	defer s.metrics.observe("spent", time.Now(), &err)
	rows, err := s.reader.query(ctx, `SELECT repository_id, plugin, cost, repository_id IN (SELECT value FROM json_each(?2))
		FROM plugin_usage WHERE day = ?1 AND cost > 0`, store.Day(day).Format(time.DateOnly), numbersJSON(repositoryIDs))
	if err != nil {
		return store.Spending{}, s.explain(err)
	}
	total, byRepository, byPlugin := int64(0), make(map[int64]int64), make(map[string]int64)
	err = scanAll(rows, func() error {
		var id, cost int64
		var plugin string
		var wanted bool
		if err := rows.Scan(&id, &plugin, &cost, &wanted); err != nil {
			return err
		}
		total += cost
		byPlugin[plugin] += cost
		if wanted {
			byRepository[id] += cost
		}
		return nil
	})
	if err != nil {
		return store.Spending{}, s.explain(err)
	}
	return store.Spending{Total: store.Dollars(total), ByRepository: inDollars(byRepository), ByPlugin: inDollars(byPlugin)}, nil
}

func inDollars[K comparable](nano map[K]int64) map[K]float64 {
	dollars := make(map[K]float64, len(nano))
	for k, n := range nano {
		dollars[k] = store.Dollars(n)
	}
	return dollars
}

// UsageBetween reads in the order of the table's key.
func (s *Store) UsageBetween(ctx context.Context, from, to time.Time, repositoryID int64) (_ []store.UsageEntry, err error) {
	defer s.metrics.observe("usage_between", time.Now(), &err)
	rows, err := s.reader.query(ctx, `SELECT day, repository_id, plugin, answers, cached, input_tokens, output_tokens, cost
		FROM plugin_usage WHERE day BETWEEN ? AND ? AND ? IN (0, repository_id) ORDER BY day, repository_id, plugin`,
		store.Day(from).Format(time.DateOnly), store.Day(to).Format(time.DateOnly), repositoryID)
	if err != nil {
		return nil, s.explain(err)
	}
	entries := []store.UsageEntry{}
	err = scanAll(rows, func() error {
		var e store.UsageEntry
		var day string
		var cost int64
		err := rows.Scan(&day, &e.RepositoryID, &e.Plugin, &e.Answers, &e.Cached, &e.InputTokens, &e.OutputTokens, &cost)
		if err != nil {
			return err
		}
		if e.Day, err = time.Parse(time.DateOnly, day); err != nil {
			return fmt.Errorf("a day of plugin_usage: %w", err)
		}
		e.CostUSD = store.Dollars(cost)
		entries = append(entries, e)
		return nil
	})
	if err != nil {
		return nil, s.explain(err)
	}
	return entries, nil
}
