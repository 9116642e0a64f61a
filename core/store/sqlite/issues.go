package sqlite

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

// LoadIssues reads all of the keys with one statement.
func (s *Store) LoadIssues(ctx context.Context, keys []triage.IssueKey) (_ map[triage.IssueKey]store.IssueState, err error) {
	defer s.metrics.observe("load_issues", time.Now(), &err)
	rows, err := loadIssues(ctx, s.reader, keys)
	if err != nil {
		return nil, s.explain(err)
	}
	states := make(map[triage.IssueKey]store.IssueState, len(rows))
	for key, row := range rows {
		states[key] = row.state
	}
	return states, nil
}

// AppliedEvents reads all of the events with one statement.
func (s *Store) AppliedEvents(ctx context.Context, eventIDs []string) (_ map[string]store.AppliedEvent, err error) {
	defer s.metrics.observe("applied_events", time.Now(), &err)
	clean := make([]string, len(eventIDs))
	for i, id := range eventIDs {
		clean[i] = store.CleanText(id)
	}
	found, err := appliedEvents(ctx, s.reader, clean)
	if err != nil {
		return nil, s.explain(err)
	}
	events := make(map[string]store.AppliedEvent, len(found))
	for i, id := range eventIDs {
		if e, ok := found[clean[i]]; ok {
			e.EventID = id
			events[id] = e
		}
	}
	return events, nil
}

func appliedEvents(ctx context.Context, q querier, eventIDs []string) (map[string]store.AppliedEvent, error) {
	events := make(map[string]store.AppliedEvent)
	if len(eventIDs) == 0 {
		return events, nil
	}
	list, err := toJSON(eventIDs)
	if err != nil {
		return nil, err
	}
	rows, err := q.query(ctx, `SELECT e.event_id, e.repository_id, e.number, e.event_type, e.applied_at
		FROM json_each(?) k CROSS JOIN applied_events e ON e.event_id = k.value`, list)
	if err != nil {
		return nil, err
	}
	return events, scanAll(rows, func() error {
		var e store.AppliedEvent
		var at int64
		if err := rows.Scan(&e.EventID, &e.Issue.RepositoryID, &e.Issue.Number, &e.EventType, &at); err != nil {
			return err
		}
		e.AppliedAt = fromMicros(at)
		events[e.EventID] = e
		return nil
	})
}

// issueChange is a change with what can be made ready before its turn.
type issueChange struct {
	store.IssueChange
	labels  string
	fields  string
	similar string
	// passedOver is that of the classification.
	passedOver string
	words      string
	// Of an embedding that has a direction; nil otherwise.
	embedding *storedVector
	vector    *vector
}

func prepareChange(c store.IssueChange) (p issueChange, err error) {
	if p.IssueChange, err = c.Normalize(); err != nil {
		return p, err
	}
	if !p.Partial {
		if p.labels, err = toJSON(p.Issue.Labels); err != nil {
			return p, err
		}
		p.words = strings.Join(store.IndexWords(p.Issue.Title, p.Issue.Body), " ")
	}
	if p.Classification != nil {
		if p.fields, err = toJSON(p.Classification.Fields); err != nil {
			return p, err
		}
		if p.similar, err = toJSON(p.Similar); err != nil {
			return p, err
		}
		p.passedOver = "[]"
		if len(p.Classification.PassedOver) > 0 {
			if p.passedOver, err = toJSON(p.Classification.PassedOver); err != nil {
				return p, err
			}
		}
		if p.Embedding != nil {
			if p.embedding = encodeVector(*p.Embedding); p.embedding != nil {
				p.vector = new(vector)
				p.embedding.decode(p.vector)
			}
		}
	}
	return p, nil
}

// ApplyIssues reads what it needs of all the issues at once and then writes
// change after change, by the rules of store.IssueState.Apply.
func (s *Store) ApplyIssues(ctx context.Context, changes []store.IssueChange) (_ []store.IssueState, err error) {
	defer s.metrics.observe("apply_issues", time.Now(), &err)
	if len(changes) == 0 {
		return nil, ctx.Err()
	}
	prepared := make([]issueChange, len(changes))
	for i, c := range changes {
		if prepared[i], err = prepareChange(c); err != nil {
			return nil, fmt.Errorf("sqlite store: %w", err)
		}
	}
	var states []store.IssueState
	err = s.writer.do(ctx, func(t *tx) error {
		var err error
		states, err = applyIssues(t, prepared)
		return err
	})
	if err != nil {
		return nil, err
	}
	return states, nil
}

