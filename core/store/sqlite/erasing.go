package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/dispatchai/dispatchai/core/store"
)

// issueTables hold what hangs on an issue's row, by issue_id, the dependent first.
func issueTables() []string {
	return []string{"issue_classification_history", "issue_classifications", "corrections", "issue_directives", "issue_embeddings", "challenges"}
}

// repositoryTable holds rows by repository_id; key tells its rows apart within a
// repository, and numbered that they belong to an issue.
type repositoryTable struct {
	name, key string
	numbered  bool
}

// repositoryTables are erased with a repository besides its issues, and where
// they are numbered with an issue. A table that is neither here nor in
// issueTables fails TestEveryTableIsErased.
func repositoryTables() []repositoryTable {
	return []repositoryTable{
		{"desired_labels", "id", true},
		{"label_ledger_history", "id", true},
		{"label_ledger", "number", true},
		{"info_requests", "number", true},
		{"label_suggestions", "number", true},
		{"typed_issues", "number", true},
		{"repository_configurations", "in_force", false},
		{"repository_labels", "label_key", false},
		{"embedding_vocabularies", "model", false},
		{"reconciliations", "repository_id", false},
		{"backfills", "repository_id", false},
	}
}

// walkLength is how many applied events one step goes through: they have no
// index by repository, which every event would pay for.
const walkLength = 5000

// erasedRows is how many rows of a table without issues one step erases.
const erasedRows = 1000

// Removals looks into the three small indices of what is to be erased.
func (s *Store) Removals(ctx context.Context, removedBefore time.Time, limit int) (_ []store.Removal, err error) {
	defer s.metrics.observe("removals", time.Now(), &err)
	rows, err := s.reader.query(ctx, removalsQuery+` ORDER BY removed_at, subject DESC, installation_id, repository_id, number LIMIT ?2`,
		micros(store.CleanTime(removedBefore)), limit)
	if err != nil {
		return nil, s.explain(err)
	}
	removals := []store.Removal{}
	err = scanAll(rows, func() error {
		var r store.Removal
		var at int64
		if err := rows.Scan(&r.Subject, &r.InstallationID, &r.RepositoryID, &r.Number, &r.Name, &r.Because, &at); err != nil {
			return err
		}
		r.RemovedAt = fromMicros(at)
		removals = append(removals, r)
		return nil
	})
	if err != nil {
		return nil, s.explain(err)
	}
	return removals, nil
}

// removalsQuery is a subject per row, removed at ?1 or before.
const removalsQuery = `SELECT * FROM (
	SELECT 'repository' AS subject, r.installation_id, r.id AS repository_id, 0 AS number, r.full_name, r.removed_because, r.removed_at
		FROM repositories r WHERE r.removed = 1 AND r.erased = 0 AND r.removed_at <= ?1
	UNION ALL
	SELECT 'issue', r.installation_id, r.id, i.number, r.full_name, d.because, d.deleted_at
		FROM deleted_issues d JOIN issues i ON i.id = d.issue_id JOIN repositories r ON r.id = i.repository_id
		WHERE d.erased = 0 AND d.deleted_at <= ?1 AND r.removed = 0
	UNION ALL
	SELECT 'installation', n.id, 0, 0, n.account, 'uninstalled', n.removed_at
		FROM installations n WHERE n.removed = 1 AND n.erased = 0 AND n.removed_at <= ?1
			AND NOT EXISTS (SELECT 1 FROM repositories r WHERE r.installation_id = n.id AND r.erased = 0))`

// BeginErasure marks the subject as erased first, so that nothing is added to it
// while it is being erased.
func (s *Store) BeginErasure(ctx context.Context, r store.Removal, removedBefore, now time.Time, plugins []string) (e store.Erasure, err error) {
	defer s.metrics.observe("begin_erasure", time.Now(), &err)
	removedBefore, now = store.CleanTime(removedBefore), store.CleanTime(now)
	names := make([]string, len(plugins))
	for i, name := range plugins {
		names[i] = store.CleanText(name)
	}
	err = s.writer.do(ctx, func(t *tx) error {
		e, err = beginErasure(t, r, removedBefore, now, names)
		return err
	})
	return e, err
}

