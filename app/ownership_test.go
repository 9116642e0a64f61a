package app_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dispatchai/dispatchai/app/simulate"
)

var (
	ownershipSeed  = flag.Uint64("ownership.seed", 0, "run only this seed of TestOwnership")
	ownershipSeeds = flag.Uint64("ownership.seeds", 1, "how many seeds of TestOwnership to run")
)

// TestOwnership: people, another bot and the App change the labels of the same
// issues at once, while webhooks are late, lost, doubled and out of order and the
// service is killed. By GitHub's own history the App never takes off a label that
// another put there, never puts back one that a person took off, and never puts
// on one that the repository does not have.
//
// The policy itself is held to this by a model (core/triage); here is the whole
// product, against GitHub's requests and times.
func TestOwnership(t *testing.T) {
	t.Parallel()
	seeds := []uint64{*ownershipSeed}
	if *ownershipSeed == 0 {
		seeds = nil
		for seed := uint64(1); seed <= *ownershipSeeds; seed++ {
			seeds = append(seeds, seed)
		}
	}
	for _, seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { contend(t, seed) })
	}
}

// contention is a repository whose labels many hands change.
type contention struct {
	*system
	ctx     context.Context
	random  *rand.Rand
	numbers []int
	asked   []ask
}

// ask is that a person wanted a label on an issue without putting it there.
type ask struct {
	number int
	label  string
	at     time.Time
}

func contend(t *testing.T, seed uint64) {
	const issues, actions = 24, 320
	s := newSystem(t, simulate.Options{Seed: seed, Senders: 3, RateLimits: simulate.RateLimits{Off: true}})
	s.quick()
	s.start()
	t.Cleanup(s.dump)
	s.installTestRepository()
	c := &contention{system: s, ctx: testContext(t), random: rand.New(rand.NewPCG(seed, 2))}
	c.must(s.github.SetRole(testRepo, "tom", simulate.RoleTriage))
	c.must(s.github.SetDeliveryFaults(simulate.DeliveryFaults{Drop: 0.1, Vanish: 0.03, Double: 0.1, Delay: 0.2, Reorder: 0.2, MaxDelay: 700 * time.Millisecond}))
	for n := range issues {
		number, err := s.github.OpenIssue(c.ctx, testRepo, bugReport(n))
		c.must(err)
		c.numbers = append(c.numbers, number)
	}
	c.quiet()
	for range actions {
		c.act()
	}
	c.must(s.github.SetDeliveryFaults(simulate.DeliveryFaults{}))
	c.settle()
	c.judge("after all of it")
	// Whatever was unclear is decided anew.
	for _, number := range c.numbers {
		c.classifyAnew(number)
	}
	c.settle()
	c.judge("classified anew")
}

func (c *contention) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *contention) pick(of ...string) string { return of[c.random.IntN(len(of))] }

// act is one thing that happens; now and then something is waited for.
func (c *contention) act() {
	number := c.numbers[c.random.IntN(len(c.numbers))]
	who := c.pick("maia", "maia", "tom", "other[bot]")
	label := c.pick("kind/bug", "kind/bug", "kind/feature", "kind/question", "area/parser", "area/cli", "regression", "wontfix")
	issue, err := c.github.Issue(testRepo, number)
	c.must(err)
	switch c.random.IntN(40) {
	default: // a change of a label
		if hasLabel(issue, label) {
			c.must(c.github.RemoveLabel(c.ctx, testRepo, number, who, label))
		} else {
			c.must(c.github.AddLabel(c.ctx, testRepo, number, who, label))
		}
	case 0, 1, 2, 3, 4: // the text changes, and with it what the plugin says
		as := bugReport(number)
		if c.random.IntN(2) == 0 {
			as = featureRequest(number)
		}
		c.must(c.github.EditIssue(c.ctx, testRepo, number, "maia", &as.Title, &as.Body))
	case 5, 6: // a correction on the dashboard
		category := c.pick("bug", "feature", "question")
		at := time.Now()
		code := c.call("POST", fmt.Sprintf("/api/issues/%d/correct", issue.ID), map[string]any{"field": "category", "values": []string{category}, "actor": "maia"}, nil)
		if code/100 == 2 {
			c.asked = append(c.asked, ask{number, "kind/" + category, at})
		}
	case 7, 8:
		c.classifyAnew(number)
	case 9:
		if issue.State == "closed" {
			c.must(c.github.ReopenIssue(c.ctx, testRepo, number, "maia"))
		} else {
			c.must(c.github.CloseIssue(c.ctx, testRepo, number, "maia", ""))
		}
	case 10, 11, 12, 13, 14, 15: // a moment in which the App comes to write
		c.quiet()
	case 16:
		if c.random.IntN(3) == 0 {
			c.kill()
			c.start()
		}
	}
}

