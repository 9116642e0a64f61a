package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

// noted is what GitHub's log says of a delivery of repository 1, made in the
// given second, that failed.
func noted(guid string, second float64) store.NotedDelivery {
	return store.NotedDelivery{
		GUID: guid, Event: "issues", Action: "opened", InstallationID: 10, RepositoryID: 1, AttemptID: 100, DeliveredAt: at(second),
		Status: "failed to connect to host", Failed: true,
	}
}

// arrived is a delivery that was accepted.
func arrived(guid string, second float64) store.NotedDelivery {
	d := noted(guid, second)
	d.OK, d.Failed, d.Status = true, false, "OK"
	return d
}

// sweep notes the deliveries as a reading from its start to its end.
func sweep(t *testing.T, s store.Store, second float64, deliveries ...store.NotedDelivery) {
	t.Helper()
	check(t, s.SaveSweep(testContext(t), store.Sweep{Until: at(second), StartedAt: at(second), FinishedAt: at(second)}, deliveries, at(second), at(-10_000)))
}

func gaps(t *testing.T, s store.Store) store.GapReport {
	t.Helper()
	report, err := s.Gaps(testContext(t), at(-100_000), nil)
	check(t, err)
	return report
}

// missing lists the GUIDs that may be asked for at the second.
func missing(t *testing.T, s store.Store, second float64) []string {
	t.Helper()
	list, err := s.MissingDeliveries(testContext(t), at(second), 100)
	check(t, err)
	guids := []string{}
	for _, d := range list {
		guids = append(guids, d.GUID)
	}
	return guids
}

// due lists the repositories whose reconciliation is due at the second.
func due(t *testing.T, s store.Store, second float64) []store.Reconciliation {
	t.Helper()
	list, err := s.DueReconciliations(testContext(t), at(second), 100)
	check(t, err)
	return list
}

// reconciled completes the reconciliation of repository 1 that began at the
// second; the next is due a day later.
func reconciled(t *testing.T, s store.Store, second float64) {
	t.Helper()
	list := due(t, s, second)
	for _, c := range list {
		c.Since, c.StartedAt, c.CompletedAt, c.Completed, c.Due, c.LabelsDue = at(second), at(second), at(second+1), true, at(second+86_400), false
		check(t, s.SaveReconciliation(testContext(t), c))
	}
}

