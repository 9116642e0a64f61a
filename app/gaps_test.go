package app_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dispatchai/dispatchai/app/simulate"
)

// gapReport is what GET /api/gaps and `dispatchai gaps --json` tell.
type gapReport struct {
	Gapless    bool
	Summary    string
	SweptAt    *time.Time `json:"swept_at"`
	Deliveries struct {
		Made, Ignored, Held, Waiting, Failed, Missing, Redelivered, Healed, Covered int64
		GivenUp                                                                     int64 `json:"given_up"`
	}
	Open         []struct{ GUID, State, Status string }
	Repositories []repositoryGaps
}

type repositoryGaps struct {
	FullName                 string     `json:"full_name"`
	ReconciledAt             *time.Time `json:"reconciled_at"`
	Listed, Missing, Changed int64
	Error                    string
	Backfill                 *backfillProgress
}

func (s *system) gaps() gapReport {
	s.t.Helper()
	var report gapReport
	if code := s.call("GET", "/api/gaps", nil, &report); code != http.StatusOK {
		s.t.Fatalf("GET /api/gaps: %d", code)
	}
	return report
}

// waitGapless waits until everything that GitHub told is held, by GitHub's own count.
func (s *system) waitGapless() gapReport {
	s.t.Helper()
	var report gapReport
	s.t.Cleanup(func() {
		if s.t.Failed() {
			s.t.Logf("the last report: %+v", report)
		}
	})
	eventually(s.t, "no gaps", func() bool {
		report = s.gaps()
		d := report.Deliveries
		return report.Gapless && d.Waiting == 0 && d.Made == s.github.Deliveries().Made
	})
	return report
}

// outageClock is GitHub's, which stands still unless a test moves it; the App's
// tokens live by the machine's.
func outageClock(o simulate.Options) (simulate.Options, *simulate.Virtual) {
	clock := simulate.NewVirtual(time.Now())
	o.Clock, o.AuthClock = clock, simulate.Real{}
	return o, clock
}

// quick has the service look for gaps and ask for redeliveries oftener than
// GitHub would like.
func (s *system) quick() {
	s.env = append(s.env, "DISPATCHAI_SWEEP_INTERVAL=2s", "DISPATCHAI_REDELIVERIES_PER_MINUTE=100000")
}