func beginErasure(t *tx, r store.Removal, removedBefore, now time.Time, plugins []string) (store.Erasure, error) {
	e := store.Erasure{Subject: r.Subject, BegunAt: now, Rows: map[string]int64{}}
	rows, err := t.query(context.Background(), removalsQuery+` WHERE subject = ?2 AND repository_id = ?3 AND number = ?4 AND (?3 <> 0 OR installation_id = ?5)`,
		micros(removedBefore), string(r.Subject), r.RepositoryID, r.Number, r.InstallationID)
	if err != nil {
		return e, err
	}
	found := false
	err = scanAll(rows, func() error {
		var name string
		var at int64
		found = true
		defer func() { e.RemovedAt = fromMicros(at) }()
		return rows.Scan(&e.Subject, &e.InstallationID, &e.RepositoryID, &e.Number, &name, &e.Because, &at)
	})
	if err != nil {
		return e, err
	}
	if !found {
		return e, fmt.Errorf("%s %d of installation %d is not to be erased: %w", r.Subject, cmp.Or(r.RepositoryID, r.InstallationID), r.InstallationID, store.ErrConflict)
	}
	if e.ID, err = t.insert(`INSERT INTO erasures (subject, installation_id, repository_id, number, because, removed_at, begun_at, outcome, counts, walked)
		VALUES (?, ?, ?, ?, ?, ?, ?, '', '{}', '')`,
		string(e.Subject), e.InstallationID, e.RepositoryID, e.Number, string(e.Because), micros(e.RemovedAt), micros(now)); err != nil {
		return e, err
	}
	switch e.Subject {
	case store.SubjectRepository:
		for _, name := range plugins {
			if _, err := t.exec(`INSERT INTO plugin_forgets (repository_id, plugin, since) VALUES (?, ?, ?) ON CONFLICT DO NOTHING`, e.RepositoryID, name, micros(now)); err != nil {
				return e, err
			}
		}
		_, err = t.exec(`UPDATE repositories SET erased = 1, full_name = '', private = 0, archived = 0, labels_at = NULL, config_version = 0, config_faults = 0 WHERE id = ?`, e.RepositoryID)
	case store.SubjectIssue:
		_, err = t.exec(`UPDATE deleted_issues SET erased = 1 WHERE issue_id = (SELECT id FROM issues WHERE repository_id = ? AND number = ?)`, e.RepositoryID, e.Number)
	case store.SubjectInstallation:
		if _, err := t.exec(`DELETE FROM owner_files WHERE installation_id = ?`, e.InstallationID); err != nil {
			return e, err
		}
		_, err = t.exec(`UPDATE installations SET erased = 1, account = '', granted = '' WHERE id = ?`, e.InstallationID)
	}
	return e, err
}

// endErasures ends what is being erased of a repository that came back.
func endErasures(t *tx, repositoryID int64, at time.Time) error {
	if _, err := t.exec(`UPDATE erasures SET ended_at = ?, outcome = ? WHERE ended_at IS NULL AND subject = 'repository' AND repository_id = ?`,
		micros(at), store.Returned, repositoryID); err != nil {
		return err
	}
	_, err := t.exec(`DELETE FROM plugin_forgets WHERE repository_id = ?`, repositoryID)
	return err
}

const erasureColumns = `id, subject, installation_id, repository_id, number, because, removed_at, begun_at, ended_at, outcome, counts`

func scanErasures(rows *sql.Rows) ([]store.Erasure, error) {
	list := []store.Erasure{}
	return list, scanAll(rows, func() error {
		var e store.Erasure
		var removed, begun int64
		var ended sql.NullInt64
		var counts string
		if err := rows.Scan(&e.ID, &e.Subject, &e.InstallationID, &e.RepositoryID, &e.Number, &e.Because, &removed, &begun, &ended, &e.Outcome, &counts); err != nil {
			return err
		}
		e.RemovedAt, e.BegunAt, e.EndedAt = fromMicros(removed), fromMicros(begun), fromOptionalMicros(ended)
		if err := json.Unmarshal([]byte(counts), &e.Rows); err != nil {
			return fmt.Errorf("counts of erasure %d: %w", e.ID, err)
		}
		list = append(list, e)
		return nil
	})
}

// OpenErasures reads the erasures under way.
func (s *Store) OpenErasures(ctx context.Context) (_ []store.Erasure, err error) {
	defer s.metrics.observe("open_erasures", time.Now(), &err)
	rows, err := s.reader.query(ctx, `SELECT `+erasureColumns+` FROM erasures WHERE ended_at IS NULL ORDER BY id`)
	if err != nil {
		return nil, s.explain(err)
	}
	list, err := scanErasures(rows)
	return list, s.explain(err)
}

// Erasures reads the end of the log.
func (s *Store) Erasures(ctx context.Context, limit int) (_ []store.Erasure, err error) {
	defer s.metrics.observe("erasures", time.Now(), &err)
	rows, err := s.reader.query(ctx, `SELECT `+erasureColumns+` FROM erasures ORDER BY id DESC LIMIT ?`, limit)
	if err != nil {
		return nil, s.explain(err)
	}
	list, err := scanErasures(rows)
	return list, s.explain(err)
}

