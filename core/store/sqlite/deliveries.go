package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	"github.com/dispatchai/dispatchai/core/store"
)

// AcquireLease is one statement, so that of two processes one gets the lease.
func (s *Store) AcquireLease(ctx context.Context, name, owner string, now, until time.Time) (taken bool, err error) {
	defer s.metrics.observe("acquire_lease", time.Now(), &err)
	err = s.writer.do(ctx, func(t *tx) error {
		n, err := t.exec(`INSERT INTO leases (name, owner, lease_until) VALUES (?1, ?2, ?4)
			ON CONFLICT (name) DO UPDATE SET owner = ?2, lease_until = ?4 WHERE owner = ?2 OR lease_until <= ?3`,
			name, store.CleanText(owner), micros(now), micros(until))
		taken = n > 0
		return err
	})
	return taken && err == nil, err
}

// ReleaseLease removes the row if it is the owner's.
func (s *Store) ReleaseLease(ctx context.Context, name, owner string) (err error) {
	defer s.metrics.observe("release_lease", time.Now(), &err)
	return s.writer.do(ctx, func(t *tx) error {
		_, err := t.exec(`DELETE FROM leases WHERE name = ? AND owner = ?`, name, store.CleanText(owner))
		return err
	})
}

// LoadSweep reads the only row.
func (s *Store) LoadSweep(ctx context.Context) (sweep store.Sweep, err error) {
	defer s.metrics.observe("load_sweep", time.Now(), &err)
	sweep, err = loadSweep(ctx, s.reader)
	return sweep, s.explain(err)
}

func loadSweep(ctx context.Context, q querier) (sweep store.Sweep, err error) {
	rows, err := q.query(ctx, `SELECT swept_until, head, page, started_at, finished_at, directory_at FROM delivery_sweep`)
	if err != nil {
		return sweep, err
	}
	var until, head, started, finished, directory sql.NullInt64
	err = scanOne(rows, &until, &head, &sweep.Page, &started, &finished, &directory)
	sweep.Until, sweep.Head = fromOptionalMicros(until), fromOptionalMicros(head)
	sweep.StartedAt, sweep.FinishedAt, sweep.DirectoryAt = fromOptionalMicros(started), fromOptionalMicros(finished), fromOptionalMicros(directory)
	return sweep, err
}

// forgetBatch bounds how many held deliveries one transaction forgets.
const forgetBatch = 20_000

// coveredKept is how long a delivery that was covered can be looked up.
const coveredKept = 30 * 24 * time.Hour

// SaveSweep notes a page and the progress in one transaction.
func (s *Store) SaveSweep(ctx context.Context, sweep store.Sweep, noted []store.NotedDelivery, now, forgetBefore time.Time) (err error) {
	defer s.metrics.observe("save_sweep", time.Now(), &err)
	return s.writer.do(ctx, func(t *tx) error {
		for _, d := range noted {
			if err := noteDelivery(t, d, now); err != nil {
				return err
			}
		}
		if _, err := t.exec(`INSERT INTO delivery_sweep (id, swept_until, head, page, started_at, finished_at) VALUES (1, ?1, ?2, ?3, ?4, ?5)
			ON CONFLICT (id) DO UPDATE SET swept_until = ?1, head = ?2, page = ?3, started_at = ?4, finished_at = ?5`,
			optionalMicros(sweep.Until), optionalMicros(sweep.Head), store.CleanText(sweep.Page),
			optionalMicros(sweep.StartedAt), optionalMicros(sweep.FinishedAt)); err != nil {
			return err
		}
		if sweep.Page != "" {
			return nil
		}
		_, err := t.exec(`DELETE FROM deliveries WHERE guid IN (
			SELECT guid FROM deliveries WHERE state = 'held' AND delivered_at < ? ORDER BY delivered_at LIMIT ?)`, micros(forgetBefore), forgetBatch)
		_, covered := t.exec(`DELETE FROM deliveries WHERE state = 'covered' AND delivered_at < ?`, micros(now.Add(-coveredKept)))
		return errors.Join(err, covered)
	})
}

// deliveryRow is what a decision about a delivery needs of its row.
type deliveryRow struct {
	state     store.DeliveryState // "" when there is none
	failed    bool
	delivered int64
	attempt   int64
}

func loadDelivery(t *tx, guid string) (r deliveryRow, err error) {
	rows, err := t.query(context.Background(), `SELECT state, failed, delivered_at, attempt_id FROM deliveries WHERE guid = ?`, guid)
	if err != nil {
		return r, err
	}
	return r, scanOne(rows, &r.state, &r.failed, &r.delivered, &r.attempt)
}

