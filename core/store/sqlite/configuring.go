package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/dispatchai/dispatchai/core/store"
)

// cachedConfigurations bounds the configurations kept parsed.
const cachedConfigurations = 10_000

// configuration parses what is in force, once for each version: a version is
// never given twice to a repository.
func (s *Store) configuration(repositoryID, version int64, inForce []byte) (*store.Configuration, error) {
	if version == 0 {
		return nil, nil
	}
	if held, ok := s.configs.Get(repositoryID); ok && held.Version == version {
		return held, nil
	}
	c, err := parseConfiguration(version, inForce)
	if err != nil {
		return nil, fmt.Errorf("configuration of repository %d: %w", repositoryID, err)
	}
	s.configs.Add(repositoryID, c)
	return c, nil
}

func parseConfiguration(version int64, inForce []byte) (*store.Configuration, error) {
	c := &store.Configuration{}
	if err := json.Unmarshal(inForce, c); err != nil {
		return nil, err
	}
	c.Version = version
	return c, nil
}

// ClaimConfigurations hands out what is due by one small index.
func (s *Store) ClaimConfigurations(ctx context.Context, claim store.ConfigurationClaim) (jobs []store.ConfigurationJob, err error) {
	defer s.metrics.observe("claim_configurations", time.Now(), &err)
	if claim.Owner == "" || claim.LeaseFor <= 0 || claim.Limit <= 0 {
		return nil, fmt.Errorf("sqlite store: claim %+v: Owner, LeaseFor and Limit must be set", claim)
	}
	claim.Owner, claim.Now = store.CleanText(claim.Owner), store.CleanTime(claim.Now)
	// Most looks find nothing, and a look is not worth a write.
	rows, err := s.reader.query(ctx, `SELECT EXISTS (SELECT 1 FROM repositories WHERE removed = 0 AND installation_id > 0 AND config_due_at <= ?1
		AND (config_claimed_by IS NULL OR config_claimed_until <= ?1))`, micros(claim.Now))
	if err != nil {
		return nil, s.explain(err)
	}
	var any bool
	if err := scanOne(rows, &any); err != nil || !any {
		return nil, s.explain(err)
	}
	err = s.writer.do(ctx, func(t *tx) error {
		jobs, err = claimConfigurations(t, claim)
		return err
	})
	if err != nil {
		return nil, err
	}
	return jobs, nil
}

func claimConfigurations(t *tx, claim store.ConfigurationClaim) ([]store.ConfigurationJob, error) {
	now := micros(claim.Now)
	rows, err := t.query(context.Background(), `SELECT r.id, r.installation_id, r.full_name, r.private,
			r.config_version, max(r.config_due_at, r.config_marked_at), r.config_due_because, r.config_marks, r.config_attempts, coalesce(c.in_force, ''), coalesce(c.report, '{}')
		FROM repositories r
			LEFT JOIN repository_configurations c ON c.repository_id = r.id
			LEFT JOIN installations n ON n.id = r.installation_id
		WHERE r.removed = 0 AND r.installation_id > 0 AND r.config_due_at <= ?1 AND (r.config_claimed_by IS NULL OR r.config_claimed_until <= ?1)
			AND coalesce(n.suspended, 0) = 0 AND coalesce(n.removed, 0) = 0
		ORDER BY r.config_due_at, r.id LIMIT ?2`, now, claim.Limit)
	if err != nil {
		return nil, err
	}
	var jobs []store.ConfigurationJob
	var ids []int64
	err = scanAll(rows, func() error {
		j := store.ConfigurationJob{Owner: claim.Owner}
		var version, since int64
		var inForce, report sql.RawBytes
		r := &j.Repository
		if err := rows.Scan(&r.ID, &r.InstallationID, &r.FullName, &r.Private, &version, &since, &j.Because, &j.Marks, &j.Attempts, &inForce, &report); err != nil {
			return err
		}
		j.Since = fromMicros(since)
		if len(inForce) > 0 { // also of one that is out of force until its files are read
			if j.Configuration, err = parseConfiguration(version, inForce); err != nil {
				return fmt.Errorf("configuration of repository %d: %w", r.ID, err)
			}
		}
		if err := json.Unmarshal(report, &j.Report); err != nil {
			return fmt.Errorf("configuration report of repository %d: %w", r.ID, err)
		}
		jobs, ids = append(jobs, j), append(ids, r.ID)
		return nil
	})
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	_, err = t.exec(`UPDATE repositories SET config_claimed_by = ?, config_claimed_until = ? WHERE id IN (SELECT value FROM json_each(?))`,
		claim.Owner, micros(claim.Now.Add(claim.LeaseFor)), numbersJSON(ids))
	return jobs, err
}