var reconcilingTests = map[string]func(*testing.T, store.Store){
	"leases": func(t *testing.T, s store.Store) {
		take := func(owner string, now, until float64) bool {
			t.Helper()
			taken, err := s.AcquireLease(testContext(t), "work", owner, at(now), at(until))
			check(t, err)
			return taken
		}
		equal(t, "free", take("one", 0, 10), true)
		equal(t, "held", take("two", 9, 20), false)
		equal(t, "extended", take("one", 9, 20), true)
		check(t, s.ReleaseLease(testContext(t), "work", "two"))
		equal(t, "released by a stranger", take("two", 19, 30), false)
		equal(t, "run out", take("two", 20, 30), true)
		check(t, s.ReleaseLease(testContext(t), "work", "two"))
		equal(t, "released", take("one", 21, 30), true)
		check(t, s.ReleaseLeases(testContext(t)))
		equal(t, "all released", take("two", 22, 30), true)
	},
	"a sweep counts each delivery once": func(t *testing.T, s store.Store) {
		install(t, s, installed(0))
		apply(t, s, classified("held", newIssue(1, 1, 5), 1, "bug", "high"))
		ignored := noted("ignored", 3)
		ignored.Ignored = true
		old := arrived("old", 4)
		old.Baseline = true
		again := arrived("again", 5)
		again.Again = true // its first attempt is on another page, or was forgotten
		page := []store.NotedDelivery{noted("missing", 1), arrived("held", 2), arrived("waiting", 2), ignored, old, again}
		for range 2 {
			sweep(t, s, 10, page...)
		}
		equal(t, "counts", gaps(t, s).Deliveries, store.DeliveryCounts{Made: 5, Ignored: 1, Held: 3, Waiting: 1, Failed: 1, Missing: 1})
		equal(t, "missing", missing(t, s, 10), []string{"missing"})
		_, _, waiting, err := s.NextDelivery(testContext(t))
		check(t, err)
		equal(t, "waiting", waiting, 1)

		sweep(t, s, 20, arrived("missing", 1))
		apply(t, s, received("missing", newIssue(1, 2, 6), 2), received("waiting", newIssue(1, 3, 6), 3))
		unproven, err := s.ProveDeliveries(testContext(t), at(1000), at(30), 10)
		check(t, err)
		equal(t, "unproven", len(unproven), 0)
		equal(t, "healed", gaps(t, s).Deliveries, store.DeliveryCounts{Made: 5, Ignored: 1, Held: 5, Failed: 1, Healed: 1})
		equal(t, "gapless", gaps(t, s).Gapless(), true)
	},
	"how far GitHub's log was read": func(t *testing.T, s store.Store) {
		got, err := s.LoadSweep(testContext(t))
		check(t, err)
		equal(t, "before", got, store.Sweep{})
		want := store.Sweep{Until: at(1), Head: at(5), Page: "v1_2", StartedAt: at(6)}
		check(t, s.SaveSweep(testContext(t), want, nil, at(7), at(0)))
		got, err = s.LoadSweep(testContext(t))
		check(t, err)
		equal(t, "under way", got, want)
		check(t, s.SaveDirectory(testContext(t), at(8)))
		want.Until, want.Page, want.FinishedAt = at(5), "", at(9)
		check(t, s.SaveSweep(testContext(t), want, nil, at(9), at(0)))
		got, err = s.LoadSweep(testContext(t))
		check(t, err)
		want.DirectoryAt = at(8)
		equal(t, "finished", got, want)
	},
	"what was held is forgotten": func(t *testing.T, s store.Store) {
		old, young := arrived("old", 1), arrived("young", 100)
		old.Baseline, young.Baseline = true, true
		check(t, s.SaveSweep(testContext(t), store.Sweep{Page: "v1_2"}, []store.NotedDelivery{old, young, noted("missing", 2)}, at(101), at(50)))
		check(t, s.SaveSweep(testContext(t), store.Sweep{FinishedAt: at(102)}, nil, at(102), at(50)))
		equal(t, "still counted", gaps(t, s).Deliveries, store.DeliveryCounts{Made: 3, Held: 2, Failed: 1, Missing: 1})
		sweep(t, s, 103, young)
		equal(t, "remembered", gaps(t, s).Deliveries.Made, int64(3))
		sweep(t, s, 104, old)
		equal(t, "forgotten", gaps(t, s).Deliveries.Made, int64(4))
	},
	"accepted and lost": func(t *testing.T, s store.Store) {
		install(t, s, installed(0))
		sweep(t, s, 10, arrived("lost", 1), arrived("dead", 2), arrived("late", 3))
		unproven, err := s.ProveDeliveries(testContext(t), time.Time{}, at(20), 10)
		check(t, err)
		equal(t, "where the workers are is not known", len(unproven), 0)
		unproven, err = s.ProveDeliveries(testContext(t), at(10), at(20), 10)
		check(t, err)
		equal(t, "accepted since", len(unproven), 0)
		unproven, err = s.ProveDeliveries(testContext(t), at(11), at(20), 2)
		check(t, err)
		equal(t, "unproven", unproven, []string{"lost", "dead"})
		check(t, s.SettleDeliveries(testContext(t), []string{"dead"}, true, at(21)))
		check(t, s.SettleDeliveries(testContext(t), []string{"lost"}, false, at(21)))
		equal(t, "counts", gaps(t, s).Deliveries, store.DeliveryCounts{Made: 3, Held: 1, Waiting: 1, Failed: 1, Missing: 1})
		equal(t, "missing", missing(t, s, 21), []string{"lost"})
	},
	"events that change nothing leave their trace": func(t *testing.T, s store.Store) {
		sweep(t, s, 10, arrived("pull", 1))
		for range 2 {
			check(t, s.NoteEvents(testContext(t), []string{"pull"}))
		}
		check(t, s.NoteEvents(testContext(t), nil))
		applied, err := s.AppliedEvents(testContext(t), []string{"pull", "other"})
		check(t, err)
		equal(t, "applied", len(applied), 1)
		unproven, err := s.ProveDeliveries(testContext(t), at(1000), at(20), 10)
		check(t, err)
		equal(t, "unproven", len(unproven), 0)
	},
	"asking": func(t *testing.T, s store.Store) {
		install(t, s, installed(0))
		sweep(t, s, 10, noted("three", 3), noted("one", 1), noted("two", 2))
		list, err := s.MissingDeliveries(testContext(t), at(10), 2)
		check(t, err)
		equal(t, "the oldest first", list, []store.MissingDelivery{
			{GUID: "one", Event: "issues", Action: "opened", RepositoryID: 1, AttemptID: 100, DeliveredAt: at(1), State: store.DeliveryMissing, Status: "failed to connect to host"},
			{GUID: "two", Event: "issues", Action: "opened", RepositoryID: 1, AttemptID: 100, DeliveredAt: at(2), State: store.DeliveryMissing, Status: "failed to connect to host"},
		})
		check(t, s.NoteAsked(testContext(t), []store.AskedDelivery{
			{GUID: "one", Asked: true, Next: at(60)}, {GUID: "two", Asked: true, Next: at(50), Status: "not now"}, {GUID: "unknown", Asked: true},
		}, at(11)))
		equal(t, "soon after", missing(t, s, 11), []string{"three"})
		equal(t, "later", missing(t, s, 50), []string{"two", "three"})
		next, some, _, err := s.NextDelivery(testContext(t))
		check(t, err)
		equal(t, "next", []any{next.After(at(0)), some}, []any{false, true})
		newer := noted("one", 1)
		newer.AttemptID, newer.Again, newer.Status = 200, true, "timed out"
		sweep(t, s, 61, newer)
		list, err = s.MissingDeliveries(testContext(t), at(61), 1)
		check(t, err)
		equal(t, "a later attempt that failed", []any{list[0].AttemptID, list[0].Status, list[0].Asked}, []any{int64(200), "timed out", 1})

		check(t, s.NoteAsked(testContext(t), []store.AskedDelivery{{GUID: "one", GivenUp: true, Status: "too old"}}, at(70)))
		report := gaps(t, s)
		equal(t, "counts", report.Deliveries, store.DeliveryCounts{Made: 3, Failed: 3, Missing: 2, Redelivered: 2, GivenUp: 1})
		equal(t, "open", []any{len(report.Open), report.Open[0].GUID, report.Open[0].State, report.Open[0].Status}, []any{3, "one", store.DeliveryGivenUp, "too old"})
		sweep(t, s, 80, arrived("one", 1))
		equal(t, "had after all", gaps(t, s).Deliveries, store.DeliveryCounts{Made: 3, Waiting: 1, Failed: 3, Missing: 2, Redelivered: 2})
	},
	"what was given up is covered by what is read later": func(t *testing.T, s store.Store) {
		install(t, s, installed(0))
		_, err := s.AdoptRepositories(testContext(t), at(0))
		check(t, err)
		directory := noted("directory", 2)
		directory.Event, directory.RepositoryID = "installation", 0
		sweep(t, s, 10, noted("before", 1), noted("after", 1), directory)
		giveUp := func(guid string, second float64) {
			t.Helper()
			check(t, s.NoteAsked(testContext(t), []store.AskedDelivery{{GUID: guid, GivenUp: true, Status: "gone"}}, at(second)))
		}
		giveUp("before", 20)
		giveUp("directory", 20)
		started := due(t, s, 30)
		giveUp("after", 31)
		for _, c := range started {
			c.StartedAt, c.Completed, c.CompletedAt, c.Due = at(30), true, at(32), at(1000)
			check(t, s.SaveReconciliation(testContext(t), c))
		}
		equal(t, "by the repository", gaps(t, s).Deliveries, store.DeliveryCounts{Made: 3, Failed: 3, GivenUp: 3, Covered: 1})
		check(t, s.SaveDirectory(testContext(t), at(19)))
		equal(t, "by a list that is older", gaps(t, s).Deliveries.Covered, int64(1))
		check(t, s.SaveDirectory(testContext(t), at(21)))
		equal(t, "by the list of installations", gaps(t, s).Deliveries.Covered, int64(2))
		reconciled(t, s, 40)
		equal(t, "all", gaps(t, s).Gapless(), true)
	},
	"which repositories are compared": func(t *testing.T, s store.Store) {
		install(t, s, installed(0))
		adopted, err := s.AdoptRepositories(testContext(t), at(10))
		check(t, err)
		equal(t, "adopted", len(adopted) > 1, true)
		again, err := s.AdoptRepositories(testContext(t), at(11))
		check(t, err)
		equal(t, "adopted again", len(again), 0)
		equal(t, "all are due", len(due(t, s, 10)), len(adopted))
		equal(t, "not before", len(due(t, s, 9)), 0)
		check(t, s.ExpectRepositories(testContext(t), []triage.Repository{{ID: 1}, {ID: 900}}, at(5), at(10)))
		equal(t, "one that is not known yet", len(due(t, s, 10)), len(adopted))
		install(t, s, store.InstallationChange{EventID: "more", At: at(12), Upserted: []triage.Repository{{ID: 900, InstallationID: 10, FullName: "acme/new"}}})
		list := due(t, s, 12)
		equal(t, "known by now", len(list), len(adopted)+1)
		install(t, s, store.InstallationChange{EventID: "less", At: at(13), Removed: []int64{900}})
		equal(t, "removed", len(due(t, s, 13)), len(adopted))
		install(t, s, store.InstallationChange{EventID: "suspended", At: at(14), Installation: &triage.Installation{ID: 10, Suspended: true, UpdatedAt: at(14)}})
		for _, c := range due(t, s, 14) {
			equal(t, "of a suspended installation", c.Repository.InstallationID == 10, false)
		}
	},
	"when a comparison is due again": func(t *testing.T, s store.Store) {
		install(t, s, installed(0))
		_, err := s.AdoptRepositories(testContext(t), at(0))
		check(t, err)
		dueOne := func(second float64) *store.Reconciliation {
			for _, c := range due(t, s, second) {
				if c.Repository.ID == 1 {
					return &c
				}
			}
			return nil
		}
		reconciled(t, s, 10)
		equal(t, "completed", dueOne(100) == nil, true)
		sweep(t, s, 200, noted("missed", 150))
		c := dueOne(200)
		equal(t, "a delivery of it is missing", []any{c != nil, c != nil && c.LabelsDue}, []any{true, false})
		c.StartedAt = at(210)
		check(t, s.SaveReconciliation(testContext(t), *c))
		equal(t, "it goes on", dueOne(210) != nil, true)
		label := noted("label", 160)
		label.Event = "label"
		sweep(t, s, 220, label)
		c.Completed, c.CompletedAt, c.Due = true, at(230), at(10_000)
		check(t, s.SaveReconciliation(testContext(t), *c))
		c = dueOne(230)
		equal(t, "hastened meanwhile", []any{c != nil, c != nil && c.LabelsDue}, []any{true, true})
		reconciled(t, s, 300)
		check(t, s.HastenReconciliations(testContext(t), at(300), at(400)))
		equal(t, "completed since", dueOne(400) == nil, true)
		check(t, s.HastenReconciliations(testContext(t), at(302), at(400)))
		c = dueOne(400)
		equal(t, "hastened", []any{c != nil, c != nil && c.LabelsDue}, []any{true, true})
		c.StartedAt, c.Error, c.Due = at(401), "GitHub is down", at(500)
		check(t, s.SaveReconciliation(testContext(t), *c))
		equal(t, "failed", []any{dueOne(499) == nil, dueOne(500).Error}, []any{true, "GitHub is down"})
	},
	"backfills": func(t *testing.T, s store.Store) {
		install(t, s, installed(0))
		b := store.Backfill{
			Repository: repository(t, s, 1).Repository, RequestID: "r1", State: "open", Since: at(-50), AskedBy: "maia", AskedAt: at(1), Status: store.BackfillRunning, UpdatedAt: at(1),
		}
		check(t, s.StartBackfill(testContext(t), b))
		b.Begun, b.Position, b.Total, b.Listed, b.Enqueued, b.Unchanged, b.UpdatedAt, b.NotBefore, b.Error = at(2), at(3), 10, 4, 3, 1, at(4), at(5), "later"
		check(t, s.SaveBackfill(testContext(t), b))
		again := b
		again.State = "all"
		check(t, s.StartBackfill(testContext(t), again))
		all, err := s.Backfills(testContext(t))
		check(t, err)
		equal(t, "the same request", all, []store.Backfill{b})
		other := store.Backfill{Repository: triage.Repository{ID: 1}, RequestID: "r2", State: "all", AskedBy: "tom", AskedAt: at(6), Status: store.BackfillRunning, UpdatedAt: at(6)}
		check(t, s.StartBackfill(testContext(t), other))
		wantError(t, s.SaveBackfill(testContext(t), b), store.ErrConflict)
		other.Status, other.FinishedAt = store.BackfillDone, at(7)
		check(t, s.SaveBackfill(testContext(t), other))
		check(t, s.StartBackfill(testContext(t), store.Backfill{Repository: triage.Repository{ID: 2}, RequestID: "r3", State: "open", AskedAt: at(2), Status: store.BackfillRunning}))
		all, err = s.Backfills(testContext(t))
		check(t, err)
		equal(t, "order", []string{all[0].RequestID, all[1].RequestID}, []string{"r3", "r2"})
		if err := s.StartBackfill(testContext(t), store.Backfill{Repository: triage.Repository{ID: 1}}); err == nil {
			t.Error("a backfill without a request is taken")
		}
	},
	"gaps of some repositories": func(t *testing.T, s store.Store) {
		install(t, s, installed(0))
		adopted, err := s.AdoptRepositories(testContext(t), at(0))
		check(t, err)
		equal(t, "all", len(gaps(t, s).Repositories), len(adopted))
		one, err := s.Gaps(testContext(t), at(-100), []int64{1})
		check(t, err)
		equal(t, "one", []any{len(one.Repositories), one.Repositories[0].ID}, []any{1, int64(1)})
		none, err := s.Gaps(testContext(t), at(-100), []int64{})
		check(t, err)
		equal(t, "none", len(none.Repositories), 0)
		equal(t, "never read", []any{none.SweptAt == nil, none.Gapless()}, []any{true, false})
	},
	"hostile text": func(t *testing.T, s store.Store) {
		d := noted("g\x00\xff", 1)
		d.Event, d.Action, d.Status = "issues\x00", "\xff", "failed\x00\xff"
		sweep(t, s, 10, d)
		equal(t, "counted", gaps(t, s).Deliveries.Made, int64(1))
	},
	"counts that always add up": func(t *testing.T, s store.Store) {
		install(t, s, installed(0))
		_, err := s.AdoptRepositories(testContext(t), at(0))
		check(t, err)
		r := rand.New(rand.NewPCG(7, 7))
		guid := func() string { return fmt.Sprint("d", r.IntN(12)) }
		number := 0
		for step := range 400 {
			now := float64(10 + step)
			switch r.IntN(7) {
			case 0, 1:
				d := noted(guid(), 1)
				d.AttemptID = int64(step + 1)
				if r.IntN(2) == 0 {
					d = arrived(d.GUID, 1)
				}
				d.Again, d.Failed = r.IntN(3) == 0, d.Failed || r.IntN(3) == 0
				sweep(t, s, now, d)
			case 2:
				number++
				apply(t, s, received(guid(), newIssue(1, number, now), int64(step)))
			case 3:
				unproven, err := s.ProveDeliveries(testContext(t), at(now), at(now), 5)
				check(t, err)
				check(t, s.SettleDeliveries(testContext(t), unproven, r.IntN(2) == 0, at(now)))
			case 4:
				check(t, s.NoteAsked(testContext(t), []store.AskedDelivery{{GUID: guid(), Asked: true, GivenUp: r.IntN(2) == 0, Next: at(now)}}, at(now)))
			case 5:
				reconciled(t, s, now)
			case 6:
				check(t, s.SaveDirectory(testContext(t), at(now)))
			}
			d := gaps(t, s).Deliveries
			var wrong []error
			for _, n := range []int64{d.Made, d.Ignored, d.Held, d.Waiting, d.Failed, d.Missing, d.Redelivered, d.Healed, d.GivenUp, d.Covered} {
				if n < 0 {
					wrong = append(wrong, errors.New("a count is negative"))
				}
			}
			if d.Held+d.Waiting+d.Missing+d.GivenUp != d.Made || d.Covered > d.GivenUp || d.Healed > d.Failed {
				wrong = append(wrong, errors.New("the counts do not add up"))
			}
			if len(wrong) > 0 {
				t.Fatalf("step %d: %v: %+v", step, errors.Join(wrong...), d)
			}
		}
	},
}