// EraseSome erases one step. What is erased is overwritten in the file (see Open).
func (s *Store) EraseSome(ctx context.Context, erasureID int64, limit int) (more bool, err error) {
	defer s.metrics.observe("erase_some", time.Now(), &err)
	err = s.writer.do(ctx, func(t *tx) error {
		e, open, err := loadErasure(t, erasureID)
		if err != nil || !open {
			return err
		}
		step := &erasing{tx: t, erasure: e, gone: make(map[string]int64)}
		if more, err = step.run(limit); err != nil {
			return err
		}
		for table, n := range step.gone {
			e.Rows[table] += n
		}
		counts, err := toJSON(e.Rows)
		if err != nil {
			return err
		}
		_, err = t.exec(`UPDATE erasures SET counts = ? WHERE id = ?`, counts, e.ID)
		return err
	})
	return more && err == nil, err
}

func loadErasure(t *tx, id int64) (e store.Erasure, open bool, err error) {
	rows, err := t.query(context.Background(), `SELECT `+erasureColumns+` FROM erasures WHERE id = ?`, id)
	if err != nil {
		return e, false, err
	}
	list, err := scanErasures(rows)
	if err != nil {
		return e, false, err
	}
	if len(list) == 0 {
		return e, false, fmt.Errorf("erasure %d: %w", id, store.ErrNotFound)
	}
	return list[0], list[0].EndedAt.IsZero(), nil
}

// erasing is one step of an erasure.
type erasing struct {
	*tx
	erasure store.Erasure
	gone    map[string]int64 // rows, by table
}

// remove runs a statement that deletes from the table, and counts.
func (s *erasing) remove(table, statement string, args ...any) (int64, error) {
	n, err := s.exec(`DELETE FROM `+table+` WHERE `+statement, args...)
	if n > 0 {
		s.gone[table] += n
	}
	return n, err
}

func (s *erasing) run(limit int) (more bool, err error) {
	switch e := s.erasure; e.Subject {
	case store.SubjectIssue:
		return false, s.issue()
	case store.SubjectInstallation:
		if _, err := s.remove("installation_leases", `installation_id = ?`, e.InstallationID); err != nil {
			return false, err
		}
		if e.Rows["installations"] == 0 {
			s.gone["installations"] = 1
		}
		return false, nil
	}
	id := s.erasure.RepositoryID
	if n, err := s.issues(id, limit); err != nil || n > 0 {
		return n > 0, err
	}
	for _, table := range repositoryTables() {
		n, err := s.remove(table.name, `repository_id = ?1 AND `+table.key+` IN (
			SELECT DISTINCT `+table.key+` FROM `+table.name+` WHERE repository_id = ?1 LIMIT ?2)`, id, erasedRows)
		if err != nil || n > 0 {
			return n > 0, err
		}
	}
	if more, err := s.walk(id); err != nil || more {
		return more, err
	}
	if s.erasure.Rows["repositories"] == 0 {
		s.gone["repositories"] = 1
	}
	return s.searchIndex()
}

// issues erases up to limit issues of the repository with all that hangs on them.
func (s *erasing) issues(repositoryID int64, limit int) (int, error) {
	rows, err := s.query(context.Background(), `SELECT id, number FROM issues WHERE repository_id = ? ORDER BY number LIMIT ?`, repositoryID, limit)
	if err != nil {
		return 0, err
	}
	var ids []int64
	err = scanAll(rows, func() error {
		var id int64
		var number int
		err := rows.Scan(&id, &number)
		ids = append(ids, id)
		s.vectors = append(s.vectors, vectorUpdate{space: vectorSpace{repositoryID: repositoryID}, number: number})
		return err
	})
	if err != nil || len(ids) == 0 {
		return 0, err
	}
	list := numbersJSON(ids)
	for _, table := range append(issueTables(), "deleted_issues") {
		if _, err := s.remove(table, `issue_id IN (SELECT value FROM json_each(?))`, list); err != nil {
			return 0, err
		}
	}
	slices.Sort(ids) // see writeWords
	for _, id := range ids {
		if _, err := s.remove("issue_search", `rowid = ?`, id); err != nil {
			return 0, err
		}
	}
	_, err = s.remove("issues", `id IN (SELECT value FROM json_each(?))`, list)
	return len(ids), err
}