// TestDayOfOutage: the service is down for a day in which GitHub makes 5,000
// deliveries and 500 issues change. It heals by itself, completely, and shows it.
func TestDayOfOutage(t *testing.T) {
	t.Parallel()
	deliveries, before := 5000, 150
	options, clock := outageClock(simulate.Options{Seed: 51, RateLimits: simulate.RateLimits{Off: true}, DeliveryLog: 50_000})
	s := newSystem(t, options)
	s.quick()
	s.start()
	t.Cleanup(s.dump)
	s.installTestRepository()
	ctx := testContext(t)
	want := make(map[int]string) // by number, the label that the issue ends with
	open := func(n int) int {
		issue, label := bugReport(n), "kind/bug"
		if n%3 == 0 {
			issue, label = featureRequest(n), "kind/feature"
		}
		number, err := s.github.OpenIssue(ctx, testRepo, issue)
		if err != nil {
			t.Fatal(err)
		}
		want[number] = label
		return number
	}
	var old []int
	for n := range before {
		old = append(old, open(n))
	}
	for _, number := range old {
		s.waitLabel(number, want[number])
	}
	s.waitGapless()

	s.kill()
	s.github.SetUnreachable(true)
	made := s.github.Deliveries().Made
	pass := func() { clock.Advance(17 * time.Second) }
	pass()
	changed := make(map[int]bool)
	var vetoed, corrected []int
	for i, number := range old {
		pass()
		switch i % 3 {
		case 0: // a person takes our label off
			if err := s.github.RemoveLabel(ctx, testRepo, number, "maia", want[number]); err != nil {
				t.Fatal(err)
			}
			vetoed = append(vetoed, number)
		case 1: // a person says that it is something else
			if err := s.github.AddLabel(ctx, testRepo, number, "maia", "kind/question"); err != nil {
				t.Fatal(err)
			}
			corrected = append(corrected, number)
		case 2:
			title := fmt.Sprintf("[BUG] crash %d when parsing", number)
			if err := s.github.EditIssue(ctx, testRepo, number, "maia", &title, nil); err != nil {
				t.Fatal(err)
			}
		}
		changed[number] = true
	}
	for n := before; len(changed) < 500; n++ {
		pass()
		changed[open(n)] = true
	}
	numbers := make([]int, 0, len(changed))
	for number := range changed {
		numbers = append(numbers, number)
	}
	slices.Sort(numbers)
	for i := 0; s.github.Deliveries().Made < made+int64(deliveries); i++ {
		pass()
		if _, err := s.github.Comment(ctx, testRepo, numbers[i%len(numbers)], "tom", fmt.Sprintf("Comment %d", i)); err != nil {
			t.Fatal(err)
		}
	}
	clock.Advance(2 * time.Minute)
	s.github.SetUnreachable(false)

	began := time.Now()
	s.start()
	report := s.waitGapless()
	t.Logf("healed after %s: %s", time.Since(began).Round(time.Millisecond), report.Summary)
	for number, label := range want {
		if !slices.Contains(vetoed, number) && !slices.Contains(corrected, number) {
			s.waitLabel(number, label)
		}
	}
	eventually(t, "nothing waits to be labelled", func() bool { return s.metric("dispatchai_label_pending") == 0 })
	clock.Advance(2 * time.Minute)

	d := report.Deliveries
	if d.Failed < int64(deliveries) || d.Healed != d.Failed || d.Missing != 0 || d.GivenUp != 0 || d.Held != d.Made {
		t.Errorf("the proof is %+v", d)
	}
	if !strings.HasPrefix(report.Summary, "No gaps in the last 3 days") {
		t.Errorf("the summary is %q", report.Summary)
	}
	s.assertLabelledOnce(numbers)
	for _, number := range vetoed {
		issue, err := s.github.Issue(testRepo, number)
		if err != nil {
			t.Fatal(err)
		}
		if hasLabel(issue, want[number]) {
			t.Errorf("issue %d has the label again that a person took off", number)
		}
	}
	for _, number := range corrected[:3] {
		eventually(t, "the correction made meanwhile is heard", func() bool {
			issue, ok := s.storedIssue(number)
			return ok && issue.value("category") == "question" && len(issue.Corrections) == 1
		})
	}
	out, err := s.run("gaps", "--json")
	if err != nil {
		t.Fatal(err)
	}
	var told gapReport
	if err := json.Unmarshal([]byte(out), &told); err != nil || !told.Gapless || told.Deliveries.Failed != d.Failed {
		t.Errorf("dispatchai gaps --json: %v, %s", err, out)
	}
	if out, err = s.run("gaps"); err != nil || !strings.Contains(out, "No gaps") || !strings.Contains(out, testRepo) {
		t.Errorf("dispatchai gaps: %v\n%s", err, out)
	}
}

// storedIssue finds an issue by its number, however many there are.
func (s *system) storedIssue(number int) (apiIssue, bool) {
	s.t.Helper()
	issue, err := s.github.Issue(testRepo, number)
	if err != nil {
		s.t.Fatal(err)
	}
	var detail apiIssue
	return detail, s.call("GET", fmt.Sprintf("/api/issues/%d", issue.ID), nil, &detail) == http.StatusOK
}

// TestHealingUnderFaults: GitHub fails every third request, and the service is
// killed again and again while it heals.
func TestHealingUnderFaults(t *testing.T) {
	t.Parallel()
	options, clock := outageClock(simulate.Options{Seed: 52, RateLimits: simulate.RateLimits{Off: true}})
	s := newSystem(t, options)
	s.quick()
	s.start()
	t.Cleanup(s.dump)
	s.installTestRepository()
	ctx := testContext(t)
	first, err := s.github.OpenIssue(ctx, testRepo, bugReport(0))
	if err != nil {
		t.Fatal(err)
	}
	s.waitLabel(first, "kind/bug")
	s.kill()
	s.github.SetUnreachable(true)
	numbers := []int{first}
	for n := range 300 {
		clock.Advance(time.Minute)
		number, err := s.github.OpenIssue(ctx, testRepo, bugReport(1+n))
		if err != nil {
			t.Fatal(err)
		}
		numbers = append(numbers, number)
	}
	clock.Advance(2 * time.Minute)
	s.github.SetUnreachable(false)
	var faults []*simulate.InjectedFault
	for _, route := range []string{"GET /app/hook/deliveries", "POST /app/hook/deliveries/{id}/attempts", "GET /repos/{owner}/{repo}/issues", "GET /app/installations"} {
		faults = append(faults, s.github.InjectFault(simulate.Fault{Route: route, Probability: 0.3, Status: 502, RetryAfter: time.Second, AfterEffect: true}))
	}
	s.start()
	for kill := range 4 {
		eventually(t, "some more is healed", func() bool { return s.gaps().Deliveries.Healed >= int64(20*kill) })
		s.kill()
		s.start()
	}
	for _, f := range faults {
		f.Remove()
	}
	report := s.waitGapless()
	t.Log(report.Summary)
	for _, number := range numbers {
		s.waitLabel(number, "kind/bug")
	}
	s.assertLabelledOnce(numbers)
}

