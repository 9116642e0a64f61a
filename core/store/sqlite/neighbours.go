package sqlite

import (
	"context"
	"database/sql"
	"time"

	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

// Neighbours compares with every embedding of the repository and model, in
// memory when the repository was used of late.
func (s *Store) Neighbours(ctx context.Context, queries []store.NeighbourQuery) (_ [][]triage.Neighbour, err error) {
	defer s.metrics.observe("neighbours", time.Now(), &err)
	searches := make([]*nearest, len(queries))
	bySpace := make(map[vectorSpace][]*nearest)
	for i, q := range queries {
		searches[i] = newNearest(q)
		if !searches[i].idle() {
			space := vectorSpace{q.RepositoryID, store.CleanText(q.Embedding.Model)}
			bySpace[space] = append(bySpace[space], searches[i])
		}
	}
	for space, group := range bySpace {
		if err := s.search(ctx, space, group); err != nil {
			return nil, s.explain(err)
		}
	}
	for _, n := range searches {
		n.rank()
	}
	issues, err := s.describe(ctx, searches)
	if err != nil {
		return nil, s.explain(err)
	}
	results := make([][]triage.Neighbour, len(queries))
	for i, n := range searches {
		for _, m := range n.found {
			// An issue deleted since it was found is absent.
			if issue, ok := issues[m.issueID]; ok {
				issue.Similarity = m.similarity
				results[i] = append(results[i], issue)
			}
		}
	}
	return results, nil
}

// search offers every vector of the space to each search.
func (s *Store) search(ctx context.Context, space vectorSpace, searches []*nearest) (err error) {
	vectors, load, ok := s.vectors.get(space)
	if ok {
		for _, n := range searches {
			if err := ctx.Err(); err != nil {
				return err
			}
			for _, v := range vectors {
				n.offer(v)
			}
		}
		return nil
	}
	defer func() { load.end(space, err == nil) }()
	rows, err := s.reader.query(ctx, `SELECT issue_id, number, norm, vector, places, terms FROM issue_embeddings
		WHERE repository_id = ? AND model = ?`, space.repositoryID, space.model)
	if err != nil {
		return err
	}
	var values, places, terms sql.RawBytes
	return scanAll(rows, func() error {
		v := new(vector)
		stored := storedVector{}
		if err := rows.Scan(&v.issueID, &v.number, &stored.norm, &values, &places, &terms); err != nil {
			return err
		}
		stored.values, stored.places, stored.terms = values, places, terms
		stored.decode(v)
		for _, n := range searches {
			n.offer(v)
		}
		load.add(v)
		return nil
	})
}

// describe reads what the neighbours look like now, by issues.id.
func (s *Store) describe(ctx context.Context, searches []*nearest) (map[int64]triage.Neighbour, error) {
	issues := make(map[int64]triage.Neighbour)
	var ids []int64
	for _, n := range searches {
		for _, m := range n.found {
			if _, known := issues[m.issueID]; !known {
				issues[m.issueID] = triage.Neighbour{}
				ids = append(ids, m.issueID)
			}
		}
	}
	clear(issues)
	if len(ids) == 0 {
		return issues, nil
	}
	rows, err := s.reader.query(ctx, `SELECT i.id, i.github_id, i.number, i.title, i.state, i.url
		FROM json_each(?) k CROSS JOIN issues i ON i.id = k.value WHERE i.deleted = 0`, numbersJSON(ids))
	if err != nil {
		return nil, err
	}
	return issues, scanAll(rows, func() error {
		var id int64
		var n triage.Neighbour
		if err := rows.Scan(&id, &n.IssueID, &n.Number, &n.Title, &n.State, &n.URL); err != nil {
			return err
		}
		issues[id] = n
		return nil
	})
}
