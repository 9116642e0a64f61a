package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

// repositoryRow is a repository with the times that guard its columns.
type repositoryRow struct {
	triage.Repository
	describedAt  time.Time
	membershipAt time.Time
	labelsAt     time.Time
	known        bool
}

// loadRepositoryRows reads the repositories that are stored, by ID.
func loadRepositoryRows(ctx context.Context, q querier, ids []int64) (map[int64]repositoryRow, error) {
	found := make(map[int64]repositoryRow)
	rows, err := q.query(ctx, `SELECT id, installation_id, full_name, private, removed, described_at, membership_at, labels_at
		FROM repositories WHERE id IN (SELECT value FROM json_each(?))`, numbersJSON(ids))
	if err != nil {
		return nil, err
	}
	return found, scanAll(rows, func() error {
		r := repositoryRow{known: true}
		var described, membership int64
		var labels sql.NullInt64
		if err := rows.Scan(&r.ID, &r.InstallationID, &r.FullName, &r.Private, &r.Removed, &described, &membership, &labels); err != nil {
			return err
		}
		r.describedAt, r.membershipAt, r.labelsAt = fromMicros(described), fromMicros(membership), fromOptionalMicros(labels)
		found[r.ID] = r
		return nil
	})
}

func (r repositoryRow) write(t *tx) error {
	_, err := t.exec(`INSERT INTO repositories (id, installation_id, full_name, private, removed, described_at, membership_at)
		VALUES (?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET installation_id = excluded.installation_id, full_name = excluded.full_name, private = excluded.private,
			removed = excluded.removed, described_at = excluded.described_at, membership_at = excluded.membership_at`,
		r.ID, r.InstallationID, r.FullName, r.Private, r.Removed, micros(r.describedAt), micros(r.membershipAt))
	return err
}

// describe takes over installation, name and visibility when they are not older
// than what is known. What the description leaves out stays.
func (r *repositoryRow) describe(described triage.Repository, at time.Time) (changed bool) {
	if r.known && at.Before(r.describedAt) {
		return false
	}
	before := *r
	r.ID, r.Private, r.describedAt = described.ID, described.Private, at
	if described.InstallationID != 0 {
		r.InstallationID = described.InstallationID
	}
	if described.FullName != "" {
		r.FullName = described.FullName
	}
	return *r != before
}

// describeRepository creates or freshens the repository by what an issue's
// event says of it, which was so when the issue was last updated.
func describeRepository(t *tx, r repositoryRow, issue triage.Issue) (repositoryRow, error) {
	if !r.describe(issue.Repository, issue.UpdatedAt) && r.known {
		return r, nil
	}
	if err := r.write(t); err != nil {
		return r, err
	}
	r.known = true
	return r, nil
}

// ApplyInstallation writes the change in one transaction.
func (s *Store) ApplyInstallation(ctx context.Context, change store.InstallationChange) (err error) {
	defer s.metrics.observe("apply_installation", time.Now(), &err)
	change, err = change.Normalize()
	if err != nil {
		return fmt.Errorf("sqlite store: %w", err)
	}
	return s.writer.do(ctx, func(t *tx) error { return applyInstallation(t, change) })
}

