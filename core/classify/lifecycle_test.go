package classify_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dispatchai/dispatchai/app/simulate"
	"github.com/dispatchai/dispatchai/core/eventlog"
	"github.com/dispatchai/dispatchai/core/github"
	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

type object = map[string]any

// delivery makes the record of a payload that is written by hand.
func (f *fixture) delivery(event, guid string, payload object) *eventlog.Record {
	f.Helper()
	body, err := json.Marshal(payload)
	f.check(err)
	f.mu.Lock()
	defer f.mu.Unlock()
	r, err := f.record(event, guid, body)
	f.check(err)
	return r
}

// stage is a repository, its installation and its only issue, as payloads have them.
type stage struct {
	installation, repository, issue object
	installationID, repositoryID    int64
	began                           time.Time
}

func newStage(n int64) stage {
	began := time.Now().UTC().Add(-time.Hour)
	id := 700_000 + n
	s := stage{installationID: id*10 + 1, repositoryID: id, began: began}
	s.installation = object{
		"id": s.installationID, "account": object{"login": "acme", "type": "Organization"}, "updated_at": began.Format(time.RFC3339),
		"repository_selection": "selected", "permissions": object{"issues": "write"}, "events": []string{"issues"}, "single_file_paths": []string{".github/dispatchai.yml"},
	}
	s.repository = object{
		"id": id, "full_name": "acme/one", "name": "one", "private": false, "archived": false, "owner": object{"login": "acme", "type": "Organization"},
	}
	s.issue = object{
		"id": id * 100, "number": 7, "title": crashTitle, "body": crashBody, "state": "open", "user": object{"login": "reporter", "type": "User"}, "labels": []any{},
		"created_at": began.Format(time.RFC3339), "updated_at": began.Format(time.RFC3339),
	}
	return s
}

// with is a copy of an object with other members.
func with(o object, changes object) object {
	copied := maps.Clone(o)
	maps.Copy(copied, changes)
	return copied
}

// payload is a delivery with the members that most have.
func (s stage) payload(action string, more object) object {
	return with(object{"action": action, "installation": object{"id": s.installationID}, "sender": object{"login": "maria", "type": "User"}}, more)
}

func (s stage) brief() []object {
	return []object{{"id": s.repositoryID, "full_name": "acme/one", "name": "one", "private": false}}
}

// standing says in words what is stored of the stage.
func (f *fixture) standing(s stage) string {
	f.Helper()
	var said []string
	n, err := f.store.LoadInstallation(f.ctx, s.installationID)
	f.check(err)
	if n.Suspended {
		said = append(said, "suspended")
	}
	if n.Removed {
		said = append(said, "uninstalled")
	}
	if n.Allows("checks", "write") {
		said = append(said, "may write checks")
	}
	repositories, err := f.store.LoadRepositories(f.ctx, []int64{s.repositoryID})
	f.check(err)
	if r := repositories[s.repositoryID].Repository; r.ID != 0 {
		if r.Removed {
			said = append(said, "repository removed")
		}
		if r.Archived {
			said = append(said, "archived")
		}
		if r.Private {
			said = append(said, "private")
		}
		if r.FullName != "acme/one" {
			said = append(said, "named "+r.FullName)
		}
		if r.InstallationID != s.installationID {
			said = append(said, fmt.Sprintf("installation %d", r.InstallationID))
		}
		for _, l := range repositories[s.repositoryID].Labels {
			said = append(said, "label "+l.Name)
		}
	}
	states, err := f.store.LoadIssues(f.ctx, []triage.IssueKey{{RepositoryID: s.repositoryID, Number: 7}})
	f.check(err)
	for _, i := range states {
		if i.Deleted {
			said = append(said, "issue deleted")
		}
		if i.MovedTo.Number != 0 {
			said = append(said, fmt.Sprintf("moved to #%d", i.MovedTo.Number))
		}
		if i.Issue.State != "open" {
			said = append(said, i.Issue.State)
		}
		if i.Issue.Title != crashTitle {
			said = append(said, "titled "+i.Issue.Title)
		}
		if len(i.Corrections) > 0 {
			said = append(said, "corrected")
		}
	}
	removals, err := f.store.Removals(f.ctx, time.Now().Add(time.Hour), 1000)
	f.check(err)
	for _, r := range removals {
		if r.RepositoryID == s.repositoryID || r.Subject == store.SubjectInstallation && r.InstallationID == s.installationID {
			said = append(said, fmt.Sprintf("%s to be erased: %s", r.Subject, r.Because))
		}
	}
	return strings.Join(said, ", ")
}