func eventApplied(t *tx, id string) (applied bool, err error) {
	rows, err := t.query(context.Background(), `SELECT 1 FROM applied_events WHERE event_id = ?`, id)
	if err != nil {
		return false, err
	}
	return applied, scanAll(rows, func() error { applied = true; return nil })
}

func noteDelivery(t *tx, d store.NotedDelivery, now time.Time) error {
	d.GUID, d.Event, d.Action, d.Status = store.CleanText(d.GUID), store.CleanText(d.Event), store.CleanText(d.Action), store.CleanText(d.Status)
	if d.GUID == "" {
		return nil
	}
	row, err := loadDelivery(t, d.GUID)
	if err != nil {
		return err
	}
	applied, err := eventApplied(t, d.GUID)
	if err != nil {
		return err
	}
	held := applied || d.Ignored || d.OK && d.Baseline
	if row.state != "" {
		return noteAgain(t, d, row, held, now)
	}
	if d.Again && (d.OK || held) {
		return nil // counted when it was made
	}
	state := store.DeliveryMissing
	switch {
	case held:
		state = store.DeliveryHeld
	case d.OK:
		state = store.DeliveryAccepted
	}
	failed := d.Failed && !d.Ignored
	if _, err := t.exec(`INSERT INTO deliveries (guid, event, action, installation_id, repository_id, attempt_id, delivered_at, state, failed, status, seen_at, asked, next_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0)`, d.GUID, d.Event, d.Action, d.InstallationID, d.RepositoryID, d.AttemptID,
		micros(d.DeliveredAt), string(state), failed, d.Status, micros(now)); err != nil {
		return err
	}
	if state == store.DeliveryMissing {
		if err := hasten(t, d.RepositoryID, d.Event, now); err != nil {
			return err
		}
	}
	return countHour(t, micros(d.DeliveredAt), hourCounts{
		made: 1, ignored: asNumber(d.Ignored), failed: asNumber(failed), healed: asNumber(failed && state == store.DeliveryHeld),
	})
}

// noteAgain is news of a delivery that was noted before.
func noteAgain(t *tx, d store.NotedDelivery, row deliveryRow, held bool, now time.Time) error {
	switch row.state {
	case store.DeliveryMissing, store.DeliveryGivenUp, store.DeliveryCovered:
	default:
		return nil
	}
	if !d.OK && !held {
		if d.AttemptID <= row.attempt {
			return nil
		}
		_, err := t.exec(`UPDATE deliveries SET attempt_id = ?, status = ? WHERE guid = ?`, d.AttemptID, d.Status, d.GUID)
		return err
	}
	state := store.DeliveryAccepted
	if held {
		state = store.DeliveryHeld
	}
	if _, err := t.exec(`UPDATE deliveries SET state = ?, seen_at = ?, attempt_id = max(attempt_id, ?), status = ? WHERE guid = ?`,
		string(state), micros(now), d.AttemptID, d.Status, d.GUID); err != nil {
		return err
	}
	return countHour(t, row.delivered, hourCounts{
		healed:  asNumber(held),
		givenUp: -asNumber(row.state == store.DeliveryGivenUp || row.state == store.DeliveryCovered),
		covered: -asNumber(row.state == store.DeliveryCovered),
	})
}

// hasten makes the reconciliation of a repository due of which a delivery is missing.
func hasten(t *tx, repositoryID int64, event string, now time.Time) error {
	if repositoryID == 0 {
		return nil
	}
	// Now, even where it is due: one that is under way may be past what was missed.
	_, err := t.exec(`UPDATE reconciliations SET due_at = ?1, labels_due = max(labels_due, ?2) WHERE repository_id = ?3`,
		micros(now), event == "label" || event == "repository", repositoryID)
	return err
}

type hourCounts struct {
	made, ignored, failed, asked, healed, givenUp, covered int64
}

