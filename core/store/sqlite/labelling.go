package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/dispatchai/dispatchai/core/store"
)

// SaveDesired writes the rows in one transaction.
func (s *Store) SaveDesired(ctx context.Context, rows []store.Desired) (err error) {
	defer s.metrics.observe("save_desired", time.Now(), &err)
	clean := make([]store.Desired, len(rows))
	documents := make([]desiredDocuments, len(rows))
	for i, d := range rows {
		if clean[i], err = d.Normalize(); err == nil {
			documents[i], err = encodeDesired(clean[i])
		}
		if err != nil {
			return fmt.Errorf("sqlite store: %w", err)
		}
	}
	if len(clean) == 0 {
		return ctx.Err()
	}
	return s.writer.do(ctx, func(t *tx) error {
		for i, d := range clean {
			in := documents[i]
			// A live row that still waits stays live under a later backfill. A row in
			// hand stays so: its owner finds on settling it that it moved on.
			if _, err := t.exec(`INSERT INTO desired_labels (repository_id, number, installation_id, revision, event_id, traceparent, labels,
					backfill, received_at, ignored, request, reactions, config_version, held, suggested, issue_type, attempts, not_before, last_error, settled)
				VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, '', 0)
				ON CONFLICT (repository_id, number) DO UPDATE SET
					claimed_by = CASE WHEN desired_labels.installation_id = excluded.installation_id THEN claimed_by END,
					backfill = CASE WHEN settled = 0 THEN min(desired_labels.backfill, excluded.backfill) ELSE excluded.backfill END,
					installation_id = excluded.installation_id, revision = excluded.revision, event_id = excluded.event_id,
					traceparent = excluded.traceparent, labels = excluded.labels, received_at = excluded.received_at, ignored = excluded.ignored, request = excluded.request,
					reactions = CASE WHEN desired_labels.reactions = '[]' THEN excluded.reactions ELSE (
						SELECT json_group_array(json(value)) FROM (
							SELECT value FROM json_each(desired_labels.reactions) UNION SELECT value FROM json_each(excluded.reactions))) END,
					config_version = excluded.config_version, held = excluded.held, suggested = excluded.suggested, issue_type = excluded.issue_type,
					attempts = 0, not_before = 0, last_error = '', settled = 0
				WHERE excluded.revision > desired_labels.revision`,
				d.Issue.RepositoryID, d.Issue.Number, d.InstallationID, d.Revision, d.EventID, d.Traceparent, in.labels, d.Backfill, micros(d.ReceivedAt), d.Ignored, in.request, in.reactions,
				d.ConfigVersion, in.held, in.suggested, d.IssueType); err != nil {
				return err
			}
		}
		return nil
	})
}

// desiredDocuments are the columns of a row that hold JSON.
type desiredDocuments struct{ labels, held, suggested, request, reactions string }

func encodeDesired(d store.Desired) (in desiredDocuments, _ error) {
	var errs [5]error
	in.labels, errs[0] = toJSON(d.Labels)
	in.held, errs[1] = listJSON(d.Held)
	in.suggested, errs[2] = listJSON(d.Suggested)
	in.reactions, errs[3] = toJSON(d.Reactions)
	if d.Request != nil {
		in.request, errs[4] = toJSON(d.Request)
	}
	return in, errors.Join(errs[:]...)
}

// ClaimDesired visits each installation that has rows to hand out once, so its cost grows with
// their number and not with the length of anyone's backlog.
func (s *Store) ClaimDesired(ctx context.Context, claim store.Claim) (_ []store.ClaimedInstallation, err error) {
	defer s.metrics.observe("claim_desired", time.Now(), &err)
	if claim.Owner == "" || claim.MaxInstallations <= 0 || claim.MaxIssues <= 0 || claim.LeaseFor <= 0 {
		return nil, fmt.Errorf("sqlite store: claim %+v: Owner, LeaseFor, MaxInstallations and MaxIssues must be set", claim)
	}
	claim.Owner, claim.Now = store.CleanText(claim.Owner), store.CleanTime(claim.Now)
	var claimed []store.ClaimedInstallation
	err = s.writer.do(ctx, func(t *tx) error {
		var err error
		claimed, err = claimDesired(t, claim)
		return err
	})
	if err != nil {
		return nil, err
	}
	return claimed, nil
}

