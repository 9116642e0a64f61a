package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

// repositoryRow is a repository with the times that guard its columns.
type repositoryRow struct {
	triage.Repository
	describedAt  time.Time
	membershipAt time.Time
	joinedAt     time.Time
	labelsAt     time.Time
	removedAt    time.Time // zero unless removed
	because      store.Cause
	erased       bool
	known        bool
}

// loadRepositoryRows reads the repositories that are stored, by ID.
func loadRepositoryRows(ctx context.Context, q querier, ids []int64) (map[int64]repositoryRow, error) {
	found := make(map[int64]repositoryRow)
	rows, err := q.query(ctx, `SELECT id, installation_id, full_name, private, archived, removed, described_at, membership_at, joined_at, labels_at,
			removed_at, removed_because, erased
		FROM repositories WHERE id IN (SELECT value FROM json_each(?))`, numbersJSON(ids))
	if err != nil {
		return nil, err
	}
	return found, scanAll(rows, func() error {
		r := repositoryRow{known: true}
		var described, membership, joined int64
		var labels, removed sql.NullInt64
		if err := rows.Scan(&r.ID, &r.InstallationID, &r.FullName, &r.Private, &r.Archived, &r.Removed, &described, &membership, &joined, &labels,
			&removed, &r.because, &r.erased); err != nil {
			return err
		}
		r.describedAt, r.membershipAt, r.joinedAt = fromMicros(described), fromMicros(membership), fromMicros(joined)
		r.labelsAt, r.removedAt = fromOptionalMicros(labels), fromOptionalMicros(removed)
		found[r.ID] = r
		return nil
	})
}

func (r repositoryRow) write(t *tx) error {
	_, err := t.exec(`INSERT INTO repositories (id, installation_id, full_name, private, archived, removed, described_at, membership_at, joined_at,
			removed_at, removed_because, erased)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET installation_id = excluded.installation_id, full_name = excluded.full_name, private = excluded.private,
			archived = excluded.archived, removed = excluded.removed, described_at = excluded.described_at,
			membership_at = excluded.membership_at, joined_at = excluded.joined_at,
			removed_at = excluded.removed_at, removed_because = excluded.removed_because, erased = excluded.erased`,
		r.ID, r.InstallationID, r.FullName, r.Private, r.Archived, r.Removed, micros(r.describedAt), micros(r.membershipAt), micros(r.joinedAt),
		optionalMicros(r.removedAt), string(r.because), r.erased)
	return err
}

// remove marks the repository; one that is removed already stays so since then
// and for its first cause, so that its data is not kept longer.
func (r *repositoryRow) remove(at time.Time, because store.Cause) {
	if !r.Removed {
		r.Removed, r.removedAt, r.because = true, at, because
	}
}