func applyIssues(t *tx, changes []issueChange) ([]store.IssueState, error) {
	ctx := context.Background()
	var (
		keys         = make([]triage.IssueKey, len(changes))
		eventIDs     = make([]string, len(changes))
		repositories []int64
		observed     []triage.IssueKey
		correcting   []string
	)
	for i, c := range changes {
		keys[i], eventIDs[i] = c.Issue.Key(), c.EventID
		repositories = append(repositories, c.Issue.Repository.ID)
		if len(c.Ledger) > 0 {
			observed = append(observed, keys[i])
		}
		for _, k := range c.Corrections {
			correcting = append(correcting, k.EventID)
		}
	}
	applied, err := appliedEvents(ctx, t, eventIDs)
	if err != nil {
		return nil, err
	}
	issues, err := loadIssues(ctx, t, keys)
	if err != nil {
		return nil, err
	}
	directory, err := loadRepositoryRows(ctx, t, repositories)
	if err != nil {
		return nil, err
	}
	ledger, err := loadLedger(ctx, t, observed)
	if err != nil {
		return nil, err
	}
	corrected, err := loadCorrected(ctx, t, correcting)
	if err != nil {
		return nil, err
	}

	now := micros(time.Now())
	states := make([]store.IssueState, len(changes))
	for i := range changes {
		c := &changes[i]
		row := issues[keys[i]]
		if row == nil {
			row = &issueRow{}
			issues[keys[i]] = row
		}
		repository := directory[c.Issue.Repository.ID]
		if repository.erased || row.erased {
			states[i].Issue.Repository.ID, states[i].Issue.Number = keys[i].RepositoryID, keys[i].Number
			continue
		}
		if _, done := applied[c.EventID]; !done && (row.id != 0 || !c.Partial) {
			if !c.Partial {
				if repository, err = describeRepository(t, repository, c.Issue); err != nil {
					return nil, err
				}
				directory[c.Issue.Repository.ID] = repository
			}
			if err := applyIssue(t, row, c, corrected); err != nil {
				return nil, fmt.Errorf("issue %s: %w", keys[i], err)
			}
			if err := observeLabels(t, ledger, keys[i], c.EventID, c.Ledger); err != nil {
				return nil, err
			}
			if _, err := t.exec(`INSERT INTO applied_events (event_id, repository_id, number, event_type, applied_at) VALUES (?, ?, ?, ?, ?)`,
				c.EventID, keys[i].RepositoryID, keys[i].Number, string(c.EventType), now); err != nil {
				return nil, err
			}
			applied[c.EventID] = store.AppliedEvent{}
		}
		if row.id == 0 {
			row.state.Issue.Repository.ID, row.state.Issue.Number = keys[i].RepositoryID, keys[i].Number
		} else {
			row.state.Issue.Repository = repository.Repository
		}
		states[i] = row.state
	}
	if err := moveCorrections(t, issues, keys, states); err != nil {
		return nil, err
	}
	return states, writeWords(t, issues)
}

// correctedField names a correction; the pair is unique in the audit.
type correctedField struct {
	eventID string
	field   triage.Field
}

// loadCorrected tells which corrections of the events are in the audit already.
func loadCorrected(ctx context.Context, q querier, eventIDs []string) (map[correctedField]bool, error) {
	known := make(map[correctedField]bool)
	if len(eventIDs) == 0 {
		return known, nil
	}
	list, err := toJSON(eventIDs)
	if err != nil {
		return nil, err
	}
	rows, err := q.query(ctx, `SELECT event_id, field FROM corrections WHERE event_id IN (SELECT value FROM json_each(?))`, list)
	if err != nil {
		return nil, err
	}
	return known, scanAll(rows, func() error {
		var k correctedField
		if err := rows.Scan(&k.eventID, &k.field); err != nil {
			return err
		}
		known[k] = true
		return nil
	})
}