func claimDesired(t *tx, claim store.Claim) ([]store.ClaimedInstallation, error) {
	now, until := micros(claim.Now), micros(claim.Now.Add(claim.LeaseFor))
	if err := endLeases(t, now); err != nil {
		return nil, err
	}
	if _, err := t.exec(`UPDATE installation_leases SET lease_until = max(lease_until, ?1) WHERE owner = ?2 AND EXISTS (
			SELECT 1 FROM desired_labels d WHERE d.installation_id = installation_leases.installation_id AND d.settled = 0 AND d.claimed_by IS NOT NULL)`,
		until, claim.Owner); err != nil {
		return nil, err
	}
	installations, err := claimable(t, claim, now)
	if err != nil {
		return nil, err
	}
	var claimed []store.ClaimedInstallation
	for _, id := range installations {
		rows, err := takeRows(t, claim, id, now)
		if err != nil {
			return nil, err
		}
		if len(rows) == 0 {
			continue
		}
		if _, err := t.exec(`INSERT INTO installation_leases (installation_id, owner, lease_until, handed) VALUES (?1, ?2, ?3, ?4)
			ON CONFLICT (installation_id) DO UPDATE SET lease_until = CASE WHEN owner = ?2 THEN max(lease_until, ?3) ELSE ?3 END, owner = ?2, handed = handed + ?4`,
			id, claim.Owner, until, len(rows)); err != nil {
			return nil, err
		}
		leased, err := t.query(context.Background(), `SELECT lease_until, budget, lost, coalesce(lost_at, 0) FROM installation_leases WHERE installation_id = ?`, id)
		if err != nil {
			return nil, err
		}
		c := store.ClaimedInstallation{InstallationID: id, Rows: rows}
		var leaseUntil, lostAt int64
		if err := scanOne(leased, &leaseUntil, &c.Budget, &c.Lost, &lostAt); err != nil {
			return nil, err
		}
		if c.LeaseUntil = fromMicros(leaseUntil); c.Lost > 0 {
			c.LostAt = fromMicros(lostAt)
		}
		claimed = append(claimed, c)
	}
	return claimed, nil
}

// endLeases takes rows out of the hands of owners whose lease has ended.
func endLeases(t *tx, now int64) error {
	if err := countLost(t, now); err != nil {
		return err
	}
	if _, err := t.exec(`UPDATE desired_labels SET claimed_by = NULL WHERE settled = 0 AND claimed_by IS NOT NULL AND installation_id IN (
			SELECT installation_id FROM installation_leases WHERE owner IS NOT NULL AND lease_until <= ?)`, now); err != nil {
		return err
	}
	_, err := t.exec(`UPDATE installation_leases SET owner = NULL, lease_until = NULL WHERE owner IS NOT NULL AND lease_until <= ?`, now)
	return err
}

// countLost counts the rows handed out under leases that end by until at the latest and were not released.
func countLost(t *tx, until int64) error {
	_, err := t.exec(`UPDATE installation_leases SET lost = lost + handed, lost_at = max(coalesce(lost_at, 0), lease_until), handed = 0
		WHERE owner IS NOT NULL AND lease_until <= ?`, until)
	return err
}

// claimable lists the installations to claim, the one that waits longest first.
func claimable(t *tx, claim store.Claim, now int64) ([]int64, error) {
	rows, err := t.query(context.Background(), `WITH RECURSIVE pending (id) AS (
			SELECT min(installation_id) FROM desired_labels WHERE settled = 0 AND claimed_by IS NULL
			UNION ALL
			SELECT (SELECT min(d.installation_id) FROM desired_labels d
				WHERE d.settled = 0 AND d.claimed_by IS NULL AND d.installation_id > pending.id)
			FROM pending WHERE pending.id IS NOT NULL
		)
		SELECT pending.id
		FROM pending
			LEFT JOIN installations n ON n.id = pending.id
			LEFT JOIN installation_leases l ON l.installation_id = pending.id
			JOIN desired_labels head ON head.id = (
				SELECT d.id FROM desired_labels d LEFT JOIN repositories r ON r.id = d.repository_id
				WHERE d.settled = 0 AND d.claimed_by IS NULL AND d.installation_id = pending.id AND d.not_before <= ?1 AND coalesce(r.removed, 0) = 0 AND coalesce(r.config_version, 1) > 0
					AND d.backfill <= (coalesce(l.backfill_until, 0) <= ?1)
				ORDER BY d.backfill, d.received_at, d.id LIMIT 1)
		WHERE coalesce(n.suspended, 0) = 0 AND coalesce(n.removed, 0) = 0
			AND (l.owner IS NULL OR l.owner = ?2) AND coalesce(l.blocked_until, 0) <= ?1
		ORDER BY head.backfill, head.received_at, head.id
		LIMIT ?3`, now, claim.Owner, claim.MaxInstallations)
	if err != nil {
		return nil, err
	}
	var ids []int64
	return ids, scanAll(rows, func() error {
		var id int64
		err := rows.Scan(&id)
		ids = append(ids, id)
		return err
	})
}