// describe takes over what is said of the repository when it is not older
// than what is known. What the description leaves out stays.
func (r *repositoryRow) describe(described triage.Repository, at time.Time) (changed bool) {
	if r.known && at.Before(r.describedAt) {
		return false
	}
	before := *r
	r.ID, r.Private, r.Archived, r.describedAt = described.ID, described.Private, described.Archived, at
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
// One that is created for an installation that was removed is removed with it.
func describeRepository(t *tx, r repositoryRow, issue triage.Issue) (repositoryRow, error) {
	archived := r.Archived
	if !r.describe(issue.Repository, issue.UpdatedAt) && r.known {
		return r, nil
	}
	r.Archived = archived // which an issue's event is no news of
	if err := r.followInstallation(t); err != nil {
		return r, err
	}
	if err := r.write(t); err != nil {
		return r, err
	}
	r.known = true
	return r, nil
}

// followInstallation marks a repository that was not known as removed when its
// installation is.
func (r *repositoryRow) followInstallation(t *tx) error {
	if r.known {
		return nil
	}
	n, err := loadInstallationRow(t, r.InstallationID)
	if err == nil && n.removed {
		r.remove(n.removedAt, store.Uninstalled)
	}
	return err
}

// installationRow is what repositories ask of an installation.
type installationRow struct {
	account   string
	removed   bool
	removedAt time.Time
}

// loadInstallationRow gives the zero row of an installation that is not known.
func loadInstallationRow(t *tx, id int64) (n installationRow, _ error) {
	rows, err := t.query(context.Background(), `SELECT account, removed, coalesce(removed_at, 0) FROM installations WHERE id = ?`, id)
	if err != nil {
		return n, err
	}
	return n, scanAll(rows, func() error {
		var at int64
		defer func() { n.removedAt = fromMicros(at) }()
		return rows.Scan(&n.account, &n.removed, &at)
	})
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

func applyInstallation(t *tx, c store.InstallationChange) (err error) {
	inserted, err := t.exec(`INSERT INTO applied_events (event_id, repository_id, number, event_type, applied_at) VALUES (?, 0, 0, '', ?)
		ON CONFLICT (event_id) DO NOTHING`, c.EventID, micros(time.Now()))
	if err != nil || inserted == 0 {
		return err
	}
	if err := changeInstallation(t, c); err != nil {
		return err
	}
	defer func() {
		if err == nil {
			err = markConfigurations(t, c)
		}
	}()
	ids := append([]int64{c.LabelRepositoryID}, c.Removed...)
	for _, r := range slices.Concat(c.Upserted, c.Described) {
		ids = append(ids, r.ID)
	}
	repositories, err := loadRepositoryRows(context.Background(), t, ids)
	if err != nil {
		return err
	}
	for _, described := range c.Upserted {
		r := repositories[described.ID]
		if err := r.upsert(t, described, c.At); err != nil {
			return err
		}
		repositories[r.ID] = r
	}
	for _, described := range c.Described {
		r := repositories[described.ID]
		if err := r.redescribe(t, described, c); err != nil {
			return err
		}
		repositories[r.ID] = r
	}
	for _, id := range c.Removed {
		r := repositories[id]
		if r.known && c.Installation != nil && r.InstallationID != 0 && r.InstallationID != c.Installation.ID {
			continue // it is in another installation by now
		}
		r.ID = id
		if !r.known && c.Installation != nil {
			r.InstallationID = c.Installation.ID
		}
		if !r.known || !c.At.Before(r.membershipAt) {
			r.remove(c.At, c.Because)
			r.membershipAt = c.At
		}
		if err := r.write(t); err != nil {
			return err
		}
		r.known = true
		repositories[id] = r
	}
	if r := repositories[c.LabelRepositoryID]; r.known {
		return changeLabels(t, r, c)
	}
	return nil
}

// changeInstallation writes the installation's own row. Removed is final: GitHub
// gives a new installation a new ID. What was erased is not written again.
func changeInstallation(t *tx, c store.InstallationChange) error {
	n := c.Installation
	if n == nil {
		return nil
	}
	granted := ""
	if n.Grant != nil {
		var err error
		if granted, err = toJSON(n.Grant); err != nil {
			return err
		}
	}
	if _, err := t.exec(`INSERT INTO installations (id, account, suspended, removed, removed_at, granted, updated_at)
		VALUES (?1, ?2, ?3, ?4, CASE WHEN ?4 THEN ?7 END, ?5, ?6)
		ON CONFLICT (id) DO UPDATE SET
			account    = CASE WHEN excluded.updated_at >= updated_at AND excluded.account <> '' THEN excluded.account ELSE account END,
			suspended  = CASE WHEN excluded.updated_at >= updated_at THEN excluded.suspended ELSE suspended END,
			granted    = CASE WHEN excluded.updated_at >= updated_at AND excluded.granted <> '' THEN excluded.granted ELSE granted END,
			removed_at = CASE WHEN removed = 0 THEN excluded.removed_at ELSE removed_at END,
			removed    = max(removed, excluded.removed),
			updated_at = max(updated_at, excluded.updated_at)
		WHERE erased = 0`,
		n.ID, n.Account, n.Suspended, n.Removed, granted, micros(n.UpdatedAt), micros(c.At)); err != nil {
		return err
	}
	if !n.Removed {
		return nil
	}
	_, err := t.exec(`UPDATE repositories SET membership_at = ?1,
			removed_at = CASE WHEN removed = 0 THEN ?1 ELSE removed_at END,
			removed_because = CASE WHEN removed = 0 THEN ?3 ELSE removed_because END,
			removed = 1
		WHERE installation_id = ?2 AND membership_at <= ?1`, micros(c.At), n.ID, string(store.Uninstalled))
	return err
}

// upsert makes the repository the installation's from the time on, and ends an
// erasure that is under way. What another installation said earlier of the
// repository does not count against it.
// A removed installation can no longer get a repository.
func (r *repositoryRow) upsert(t *tx, described triage.Repository, at time.Time) error {
	n, err := loadInstallationRow(t, described.InstallationID)
	if err != nil {
		return err
	}
	if n.removed && r.known {
		return nil
	}
	archived := r.Archived
	r.describe(described, at)
	r.Archived = archived
	since := r.membershipAt
	if described.InstallationID != 0 && r.Removed && described.InstallationID != r.InstallationID {
		since = r.joinedAt
	}
	if !r.known || !at.Before(since) {
		if described.InstallationID != 0 {
			r.InstallationID = described.InstallationID
		}
		if r.erased {
			if err := endErasures(t, r.ID, at); err != nil {
				return err
			}
			r.describedAt = time.Time{}
			r.describe(described, at)
		}
		r.Removed, r.removedAt, r.because, r.erased = false, time.Time{}, "", false
		r.membershipAt, r.joinedAt = at, at
	}
	if n.removed {
		r.remove(n.removedAt, store.Uninstalled)
	} else if described.Removed {
		r.remove(at, store.RepositoryRemoved)
	}
	r.known = true
	return r.write(t)
}

// redescribe takes over name, visibility and whether the repository is archived,
// and after a transfer finds out whether the App came along.
func (r *repositoryRow) redescribe(t *tx, described triage.Repository, c store.InstallationChange) error {
	if r.erased {
		return nil
	}
	installation := r.InstallationID
	if !r.describe(described, c.At) && r.known {
		return nil
	}
	if r.known && installation != 0 {
		r.InstallationID = installation
	}
	if err := r.followInstallation(t); err != nil {
		return err
	}
	if c.Transferred {
		belongs := func(id int64) (bool, error) {
			n, err := loadInstallationRow(t, id)
			return !n.removed && strings.EqualFold(n.account, r.Owner()), err
		}
		stays, err := belongs(r.InstallationID)
		if err != nil {
			return err
		}
		follows, err := belongs(described.InstallationID)
		switch {
		case err != nil:
			return err
		case stays:
		case follows:
			r.InstallationID, r.joinedAt = described.InstallationID, c.At
		default:
			// The times of membership stay: an addition that was sent
			// earlier and arrives later still counts.
			r.remove(c.At, store.RepositoryTransferred)
		}
	}
	r.known = true
	return r.write(t)
}

// changeLabels applies an event about one label to the repository's set.
func changeLabels(t *tx, r repositoryRow, c store.InstallationChange) error {
	if r.erased || c.At.Before(r.labelsAt) {
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
		if r.erased || at.Before(r.labelsAt) {
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
const repositoryColumns = `r.id, r.installation_id, r.full_name, r.private, r.archived, r.removed, r.labels_at, r.erased, r.config_version, r.config_faults,
	CASE WHEN r.config_version > 0 THEN (SELECT c.in_force FROM repository_configurations c WHERE c.repository_id = r.id) END,
	(SELECT json_group_array(json_object('name', l.name, 'color', l.color, 'description', l.description) ORDER BY l.label_key)
		FROM repository_labels l WHERE l.repository_id = r.id AND l.removed = 0)`

func (s *Store) scanRepository(rows *sql.Rows) (state store.RepositoryState, err error) {
	var labels, inForce sql.RawBytes
	var version int64
	var labelsAt sql.NullInt64
	r := &state.Repository
	if err := rows.Scan(&r.ID, &r.InstallationID, &r.FullName, &r.Private, &r.Archived, &r.Removed, &labelsAt, &state.Erased, &version, &state.ConfigurationFaults, &inForce, &labels); err != nil {
		return state, err
	}
	state.LabelsAt = fromOptionalMicros(labelsAt)
	if state.Configuration, err = s.configuration(r.ID, version, inForce); err != nil {
		return state, err
	}
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
		state, err := s.scanRepository(rows)
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
		state, err := s.scanRepository(rows)
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
	rows, err := s.reader.query(ctx, `SELECT id, account, suspended, removed, granted, updated_at FROM installations WHERE id = ?`, id)
	if err != nil {
		return n, s.explain(err)
	}
	found := false
	err = scanAll(rows, func() error {
		found = true
		var updated int64
		var granted string
		if err := rows.Scan(&n.ID, &n.Account, &n.Suspended, &n.Removed, &granted, &updated); err != nil {
			return err
		}
		n.UpdatedAt = fromMicros(updated)
		if granted == "" {
			return nil
		}
		return json.Unmarshal([]byte(granted), &n.Grant)
	})
	switch {
	case err != nil:
		return triage.Installation{}, s.explain(err)
	case !found:
		return triage.Installation{}, fmt.Errorf("installation %d: %w", id, store.ErrNotFound)
	}
	return n, nil
}