// TestDeliveriesLostForGood: what GitHub's log no longer has is made good from its
// lists: issues, their labels and who changed them, label sets, installations.
func TestDeliveriesLostForGood(t *testing.T) {
	t.Parallel()
	options, clock := outageClock(simulate.Options{Seed: 53, RateLimits: simulate.RateLimits{Off: true}})
	s := newSystem(t, options)
	s.quick()
	s.start()
	t.Cleanup(s.dump)
	s.installTestRepository()
	ctx := testContext(t)
	act := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		clock.Advance(time.Minute)
	}
	open := func(repo string, n int) int {
		number, err := s.github.OpenIssue(ctx, repo, bugReport(n))
		act(err)
		return number
	}
	vetoed, corrected, edited := open(testRepo, 1), open(testRepo, 2), open(testRepo, 3)
	for _, number := range []int{vetoed, corrected, edited} {
		s.waitLabel(number, "kind/bug")
	}
	// GitHub's clock runs ahead of ours: what is on its way may count as missed already.
	before := s.waitGapless().Repositories[0]
	s.kill()
	s.github.SetUnreachable(true)
	clock.Advance(time.Minute)
	act(s.github.RemoveLabel(ctx, testRepo, vetoed, "maia", "kind/bug"))
	act(s.github.AddLabel(ctx, testRepo, corrected, "maia", "kind/question"))
	title := "[BUG] parser crashes, now with another title"
	act(s.github.EditIssue(ctx, testRepo, edited, "maia", &title, nil))
	act(s.github.EditLabel(ctx, testRepo, "maia", "kind/bug", simulate.Label{Name: "bug", Color: "d73a4a"}))
	missed := open(testRepo, 4)
	closed := open(testRepo, 5)
	act(s.github.CloseIssue(ctx, testRepo, closed, "maia", ""))
	act(s.github.CreateRepository(ctx, simulate.NewRepository{Owner: "globex", Name: "gears", Labels: testLabels()}))
	_, err := s.github.Install(ctx, "globex", simulate.InstallOptions{})
	act(err)
	elsewhere := open("globex/gears", 6)
	clock.Advance(80 * time.Hour)
	s.github.SetUnreachable(false)

	s.start()
	for _, number := range []int{missed, closed} {
		s.waitLabel(number, "bug")
	}
	if _, err := s.github.WaitFor(ctx, "globex/gears", elsewhere, func(i simulate.Issue) bool { return hasLabel(i, "kind/bug") }); err != nil {
		t.Errorf("the issue of an installation that no webhook told of: %v", err)
	}
	eventually(t, "what people did meanwhile is heard", func() bool {
		v, okV := s.storedIssue(vetoed)
		c, okC := s.storedIssue(corrected)
		e, okE := s.storedIssue(edited)
		return okV && okC && okE && len(v.Corrections) == 1 && c.value("category") == "question" && e.Title == title
	})
	v, _ := s.storedIssue(vetoed)
	if c := v.Corrections[0]; c.Actor != "maia" || c.Source != "github" || len(c.New) != 0 {
		t.Errorf("the veto became the correction %+v", c)
	}
	if status := s.call("POST", fmt.Sprintf("/api/issues/%d/classify", v.ID), nil, nil); status != http.StatusOK {
		t.Fatalf("classify again: %d", status)
	}
	eventually(t, "nothing waits to be labelled", func() bool { return s.metric("dispatchai_label_pending") == 0 })
	if issue, err := s.github.Issue(testRepo, vetoed); err != nil || hasLabel(issue, "bug") || hasLabel(issue, "kind/bug") {
		t.Errorf("the vetoed issue has %v, %v", issue.Labels, err)
	}
	report := s.gaps()
	if !report.Gapless || len(report.Repositories) != 2 || report.Repositories[0].Missing-before.Missing != 2 ||
		report.Repositories[0].Changed-before.Changed < 3 || report.Repositories[1].Missing != 1 {
		t.Errorf("the report is %+v after %+v", report, before)
	}
	t.Log(report.Summary)
	s.assertLabelledOnce([]int{vetoed, corrected, edited, missed, closed})
}