func asNumber(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

func countHour(t *tx, delivered int64, c hourCounts) error {
	if c == (hourCounts{}) {
		return nil
	}
	hour := fromMicros(delivered).Truncate(time.Hour)
	_, err := t.exec(`INSERT INTO delivery_hours (hour, made, ignored, failed, asked, healed, given_up, covered) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (hour) DO UPDATE SET made = made + excluded.made, ignored = ignored + excluded.ignored, failed = failed + excluded.failed,
			asked = asked + excluded.asked, healed = healed + excluded.healed, given_up = given_up + excluded.given_up, covered = covered + excluded.covered`,
		micros(hour), c.made, c.ignored, c.failed, c.asked, c.healed, c.givenUp, c.covered)
	return err
}

// changedDelivery is a row that a statement changed.
type changedDelivery struct {
	guid      string
	delivered int64
	failed    bool
	repo      int64
	event     string
}

// changeDeliveries runs an UPDATE that returns guid, delivered_at, failed,
// repository_id and event.
func changeDeliveries(t *tx, query string, args ...any) ([]changedDelivery, error) {
	t.wrote = true
	rows, err := t.query(context.Background(), query+` RETURNING guid, delivered_at, failed, repository_id, event`, args...)
	if err != nil {
		return nil, err
	}
	var changed []changedDelivery
	return changed, scanAll(rows, func() error {
		var c changedDelivery
		defer func() { changed = append(changed, c) }()
		return rows.Scan(&c.guid, &c.delivered, &c.failed, &c.repo, &c.event)
	})
}

// ProveDeliveries holds what left its trace, and lists what should have.
func (s *Store) ProveDeliveries(ctx context.Context, acceptedBefore, now time.Time, limit int) (unproven []string, err error) {
	defer s.metrics.observe("prove_deliveries", time.Now(), &err)
	err = s.writer.do(ctx, func(t *tx) error {
		proven, err := changeDeliveries(t, `UPDATE deliveries SET state = 'held', seen_at = ? WHERE state IN ('accepted', 'missing')
			AND EXISTS (SELECT 1 FROM applied_events a WHERE a.event_id = deliveries.guid)`, micros(now))
		if err != nil {
			return err
		}
		for _, d := range proven {
			if err := countHour(t, d.delivered, hourCounts{healed: asNumber(d.failed)}); err != nil {
				return err
			}
		}
		if acceptedBefore.IsZero() {
			return nil
		}
		rows, err := t.query(ctx, `SELECT guid FROM deliveries WHERE state = 'accepted' AND seen_at < ? ORDER BY delivered_at LIMIT ?`, micros(acceptedBefore), limit)
		if err != nil {
			return err
		}
		return scanAll(rows, func() error {
			var guid string
			defer func() { unproven = append(unproven, guid) }()
			return rows.Scan(&guid)
		})
	})
	return unproven, err
}

// SettleDeliveries decides on accepted deliveries that left no trace.
func (s *Store) SettleDeliveries(ctx context.Context, guids []string, held bool, now time.Time) (err error) {
	defer s.metrics.observe("settle_deliveries", time.Now(), &err)
	if len(guids) == 0 {
		return ctx.Err()
	}
	list, err := json.Marshal(guids)
	if err != nil {
		return err
	}
	return s.writer.do(ctx, func(t *tx) error {
		state, status := store.DeliveryMissing, "accepted, but lost since"
		if held {
			state, status = store.DeliveryHeld, "a dead letter"
		}
		settled, err := changeDeliveries(t, `UPDATE deliveries SET state = ?, status = ?, seen_at = ? WHERE state = 'accepted' AND guid IN (SELECT value FROM json_each(?))`,
			string(state), status, micros(now), string(list))
		if err != nil {
			return err
		}
		for _, d := range settled {
			c := hourCounts{healed: asNumber(held && d.failed), failed: asNumber(!held && !d.failed)}
			if err := countHour(t, d.delivered, c); err != nil {
				return err
			}
			if held {
				continue
			}
			if _, err := t.exec(`UPDATE deliveries SET failed = 1 WHERE guid = ?`, d.guid); err != nil {
				return err
			}
			if err := hasten(t, d.repo, d.event, now); err != nil {
				return err
			}
		}
		return nil
	})
}

const missingColumns = `guid, event, action, repository_id, attempt_id, delivered_at, state, status, asked`

func scanMissing(rows *sql.Rows) (d store.MissingDelivery, err error) {
	var delivered int64
	err = rows.Scan(&d.GUID, &d.Event, &d.Action, &d.RepositoryID, &d.AttemptID, &delivered, &d.State, &d.Status, &d.Asked)
	d.DeliveredAt = fromMicros(delivered)
	return d, err
}

// MissingDeliveries reads over the index of what is open.
func (s *Store) MissingDeliveries(ctx context.Context, now time.Time, limit int) (missing []store.MissingDelivery, err error) {
	defer s.metrics.observe("missing_deliveries", time.Now(), &err)
	rows, err := s.reader.query(ctx, `SELECT `+missingColumns+` FROM deliveries WHERE state = 'missing' AND next_at <= ? ORDER BY delivered_at, guid LIMIT ?`, micros(now), limit)
	if err != nil {
		return nil, s.explain(err)
	}
	return missing, s.explain(scanAll(rows, func() error {
		d, err := scanMissing(rows)
		missing = append(missing, d)
		return err
	}))
}

// NoteAsked writes the rows and their counts in one transaction.
func (s *Store) NoteAsked(ctx context.Context, asked []store.AskedDelivery, now time.Time) (err error) {
	defer s.metrics.observe("note_asked", time.Now(), &err)
	if len(asked) == 0 {
		return ctx.Err()
	}
	return s.writer.do(ctx, func(t *tx) error {
		for _, a := range asked {
			state := store.DeliveryMissing
			if a.GivenUp {
				state = store.DeliveryGivenUp
			}
			changed, err := changeDeliveries(t, `UPDATE deliveries SET state = ?1, asked = asked + ?2, next_at = ?3,
				status = CASE WHEN ?4 = '' THEN status ELSE ?4 END, seen_at = ?5 WHERE guid = ?6 AND state = 'missing'`,
				string(state), a.Asked, micros(a.Next), store.CleanText(a.Status), micros(now), a.GUID)
			if err != nil {
				return err
			}
			for _, d := range changed {
				if err := countHour(t, d.delivered, hourCounts{asked: asNumber(a.Asked), givenUp: asNumber(a.GivenUp)}); err != nil {
					return err
				}
				if a.GivenUp {
					if err := hasten(t, d.repo, d.event, now); err != nil {
						return err
					}
				}
			}
		}
		return nil
	})
}

// NextDelivery looks at the open deliveries.
func (s *Store) NextDelivery(ctx context.Context) (due time.Time, missing bool, waiting int, err error) {
	defer s.metrics.observe("next_delivery", time.Now(), &err)
	rows, err := s.reader.query(ctx, `SELECT (SELECT min(next_at) FROM deliveries WHERE state = 'missing'), (SELECT count(*) FROM deliveries WHERE state = 'accepted')`)
	if err != nil {
		return due, false, 0, s.explain(err)
	}
	var next sql.NullInt64
	if err := scanOne(rows, &next, &waiting); err != nil {
		return due, false, 0, s.explain(err)
	}
	return fromOptionalMicros(next), next.Valid, waiting, nil
}

// SaveDirectory covers what belongs to no repository that the App has.
func (s *Store) SaveDirectory(ctx context.Context, at time.Time) (err error) {
	defer s.metrics.observe("save_directory", time.Now(), &err)
	return s.writer.do(ctx, func(t *tx) error {
		if _, err := t.exec(`INSERT INTO delivery_sweep (id, page, directory_at) VALUES (1, '', ?1) ON CONFLICT (id) DO UPDATE SET directory_at = ?1`, micros(at)); err != nil {
			return err
		}
		return cover(t, `event IN ('installation', 'installation_repositories', 'ping') OR repository_id NOT IN (SELECT id FROM repositories WHERE removed = 0)`, at)
	})
}

// cover marks given-up deliveries as covered that were given up before a time.
func cover(t *tx, which string, before time.Time, args ...any) error {
	covered, err := changeDeliveries(t, `UPDATE deliveries SET state = 'covered' WHERE state = 'given_up' AND seen_at <= ? AND (`+which+`)`, append([]any{micros(before)}, args...)...)
	var errs []error
	for _, d := range covered {
		errs = append(errs, countHour(t, d.delivered, hourCounts{covered: 1}))
	}
	return errors.Join(append(errs, err)...)
}

// NoteEvents adds the events to the applied ones, about no issue.
func (s *Store) NoteEvents(ctx context.Context, eventIDs []string) (err error) {
	defer s.metrics.observe("note_events", time.Now(), &err)
	if len(eventIDs) == 0 {
		return ctx.Err()
	}
	return s.writer.do(ctx, func(t *tx) error {
		for _, id := range eventIDs {
			if _, err := t.exec(`INSERT INTO applied_events (event_id, repository_id, number, event_type, applied_at) VALUES (?, 0, 0, '', ?)
				ON CONFLICT (event_id) DO NOTHING`, store.CleanText(id), micros(time.Now())); err != nil {
				return err
			}
		}
		return nil
	})
}
