package app_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dispatchai/dispatchai/app/simulate"
	"github.com/dispatchai/dispatchai/core/triage"
)

// configurable is a system whose App is told of pushes and may do all that a
// configuration can ask for.
func configurable(t testing.TB, o simulate.Options) *system {
	t.Helper()
	if o.Permissions == nil {
		o.Permissions = map[string]string{"issues": "write", "contents": "read", "checks": "write"}
	}
	o.Events = []string{"issues", "issue_comment", "label", "repository", "push"}
	s := newSystem(t, o)
	s.installTestRepository()
	t.Cleanup(s.dump)
	return s
}

// commit writes files to the default branch of a repository.
func (s *system) commit(repository string, files map[string]string) (sha string) {
	s.t.Helper()
	sha, err := s.github.Commit(testContext(s.t), repository, "maia", simulate.NewCommit{Files: files})
	if err != nil {
		s.t.Fatal(err)
	}
	return sha
}

func (s *system) configFile(content string) string {
	s.t.Helper()
	return s.commit(testRepo, map[string]string{triage.ConfigFileName: content})
}

// startKnown starts the service and waits until it has read the repository's files.
func (s *system) startKnown() {
	s.t.Helper()
	s.start()
	s.after("changed", func() {
		// An event that names the repository, as the installation's would have.
		if err := s.github.CreateLabel(testContext(s.t), testRepo, "maia", simulate.Label{Name: "area/known", Color: "ededed"}); err != nil {
			s.t.Fatal(err)
		}
	})
}

// readings counts the readings of repositories' files with that outcome.
func (s *system) readings(outcome string) float64 {
	return max(s.metric(fmt.Sprintf("dispatchai_configuration_readings_total{outcome=%q}", outcome)), 0)
}

// after waits until a reading with the outcome has followed what do does.
func (s *system) after(outcome string, do func()) time.Duration {
	s.t.Helper()
	before, began := s.readings(outcome), time.Now()
	do()
	eventually(s.t, "the configuration was read: "+outcome, func() bool { return s.readings(outcome) > before })
	return time.Since(began)
}

// openAndSettle opens an issue and waits until nothing is left to do about it.
func (s *system) openAndSettle(issue simulate.NewIssue) (number int, labels []string) {
	s.t.Helper()
	number, err := s.github.OpenIssue(testContext(s.t), testRepo, issue)
	if err != nil {
		s.t.Fatal(err)
	}
	eventually(s.t, "the issue is known", func() bool { _, ok := s.issue(number); return ok })
	s.settled()
	is, err := s.github.Issue(testRepo, number)
	if err != nil {
		s.t.Fatal(err)
	}
	return number, is.Labels
}

// settled waits until a second look a moment later finds no issue that is
// unclassified or waits for its labels.
func (s *system) settled() {
	s.t.Helper()
	quiet := 0
	eventually(s.t, "nothing is left to do", func() bool {
		if s.metric("dispatchai_label_pending") == 0 && s.lag() == 0 {
			quiet++
		} else {
			quiet = 0
		}
		return quiet >= 8
	})
}

// lag is how many records the consumers have still to read.
func (s *system) lag() (n float64) {
	for line := range strings.SplitSeq(s.metrics("dispatchai_eventlog_lag_records"), "\n") {
		var v float64
		if at := strings.LastIndexByte(line, ' '); at > 0 {
			if _, err := fmt.Sscan(line[at+1:], &v); err == nil {
				n += v
			}
		}
	}
	return n
}