// SaveConfiguration writes the result in one transaction.
func (s *Store) SaveConfiguration(ctx context.Context, result store.ConfigurationResult) (err error) {
	defer s.metrics.observe("save_configuration", time.Now(), &err)
	if result, err = result.Normalize(); err != nil {
		return fmt.Errorf("sqlite store: %w", err)
	}
	report, err := toJSON(result.Report)
	if err != nil {
		return fmt.Errorf("sqlite store: %w", err)
	}
	return s.writer.do(ctx, func(t *tx) error { return saveConfiguration(t, result, report) })
}

func saveConfiguration(t *tx, r store.ConfigurationResult, report string) error {
	rows, err := t.query(context.Background(), `SELECT r.config_version, coalesce(c.in_force, '') FROM repositories r
		LEFT JOIN repository_configurations c ON c.repository_id = r.id WHERE r.id = ? AND r.config_claimed_by = ?`, r.RepositoryID, r.Owner)
	if err != nil {
		return err
	}
	held, version, inForce := false, int64(0), ""
	if err := scanAll(rows, func() error { held = true; return rows.Scan(&version, &inForce) }); err != nil {
		return err
	}
	if !held {
		return fmt.Errorf("the configuration of repository %d is no longer in hand: %w", r.RepositoryID, store.ErrConflict)
	}
	if r.Configuration != nil {
		next, err := toJSON(r.Configuration)
		if err != nil {
			return err
		}
		if version == 0 || next != inForce {
			version, inForce = max(version+1, micros(time.Now())), next
		}
	}
	if _, err := t.exec(`INSERT INTO repository_configurations (repository_id, in_force, report) VALUES (?, ?, ?)
		ON CONFLICT (repository_id) DO UPDATE SET in_force = excluded.in_force, report = excluded.report`, r.RepositoryID, inForce, report); err != nil {
		return err
	}
	if _, err := t.exec(`UPDATE repositories SET config_version = ?, config_faults = ? WHERE id = ?`, version, len(r.Report.Faults), r.RepositoryID); err != nil || r.NextDue.IsZero() {
		return err
	}
	_, err = t.exec(`UPDATE repositories SET config_claimed_by = NULL, config_claimed_until = NULL,
			config_attempts = CASE WHEN ?1 THEN config_attempts + 1 ELSE 0 END,
			config_due_because = CASE WHEN config_marks = ?2 THEN ?3 ELSE config_due_because END,
			config_due_at = CASE WHEN config_marks = ?2 THEN ?4 ELSE config_due_at END
		WHERE id = ?5`, r.Failed, r.Marks, r.Because, micros(r.NextDue), r.RepositoryID)
	return err
}

// releaseConfigurations ends every claim.
func releaseConfigurations(t *tx) error {
	_, err := t.exec(`UPDATE repositories SET config_claimed_by = NULL, config_claimed_until = NULL WHERE config_claimed_by IS NOT NULL`)
	return err
}