// quiet waits until what has arrived is done; more may be on its way.
func (c *contention) quiet() {
	c.t.Helper()
	eventually(c.t, "nothing that has arrived waits", func() bool { return c.metric("dispatchai_label_pending") == 0 && c.lag() == 0 })
}

func (c *contention) classifyAnew(number int) {
	issue, err := c.github.Issue(testRepo, number)
	c.must(err)
	_ = c.call("POST", fmt.Sprintf("/api/issues/%d/classify", issue.ID), nil, nil) // one that was never heard of is not there
}

// settle waits until everything that was told is heard and done.
func (c *contention) settle() {
	c.t.Helper()
	c.must(c.github.WaitIdle(c.ctx))
	eventually(c.t, "everything is held", func() bool {
		report := c.gaps()
		return report.Gapless && report.Deliveries.Waiting == 0 && report.SweptAt != nil
	})
	c.settled()
}

// judge goes through GitHub's own history of every issue.
func (c *contention) judge(when string) {
	c.t.Helper()
	labels, err := c.github.Labels(testRepo)
	c.must(err)
	known := make(map[string]bool)
	for _, l := range testLabels() {
		known[l.Name] = true
	}
	for _, l := range labels {
		if !known[l.Name] {
			c.t.Errorf("%s: the App has made the label %q", when, l.Name)
		}
	}
	bot, added, removed, unseen := c.github.BotLogin(), 0, 0, 0
	for _, number := range c.numbers {
		events, err := c.github.LabelEvents(testRepo, number)
		c.must(err)
		last, ours := make(map[string]simulate.LabelEvent), make(map[string]bool)
		for i, e := range events {
			before, changed := last[e.Label]
			last[e.Label] = e
			if e.Actor != bot {
				continue
			}
			fault := ""
			switch {
			case e.Action == "unlabeled":
				removed++
				if before.Actor != bot {
					fault = "took off a label that " + before.Actor + " put there"
				}
			case changed && !before.Bot && before.Action == "unlabeled" && !c.askedSince(number, e.Label, before.At):
				// Of a label that it never wrote, and that was put on and taken off before it
				// heard of either, nobody could have told it.
				if fault = "put back a label that " + before.Actor + " took off"; !ours[e.Label] {
					fault, unseen = "", unseen+1
				}
				fallthrough
			default:
				added++
				ours[e.Label] = true
			}
			if fault != "" {
				c.t.Errorf("%s: on issue %d the App %s\n%s", when, number, fault, story(events[:i+1], e.Label))
			}
		}
	}
	c.t.Logf("%s: the App put on %d labels and took off %d; %d were new to it that a person had taken off", when, added, removed, unseen)
	if added < len(c.numbers) || removed == 0 {
		c.t.Errorf("%s: hardly anything was written: %d on, %d off", when, added, removed)
	}
}

// askedSince tells whether a person wanted the label after the time, of which
// GitHub tells the second.
func (c *contention) askedSince(number int, label string, at time.Time) bool {
	return slices.ContainsFunc(c.asked, func(a ask) bool {
		return a.number == number && a.label == label && !a.at.Before(at.Truncate(time.Second))
	})
}

func story(events []simulate.LabelEvent, label string) string {
	var b strings.Builder
	for _, e := range events {
		if e.Label == label {
			fmt.Fprintf(&b, "  %s  %-10s %s by %s\n", e.At.Format("15:04:05.000"), e.Action, e.Label, e.Actor)
		}
	}
	return b.String()
}