// TestConfigurationInTheRepository: what a repository says in its file counts
// seconds after it was pushed, and nobody ever sees a label that it did not want.
func TestConfigurationInTheRepository(t *testing.T) {
	t.Parallel()
	s := configurable(t, simulate.Options{Seed: 61})
	// The file is there before the App: the very first issue obeys it.
	s.configFile("mode: shadow\n")
	s.start()
	shadowed, labels := s.openAndSettle(bugReport(1))
	if len(labels) != 0 {
		t.Fatalf("a repository in shadow mode got %v", labels)
	}
	if issue, _ := s.issue(shadowed); issue.value("category") != "bug" {
		t.Errorf("the issue in shadow was classified as %q", issue.value("category"))
	}

	took := s.after("changed", func() {
		s.configFile("labels:\n  never: [priority/*]\n  map:\n    category:\n      bug: regression\nskip:\n  authors: ['*-robot']\n" +
			"rules:\n- name: widgets are documentation\n  when: {title: '(?i)widgetry'}\n  set: {category: documentation, component: cli}\n")
	})
	if took > 10*time.Second {
		t.Errorf("the pushed configuration took %s", took)
	}
	t.Logf("in force %s after the push", took.Round(time.Millisecond))
	number, err := s.github.OpenIssue(testContext(t), testRepo, bugReport(2))
	if err != nil {
		t.Fatal(err)
	}
	if is := s.waitLabel(number, "regression"); hasLabel(is, "kind/bug") {
		t.Errorf("the mapped category gave %v", is.Labels)
	}
	widgetry := bugReport(3)
	widgetry.Title = "Widgetry " + widgetry.Title
	if number, err = s.github.OpenIssue(testContext(t), testRepo, widgetry); err != nil {
		t.Fatal(err)
	}
	s.waitLabel(number, "kind/documentation")
	s.waitLabel(number, "area/cli")
	robot := bugReport(4)
	robot.Author = "acme-robot"
	number, labels = s.openAndSettle(robot)
	if issue, _ := s.issue(number); len(labels) != 0 || issue.Classification != nil {
		t.Errorf("an ignored author's issue got %v and %+v", labels, issue.Classification)
	}
	// Everything back: what was applied in the meantime is not the file's matter.
	s.after("changed", func() {
		if _, err := s.github.Commit(testContext(t), testRepo, "maia", simulate.NewCommit{Removed: []string{triage.ConfigFileName}}); err != nil {
			t.Fatal(err)
		}
	})
	if number, err = s.github.OpenIssue(testContext(t), testRepo, bugReport(5)); err != nil {
		t.Fatal(err)
	}
	s.waitLabel(number, "kind/bug")
	s.stop()
}

// apiConfiguration is what the tests look at of a repository's configuration.
type apiConfiguration struct {
	State, Access string
	Configuration triage.RepositoryConfig
	Sources       []struct{ Name, Blob, Commit string }
	Faults        []triage.ConfigFault
	LabelFaults   []triage.ConfigFault `json:"label_faults"`
	Reacting      []string
	Check         *struct {
		Commit       string
		Failed, Done bool
	}
}

func (s *system) configuration(repository string) (c apiConfiguration) {
	s.t.Helper()
	id, err := s.github.RepositoryID(repository)
	if err != nil {
		s.t.Fatal(err)
	}
	if status := s.call("GET", fmt.Sprintf("/api/repositories/%d/configuration", id), nil, &c); status != http.StatusOK {
		s.t.Fatalf("the configuration of %s is answered with %d", repository, status)
	}
	return c
}

// checkRuns waits until the repository has so many check runs.
func (s *system) checkRuns(n int) (runs []simulate.CheckRun) {
	s.t.Helper()
	eventually(s.t, fmt.Sprintf("there are %d check runs", n), func() bool {
		var err error
		if runs, err = s.github.CheckRuns(testRepo); err != nil {
			s.t.Fatal(err)
		}
		return len(runs) >= n
	})
	if len(runs) > n {
		s.t.Fatalf("there are %d check runs, want %d", len(runs), n)
	}
	return runs
}