// TestWhatEveryActionDoes goes through the actions that GitHub documents for the
// events that DispatchAI takes, each on an installation with one repository and
// one open issue, and states what is different afterwards.
func TestWhatEveryActionDoes(t *testing.T) {
	f := newFixture(t)
	f.pass()
	later := time.Now().UTC().Add(-time.Minute).Format(time.RFC3339)
	type row struct {
		event, action string
		payload       func(s stage) object
		want          string
	}
	installation := func(changes object) func(stage) object {
		return func(s stage) object {
			return object{"installation": with(s.installation, with(object{"updated_at": later}, changes)), "repositories": s.brief()}
		}
	}
	repository := func(changes, more object) func(stage) object {
		return func(s stage) object { return with(object{"repository": with(s.repository, changes)}, more) }
	}
	issue := func(changes, more object) func(stage) object {
		return func(s stage) object {
			return with(object{"repository": s.repository, "issue": with(s.issue, with(object{"updated_at": later}, changes))}, more)
		}
	}
	nothing := issue(nil, nil)
	label := object{"label": object{"name": "bug", "color": "ff0000"}}
	comment := object{"comment": object{"id": 5, "body": "Same here.", "user": object{"login": "maria", "type": "User"}}}
	moved := object{"changes": object{"new_issue": object{"id": 1, "number": 3}, "new_repository": object{"id": 4, "full_name": "acme/two"}}}
	rows := []row{
		{github.EventInstallation, "created", installation(nil), ""},
		{github.EventInstallation, "deleted", installation(nil), "uninstalled, repository removed, repository to be erased: uninstalled"},
		{github.EventInstallation, "suspend", installation(object{"suspended_at": later}), "suspended"},
		{github.EventInstallation, "unsuspend", installation(object{"suspended_at": nil}), ""},
		{github.EventInstallation, "new_permissions_accepted", installation(object{"permissions": object{"issues": "write", "checks": "write"}}), "may write checks"},
		{github.EventInstallationRepositories, "added", func(s stage) object {
			return object{"installation": s.installation, "repositories_added": s.brief(), "repositories_removed": []any{}}
		}, ""},
		{github.EventInstallationRepositories, "removed", func(s stage) object {
			return object{"installation": s.installation, "repositories_added": []any{}, "repositories_removed": s.brief()}
		}, "repository removed, repository to be erased: repository_removed"},
		{github.EventRepository, "archived", repository(object{"archived": true}, nil), "archived"},
		{github.EventRepository, "unarchived", repository(nil, nil), ""},
		{github.EventRepository, "created", repository(nil, nil), ""},
		{github.EventRepository, "deleted", repository(nil, nil), "repository removed, repository to be erased: repository_deleted"},
		{github.EventRepository, "edited", repository(object{"description": "new"}, nil), ""},
		{github.EventRepository, "privatized", repository(object{"private": true}, nil), "private"},
		{github.EventRepository, "publicized", repository(nil, nil), ""},
		{github.EventRepository, "renamed", repository(object{"full_name": "acme/uno", "name": "uno"}, nil), "named acme/uno"},
		{github.EventRepository, "transferred", repository(object{"full_name": "zeta/one"}, nil), "repository removed, named zeta/one, repository to be erased: repository_transferred"},
		{github.EventLabel, "created", repository(nil, label), "label bug"},
		{github.EventLabel, "edited", repository(nil, label), "label bug"},
		{github.EventLabel, "deleted", repository(nil, label), ""},
		{github.EventIssues, "opened", nothing, ""},
		{github.EventIssues, "edited", issue(object{"title": "Another"}, nil), "titled Another"},
		{github.EventIssues, "closed", issue(object{"state": "closed"}, nil), "closed"},
		{github.EventIssues, "reopened", nothing, ""},
		{github.EventIssues, "deleted", nothing, "issue deleted, issue to be erased: issue_deleted"},
		{github.EventIssues, "transferred", issue(nil, moved), "issue deleted, moved to #3, issue to be erased: issue_transferred"},
		// Without a label set that says what "wontfix" means it corrects nothing.
		{github.EventIssues, "labeled", issue(object{"labels": []object{{"name": "wontfix"}}}, object{"label": object{"name": "wontfix"}}), ""},
		{github.EventIssues, "unlabeled", issue(nil, object{"label": object{"name": "wontfix"}}), ""},
		{github.EventIssueComment, "created", issue(nil, comment), ""},
		{github.EventIssueComment, "edited", issue(nil, comment), ""},
		{github.EventIssueComment, "deleted", issue(nil, comment), ""},
		{github.EventIssueComment, "pinned", issue(nil, comment), ""},
		{github.EventIssueComment, "unpinned", issue(nil, comment), ""},
		{github.EventPing, "", func(stage) object { return object{"zen": "Keep it logically awesome."} }, ""},
	}
	for _, action := range []string{"assigned", "unassigned", "demilestoned", "milestoned", "locked", "unlocked", "pinned", "unpinned", "typed", "untyped", "an action of the future"} {
		rows = append(rows, row{github.EventIssues, action, nothing, ""})
	}
	for i, r := range rows {
		s := newStage(int64(i))
		name := r.event + "." + r.action
		f.ok(f.handle(
			f.delivery(github.EventInstallation, name+"/installed", s.payload("created", object{"installation": s.installation, "repositories": s.brief()})),
			f.delivery(github.EventIssues, name+"/opened", s.payload("opened", object{"repository": s.repository, "issue": s.issue})),
		))
		if got := f.standing(s); got != "" {
			t.Fatalf("before %s: %q", name, got)
		}
		record := f.delivery(r.event, name, s.payload(r.action, r.payload(s)))
		for range 2 { // the second time is a replay
			f.ok(f.handle(record))
			if got := f.standing(s); got != r.want {
				t.Errorf("%s: %q, want %q", name, got, r.want)
			}
		}
	}
}