func applyInstallation(t *tx, c store.InstallationChange) error {
	inserted, err := t.exec(`INSERT INTO applied_events (event_id, repository_id, number, event_type, applied_at) VALUES (?, 0, 0, '', ?)
		ON CONFLICT (event_id) DO NOTHING`, c.EventID, micros(time.Now()))
	if err != nil || inserted == 0 {
		return err
	}
	if n := c.Installation; n != nil {
		// Removed is final: GitHub gives a new installation a new ID.
		if _, err := t.exec(`INSERT INTO installations (id, account, suspended, removed, updated_at) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT (id) DO UPDATE SET
				account    = CASE WHEN excluded.updated_at >= updated_at AND excluded.account <> '' THEN excluded.account ELSE account END,
				suspended  = CASE WHEN excluded.updated_at >= updated_at THEN excluded.suspended ELSE suspended END,
				removed    = max(removed, excluded.removed),
				updated_at = max(updated_at, excluded.updated_at)`,
			n.ID, n.Account, n.Suspended, n.Removed, micros(n.UpdatedAt)); err != nil {
			return err
		}
		if n.Removed {
			if _, err := t.exec(`UPDATE repositories SET removed = 1, membership_at = ?1 WHERE installation_id = ?2 AND membership_at <= ?1`,
				micros(c.At), n.ID); err != nil {
				return err
			}
		}
	}
	ids := append([]int64{c.LabelRepositoryID}, c.Removed...)
	for _, r := range c.Upserted {
		ids = append(ids, r.ID)
	}
	repositories, err := loadRepositoryRows(context.Background(), t, ids)
	if err != nil {
		return err
	}
	set := func(r repositoryRow, removed bool) error {
		if !r.known || !c.At.Before(r.membershipAt) {
			r.Removed, r.membershipAt = removed, c.At
		}
		r.known = true
		repositories[r.ID] = r
		return r.write(t)
	}
	for _, described := range c.Upserted {
		r := repositories[described.ID]
		r.describe(described, c.At)
		if err := set(r, described.Removed); err != nil {
			return err
		}
	}
	for _, id := range c.Removed {
		r := repositories[id]
		r.ID = id
		if !r.known && c.Installation != nil {
			r.InstallationID = c.Installation.ID
		}
		if err := set(r, true); err != nil {
			return err
		}
	}
	if r := repositories[c.LabelRepositoryID]; r.known {
		return changeLabels(t, r, c)
	}
	return nil
}

// changeLabels applies an event about one label to the repository's set.
func changeLabels(t *tx, r repositoryRow, c store.InstallationChange) error {
	if c.At.Before(r.labelsAt) {
		return nil // the set was read after the event
	}
	write := func(l triage.RepositoryLabel, removed bool) error {
		_, err := t.exec(`INSERT INTO repository_labels (repository_id, label_key, name, color, description, removed, changed_at)
			VALUES (?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (repository_id, label_key) DO UPDATE SET name = excluded.name, color = excluded.color,
				description = excluded.description, removed = excluded.removed, changed_at = excluded.changed_at
			WHERE excluded.changed_at >= repository_labels.changed_at`,
			r.ID, store.LabelKey(l.Name), l.Name, l.Color, l.Description, removed, micros(c.At))
		return err
	}
	for _, gone := range []string{c.PreviousLabel, c.DeletedLabel} {
		if gone != "" {
			if err := write(triage.RepositoryLabel{Name: gone}, true); err != nil {
				return err
			}
		}
	}
	if c.Label != nil {
		return write(*c.Label, false)
	}
	return nil
}

// SaveRepositoryLabels replaces the set; events about single labels that are
// later than it stand.
func (s *Store) SaveRepositoryLabels(ctx context.Context, repositoryID int64, labels []triage.RepositoryLabel, at time.Time) (err error) {
	defer s.metrics.observe("save_repository_labels", time.Now(), &err)
	labels, at = store.NormalizeLabels(labels), store.CleanTime(at)
	return s.writer.do(ctx, func(t *tx) error {
		found, err := loadRepositoryRows(context.Background(), t, []int64{repositoryID})
		if err != nil {
			return err
		}
		r, known := found[repositoryID]
		if !known {
			return fmt.Errorf("repository %d: %w", repositoryID, store.ErrNotFound)
		}
		if at.Before(r.labelsAt) {
			return nil
		}
		if _, err := t.exec(`UPDATE repositories SET labels_at = ? WHERE id = ?`, micros(at), repositoryID); err != nil {
			return err
		}
		if _, err := t.exec(`DELETE FROM repository_labels WHERE repository_id = ? AND changed_at <= ?`, repositoryID, micros(at)); err != nil {
			return err
		}
		for _, l := range labels {
			if _, err := t.exec(`INSERT INTO repository_labels (repository_id, label_key, name, color, description, removed, changed_at)
				VALUES (?, ?, ?, ?, ?, 0, ?) ON CONFLICT (repository_id, label_key) DO NOTHING`,
				repositoryID, store.LabelKey(l.Name), l.Name, l.Color, l.Description, micros(at)); err != nil {
				return err
			}
		}
		return nil
	})
}