// TestLastGoodConfiguration: a file with faults changes nothing until it is
// mended, and everybody who looks is told what is wrong, with its place.
func TestLastGoodConfiguration(t *testing.T) {
	t.Parallel()
	s := configurable(t, simulate.Options{Seed: 62})
	s.startKnown()
	s.after("changed", func() { s.configFile("labels: {map: {category: {bug: regression}}}\n") })
	good := s.configuration(testRepo)
	if good.State != "in_force" || good.Access != "contents" || len(good.Sources) != 1 || good.Sources[0].Commit == "" || good.Check != nil {
		t.Fatalf("the good configuration is shown as %+v", good)
	}
	var bad string
	s.after("faulty", func() { bad = s.configFile("mode: applly\nlabels:\n  limit: 99\n") })
	runs := s.checkRuns(1)
	if r := runs[0]; r.HeadSHA != bad || r.Conclusion != "failure" || !strings.Contains(r.Title, "2 faults") || len(r.Annotations) != 2 ||
		r.Annotations[0].StartLine != 1 || r.Annotations[0].StartColumn != 7 || r.Annotations[0].Path != triage.ConfigFileName ||
		r.Annotations[1].StartLine != 3 || r.Annotations[1].StartColumn != 10 || !strings.Contains(r.Annotations[0].Message, "apply") {
		t.Errorf("the check run is %+v", r)
	}
	eventually(t, "the check run is noted", func() bool { c := s.configuration(testRepo).Check; return c != nil && c.Done })
	shown := s.configuration(testRepo)
	if shown.State != "faulty" || len(shown.Faults) != 2 || shown.Faults[1].Line != 3 || shown.Faults[1].Column != 10 || shown.Sources[0] != good.Sources[0] {
		t.Errorf("the faults are shown as %+v", shown)
	}
	var list struct {
		Repositories []struct {
			ConfigurationFaults int `json:"configuration_faults"`
		}
	}
	if s.call("GET", "/api/repositories", nil, &list); len(list.Repositories) != 1 || list.Repositories[0].ConfigurationFaults != 2 {
		t.Errorf("the list of repositories shows %+v", list)
	}
	number, err := s.github.OpenIssue(testContext(t), testRepo, bugReport(1))
	if err != nil {
		t.Fatal(err)
	}
	s.waitLabel(number, "regression")
	s.after("changed", func() { s.configFile("mode: shadow\n") })
	if _, labels := s.openAndSettle(bugReport(2)); len(labels) != 0 {
		t.Errorf("after the file was mended the issue got %v", labels)
	}
	if runs = s.checkRuns(2); runs[1].Conclusion != "success" || runs[1].HeadSHA == bad {
		t.Errorf("the check run of the mended file is %+v", runs[1])
	}
	// Who switches the check runs off has none.
	s.after("faulty", func() { s.configFile("mode: none\nchecks: false\n") })
	s.after("changed", func() { s.configFile("labels: {map: {category: {bug: no such label}}}\n") })
	if c := s.configuration(testRepo); len(c.LabelFaults) != 1 || c.State != "in_force" {
		t.Errorf("a label that does not exist is shown as %+v", c)
	}
	s.checkRuns(2)
}

// TestMendedByTheOrganisation: a commit whose file lacked what the organisation's
// says by now gets a newer check run, which is green.
func TestMendedByTheOrganisation(t *testing.T) {
	t.Parallel()
	s := configurable(t, simulate.Options{Seed: 68})
	const shared = testOwner + "/.github"
	if err := s.github.CreateRepository(testContext(t), simulate.NewRepository{Owner: testOwner, Name: ".github", Roles: map[string]simulate.Role{"maia": simulate.RoleMaintain}}); err != nil {
		t.Fatal(err)
	}
	s.startKnown()
	var asks string
	s.after("faulty", func() { asks = s.configFile("needs-info: {ask: true}\n") })
	if runs := s.checkRuns(1); runs[0].HeadSHA != asks || runs[0].Conclusion != "failure" || !strings.Contains(runs[0].Annotations[0].Message, "no answers are named") {
		t.Fatalf("the check run is %+v", runs[0])
	}
	s.commit(shared, map[string]string{triage.ConfigFileName: "needs-info: {answers: [Version]}\n"})
	if run := s.checkRuns(2)[1]; run.HeadSHA != asks || run.Conclusion != "success" || len(run.Annotations) != 0 {
		t.Errorf("the newer check run is %+v", run)
	}
	if c := s.configuration(testRepo); c.State != "in_force" || !slices.Equal(c.Configuration.NeedsInfo.Answers, []string{"Version"}) {
		t.Errorf("the configuration is shown as %+v", c)
	}
}

// TestFirstConfigurationWithFaults: nobody knows what the file wants, so nothing is written.
func TestFirstConfigurationWithFaults(t *testing.T) {
	t.Parallel()
	s := configurable(t, simulate.Options{Seed: 63})
	s.configFile("mode: shadows\n")
	s.start()
	number, labels := s.openAndSettle(bugReport(1))
	if issue, _ := s.issue(number); len(labels) != 0 || issue.value("category") != "bug" {
		t.Fatalf("under a file that was never right the issue got %v, category %q", labels, issue.value("category"))
	}
	if c := s.configuration(testRepo); c.State != "guarded" || c.Configuration.Mode != triage.ModeShadow || len(c.Faults) != 1 {
		t.Errorf("it is shown as %+v", c)
	}
}

