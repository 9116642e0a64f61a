package storetest

import (
	"testing"
	"time"

	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

// claimConfigurations claims what is due at the second.
func claimConfigurations(t *testing.T, s store.Store, owner string, second float64, limit int) []store.ConfigurationJob {
	t.Helper()
	jobs, err := s.ClaimConfigurations(testContext(t), store.ConfigurationClaim{Owner: owner, Now: at(second), LeaseFor: time.Minute, Limit: limit})
	check(t, err)
	return jobs
}

func wantDue(t *testing.T, s store.Store, owner string, second float64, want ...int64) []store.ConfigurationJob {
	t.Helper()
	jobs := claimConfigurations(t, s, owner, second, 100)
	ids := []int64{}
	for _, j := range jobs {
		ids = append(ids, j.Repository.ID)
	}
	equal(t, "due", ids, append([]int64{}, want...))
	return jobs
}

func configured(mode triage.Mode) *store.Configuration {
	c := &store.Configuration{Config: triage.DefaultRepositoryConfig(), Reacting: []string{"deploy*"}}
	c.Config.Mode = mode
	return c
}

// settled puts a configuration in force, and has it read again at the second.
func settled(j store.ConfigurationJob, c *store.Configuration, nextDue float64) store.ConfigurationResult {
	return store.ConfigurationResult{
		RepositoryID: j.Repository.ID, Owner: j.Owner, Marks: j.Marks, Configuration: c,
		Report: store.ConfigurationReport{Access: store.AccessContents, CheckedAt: at(1)}, NextDue: at(nextDue), Because: store.DuePeriodic,
	}
}

// configure has the files of the repositories read: there are none.
func configure(t *testing.T, s store.Store, ids ...int64) {
	t.Helper()
	wanted := make(map[int64]bool)
	for _, id := range ids {
		wanted[id] = true
	}
	for _, j := range claimConfigurations(t, s, "configure", 1e6, 1000) {
		r := settled(j, configured(triage.ModeApply), 1e9)
		if !wanted[j.Repository.ID] {
			r.Configuration, r.NextDue = nil, at(0)
		}
		check(t, s.SaveConfiguration(testContext(t), r))
	}
}

var configuringTests = map[string]func(*testing.T, store.Store){
	"due when known, then as its reader says": func(t *testing.T, s store.Store) {
		wantDue(t, s, "a", 0)
		install(t, s, installed(0))
		jobs := wantDue(t, s, "a", 10, 1, 2)
		equal(t, "job", jobs[0], store.ConfigurationJob{
			Repository: triage.Repository{ID: 1, InstallationID: 10, FullName: "acme/one", Private: true}, Owner: "a", Because: store.DueNew, Since: time.UnixMicro(0).UTC(),
		})
		wantDue(t, s, "b", 11)
		if repository(t, s, 1).Configuration != nil {
			t.Fatal("a configuration is known before anybody read it")
		}
		equal(t, "defaults", repository(t, s, 1).InForce().Config, triage.DefaultRepositoryConfig())
		check(t, s.SaveConfiguration(testContext(t), settled(jobs[0], configured(triage.ModeShadow), 100)))
		got := repository(t, s, 1).InForce()
		equal(t, "mode", got.Config, configured(triage.ModeShadow).Config)
		equal(t, "reacting", got.Reacting, []string{"deploy*"})
		report, err := s.LoadConfigurationReport(testContext(t), 1)
		check(t, err)
		equal(t, "report", report, store.ConfigurationReport{Access: store.AccessContents, CheckedAt: at(1)})
		wantDue(t, s, "b", 60)
		jobs = wantDue(t, s, "b", 100, 2, 1) // the claim of the other one has ended
		equal(t, "because", jobs[1].Because, store.DuePeriodic)
		equal(t, "in force", jobs[1].Configuration.Config.Mode, triage.ModeShadow)
	},
	"the same configuration keeps its version, another gets a later one": func(t *testing.T, s store.Store) {
		install(t, s, installed(0))
		version := func(second float64, c *store.Configuration) int64 {
			for _, j := range claimConfigurations(t, s, "a", second, 100) {
				if j.Repository.ID == 1 {
					check(t, s.SaveConfiguration(testContext(t), settled(j, c, second+1)))
				}
			}
			return repository(t, s, 1).InForce().Version
		}
		first := version(10, configured(triage.ModeApply))
		equal(t, "again", version(20, configured(triage.ModeApply)), first)
		equal(t, "nothing new", version(30, nil), first)
		second := version(40, configured(triage.ModeShadow))
		if first <= 0 || second <= first {
			t.Fatalf("versions %d, %d", first, second)
		}
		if third := version(50, configured(triage.ModeApply)); third <= second {
			t.Fatalf("versions %d, %d, %d", first, second, third)
		}
	},
	"who lost the claim changes nothing": func(t *testing.T, s store.Store) {
		install(t, s, installed(0))
		old := wantDue(t, s, "a", 0, 1, 2)[0]
		wantDue(t, s, "b", 60, 1, 2)
		wantError(t, s.SaveConfiguration(testContext(t), settled(old, configured(triage.ModeShadow), 100)), store.ErrConflict)
		if repository(t, s, 1).Configuration != nil {
			t.Fatal("it was put in force")
		}
		check(t, s.ReleaseLeases(testContext(t)))
		wantDue(t, s, "c", 61, 1, 2)
	},
	"a mark during the reading is not lost": func(t *testing.T, s store.Store) {
		install(t, s, installed(0))
		job := wantDue(t, s, "a", 10, 1, 2)[0]
		install(t, s, store.InstallationChange{EventID: "push", At: at(11), Configuration: store.ConfigurationMark{Because: store.DuePush, InstallationID: 10, RepositoryIDs: []int64{1}}})
		check(t, s.SaveConfiguration(testContext(t), settled(job, configured(triage.ModeApply), 1000)))
		again := wantDue(t, s, "b", 12, 1)[0]
		equal(t, "because", again.Because, store.DuePush)
		equal(t, "since", again.Since, at(11)) // though it was due before
		check(t, s.SaveConfiguration(testContext(t), settled(again, configured(triage.ModeApply), 1000)))
		wantDue(t, s, "b", 13)
	},
	"a claim that goes on": func(t *testing.T, s store.Store) {
		install(t, s, installed(0))
		job := wantDue(t, s, "a", 10, 1, 2)[0]
		step := settled(job, configured(triage.ModeShadow), 0)
		step.NextDue = time.Time{}
		check(t, s.SaveConfiguration(testContext(t), step))
		equal(t, "in force", repository(t, s, 1).InForce().Config.Mode, triage.ModeShadow)
		wantDue(t, s, "b", 11)
		check(t, s.SaveConfiguration(testContext(t), settled(job, nil, 1000)))
		wantDue(t, s, "b", 71, 2)
	},
	"failures are counted until one reading succeeds": func(t *testing.T, s store.Store) {
		install(t, s, installed(0))
		for i, second := range []float64{10, 20, 30} {
			for _, j := range claimConfigurations(t, s, "a", second, 100) {
				equal(t, "attempts", j.Attempts, i)
				failed := settled(j, nil, second+10)
				failed.Failed = true
				check(t, s.SaveConfiguration(testContext(t), failed))
			}
		}
		job := wantDue(t, s, "a", 40, 1, 2)[0]
		equal(t, "attempts", job.Attempts, 3)
		check(t, s.SaveConfiguration(testContext(t), settled(job, configured(triage.ModeApply), 50)))
		equal(t, "attempts", claimConfigurations(t, s, "a", 50, 1)[0].Attempts, 0)
	},
	"marks reach the owner's, the installation's, and nobody else": func(t *testing.T, s store.Store) {
		install(t, s, installed(0))
		install(t, s, store.InstallationChange{EventID: "more", At: at(0), Upserted: []triage.Repository{
			{ID: 3, InstallationID: 10, FullName: "Acme/three"}, {ID: 4, InstallationID: 10, FullName: "acme-labs/four"}, {ID: 5, InstallationID: 11, FullName: "acme/five"}}})
		mark := func(event string, m store.ConfigurationMark) {
			m.Because = store.DueOwner
			install(t, s, store.InstallationChange{EventID: event, At: at(20), Configuration: m})
		}
		configure(t, s, 1, 2, 3, 4, 5)
		wantDue(t, s, "a", 100)
		mark("m1", store.ConfigurationMark{InstallationID: 10, Owner: "ACME"})
		wantDue(t, s, "a", 100, 1, 2, 3)
		mark("m2", store.ConfigurationMark{InstallationID: 11, All: true})
		wantDue(t, s, "a", 100, 5)
		mark("m3", store.ConfigurationMark{InstallationID: 11, RepositoryIDs: []int64{4}})
		wantDue(t, s, "a", 100)
		mark("m1", store.ConfigurationMark{InstallationID: 10, All: true}) // that event was applied
		wantDue(t, s, "a", 100)
	},
	"forgotten until it is read": func(t *testing.T, s store.Store) {
		install(t, s, installed(0))
		configure(t, s, 1, 2)
		before := repository(t, s, 1).InForce().Version
		install(t, s, store.InstallationChange{EventID: "added", At: at(20), Configuration: store.ConfigurationMark{Because: store.DueNew, InstallationID: 10, RepositoryIDs: []int64{1}, Forget: true}})
		save(t, s, desired(1, 1, 1, 0))
		wantClaim(t, s, "a", 30)
		equal(t, "configuration", repository(t, s, 1).Configuration, (*store.Configuration)(nil))
		job := wantDue(t, s, "a", 30, 1)[0]
		check(t, s.SaveConfiguration(testContext(t), settled(job, job.Configuration, 1000)))
		wantClaim(t, s, "a", 31, "1#1@1")
		if after := repository(t, s, 1).InForce().Version; after <= before {
			t.Fatalf("version %d after %d", after, before)
		}
	},
	"suspended, removed and unclaimed ones wait": func(t *testing.T, s store.Store) {
		install(t, s, installed(0))
		install(t, s, store.InstallationChange{EventID: "orphan", At: at(0), Upserted: []triage.Repository{{ID: 9, FullName: "acme/nine"}}})
		install(t, s, store.InstallationChange{EventID: "off", At: at(1), Installation: &triage.Installation{ID: 10, Suspended: true, UpdatedAt: at(1)}})
		wantDue(t, s, "a", 10)
		install(t, s, store.InstallationChange{EventID: "on", At: at(2), Installation: &triage.Installation{ID: 10, UpdatedAt: at(2)}, Removed: []int64{2}})
		wantDue(t, s, "a", 10, 1)
	},
	"rows wait until the files are read": func(t *testing.T, s store.Store) {
		install(t, s, installed(0))
		row := desired(1, 1, 1, 0)
		row.ConfigVersion, row.Held, row.IssueType = 7, []triage.Field{triage.FieldPriority}, "Bug"
		row.Suggested = []store.SuggestedLabel{{DesiredLabel: triage.DesiredLabel{Name: "kind/bug", Field: triage.FieldCategory, Value: "bug", Source: triage.SourcePlugin, EventID: "e"}, Reason: "because"}}
		save(t, s, row)
		wantClaim(t, s, "a", 10)
		configure(t, s, 1)
		equal(t, "row", claimAll(t, s, "a", 10)[0].Rows, []store.Desired{row})
	},
	"the owner's file": func(t *testing.T, s store.Store) {
		_, _, err := s.LoadOwnerFile(testContext(t), 10, "acme")
		wantError(t, err, store.ErrNotFound)
		file := func(content string) store.ConfigurationFile {
			return store.ConfigurationFile{ConfigurationSource: store.ConfigurationSource{Name: "acme/.github/.github/dispatchai.yml", Blob: "b", Commit: "c"}, Present: true, ETag: `"e"`, Content: []byte(content)}
		}
		check(t, s.SaveOwnerFile(testContext(t), 10, "Acme", file("new"), at(2)))
		check(t, s.SaveOwnerFile(testContext(t), 10, "acme", file("old"), at(1)))
		got, checked, err := s.LoadOwnerFile(testContext(t), 10, "ACME")
		check(t, err)
		equal(t, "file", got, file("new"))
		equal(t, "checked", checked, at(2))
		_, _, err = s.LoadOwnerFile(testContext(t), 11, "acme")
		wantError(t, err, store.ErrNotFound)
	},
	"nonsense is refused": func(t *testing.T, s store.Store) {
		_, err := s.LoadConfigurationReport(testContext(t), 77)
		wantError(t, err, store.ErrNotFound)
		wantError(t, s.SaveConfiguration(testContext(t), store.ConfigurationResult{RepositoryID: 77, Owner: "a"}), store.ErrConflict)
		if err := s.SaveConfiguration(testContext(t), store.ConfigurationResult{Owner: "a"}); err == nil {
			t.Fatal("a result about no repository was taken")
		}
		if err := s.SaveConfiguration(testContext(t), store.ConfigurationResult{RepositoryID: 1, Owner: "a", Configuration: &store.Configuration{}}); err == nil {
			t.Fatal("an empty configuration was taken")
		}
		if _, err := s.ClaimConfigurations(testContext(t), store.ConfigurationClaim{}); err == nil {
			t.Fatal("a claim of nobody was taken")
		}
	},
}
