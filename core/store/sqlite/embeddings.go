package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"github.com/dispatchai/dispatchai/core/store"
)

// blob is how bytes are stored of which there may be none.
func blob(b []byte) any {
	if len(b) == 0 {
		return nil
	}
	return b
}

// EmbeddedRepositories counts in the index of spaces.
func (s *Store) EmbeddedRepositories(ctx context.Context) (_ []store.EmbeddedRepository, err error) {
	defer s.metrics.observe("embedded_repositories", time.Now(), &err)
	rows, err := s.reader.query(ctx, `SELECT e.repository_id, e.model, e.vocabulary, e.issues,
			coalesce(v.model, ''), coalesce(v.version, 0), coalesce(v.issues, 0)
		FROM (SELECT repository_id, model, vocabulary, count(*) AS issues FROM issue_embeddings GROUP BY repository_id, model, vocabulary) e
		JOIN repositories r ON r.id = e.repository_id AND r.removed = 0
		LEFT JOIN installations n ON n.id = r.installation_id
		LEFT JOIN embedding_vocabularies v ON v.repository_id = e.repository_id
		WHERE coalesce(n.suspended, 0) = 0 AND coalesce(n.removed, 0) = 0
		ORDER BY e.repository_id`)
	if err != nil {
		return nil, s.explain(err)
	}
	var found []store.EmbeddedRepository
	err = scanAll(rows, func() error {
		var space store.EmbeddingSpace
		var v store.Vocabulary
		var issues int
		if err := rows.Scan(&v.RepositoryID, &space.Model, &space.Vocabulary, &issues, &v.Model, &v.Version, &v.Issues); err != nil {
			return err
		}
		if last := len(found) - 1; last < 0 || found[last].RepositoryID != v.RepositoryID {
			found = append(found, store.EmbeddedRepository{RepositoryID: v.RepositoryID, Issues: make(map[store.EmbeddingSpace]int, 1)})
			if v.Version > 0 {
				found[len(found)-1].Vocabulary = v
			}
		}
		found[len(found)-1].Issues[space] = issues
		return nil
	})
	if err != nil {
		return nil, s.explain(err)
	}
	return found, nil
}

// VisitTerms reads row by row over a connection of its own.
func (s *Store) VisitTerms(ctx context.Context, repositoryID int64, model string, visit func(store.Terms) error) (err error) {
	defer s.metrics.observe("visit_terms", time.Now(), &err)
	rows, err := s.reader.query(ctx, `SELECT terms FROM issue_embeddings WHERE repository_id = ? AND model = ?`, repositoryID, store.CleanText(model))
	if err != nil {
		return s.explain(err)
	}
	var refused error
	var terms sql.RawBytes
	err = scanAll(rows, func() error {
		if err := rows.Scan(&terms); err != nil {
			return err
		}
		refused = visit(store.Terms(terms))
		return refused
	})
	if err != nil && refused == nil {
		err = s.explain(err)
	}
	return err
}

// Vocabularies reads those of all the repositories with one statement.
func (s *Store) Vocabularies(ctx context.Context, model string, known map[int64]int64) (_ map[int64]store.Vocabulary, err error) {
	defer s.metrics.observe("vocabularies", time.Now(), &err)
	found := make(map[int64]store.Vocabulary)
	if len(known) == 0 {
		return found, nil
	}
	var list strings.Builder
	for id, version := range known {
		fmt.Fprintf(&list, ",[%d,%d]", id, version)
	}
	rows, err := s.reader.query(ctx, `SELECT v.repository_id, v.model, v.version, v.issues, v.terms
		FROM json_each(?) k CROSS JOIN embedding_vocabularies v ON v.repository_id = k.value ->> 0
		WHERE v.version <> k.value ->> 1 AND v.model = ?`, "["+list.String()[1:]+"]", store.CleanText(model))
	if err != nil {
		return nil, s.explain(err)
	}
	err = scanAll(rows, func() error {
		var v store.Vocabulary
		err := rows.Scan(&v.RepositoryID, &v.Model, &v.Version, &v.Issues, &v.Terms)
		found[v.RepositoryID] = v
		return err
	})
	if err != nil {
		return nil, s.explain(err)
	}
	return found, nil
}

// SaveVocabulary compares the version in the same transaction.
func (s *Store) SaveVocabulary(ctx context.Context, v store.Vocabulary) (err error) {
	defer s.metrics.observe("save_vocabulary", time.Now(), &err)
	if v.Version < 1 || v.RepositoryID <= 0 {
		return fmt.Errorf("sqlite store: %d is not the version of a vocabulary, or %d not a repository", v.Version, v.RepositoryID)
	}
	terms := append([]byte{}, v.Terms...)
	return s.writer.do(ctx, func(t *tx) error {
		rows, err := t.query(ctx, `SELECT coalesce(v.version, 0) FROM repositories r LEFT JOIN embedding_vocabularies v ON v.repository_id = r.id WHERE r.id = ?`, v.RepositoryID)
		if err != nil {
			return err
		}
		stored := int64(-1)
		if err := scanOne(rows, &stored); err != nil {
			return err
		}
		switch stored {
		case -1:
			return store.ErrNotFound
		case v.Version - 1:
		default:
			return store.ErrConflict
		}
		_, err = t.exec(`INSERT OR REPLACE INTO embedding_vocabularies (repository_id, model, version, issues, terms) VALUES (?, ?, ?, ?, ?)`,
			v.RepositoryID, store.CleanText(v.Model), v.Version, v.Issues, terms)
		return err
	})
}

