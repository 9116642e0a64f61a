package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

// desired is a row of installation repositoryID*10.
func desired(repositoryID int64, number int, revision int64, second float64) store.Desired {
	return store.Desired{
		Issue: triage.IssueKey{RepositoryID: repositoryID, Number: number}, InstallationID: repositoryID * 10, Revision: revision,
		EventID: fmt.Sprint("e", revision), Traceparent: "00-aa-bb-01",
		Labels:     []triage.DesiredLabel{{Name: "kind/bug", Field: triage.FieldCategory, Value: "bug", Source: triage.SourcePlugin, Plugin: "rules", Version: "1.0.0", Confidence: 0.5, EventID: "e"}},
		ReceivedAt: at(second),
	}
}

func save(t *testing.T, s store.Store, rows ...store.Desired) {
	t.Helper()
	check(t, s.SaveDesired(testContext(t), rows))
}

func claimAll(t *testing.T, s store.Store, owner string, second float64) []store.ClaimedInstallation {
	t.Helper()
	claimed, err := s.ClaimDesired(testContext(t), store.Claim{Owner: owner, Now: at(second), LeaseFor: 60 * time.Second, MaxInstallations: 100, MaxIssues: 100})
	check(t, err)
	return claimed
}

// claimedRows names the rows as "repository#number@revision", in order.
func claimedRows(claimed []store.ClaimedInstallation) []string {
	rows := []string{}
	for _, c := range claimed {
		for _, d := range c.Rows {
			rows = append(rows, fmt.Sprintf("%s@%d", d.Issue, d.Revision))
		}
	}
	return rows
}

func wantClaim(t *testing.T, s store.Store, owner string, second float64, want ...string) {
	t.Helper()
	equal(t, fmt.Sprintf("claim of %s at %v", owner, second), claimedRows(claimAll(t, s, owner, second)), append([]string{}, want...))
}

func finish(t *testing.T, s store.Store, results ...store.DesiredResult) {
	t.Helper()
	check(t, s.FinishDesired(testContext(t), results))
}

func done(repositoryID int64, number int, revision int64) store.DesiredResult {
	return store.DesiredResult{Issue: triage.IssueKey{RepositoryID: repositoryID, Number: number}, Revision: revision, Done: true}
}

func failed(repositoryID int64, number int, revision int64, notBefore float64) store.DesiredResult {
	return store.DesiredResult{Issue: triage.IssueKey{RepositoryID: repositoryID, Number: number}, Revision: revision, NotBefore: at(notBefore), Error: "502"}
}

func wantPending(t *testing.T, s store.Store, want int64) {
	t.Helper()
	n, err := s.DesiredPending(testContext(t))
	check(t, err)
	equal(t, "pending", n, want)
}

