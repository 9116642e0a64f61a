package sqlite

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/dispatchai/dispatchai/core/store"
)

// RecordComparisons replaces what was kept of each issue and challenger.
func (s *Store) RecordComparisons(ctx context.Context, comparisons []store.Comparison) (err error) {
	defer s.metrics.observe("record_comparisons", time.Now(), &err)
	clean := make([]store.Comparison, len(comparisons))
	for i, c := range comparisons {
		if clean[i], err = c.Normalize(); err != nil {
			return fmt.Errorf("sqlite store: %w", err)
		}
	}
	if len(clean) == 0 {
		return ctx.Err()
	}
	return s.writer.do(ctx, func(t *tx) error {
		for _, c := range clean {
			if err := recordComparison(t, c); err != nil {
				return err
			}
		}
		return nil
	})
}

func recordComparison(t *tx, c store.Comparison) error {
	rows, err := t.query(context.Background(), `SELECT i.id, coalesce((SELECT max(compared_at) FROM challenges WHERE issue_id = i.id AND challenger = ?3), 0)
		FROM issues i JOIN repositories r ON r.id = i.repository_id
		WHERE i.repository_id = ?1 AND i.number = ?2 AND i.deleted = 0 AND r.removed = 0`, c.Issue.RepositoryID, c.Issue.Number, c.Challenger)
	if err != nil {
		return err
	}
	var id, last int64
	if err := scanAll(rows, func() error { return rows.Scan(&id, &last) }); err != nil || id == 0 || last > micros(c.At) {
		return err
	}
	if _, err := t.exec(`DELETE FROM challenges WHERE issue_id = ? AND challenger = ?`, id, c.Challenger); err != nil {
		return err
	}
	for field, pair := range c.Fields {
		contrast, err := toJSON(pair)
		if err != nil {
			return err
		}
		champion, err := listJSON(pair.Champion.Decides())
		if err != nil {
			return err
		}
		challenger, err := listJSON(pair.Challenger.Decides())
		if err != nil {
			return err
		}
		if _, err := t.exec(`INSERT INTO challenges (issue_id, challenger, field, repository_id, version, contrast, champion_decides, challenger_decides, divergence, compared_at)
			VALUES (?, ?, ?, ?, ?, ?, `+inOrder("?")+`, `+inOrder("?")+`, ?, ?)`,
			id, c.Challenger, string(field), c.Issue.RepositoryID, c.Version, contrast,
			champion, challenger, pair.Champion.Divergence(pair.Challenger), micros(c.At)); err != nil {
			return err
		}
	}
	return nil
}

// inOrder is a JSON array of texts, written the one way in which equal sets are equal texts.
func inOrder(list string) string {
	return `(SELECT json_group_array(value) FROM (SELECT DISTINCT value FROM json_each(` + list + `) ORDER BY value))`
}

const challengesShown = `challenges c JOIN issues i ON i.id = c.issue_id JOIN repositories r ON r.id = c.repository_id
	WHERE i.deleted = 0 AND r.removed = 0 AND (?1 IS NULL OR c.repository_id IN (SELECT value FROM json_each(?1)))`

// repositoriesArgument is NULL for all repositories; see store.Reader.
func repositoriesArgument(ids []int64) any {
	if ids == nil {
		return nil
	}
	return numbersJSON(ids)
}

// Disagreements goes down an index of the divergences.
func (s *Store) Disagreements(ctx context.Context, repositoryIDs []int64, limit int) (_ []store.Disagreement, err error) {
	defer s.metrics.observe("disagreements", time.Now(), &err)
	rows, err := s.reader.query(ctx, `SELECT r.id, r.full_name, i.number, i.github_id, i.title, i.url,
			c.challenger, c.version, c.field, c.contrast, c.divergence, c.compared_at
		FROM `+challengesShown+` AND c.champion_decides <> c.challenger_decides
			AND NOT EXISTS (SELECT 1 FROM corrections k WHERE k.issue_id = c.issue_id AND k.field = c.field)
		ORDER BY c.divergence DESC, c.compared_at DESC, c.issue_id, c.challenger, c.field LIMIT ?2`, repositoriesArgument(repositoryIDs), limit)
	if err != nil {
		return nil, s.explain(err)
	}
	list := []store.Disagreement{}
	err = scanAll(rows, func() error {
		var d store.Disagreement
		var contrast string
		var at int64
		if err := rows.Scan(&d.RepositoryID, &d.Repository, &d.Number, &d.IssueID, &d.Title, &d.URL,
			&d.Challenger, &d.Version, &d.Field, &contrast, &d.Divergence, &at); err != nil {
			return err
		}
		d.At = fromMicros(at)
		if err := json.Unmarshal([]byte(contrast), &d.Says); err != nil {
			return fmt.Errorf("comparison about %s#%d: %w", d.Repository, d.Number, err)
		}
		list = append(list, d)
		return nil
	})
	return list, s.explain(err)
}

// ChallengeScores reads every comparison of the repositories once.
func (s *Store) ChallengeScores(ctx context.Context, repositoryIDs []int64) (_ []store.ChallengeScore, err error) {
	defer s.metrics.observe("challenge_scores", time.Now(), &err)
	rows, err := s.reader.query(ctx, `WITH judged AS (
		SELECT r.id, r.full_name, c.challenger, c.version, c.field, c.champion_decides, c.challenger_decides, c.compared_at,
			(SELECT `+inOrder("k.new_values")+` FROM corrections k WHERE k.issue_id = c.issue_id AND k.field = c.field ORDER BY k.at DESC, k.id DESC LIMIT 1) AS said
		FROM `+challengesShown+`)
		SELECT id, full_name, challenger, version, field, count(*), sum(champion_decides = challenger_decides),
			count(said), coalesce(sum(champion_decides = said), 0), coalesce(sum(challenger_decides = said), 0), max(compared_at) AS last,
			max(max(compared_at)) OVER (PARTITION BY id, challenger, version) AS newest
		FROM judged GROUP BY id, challenger, version, field ORDER BY full_name, challenger, newest DESC, version, field`, repositoriesArgument(repositoryIDs))
	if err != nil {
		return nil, s.explain(err)
	}
	list := []store.ChallengeScore{}
	err = scanAll(rows, func() error {
		var c store.ChallengeScore
		var last, newest int64
		err := rows.Scan(&c.RepositoryID, &c.Repository, &c.Challenger, &c.Version, &c.Field,
			&c.Compared, &c.Agreed, &c.Judged, &c.ChampionRight, &c.ChallengerRight, &last, &newest)
		c.LastAt = fromMicros(last)
		list = append(list, c)
		return err
	})
	return list, s.explain(err)
}
