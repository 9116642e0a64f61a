package app_test

import (
	"encoding/json"
	"fmt"
	"net/http"
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