var desiredTests = map[string]func(*testing.T, store.Store){
	"saved, claimed, done": func(t *testing.T, s store.Store) {
		row := desired(1, 1, 3, 0)
		row.Attempts = 9 // not the caller's to say
		save(t, s, row)
		wantPending(t, s, 1)
		claimed := claimAll(t, s, "a", 10)
		row.Attempts = 0
		equal(t, "claimed", claimed, []store.ClaimedInstallation{{InstallationID: 10, LeaseUntil: at(70), Rows: []store.Desired{row}}})
		wantPending(t, s, 1)
		finish(t, s, done(1, 1, 3))
		wantPending(t, s, 0)
		wantClaim(t, s, "a", 20)
		wantClaim(t, s, "b", 500)
	},
	"a revision at or below the stored one changes nothing": func(t *testing.T, s store.Store) {
		save(t, s, desired(1, 1, 3, 0))
		same := desired(1, 1, 3, 0)
		same.EventID = "other"
		save(t, s, same, desired(1, 1, 2, 0))
		claimed := claimAll(t, s, "a", 10)
		equal(t, "event", claimed[0].Rows[0].EventID, "e3")
		finish(t, s, done(1, 1, 3))
		save(t, s, desired(1, 1, 2, 0), desired(1, 1, 3, 0))
		wantPending(t, s, 0)
		save(t, s, desired(1, 1, 4, 0))
		wantPending(t, s, 1)
		wantClaim(t, s, "a", 20, "1#1@4")
	},
	"a higher revision replaces a waiting one": func(t *testing.T, s store.Store) {
		save(t, s, desired(1, 1, 1, 0))
		next := desired(1, 1, 2, 5)
		next.Labels = []triage.DesiredLabel{}
		save(t, s, next)
		wantPending(t, s, 1)
		equal(t, "rows", claimAll(t, s, "a", 10)[0].Rows, []store.Desired{next})
	},
	"live before backfill, oldest first": func(t *testing.T, s store.Store) {
		backfill := func(d store.Desired) store.Desired { d.Backfill = true; return d }
		save(t, s, backfill(desired(1, 1, 1, 0)), desired(1, 2, 1, 8), desired(1, 3, 1, 6), backfill(desired(1, 4, 1, -5)),
			backfill(desired(2, 1, 1, -100)), desired(3, 1, 1, 7), desired(4, 1, 1, 5))
		claimed := claimAll(t, s, "a", 10)
		equal(t, "rows", claimedRows(claimed), []string{"4#1@1", "1#3@1", "1#2@1", "1#4@1", "1#1@1", "3#1@1", "2#1@1"})
		equal(t, "backfill", []bool{claimed[1].Rows[1].Backfill, claimed[1].Rows[2].Backfill}, []bool{false, true})
	},
	"a live row stays live under a later backfill": func(t *testing.T, s store.Store) {
		save(t, s, desired(1, 1, 1, 0))
		later := desired(1, 1, 2, 1)
		later.Backfill = true
		save(t, s, later)
		equal(t, "waiting", claimAll(t, s, "a", 10)[0].Rows[0].Backfill, false)
		finish(t, s, done(1, 1, 2))
		later.Revision = 3
		save(t, s, later)
		equal(t, "settled", claimAll(t, s, "a", 10)[0].Rows[0].Backfill, true)
	},
	"bounds": func(t *testing.T, s store.Store) {
		for repositoryID := int64(1); repositoryID <= 5; repositoryID++ {
			for number := 1; number <= 5; number++ {
				save(t, s, desired(repositoryID, number, 1, float64(10*repositoryID)+float64(number)))
			}
		}
		claimed, err := s.ClaimDesired(testContext(t), store.Claim{Owner: "a", Now: at(100), LeaseFor: time.Minute, MaxInstallations: 2, MaxIssues: 3})
		check(t, err)
		equal(t, "rows", claimedRows(claimed), []string{"1#1@1", "1#2@1", "1#3@1", "2#1@1", "2#2@1", "2#3@1"})
		for _, c := range []store.Claim{{}, {Owner: "a", LeaseFor: 1, MaxIssues: 1}, {Owner: "a", LeaseFor: 1, MaxInstallations: 1}, {LeaseFor: 1, MaxIssues: 1, MaxInstallations: 1}, {Owner: "a", MaxIssues: 1, MaxInstallations: 1}} {
			if _, err := s.ClaimDesired(testContext(t), c); err == nil {
				t.Fatalf("%+v: no error", c)
			}
		}
	},
	"leased installations are another owner's": func(t *testing.T, s store.Store) {
		save(t, s, desired(1, 1, 1, 0), desired(2, 1, 1, 0))
		first, err := s.ClaimDesired(testContext(t), store.Claim{Owner: "a", Now: at(0), LeaseFor: time.Minute, MaxInstallations: 1, MaxIssues: 1})
		check(t, err)
		equal(t, "first", claimedRows(first), []string{"1#1@1"})
		save(t, s, desired(1, 2, 1, 0)) // of the leased installation
		wantClaim(t, s, "b", 10, "2#1@1")
		wantClaim(t, s, "a", 10, "1#2@1") // its own lease; 1#1 is in its hands
	},
	"a dead owner's rows are due when its lease ends": func(t *testing.T, s store.Store) {
		save(t, s, desired(1, 1, 1, 0), desired(1, 2, 1, 0))
		wantClaim(t, s, "dead", 0, "1#1@1", "1#2@1") // until 60
		finish(t, s, done(1, 1, 1))
		wantClaim(t, s, "b", 59.9)
		wantClaim(t, s, "b", 60, "1#2@1")
		wantClaim(t, s, "dead", 70)
		finish(t, s, done(1, 2, 1)) // whoever says so
		wantPending(t, s, 0)
	},
	"an owner's claim extends its leases": func(t *testing.T, s store.Store) {
		save(t, s, desired(1, 1, 1, 0))
		wantClaim(t, s, "a", 0, "1#1@1") // until 60
		wantClaim(t, s, "a", 50)         // until 110
		wantClaim(t, s, "b", 100)
		save(t, s, desired(1, 2, 1, 0))
		equal(t, "until", claimAll(t, s, "a", 100)[0].LeaseUntil, at(160))
		short, err := s.ClaimDesired(testContext(t), store.Claim{Owner: "a", Now: at(101), LeaseFor: time.Second, MaxInstallations: 9, MaxIssues: 9})
		check(t, err)
		equal(t, "shorter claim", len(short), 0)
		wantClaim(t, s, "b", 150)
		wantClaim(t, s, "b", 160, "1#1@1", "1#2@1")
	},
	"its own lease that ended": func(t *testing.T, s store.Store) {
		save(t, s, desired(1, 1, 1, 0))
		wantClaim(t, s, "a", 0, "1#1@1")
		wantClaim(t, s, "a", 60, "1#1@1")
	},
	"a revision that comes while the row is in hand": func(t *testing.T, s store.Store) {
		save(t, s, desired(1, 1, 1, 0))
		wantClaim(t, s, "a", 0, "1#1@1")
		save(t, s, desired(1, 1, 2, 1))
		wantClaim(t, s, "a", 1) // not two at once
		finish(t, s, done(1, 1, 1))
		wantPending(t, s, 1)
		wantClaim(t, s, "a", 2, "1#1@2")
		finish(t, s, done(1, 1, 1)) // told twice
		wantPending(t, s, 1)
		finish(t, s, done(1, 1, 2))
		wantPending(t, s, 0)
	},
	"not done is due again at NotBefore": func(t *testing.T, s store.Store) {
		save(t, s, desired(1, 1, 1, 0))
		wantClaim(t, s, "a", 0, "1#1@1")
		finish(t, s, failed(1, 1, 1, 30))
		wantPending(t, s, 1)
		wantClaim(t, s, "a", 29.9)
		claimed := claimAll(t, s, "a", 30)
		equal(t, "attempts", claimed[0].Rows[0].Attempts, 1)
		finish(t, s, failed(1, 1, 1, 40))
		equal(t, "attempts", claimAll(t, s, "a", 40)[0].Rows[0].Attempts, 2)
		save(t, s, desired(1, 1, 2, 0))
		finish(t, s, failed(1, 1, 1, 900))
		claimed = claimAll(t, s, "a", 41)
		equal(t, "rows", claimedRows(claimed), []string{"1#1@2"})
		equal(t, "attempts", claimed[0].Rows[0].Attempts, 0)
		finish(t, s, failed(1, 1, 2, 900))
		save(t, s, desired(1, 1, 3, 0)) // a new revision does not wait
		wantClaim(t, s, "a", 42, "1#1@3")
	},
	"settling what is not there": func(t *testing.T, s store.Store) {
		finish(t, s, done(1, 1, 1), failed(1, 2, 1, 0))
		finish(t, s)
		wantPending(t, s, 0)
	},
	"every lease released": func(t *testing.T, s store.Store) {
		ctx := testContext(t)
		save(t, s, desired(1, 1, 1, 0), desired(2, 1, 1, 0))
		wantClaim(t, s, "gone", 1, "1#1@1", "2#1@1")
		wantClaim(t, s, "next", 2)
		check(t, s.ReleaseInstallation(ctx, store.Release{InstallationID: 20, Owner: "gone", BlockedUntil: at(100)}))
		check(t, s.ReleaseLeases(ctx))
		wantClaim(t, s, "next", 3, "1#1@1")            // the other one is blocked still
		wantClaim(t, s, "next", 100, "1#1@1", "2#1@1") // the lease of second 3 has run out
	},
	"released": func(t *testing.T, s store.Store) {
		save(t, s, desired(1, 1, 1, 0), desired(1, 2, 1, 0))
		wantClaim(t, s, "a", 0, "1#1@1", "1#2@1")
		finish(t, s, done(1, 1, 1))
		check(t, s.ReleaseInstallation(testContext(t), store.Release{InstallationID: 10, Owner: "a"}))
		wantClaim(t, s, "b", 1, "1#2@1")
		wantError(t, s.ReleaseInstallation(testContext(t), store.Release{InstallationID: 10, Owner: "a", BlockedUntil: at(900)}), store.ErrConflict)
		finish(t, s, failed(1, 2, 1, 0))
		check(t, s.ReleaseInstallation(testContext(t), store.Release{InstallationID: 10, Owner: "b", BlockedUntil: at(100)}))
		wantClaim(t, s, "a", 99)
		wantClaim(t, s, "b", 99)
		wantClaim(t, s, "b", 100, "1#2@1")
		check(t, s.ReleaseInstallation(testContext(t), store.Release{InstallationID: 10, Owner: "b", BlockedUntil: at(200)}))
		check(t, s.ReleaseInstallation(testContext(t), store.Release{InstallationID: 10, Owner: "b"})) // nobody's lease: unblocked
		wantClaim(t, s, "b", 101, "1#2@1")
		check(t, s.ReleaseInstallation(testContext(t), store.Release{InstallationID: 77, Owner: "b", BlockedUntil: at(200)})) // never leased
	},
	"live rows never starve backfill": func(t *testing.T, s store.Store) {
		for number := 1; number <= 40; number++ {
			row := desired(1, number, 1, float64(number))
			row.Backfill = number > 30
			save(t, s, row)
		}
		claimed, err := s.ClaimDesired(testContext(t), store.Claim{Owner: "a", Now: at(100), LeaseFor: time.Minute, MaxInstallations: 1, MaxIssues: 16})
		check(t, err)
		rows := claimedRows(claimed)
		equal(t, "places", len(rows), 16)
		equal(t, "last places", rows[14:], []string{"1#15@1", "1#31@1"})
		for n, row := range claimed[0].Rows {
			equal(t, "backfill", row.Backfill, n == 15)
		}
		check(t, s.ReleaseInstallation(testContext(t), store.Release{InstallationID: 10, Owner: "a"}))
		equal(t, "all", len(claimAll(t, s, "a", 101)[0].Rows), 40)
	},
	"backfill held back": func(t *testing.T, s store.Store) {
		later := desired(1, 1, 1, 0)
		later.Backfill = true
		save(t, s, later)
		check(t, s.ReleaseInstallation(testContext(t), store.Release{InstallationID: 10, Owner: "a", BackfillUntil: at(100)}))
		wantClaim(t, s, "a", 99)
		save(t, s, desired(1, 2, 1, 50))
		wantClaim(t, s, "a", 99, "1#2@1")
		check(t, s.ReleaseInstallation(testContext(t), store.Release{InstallationID: 10, Owner: "a", BackfillUntil: at(100)}))
		wantClaim(t, s, "a", 100, "1#2@1", "1#1@1")
	},
	"a budget is handed on": func(t *testing.T, s store.Store) {
		ctx := testContext(t)
		save(t, s, desired(1, 1, 1, 0), desired(1, 2, 1, 0), desired(2, 1, 1, 0))
		first := claimAll(t, s, "a", 1)
		equal(t, "budget before any", first[0].Budget, []byte(nil))
		check(t, s.ReleaseInstallation(ctx, store.Release{InstallationID: 10, Owner: "a", Budget: []byte("spent")}))
		check(t, s.ReleaseInstallation(ctx, store.Release{InstallationID: 20, Owner: "a"}))
		second := claimAll(t, s, "b", 2) // until 62
		equal(t, "budget", second[0].Budget, []byte("spent"))
		equal(t, "another's budget", second[1].Budget, []byte(nil))
		equal(t, "lost", second[0].Lost, 0)
		finish(t, s, done(1, 2, 1))
		// b dies: what it was handed is lost, settled or not; the budget stands as a left it.
		third := claimAll(t, s, "c", 70) // until 130
		equal(t, "budget", third[0].Budget, []byte("spent"))
		equal(t, "lost", []int{third[0].Lost, third[1].Lost}, []int{2, 1})
		equal(t, "lost at", third[0].LostAt, at(62))
		check(t, s.ReleaseLeases(ctx)) // and so do c's
		fourth := claimAll(t, s, "d", 80)
		equal(t, "lost", []int{fourth[0].Lost, fourth[1].Lost}, []int{3, 2})
		equal(t, "lost at", fourth[0].LostAt, at(130))
		check(t, s.ReleaseInstallation(ctx, store.Release{InstallationID: 20, Owner: "d"}))
		check(t, s.ReleaseInstallation(ctx, store.Release{InstallationID: 10, Owner: "d", Budget: []byte("more")}))
		fifth := claimAll(t, s, "e", 81)
		equal(t, "budget", fifth[0].Budget, []byte("more"))
		equal(t, "lost", []int{fifth[0].Lost, fifth[1].Lost}, []int{0, 2})
		equal(t, "lost at", fifth[0].LostAt, time.Time{})
		check(t, s.ReleaseInstallation(ctx, store.Release{InstallationID: 10, Owner: "e", Budget: []byte{}}))
		equal(t, "cleared", claimAll(t, s, "f", 82)[0].Budget, []byte(nil))
	},
	"blocked installations hold up nobody else": func(t *testing.T, s store.Store) {
		save(t, s, desired(1, 1, 1, 0), desired(2, 1, 1, 5))
		check(t, s.ReleaseInstallation(testContext(t), store.Release{InstallationID: 10, Owner: "a", BlockedUntil: at(3600)}))
		wantClaim(t, s, "a", 10, "2#1@1")
		wantPending(t, s, 2)
	},
	"suspended and removed ones wait": func(t *testing.T, s store.Store) {
		save(t, s, desired(1, 1, 1, 0), desired(2, 1, 1, 0), desired(3, 1, 1, 0), desired(3, 2, 1, 0), desired(4, 1, 1, 0))
		row := desired(5, 1, 1, 9) // another repository of installation 30
		row.InstallationID = 30
		save(t, s, row)
		install(t, s, store.InstallationChange{EventID: "i1", At: at(1), Installation: &triage.Installation{ID: 10, Suspended: true, UpdatedAt: at(1)}})
		install(t, s, store.InstallationChange{EventID: "i2", At: at(1), Installation: &triage.Installation{ID: 20, Removed: true, UpdatedAt: at(1)}})
		install(t, s, store.InstallationChange{EventID: "i3", At: at(1), Installation: &triage.Installation{ID: 30, UpdatedAt: at(1)},
			Upserted: []triage.Repository{{ID: 3, FullName: "acme/three"}, {ID: 5, FullName: "acme/five"}}})
		configure(t, s, 3, 5)
		install(t, s, store.InstallationChange{EventID: "i4", At: at(2), Removed: []int64{3}})
		wantClaim(t, s, "a", 10, "4#1@1", "5#1@1") // installation 40 is not known, and no obstacle
		wantPending(t, s, 6)
		install(t, s, store.InstallationChange{EventID: "i5", At: at(3), Installation: &triage.Installation{ID: 10, UpdatedAt: at(3)}})
		install(t, s, store.InstallationChange{EventID: "i6", At: at(3), Upserted: []triage.Repository{{ID: 3, InstallationID: 30, FullName: "acme/three"}}})
		wantClaim(t, s, "a", 11, "1#1@1", "3#1@1", "3#2@1")
	},
	"a row that moves to another installation": func(t *testing.T, s store.Store) {
		save(t, s, desired(1, 1, 1, 0))
		wantClaim(t, s, "a", 0, "1#1@1")
		moved := desired(1, 1, 2, 0)
		moved.InstallationID = 99
		save(t, s, moved)
		wantClaim(t, s, "b", 1, "1#1@2")
	},
	"nonsense is refused": func(t *testing.T, s store.Store) {
		if err := s.SaveDesired(testContext(t), []store.Desired{desired(1, 1, 1, 0), {}}); err == nil {
			t.Fatal("a row of no issue was saved")
		}
		wantPending(t, s, 0)
	},
}