// backfillPlaces is how many of the places in a claim go to backfill rows when more
// rows are due than there are places; see store.Labelling.
func backfillPlaces(maxIssues int) int { return maxIssues / 16 }

// takeRows hands the installation's due rows to the claim's owner.
func takeRows(t *tx, claim store.Claim, installationID, now int64) ([]store.Desired, error) {
	taken, ids, err := dueRows(t, installationID, now, false, claim.MaxIssues)
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	if places := backfillPlaces(claim.MaxIssues); places > 0 && len(taken) == claim.MaxIssues && !taken[len(taken)-places].Backfill {
		later, laterIDs, err := dueRows(t, installationID, now, true, places)
		if err != nil {
			return nil, err
		}
		live := len(taken) - len(later)
		taken, ids = append(taken[:live], later...), append(ids[:live], laterIDs...)
	}
	_, err = t.exec(`UPDATE desired_labels SET claimed_by = ? WHERE id IN (SELECT value FROM json_each(?))`, claim.Owner, numbersJSON(ids))
	return taken, err
}

// dueRows reads up to limit of the installation's due rows, live before
// backfill and oldest first, or those of a backfill alone.
func dueRows(t *tx, installationID, now int64, backfill bool, limit int) (due []store.Desired, ids []int64, _ error) {
	rows, err := t.query(context.Background(), `SELECT d.id, d.repository_id, d.number, d.revision, d.event_id, d.traceparent, d.labels, d.backfill, d.received_at, d.ignored, d.request, d.reactions, d.attempts,
			d.config_version, d.held, d.suggested, d.issue_type
		FROM desired_labels d LEFT JOIN repositories r ON r.id = d.repository_id
		WHERE d.settled = 0 AND d.claimed_by IS NULL AND d.installation_id = ?1 AND d.not_before <= ?2 AND coalesce(r.removed, 0) = 0 AND coalesce(r.config_version, 1) > 0
			AND d.backfill BETWEEN ?3 AND (coalesce((SELECT l.backfill_until FROM installation_leases l WHERE l.installation_id = ?1), 0) <= ?2)
		ORDER BY d.backfill, d.received_at, d.id LIMIT ?4`, installationID, now, backfill, limit)
	if err != nil {
		return nil, nil, err
	}
	return due, ids, scanAll(rows, func() error {
		d := store.Desired{InstallationID: installationID}
		var id, received int64
		var labels, request, reactions, held, suggested sql.RawBytes
		if err := rows.Scan(&id, &d.Issue.RepositoryID, &d.Issue.Number, &d.Revision, &d.EventID, &d.Traceparent, &labels, &d.Backfill, &received, &d.Ignored, &request, &reactions, &d.Attempts,
			&d.ConfigVersion, &held, &suggested, &d.IssueType); err != nil {
			return err
		}
		if err := errors.Join(json.Unmarshal(labels, &d.Labels), readList(held, &d.Held), readList(suggested, &d.Suggested)); err != nil {
			return fmt.Errorf("desired labels of %s: %w", d.Issue, err)
		}
		if len(request) > 0 {
			if err := json.Unmarshal(request, &d.Request); err != nil {
				return fmt.Errorf("request of %s: %w", d.Issue, err)
			}
		}
		if string(reactions) != "[]" {
			if err := json.Unmarshal(reactions, &d.Reactions); err != nil {
				return fmt.Errorf("reactions of %s: %w", d.Issue, err)
			}
		}
		d.ReceivedAt = fromMicros(received)
		due, ids = append(due, d), append(ids, id)
		return nil
	})
}