// TestDeliveriesGivenUp: what GitHub does not send again is given up, and covered
// once its repository was compared.
func TestDeliveriesGivenUp(t *testing.T) {
	t.Parallel()
	options, clock := outageClock(simulate.Options{Seed: 54, RateLimits: simulate.RateLimits{Off: true}})
	s := newSystem(t, options)
	s.quick()
	s.start()
	t.Cleanup(s.dump)
	s.installTestRepository()
	s.waitGapless()
	ctx := testContext(t)
	clock.Advance(time.Minute)
	s.github.SetUnreachable(true)
	refused := s.github.InjectFault(simulate.Fault{Route: "POST /app/hook/deliveries/{id}/attempts", Status: 404})
	var numbers []int
	for n := range 5 {
		number, err := s.github.OpenIssue(ctx, testRepo, bugReport(n))
		if err != nil {
			t.Fatal(err)
		}
		numbers = append(numbers, number)
	}
	clock.Advance(2 * time.Minute)
	s.github.SetUnreachable(false)
	for _, number := range numbers {
		s.waitLabel(number, "kind/bug")
	}
	report := s.waitGapless()
	if d := report.Deliveries; d.GivenUp != 5 || d.Covered != 5 || refused.Hits() != 5 {
		t.Errorf("the report is %+v after %d requests", d, refused.Hits())
	}
	if !strings.Contains(report.Summary, "read from GitHub instead") {
		t.Errorf("the summary is %q", report.Summary)
	}
	s.assertLabelledOnce(numbers)
}

// TestAcceptedAndLost: deliveries that were accepted and are not held, because
// the data directory was put back to an earlier state, are asked for again.
func TestAcceptedAndLost(t *testing.T) {
	t.Parallel()
	s := newSystem(t, simulate.Options{Seed: 55, RateLimits: simulate.RateLimits{Off: true}})
	s.quick()
	s.start()
	t.Cleanup(s.dump)
	s.installTestRepository()
	s.waitGapless()
	s.stop()
	backup := t.TempDir()
	if err := os.CopyFS(backup, os.DirFS(s.dataDir)); err != nil {
		t.Fatal(err)
	}
	s.start()
	ctx := testContext(t)
	pull, err := s.github.OpenPullRequest(ctx, testRepo, simulate.NewIssue{Author: "tom", Title: "A change", Body: "Merge it"})
	if err == nil {
		_, err = s.github.Comment(ctx, testRepo, pull, "maia", "A pull request's comment changes nothing, and leaves its trace")
	}
	if err != nil {
		t.Fatal(err)
	}
	number, err := s.github.OpenIssue(ctx, testRepo, bugReport(1))
	if err != nil {
		t.Fatal(err)
	}
	s.waitLabel(number, "kind/bug")
	report := s.waitGapless()
	if report.Deliveries.Redelivered != 0 {
		t.Errorf("all deliveries were accepted, and yet: %+v", report.Deliveries)
	}
	s.kill()
	s.dataDir = backup
	s.start()
	report = s.waitGapless()
	if d := report.Deliveries; d.Healed == 0 || d.Healed != d.Failed {
		t.Errorf("the report is %+v", d)
	}
	if issue, ok := s.storedIssue(number); !ok || issue.value("category") != "bug" {
		t.Errorf("the issue that was lost is %+v, %v", issue, ok)
	}
	s.assertLabelledOnce([]int{number})
}