// EmbeddedIssues seeks in the index of spaces.
func (s *Store) EmbeddedIssues(ctx context.Context, q store.EmbeddedQuery) (_ []store.EmbeddedIssue, err error) {
	defer s.metrics.observe("embedded_issues", time.Now(), &err)
	rows, err := s.reader.query(ctx, `SELECT e.number, i.text_hash, e.terms,
			CASE WHEN ?1 THEN i.title ELSE '' END, CASE WHEN ?1 THEN i.body ELSE '' END
		FROM issue_embeddings e CROSS JOIN issues i ON i.id = e.issue_id
		WHERE e.repository_id = ?2 AND e.model = ?3 AND e.vocabulary = ?4 AND e.number > ?5 ORDER BY e.number LIMIT ?6`,
		q.Texts, q.RepositoryID, store.CleanText(q.Space.Model), q.Space.Vocabulary, q.After, max(0, q.Limit))
	if err != nil {
		return nil, s.explain(err)
	}
	var found []store.EmbeddedIssue
	err = scanAll(rows, func() error {
		var i store.EmbeddedIssue
		err := rows.Scan(&i.Number, &i.TextHash, (*[]byte)(&i.Terms), &i.Title, &i.Body)
		found = append(found, i)
		return err
	})
	if err != nil {
		return nil, s.explain(err)
	}
	return found, nil
}

// ReplaceEmbeddings encodes the vectors before its turn.
func (s *Store) ReplaceEmbeddings(ctx context.Context, replacements []store.EmbeddingReplacement) (replaced int, err error) {
	defer s.metrics.observe("replace_embeddings", time.Now(), &err)
	type prepared struct {
		store.EmbeddingReplacement
		stored *storedVector
		vector *vector
	}
	all := make([]prepared, len(replacements))
	for i, r := range replacements {
		all[i].EmbeddingReplacement = r
		if r.Embedding == nil {
			continue
		}
		e, err := r.Embedding.Normalize()
		if err != nil {
			return 0, fmt.Errorf("sqlite store: issue %s: %w", r.Issue, err)
		}
		all[i].Embedding = &e
		if all[i].stored = encodeVector(e); all[i].stored != nil {
			all[i].vector = new(vector)
			all[i].stored.decode(all[i].vector)
		}
	}
	if len(all) == 0 {
		return 0, ctx.Err()
	}
	err = s.writer.do(ctx, func(t *tx) error {
		replaced = 0
		for _, r := range all {
			id, err := embeddedFrom(ctx, t, r.EmbeddingReplacement)
			if err != nil {
				return err
			}
			if id == 0 {
				continue
			}
			update := vectorUpdate{space: vectorSpace{repositoryID: r.Issue.RepositoryID}, number: r.Issue.Number}
			if r.vector == nil {
				_, err = t.exec(`DELETE FROM issue_embeddings WHERE issue_id = ?`, id)
			} else {
				_, err = t.exec(`UPDATE issue_embeddings SET model = ?, norm = ?, vector = ?, vocabulary = ?, places = ?, terms = ? WHERE issue_id = ?`,
					r.Embedding.Model, r.stored.norm, r.stored.values, r.Embedding.Vocabulary, blob(r.stored.places), blob(r.stored.terms), id)
				update.space.model = r.Embedding.Model
				r.vector.issueID, r.vector.number = id, r.Issue.Number
				update.vector = r.vector
			}
			if err != nil {
				return err
			}
			t.vectors = append(t.vectors, update)
			replaced++
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return replaced, nil
}

// embeddedFrom gives issues.id of an issue whose embedding is still what the
// replacement is for, 0 of any other.
func embeddedFrom(ctx context.Context, t *tx, r store.EmbeddingReplacement) (id int64, err error) {
	rows, err := t.query(ctx, `SELECT i.id FROM issues i JOIN issue_embeddings e ON e.issue_id = i.id
		WHERE i.repository_id = ? AND i.number = ? AND i.deleted = 0 AND i.text_hash = ? AND e.model = ? AND e.vocabulary = ?`,
		r.Issue.RepositoryID, r.Issue.Number, store.CleanText(r.TextHash), store.CleanText(r.From.Model), r.From.Vocabulary)
	if err != nil {
		return 0, err
	}
	return id, scanOne(rows, &id)
}