// TestATransferOfARepository: the data goes along to an owner who has the App on
// the repository, in whatever order the events come; otherwise the grace period starts.
func TestATransferOfARepository(t *testing.T) {
	f := newFixture(t)
	f.pass()
	for i, order := range []string{"transferred removed added", "removed transferred added", "added removed transferred", "added transferred removed", "removed added transferred", "transferred added removed"} {
		s := newStage(500 + int64(i))
		next := with(s.installation, object{"id": s.installationID + 5_000_000, "account": object{"login": "zeta", "type": "Organization"}})
		f.ok(f.handle(f.delivery(github.EventInstallation, order+"/installed", s.payload("created", object{"installation": s.installation, "repositories": s.brief()}))))
		at := map[string]object{
			"transferred": s.payload("transferred", object{"repository": with(s.repository, object{"full_name": "zeta/one", "owner": object{"login": "zeta"}})}),
			"removed":     s.payload("removed", object{"installation": s.installation, "repositories_removed": s.brief()}),
			"added":       s.payload("added", object{"installation": next, "repositories_added": []object{{"id": s.repositoryID, "full_name": "zeta/one"}}}),
		}
		for event := range strings.FieldsSeq(order) {
			name := github.EventInstallationRepositories
			if event == "transferred" {
				name = github.EventRepository
			}
			f.ok(f.handle(f.delivery(name, order+"/"+event, at[event])))
		}
		want := fmt.Sprintf("named zeta/one, installation %d", s.installationID+5_000_000)
		if got := f.standing(s); got != want {
			t.Errorf("%s: %q, want %q", order, got, want)
		}
		// The old owner uninstalls: that is no business of the repository's any more.
		f.ok(f.handle(f.delivery(github.EventInstallation, order+"/deleted", s.payload("deleted", object{"installation": s.installation, "repositories": s.brief()}))))
		if got := f.standing(s); !strings.Contains(got, want) || strings.Contains(got, "repository removed") {
			t.Errorf("%s, then uninstalled by the old owner: %q", order, got)
		}
	}
}

// TestAnOldNameNeverComesBack: after a rename, what was said of an issue before
// it does not give the repository its old name.
func TestAnOldNameNeverComesBack(t *testing.T) {
	f := newFixture(t)
	n := f.open(crashTitle, crashBody)
	stale := f.take()
	f.check(f.github.RenameRepository(f.ctx, repo, admin, "analyser"))
	f.pass()
	f.ok(f.handle(stale...))
	id, err := f.github.RepositoryID(org + "/analyser")
	f.check(err)
	states, err := f.store.LoadRepositories(f.ctx, []int64{id})
	f.check(err)
	if got := states[id].Repository.FullName; got != org+"/analyser" {
		t.Errorf("the repository is called %s", got)
	}
	issues, err := f.store.LoadIssues(f.ctx, []triage.IssueKey{{RepositoryID: id, Number: n}})
	f.check(err)
	for _, s := range issues {
		if s.Issue.Repository.FullName != org+"/analyser" {
			t.Errorf("its issue is in %s", s.Issue.Repository.FullName)
		}
	}
}