// TestInheritedConfiguration: the organisation's file counts for every
// repository of its, the repository's own key by key.
func TestInheritedConfiguration(t *testing.T) {
	t.Parallel()
	s := configurable(t, simulate.Options{Seed: 64})
	ctx := testContext(t)
	if err := s.github.CreateRepository(ctx, simulate.NewRepository{Owner: testOwner, Name: ".github", Roles: map[string]simulate.Role{"maia": simulate.RoleMaintain}}); err != nil {
		t.Fatal(err)
	}
	s.commit("acme/.github", map[string]string{triage.ConfigFileName: "mode: shadow\n"})
	s.start()
	if _, labels := s.openAndSettle(bugReport(1)); len(labels) != 0 {
		t.Fatalf("against the organisation's file the issue got %v", labels)
	}
	s.after("changed", func() {
		s.commit("acme/.github", map[string]string{triage.ConfigFileName: "labels: {map: {category: {bug: regression}}}\n"})
	})
	number, err := s.github.OpenIssue(ctx, testRepo, bugReport(2))
	if err != nil {
		t.Fatal(err)
	}
	s.waitLabel(number, "regression")
	s.after("changed", func() { s.configFile("inherit: false\n") })
	if number, err = s.github.OpenIssue(ctx, testRepo, bugReport(3)); err != nil {
		t.Fatal(err)
	}
	s.waitLabel(number, "kind/bug")
}

// TestWorkflowsAreNotSetOff: a label that a workflow waits for is never written.
func TestWorkflowsAreNotSetOff(t *testing.T) {
	t.Parallel()
	s := configurable(t, simulate.Options{Seed: 65})
	s.commit(testRepo, map[string]string{".github/workflows/fix.yml": "on:\n  issues:\n    types: [labeled]\njobs:\n  fix:\n    if: github.event.label.name == 'kind/bug'\n    runs-on: ubuntu-latest\n    steps:\n    - run: make fix\n"})
	s.start()
	if _, labels := s.openAndSettle(bugReport(1)); strings.Contains(fmt.Sprint(labels), "kind/bug") {
		t.Fatalf("the issue got %v; a workflow reacts to kind/bug", labels)
	}
	s.after("unchanged", func() {
		if _, err := s.github.Commit(testContext(t), testRepo, "maia", simulate.NewCommit{Removed: []string{".github/workflows/fix.yml"}}); err != nil {
			t.Fatal(err)
		}
	})
	number, err := s.github.OpenIssue(testContext(t), testRepo, bugReport(2))
	if err != nil {
		t.Fatal(err)
	}
	s.waitLabel(number, "kind/bug")
}

// TestSingleFile: an App that may read the one file and nothing else looks at it
// from time to time, and asks for it only if it has changed.
func TestSingleFile(t *testing.T) {
	t.Parallel()
	var unchanged, whole atomic.Int64
	s := configurable(t, simulate.Options{
		Seed: 66, Permissions: map[string]string{"issues": "write", "single_file": "read"}, SingleFiles: []string{triage.ConfigFileName},
		OnRequest: func(e simulate.Exchange) {
			if strings.HasSuffix(e.Path, "widgets/contents/"+triage.ConfigFileName) {
				switch e.Status {
				case http.StatusNotModified:
					unchanged.Add(1)
				case http.StatusOK:
					whole.Add(1)
				}
			}
		},
	})
	s.configFile("mode: shadow\n")
	s.env = append(s.env, "DISPATCHAI_POLL=1s")
	s.start()
	if _, labels := s.openAndSettle(bugReport(1)); len(labels) != 0 {
		t.Fatalf("against its file the issue got %v", labels)
	}
	eventually(t, "the file was looked at and found unchanged", func() bool { return unchanged.Load() >= 2 })
	s.after("changed", func() { s.configFile("mode: apply\n") })
	number, err := s.github.OpenIssue(testContext(t), testRepo, bugReport(2))
	if err != nil {
		t.Fatal(err)
	}
	s.waitLabel(number, "kind/bug")
	if n := whole.Load(); n != 2 {
		t.Errorf("the file was fetched whole %d times, though it had two contents", n)
	}
}

// TestNoAccessToContents: without the permission the defaults hold, and nobody complains.
func TestNoAccessToContents(t *testing.T) {
	t.Parallel()
	s := configurable(t, simulate.Options{Seed: 67, Permissions: map[string]string{"issues": "write"}})
	s.configFile("mode: shadow\n")
	s.start()
	number, err := s.github.OpenIssue(testContext(t), testRepo, bugReport(1))
	if err != nil {
		t.Fatal(err)
	}
	s.waitLabel(number, "kind/bug")
	if log := s.process.output(); strings.Contains(log, `"level":"ERROR"`) || strings.Contains(log, "cannot read the repository's configuration") {
		t.Errorf("the log complains:\n%s", log)
	}
}