// applyIssue brings one issue and what hangs on it to the state after the change.
func applyIssue(t *tx, row *issueRow, c *issueChange, corrected map[correctedField]bool) error {
	change := c.IssueChange
	change.Corrections = nil
	for _, k := range c.Corrections {
		name := correctedField{k.EventID, k.Field}
		if !corrected[name] {
			corrected[name] = true
			change.Corrections = append(change.Corrections, k)
		}
	}
	before := row.state
	outcome := before.Apply(change)
	if err := writeIssue(t, row, outcome, c); err != nil {
		return err
	}
	row.state = outcome.State
	if change.Deleted {
		if err := noteDeletion(t, row.id, change); err != nil {
			return err
		}
	}
	for _, k := range outcome.Corrections {
		oldValues, err := toJSON(k.Old)
		if err != nil {
			return err
		}
		newValues, err := toJSON(k.New)
		if err != nil {
			return err
		}
		if _, err := t.exec(`INSERT INTO corrections (issue_id, event_id, field, old_values, new_values, actor, reason, source, at)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			row.id, k.EventID, string(k.Field), oldValues, newValues, k.Actor, k.Reason, string(k.Source), micros(k.At)); err != nil {
			return err
		}
	}
	if c.Classification != nil {
		if err := writeClassification(t, row, before.Classification == nil, c); err != nil {
			return err
		}
	}
	if !c.Directives.IsZero() {
		directives, err := toJSON(outcome.State.Directives)
		if err != nil {
			return err
		}
		if _, err := t.exec(`INSERT INTO issue_directives (issue_id, directives) VALUES (?1, ?2)
			ON CONFLICT (issue_id) DO UPDATE SET directives = ?2`, row.id, directives); err != nil {
			return err
		}
	}
	return writeEmbedding(t, row, before.Deleted, c)
}

// writeIssue writes the issue's own row and its words; row.state is still what was before.
func writeIssue(t *tx, row *issueRow, outcome store.Outcome, c *issueChange) error {
	before, after := row.state, outcome.State
	category, priority, component := listedValues(after)
	status, corrections := string(after.Status()), len(after.Corrections)
	known := row.id != 0
	if !outcome.Columns {
		if _, err := t.exec(`UPDATE issues SET revision = ?, deleted = ?, text_hash = ?, status = ?, category = ?, priority = ?, component = ?, corrections = ?
			WHERE id = ?`, after.Revision, after.Deleted, after.TextHash, status, category, priority, component, corrections, row.id); err != nil {
			return err
		}
	} else {
		i := after.Issue
		var closed any
		if i.ClosedAt != nil {
			closed = micros(*i.ClosedAt)
		}
		columns := []any{
			i.ID, i.Title, i.Body, i.State, i.Author.Login, string(i.Author.Type), i.AuthorAssociation, c.labels, i.URL,
			micros(i.CreatedAt), micros(i.UpdatedAt), closed, after.Deleted, after.Revision,
			micros(after.ReceivedAt), after.Position.Partition, after.Position.Offset, after.TextHash,
			status, category, priority, component, corrections,
		}
		var err error
		if known {
			_, err = t.exec(`UPDATE issues SET github_id = ?, title = ?, body = ?, state = ?, author_login = ?, author_type = ?, author_association = ?,
				labels = ?, url = ?, created_at = ?, updated_at = ?, closed_at = ?, deleted = ?, revision = ?, received_at = ?,
				log_partition = ?, log_offset = ?, text_hash = ?, status = ?, category = ?, priority = ?, component = ?, corrections = ?
				WHERE id = ?`, append(columns, row.id)...)
		} else {
			row.id, err = t.insert(`INSERT INTO issues (github_id, title, body, state, author_login, author_type, author_association, labels, url,
				created_at, updated_at, closed_at, deleted, revision, received_at, log_partition, log_offset, text_hash,
				status, category, priority, component, corrections, repository_id, number)
				VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
				append(columns, i.Repository.ID, i.Number)...)
			row.created = true
		}
		if err != nil {
			return err
		}
	}
	reworded := !known || after.Issue.Title != before.Issue.Title || after.Issue.Body != before.Issue.Body
	row.unsearchable = row.unsearchable || known && !before.Deleted && (after.Deleted || reworded)
	switch {
	case after.Deleted:
		row.words = nil
	case reworded:
		row.words = &c.words
	}
	return nil
}