// repositoryColumns selects what scanRepository reads, from repositories r.
const repositoryColumns = `r.id, r.installation_id, r.full_name, r.private, r.removed, r.labels_at,
	(SELECT json_group_array(json_object('name', l.name, 'color', l.color, 'description', l.description) ORDER BY l.label_key)
		FROM repository_labels l WHERE l.repository_id = r.id AND l.removed = 0)`

func scanRepository(rows *sql.Rows) (state store.RepositoryState, err error) {
	var labels sql.RawBytes
	var labelsAt sql.NullInt64
	r := &state.Repository
	if err := rows.Scan(&r.ID, &r.InstallationID, &r.FullName, &r.Private, &r.Removed, &labelsAt, &labels); err != nil {
		return state, err
	}
	state.LabelsAt = fromOptionalMicros(labelsAt)
	if err := json.Unmarshal(labels, &state.Labels); err != nil {
		return state, fmt.Errorf("labels of repository %d: %w", r.ID, err)
	}
	return state, nil
}

// LoadRepositories reads all of the repositories with one statement.
func (s *Store) LoadRepositories(ctx context.Context, ids []int64) (_ map[int64]store.RepositoryState, err error) {
	defer s.metrics.observe("load_repositories", time.Now(), &err)
	rows, err := s.reader.query(ctx, `SELECT `+repositoryColumns+` FROM repositories r WHERE r.id IN (SELECT value FROM json_each(?))`, numbersJSON(ids))
	if err != nil {
		return nil, s.explain(err)
	}
	states := make(map[int64]store.RepositoryState)
	return states, s.explain(scanAll(rows, func() error {
		state, err := scanRepository(rows)
		states[state.Repository.ID] = state
		return err
	}))
}

// ListRepositories reads the repositories that are not removed, by name.
func (s *Store) ListRepositories(ctx context.Context) (_ []store.RepositoryState, err error) {
	defer s.metrics.observe("list_repositories", time.Now(), &err)
	rows, err := s.reader.query(ctx, `SELECT `+repositoryColumns+` FROM repositories r WHERE r.removed = 0 ORDER BY r.full_name, r.id`)
	if err != nil {
		return nil, s.explain(err)
	}
	var states []store.RepositoryState
	err = scanAll(rows, func() error {
		state, err := scanRepository(rows)
		states = append(states, state)
		return err
	})
	if err != nil {
		return nil, s.explain(err)
	}
	return states, nil
}

// LoadInstallation reads one installation.
func (s *Store) LoadInstallation(ctx context.Context, id int64) (n triage.Installation, err error) {
	defer s.metrics.observe("load_installation", time.Now(), &err)
	rows, err := s.reader.query(ctx, `SELECT id, account, suspended, removed, updated_at FROM installations WHERE id = ?`, id)
	if err != nil {
		return n, s.explain(err)
	}
	found := false
	err = scanAll(rows, func() error {
		found = true
		var updated int64
		defer func() { n.UpdatedAt = fromMicros(updated) }()
		return rows.Scan(&n.ID, &n.Account, &n.Suspended, &n.Removed, &updated)
	})
	switch {
	case err != nil:
		return triage.Installation{}, s.explain(err)
	case !found:
		return triage.Installation{}, fmt.Errorf("installation %d: %w", id, store.ErrNotFound)
	}
	return n, nil
}