// FinishDesired settles the rows in one transaction.
func (s *Store) FinishDesired(ctx context.Context, results []store.DesiredResult) (err error) {
	defer s.metrics.observe("finish_desired", time.Now(), &err)
	if len(results) == 0 {
		return ctx.Err()
	}
	return s.writer.do(ctx, func(t *tx) error {
		for _, r := range results {
			// A row that moved on while it was in hand is due at once, whatever
			// became of its older revision.
			var err error
			if r.Done {
				_, err = t.exec(`UPDATE desired_labels SET claimed_by = NULL, settled = (revision = ?1),
					last_error = CASE WHEN revision = ?1 THEN '' ELSE last_error END,
					reactions = CASE WHEN revision = ?1 THEN '[]' ELSE reactions END
					WHERE repository_id = ?2 AND number = ?3 AND revision >= ?1 AND settled = 0`,
					r.Revision, r.Issue.RepositoryID, r.Issue.Number)
			} else {
				_, err = t.exec(`UPDATE desired_labels SET claimed_by = NULL,
					attempts = attempts + (revision = ?1),
					not_before = CASE WHEN revision = ?1 THEN ?2 ELSE not_before END,
					last_error = CASE WHEN revision = ?1 THEN ?3 ELSE last_error END
					WHERE repository_id = ?4 AND number = ?5 AND revision >= ?1 AND settled = 0`,
					r.Revision, micros(store.CleanTime(r.NotBefore)), store.CleanText(r.Error), r.Issue.RepositoryID, r.Issue.Number)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// ReleaseInstallation ends the lease and takes back what was in hand under it.
func (s *Store) ReleaseInstallation(ctx context.Context, release store.Release) (err error) {
	defer s.metrics.observe("release_installation", time.Now(), &err)
	id, owner := release.InstallationID, store.CleanText(release.Owner)
	blocked, backfill := optionalMicros(store.CleanTime(release.BlockedUntil)), optionalMicros(store.CleanTime(release.BackfillUntil))
	return s.writer.do(ctx, func(t *tx) error {
		rows, err := t.query(context.Background(), `SELECT owner FROM installation_leases WHERE installation_id = ? AND owner IS NOT NULL`, id)
		if err != nil {
			return err
		}
		holder := owner
		if err := scanOne(rows, &holder); err != nil {
			return err
		}
		if holder != owner {
			return fmt.Errorf("installation %d is leased by %q now: %w", id, holder, store.ErrConflict)
		}
		_, err = t.exec(`INSERT INTO installation_leases (installation_id, blocked_until, backfill_until, budget) VALUES (?1, ?2, ?3, nullif(?4, x''))
			ON CONFLICT (installation_id) DO UPDATE SET owner = NULL, lease_until = NULL, handed = 0, blocked_until = ?2, backfill_until = ?3,
				budget = CASE WHEN ?5 THEN excluded.budget ELSE budget END,
				lost = CASE WHEN ?5 THEN 0 ELSE lost END, lost_at = CASE WHEN ?5 THEN NULL ELSE lost_at END`,
			id, blocked, backfill, release.Budget, release.Budget != nil)
		_, takeBack := t.exec(`UPDATE desired_labels SET claimed_by = NULL WHERE settled = 0 AND claimed_by IS NOT NULL AND installation_id = ?`, id)
		return errors.Join(err, takeBack)
	})
}

// ReleaseLeases ends every lease and takes back what was in hand.
func (s *Store) ReleaseLeases(ctx context.Context) (err error) {
	defer s.metrics.observe("release_leases", time.Now(), &err)
	return s.writer.do(ctx, func(t *tx) error {
		if err := countLost(t, math.MaxInt64); err != nil {
			return err
		}
		_, err := t.exec(`UPDATE installation_leases SET owner = NULL, lease_until = NULL WHERE owner IS NOT NULL`)
		_, takeBack := t.exec(`UPDATE desired_labels SET claimed_by = NULL WHERE settled = 0 AND claimed_by IS NOT NULL`)
		_, others := t.exec(`DELETE FROM leases`)
		return errors.Join(err, takeBack, others, releaseConfigurations(t))
	})
}

// DesiredPending counts over two small indices.
func (s *Store) DesiredPending(ctx context.Context) (n int64, err error) {
	defer s.metrics.observe("desired_pending", time.Now(), &err)
	rows, err := s.reader.query(ctx, `SELECT (SELECT count(*) FROM desired_labels WHERE settled = 0 AND claimed_by IS NULL)
		+ (SELECT count(*) FROM desired_labels WHERE settled = 0 AND claimed_by IS NOT NULL)`)
	if err != nil {
		return 0, s.explain(err)
	}
	return n, s.explain(scanOne(rows, &n))
}