// issue erases one issue but its numbers, which keep late events from bringing it back.
func (s *erasing) issue() error {
	e := s.erasure
	rows, err := s.query(context.Background(), `SELECT id FROM issues WHERE repository_id = ? AND number = ?`, e.RepositoryID, e.Number)
	if err != nil {
		return err
	}
	var id int64
	if err := scanAll(rows, func() error { return rows.Scan(&id) }); err != nil || id == 0 {
		return err
	}
	for _, table := range issueTables() {
		if _, err := s.remove(table, `issue_id = ?`, id); err != nil {
			return err
		}
	}
	for _, table := range repositoryTables() {
		if !table.numbered {
			continue
		}
		if _, err := s.remove(table.name, `repository_id = ? AND number = ?`, e.RepositoryID, e.Number); err != nil {
			return err
		}
	}
	n, err := s.exec(`UPDATE issues SET github_id = 0, title = '', state = '', author_login = '', author_type = '', author_association = '', labels = '[]', url = '',
		created_at = 0, closed_at = NULL, text_hash = '', status = 'received', category = '', priority = '', component = '', corrections = 0, body = ''
		WHERE id = ? AND (github_id <> 0 OR body <> '' OR title <> '')`, id)
	if n > 0 {
		s.gone["issues"] += n
	}
	return err
}

// walk goes through a part of the applied events and erases the repository's.
func (s *erasing) walk(repositoryID int64) (more bool, err error) {
	ctx := context.Background()
	rows, err := s.query(ctx, `SELECT walked FROM erasures WHERE id = ?`, s.erasure.ID)
	if err != nil {
		return false, err
	}
	var from string
	if err := scanOne(rows, &from); err != nil {
		return false, err
	}
	if rows, err = s.query(ctx, `SELECT count(*), coalesce(max(event_id), '') FROM (
		SELECT event_id FROM applied_events WHERE event_id > ? ORDER BY event_id LIMIT ?)`, from, walkLength); err != nil {
		return false, err
	}
	var passed int
	var to string
	if err := scanOne(rows, &passed, &to); err != nil || passed == 0 {
		return false, err
	}
	if _, err := s.remove("applied_events", `event_id > ? AND event_id <= ? AND repository_id = ?`, from, to, repositoryID); err != nil {
		return false, err
	}
	_, err = s.exec(`UPDATE erasures SET walked = ? WHERE id = ?`, to, s.erasure.ID)
	return true, err
}

// mergePages is how many pages of the search index one step merges.
const mergePages = 500

// searchIndex merges a part of the search index. What was deleted from it is
// only marked there, and gone when the part that holds it was merged.
func (s *erasing) searchIndex() (more bool, err error) {
	if s.erasure.Rows["issue_search"] == 0 {
		return false, nil
	}
	changes := func() (n int64, err error) {
		rows, err := s.query(context.Background(), `SELECT total_changes()`)
		if err != nil {
			return 0, err
		}
		return n, scanOne(rows, &n)
	}
	before, err := changes()
	if err != nil {
		return false, err
	}
	if _, err := s.exec(`INSERT INTO issue_search (issue_search, rank) VALUES ('merge', ?)`, -mergePages); err != nil {
		return false, err
	}
	after, err := changes()
	return after-before > 1, err
}

// FinishErasure ends the erasure, unless it has ended.
func (s *Store) FinishErasure(ctx context.Context, erasureID int64, now time.Time) (e store.Erasure, err error) {
	defer s.metrics.observe("finish_erasure", time.Now(), &err)
	err = s.writer.do(ctx, func(t *tx) error {
		if _, err := t.exec(`UPDATE erasures SET ended_at = ?, outcome = ?, walked = '' WHERE id = ? AND ended_at IS NULL`,
			micros(store.CleanTime(now)), store.Erased, erasureID); err != nil {
			return err
		}
		e, _, err = loadErasure(t, erasureID)
		return err
	})
	return e, err
}

// Forgets reads what plugins are still to be told.
func (s *Store) Forgets(ctx context.Context) (_ []store.Forget, err error) {
	defer s.metrics.observe("forgets", time.Now(), &err)
	rows, err := s.reader.query(ctx, `SELECT repository_id, plugin, since FROM plugin_forgets ORDER BY since, repository_id, plugin`)
	if err != nil {
		return nil, s.explain(err)
	}
	list := []store.Forget{}
	err = scanAll(rows, func() error {
		var f store.Forget
		var since int64
		if err := rows.Scan(&f.RepositoryID, &f.Plugin, &since); err != nil {
			return err
		}
		f.Since = fromMicros(since)
		list = append(list, f)
		return nil
	})
	if err != nil {
		return nil, s.explain(err)
	}
	return list, nil
}

// FinishForget takes the note away, unless the repository was erased again since.
func (s *Store) FinishForget(ctx context.Context, f store.Forget) (err error) {
	defer s.metrics.observe("finish_forget", time.Now(), &err)
	return s.writer.do(ctx, func(t *tx) error {
		_, err := t.exec(`DELETE FROM plugin_forgets WHERE repository_id = ? AND plugin = ? AND since <= ?`,
			f.RepositoryID, store.CleanText(f.Plugin), micros(store.CleanTime(f.Since)))
		return err
	})
}