// listedValues are the values that issues are listed by.
func listedValues(s store.IssueState) (category, priority, component string) {
	effective := s.Effective()
	if effective == nil {
		return "", "", ""
	}
	return effective.Value(triage.FieldCategory), effective.Value(triage.FieldPriority), effective.Value(triage.FieldComponent)
}

// writeWords brings the search index up to the issues that were written. The
// index gathers words in memory and writes them out when another statement
// opens a savepoint or when issues do not come in ascending order, which is
// costly issue by issue. Hence they come last, deletions first, and in order.
func writeWords(t *tx, issues map[triage.IssueKey]*issueRow) error {
	rows := slices.SortedFunc(maps.Values(issues), func(a, b *issueRow) int { return cmp.Compare(a.id, b.id) })
	for _, row := range rows {
		if row.unsearchable && !row.created {
			if _, err := t.exec(`DELETE FROM issue_search WHERE rowid = ?`, row.id); err != nil {
				return err
			}
		}
	}
	for _, row := range rows {
		if row.words != nil {
			if _, err := t.exec(`INSERT INTO issue_search (rowid, words) VALUES (?, ?)`, row.id, *row.words); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeClassification makes the change's classification the present one; first
// tells that there was none before.
func writeClassification(t *tx, row *issueRow, first bool, c *issueChange) error {
	if !first {
		if _, err := t.exec(`INSERT INTO issue_classification_history
			(issue_id, event_id, delivery_id, fields, reasoning, hold, passed_over, input_tokens, output_tokens, cost_usd, similar, classified_at)
			SELECT issue_id, event_id, delivery_id, fields, reasoning, hold, passed_over, input_tokens, output_tokens, cost_usd, similar, classified_at
			FROM issue_classifications WHERE issue_id = ?`, row.id); err != nil {
			return err
		}
	}
	statement := `UPDATE issue_classifications SET event_id = ?, delivery_id = ?, fields = ?, reasoning = ?, hold = ?, passed_over = ?,
		input_tokens = ?, output_tokens = ?, cost_usd = ?, similar = ?, classified_at = ? WHERE issue_id = ?`
	if first {
		statement = `INSERT INTO issue_classifications
			(event_id, delivery_id, fields, reasoning, hold, passed_over, input_tokens, output_tokens, cost_usd, similar, classified_at, issue_id)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
	}
	k := c.Classification
	_, err := t.exec(statement, c.EventID, k.DeliveryID, c.fields, k.Reasoning, k.Hold, c.passedOver,
		k.Usage.InputTokens, k.Usage.OutputTokens, k.Usage.CostUSD, c.similar, micros(k.ClassifiedAt), row.id)
	return err
}

// writeEmbedding keeps the change's vector, and none of a deleted issue.
func writeEmbedding(t *tx, row *issueRow, wasDeleted bool, c *issueChange) error {
	key := row.state.Issue.Key()
	update := vectorUpdate{space: vectorSpace{repositoryID: key.RepositoryID}, number: key.Number}
	switch {
	case row.state.Deleted && wasDeleted:
		return nil
	case !row.state.Deleted && (c.Classification == nil || c.Embedding == nil):
		return nil
	case row.state.Deleted || c.vector == nil:
		if _, err := t.exec(`DELETE FROM issue_embeddings WHERE issue_id = ?`, row.id); err != nil {
			return err
		}
	default:
		if _, err := t.exec(`INSERT OR REPLACE INTO issue_embeddings (issue_id, repository_id, number, model, norm, vector, vocabulary, places, terms)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`, row.id, key.RepositoryID, key.Number, c.Embedding.Model,
			c.embedding.norm, c.embedding.values, c.Embedding.Vocabulary, blob(c.embedding.places), blob(c.embedding.terms)); err != nil {
			return err
		}
		update.space.model = c.Embedding.Model
		c.vector.issueID, c.vector.number = row.id, key.Number
		update.vector = c.vector
	}
	t.vectors = append(t.vectors, update)
	return nil
}