// markConfigurations makes repositories due as the event says.
func markConfigurations(t *tx, c store.InstallationChange) error {
	m := c.Configuration
	if m.IsZero() {
		return nil
	}
	owner := strings.ToLower(store.CleanText(m.Owner)) + "/"
	_, err := t.exec(`UPDATE repositories SET config_due_at = min(config_due_at, ?1), config_marked_at = max(config_marked_at, ?1), config_due_because = ?2, config_marks = config_marks + 1, config_attempts = 0,
			config_version = CASE WHEN ?3 THEN 0 ELSE config_version END
		WHERE id IN (SELECT value FROM json_each(?4)) AND installation_id = ?5
			OR ?6 AND installation_id = ?5 AND (?7 OR lower(substr(full_name, 1, length(?8))) = ?8)`,
		micros(c.At), store.CleanText(m.Because), m.Forget, numbersJSON(m.RepositoryIDs), m.InstallationID, m.All || m.Owner != "", m.All, owner)
	return err
}

// LoadConfigurationReport reads one report.
func (s *Store) LoadConfigurationReport(ctx context.Context, repositoryID int64) (report store.ConfigurationReport, err error) {
	defer s.metrics.observe("load_configuration_report", time.Now(), &err)
	rows, err := s.reader.query(ctx, `SELECT coalesce(c.report, '{}') FROM repositories r
		LEFT JOIN repository_configurations c ON c.repository_id = r.id WHERE r.id = ?`, repositoryID)
	if err != nil {
		return report, s.explain(err)
	}
	var text string
	if err := scanOne(rows, &text); err != nil {
		return report, s.explain(err)
	}
	if text == "" {
		return report, fmt.Errorf("repository %d: %w", repositoryID, store.ErrNotFound)
	}
	return report, json.Unmarshal([]byte(text), &report)
}

// LoadOwnerFile reads the file that an owner's repositories inherit.
func (s *Store) LoadOwnerFile(ctx context.Context, installationID int64, owner string) (file store.ConfigurationFile, checkedAt time.Time, err error) {
	defer s.metrics.observe("load_owner_file", time.Now(), &err)
	rows, err := s.reader.query(ctx, `SELECT file, checked_at FROM owner_files WHERE installation_id = ? AND owner_key = ?`,
		installationID, strings.ToLower(store.CleanText(owner)))
	if err != nil {
		return file, checkedAt, s.explain(err)
	}
	var text string
	var checked int64
	if err := scanOne(rows, &text, &checked); err != nil {
		return file, checkedAt, s.explain(err)
	}
	if text == "" {
		return file, checkedAt, fmt.Errorf("file of %s: %w", owner, store.ErrNotFound)
	}
	return file, fromMicros(checked), json.Unmarshal([]byte(text), &file)
}

// SaveOwnerFile keeps the file that an owner's repositories inherit.
func (s *Store) SaveOwnerFile(ctx context.Context, installationID int64, owner string, file store.ConfigurationFile, checkedAt time.Time) (err error) {
	defer s.metrics.observe("save_owner_file", time.Now(), &err)
	text, err := toJSON(file)
	if err != nil {
		return fmt.Errorf("sqlite store: %w", err)
	}
	return s.writer.do(ctx, func(t *tx) error {
		_, err := t.exec(`INSERT INTO owner_files (installation_id, owner_key, file, checked_at) VALUES (?, ?, ?, ?)
			ON CONFLICT (installation_id, owner_key) DO UPDATE SET file = excluded.file, checked_at = excluded.checked_at
			WHERE excluded.checked_at >= owner_files.checked_at`,
			installationID, strings.ToLower(store.CleanText(owner)), text, micros(store.CleanTime(checkedAt)))
		return err
	})
}

// listJSON writes a list, [] for an empty one.
func listJSON[T any](list []T) (string, error) {
	if len(list) == 0 {
		return "[]", nil
	}
	return toJSON(list)
}

// readList reads what listJSON wrote; an empty list is nil.
func readList[T any](text []byte, into *[]T) error {
	if string(text) == "[]" {
		return nil
	}
	return json.Unmarshal(text, into)
}