// TestCorrectionsFollowATransferredIssue, in either order of arrival, however
// often the events come, and the result at the new place is published.
func TestCorrectionsFollowATransferredIssue(t *testing.T) {
	for _, order := range []string{"left first", "arrived first", "the correction last"} {
		t.Run(order, func(t *testing.T) {
			f := newFixture(t, asking)
			f.check(f.github.CreateRepository(f.ctx, simulate.NewRepository{
				Owner: org, Name: "other", Labels: []simulate.Label{{Name: "bug"}, {Name: "question"}}, Roles: map[string]simulate.Role{admin: simulate.RoleAdmin},
			}))
			n := f.open(crashTitle, crashBody)
			f.pass()
			correction := f.correct("c1", n, triage.FieldCategory, "question")
			if order != "the correction last" {
				f.ok(f.handle(correction))
			}
			f.clock.Advance(time.Minute)
			number, err := f.github.TransferIssue(f.ctx, repo, n, admin, org+"/other")
			f.check(err)
			id, err := f.github.RepositoryID(org + "/other")
			f.check(err)
			next := triage.IssueKey{RepositoryID: id, Number: number}
			var left, arrived []*eventlog.Record
			for _, r := range f.take() {
				if r.Key == next.String() {
					arrived = append(arrived, r)
				} else {
					left = append(left, r)
				}
			}
			if len(left) == 0 || len(arrived) == 0 {
				t.Fatalf("%d events of the old issue, %d of the new one", len(left), len(arrived))
			}
			f.published()
			records := slices.Concat(left, arrived)
			if order == "arrived first" {
				records = slices.Concat(arrived, left)
			}
			if order == "the correction last" {
				records = append(records, correction)
			}
			for round := range 2 { // the second time is a replay
				f.ok(f.handle(records...))
				states, err := f.store.LoadIssues(f.ctx, []triage.IssueKey{next})
				f.check(err)
				s := states[next]
				if len(s.Corrections) != 1 || s.Corrections[0].EventID != "c1" || s.Corrections[0].Issue != next || s.Effective().Value(triage.FieldCategory) != "question" {
					t.Fatalf("round %d: the issue at its new place is %+v", round, s)
				}
				old := f.state(n)
				if !old.Deleted || old.MovedTo != next || len(old.Corrections) != 0 {
					t.Fatalf("round %d: the old issue is %+v", round, old)
				}
				var last triage.Enriched
				for _, e := range f.published() {
					if e.Issue.Key() == next {
						last = e
					}
				}
				if last.Revision != s.Revision || last.Classification.Value(triage.FieldCategory) != "question" || last.Request == nil {
					t.Errorf("round %d: published last of the new issue: %+v, stored with revision %d", round, last, s.Revision)
				}
			}
			page, err := f.store.ListIssues(f.ctx, store.IssueFilter{Category: "question"})
			f.check(err)
			if len(page.Issues) != 1 || page.Issues[0].Issue.Key() != next {
				t.Errorf("listed under the corrected category: %+v", page.Issues)
			}
		})
	}
}

// TestWhatIsErasedStaysErased: no plugin is asked and nothing is stored or
// published of events that come after the erasure of their repository.
func TestWhatIsErasedStaysErased(t *testing.T) {
	f := newFixture(t)
	f.open(crashTitle, crashBody)
	f.pass()
	n := f.open("Another crash", crashBody)
	late := f.take()
	f.published()
	id := f.key(n).RepositoryID
	f.check(f.store.ApplyInstallation(f.ctx, store.InstallationChange{EventID: "gone", At: time.Now(), Removed: []int64{id}}))
	removals, err := f.store.Removals(f.ctx, time.Now(), 10)
	f.check(err)
	e, err := f.store.BeginErasure(f.ctx, removals[0], time.Now(), time.Now(), nil)
	f.check(err)
	for more := true; more; {
		more, err = f.store.EraseSome(f.ctx, e.ID, 10)
		f.check(err)
	}
	asked := f.rules.asked()
	f.ok(f.handle(late...))
	f.ok(f.handle(f.correct("c1", n, triage.FieldCategory, "bug")))
	if f.rules.asked() != asked || len(f.published()) != 0 {
		t.Error("an event of an erased repository was classified")
	}
	states, err := f.store.LoadIssues(f.ctx, []triage.IssueKey{f.key(1), f.key(n)})
	f.check(err)
	if len(states) != 0 {
		t.Errorf("issues are stored again: %+v", states)
	}
	if got := f.counter("dispatchai_classify_events_total", "issue,erased"); got != 1 {
		t.Errorf("%v events counted as erased, want 1", got)
	}
}
