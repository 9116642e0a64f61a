package simulate

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// PlayOptions say how the demo goes.
type PlayOptions struct {
	// Corpus are the repositories to play; the demo's own when nil.
	Corpus []*CorpusRepository
	// Speed multiplies the pace; 1 when zero: an issue every 2 to 6 s. It does not change what happens, only when.
	Speed float64
	// Limit is how many issues are opened; all when 0.
	Limit int
	// IssuesOnly leaves out what people do besides opening issues.
	IssuesOnly bool
	// OnEvent, when not nil, is told of each act of Play. What the App does in answer comes to Options.OnEvent.
	OnEvent func(Event)
}

// Play opens the corpus's issues at a human pace, the repositories interleaved, the first issue at once. Between them
// maintainers look at issues opened earlier: they take off labels of the App that are wrong and put on the right ones,
// edit, comment, close. Which issues and acts follows from Options.Seed; which labels follows from what is on the issue
// by then. Play creates what is missing of the corpus's repositories first. It returns nil when the corpus is played,
// and ctx's error when that ends before.
func (g *GitHub) Play(ctx context.Context, o PlayOptions) error {
	if o.Speed == 0 {
		o.Speed = 1
	}
	if !(o.Speed > 0) {
		return fmt.Errorf("%w: a speed of %v; it must be above zero", ErrInvalid, o.Speed)
	}
	if o.Corpus == nil {
		corpus, err := Corpus()
		if err != nil {
			return err
		}
		o.Corpus = corpus
	}
	if err := g.AddCorpus(ctx, o.Corpus); err != nil {
		return err
	}
	p := &play{g: g, o: o, rand: rand.New(rand.NewPCG(g.opts.Seed, 0x706c6179))} //nolint:gosec // reproducible on purpose
	for i, scene := range p.scenes() {
		if i > 0 {
			// One number for the pause, then four for an act, whether or not one takes place: the course stays the same whatever the App does.
			if err := p.wait(ctx, 2*time.Second+time.Duration(p.rand.Int64N(int64(4*time.Second)))); err != nil {
				return err
			}
		}
		number, err := g.OpenIssue(ctx, scene.repo.FullName(), NewIssue{Author: scene.issue.Author, Title: scene.issue.Title, Body: scene.issue.Body, Labels: scene.issue.Labels})
		if err != nil {
			return fmt.Errorf("opening %q in %s: %w", scene.issue.Title, scene.repo.FullName(), err)
		}
		scene.number = number
		p.opened = append(p.opened, scene)
		p.tell(scene, "issues", "opened", scene.issue.Author, "")
		if err := p.act(ctx); err != nil {
			return err
		}
	}
	return nil
}

type play struct {
	g      *GitHub
	o      PlayOptions
	rand   *rand.Rand
	opened []*scene
}

// scene is an issue of the corpus on its way.
type scene struct {
	repo   *CorpusRepository
	issue  CorpusIssue
	number int
}

// scenes shuffles each repository's issues but the first, which opens the play, and deals them out, so that no repository
// is done long before the others.
func (p *play) scenes() []*scene {
	type placed struct {
		at float64
		s  *scene
	}
	var all []placed
	for _, repo := range p.o.Corpus {
		if len(repo.Issues) == 0 {
			continue
		}
		order := p.rand.Perm(len(repo.Issues))
		first := slices.Index(order, 0)
		order = slices.Concat([]int{0}, order[:first], order[first+1:])
		for place, i := range order {
			at := (float64(place) + p.rand.Float64()) / float64(len(order))
			all = append(all, placed{at, &scene{repo: repo, issue: repo.Issues[i]}})
		}
	}
	slices.SortStableFunc(all, func(a, b placed) int {
		switch {
		case a.at < b.at:
			return -1
		case a.at > b.at:
			return 1
		}
		return 0
	})
	if p.o.Limit > 0 && len(all) > p.o.Limit {
		all = all[:p.o.Limit]
	}
	scenes := make([]*scene, len(all))
	for i, one := range all {
		scenes[i] = one.s
	}
	return scenes
}

func (p *play) wait(ctx context.Context, d time.Duration) error {
	timer := p.g.clock.NewTimer(time.Duration(float64(d) / p.o.Speed))
	defer timer.Stop()
	select {
	case <-timer.C():
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (p *play) tell(s *scene, event, action, actor, about string) {
	if p.o.OnEvent != nil {
		p.o.OnEvent(Event{At: p.g.now(), Event: event, Action: action, Repository: s.repo.FullName(), Number: s.number, Title: s.issue.Title, Actor: actor, About: about})
	}
}

// act lets somebody do something to an issue opened a while ago, about every third time.
func (p *play) act(ctx context.Context) error {
	chance, which, what, who := p.rand.Float64(), p.rand.Float64(), p.rand.Float64(), p.rand.IntN(3)
	const settled = 3 // an issue is left in peace until that many others were opened
	if p.o.IssuesOnly || chance > 0.35 || len(p.opened) <= settled {
		return nil
	}
	recent := p.opened[max(0, len(p.opened)-settled-10) : len(p.opened)-settled]
	s := recent[int(which*float64(len(recent)))]
	maintainer := s.repo.Maintainers()[who]
	var err error
	switch {
	case what < 0.55:
		err = p.relabel(ctx, s, maintainer)
	case what < 0.70:
		err = p.comment(ctx, s, maintainer)
	case what < 0.82:
		err = p.edit(ctx, s)
	default:
		if err = p.g.CloseIssue(ctx, s.repo.FullName(), s.number, maintainer, "completed"); err == nil {
			p.tell(s, "issues", "closed", maintainer, "completed")
		}
	}
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrGone) {
		return nil // somebody else was there before, on the demo's pages
	}
	return err
}

// relabel corrects the App: it takes off one of its labels that says another category than a careful maintainer would
// choose, and puts on the right one. Where nothing is wrong it adds the label of the priority or component, if missing.
func (p *play) relabel(ctx context.Context, s *scene, maintainer string) error {
	is, err := p.g.Issue(s.repo.FullName(), s.number)
	if err != nil {
		return err
	}
	byBot, err := p.g.BotLabelWrites(s.repo.FullName(), s.number)
	if err != nil {
		return err
	}
	right := s.repo.LabelFor(s.issue.Expected.Category)
	for _, on := range is.Labels {
		if byBot[on] == 0 || on == right || s.repo.categoryOf(on) == "" {
			continue
		}
		if err := p.g.RemoveLabel(ctx, s.repo.FullName(), s.number, maintainer, on); err != nil {
			return err
		}
		p.tell(s, "issues", "unlabeled", maintainer, on)
		break
	}
	for _, wanted := range []string{right, s.repo.LabelFor(s.issue.Expected.Component), s.repo.LabelFor(s.issue.Expected.Priority)} {
		if wanted != "" && !slices.Contains(is.Labels, wanted) {
			if err := p.g.AddLabel(ctx, s.repo.FullName(), s.number, maintainer, wanted); err != nil {
				return err
			}
			p.tell(s, "issues", "labeled", maintainer, wanted)
			return nil
		}
	}
	return nil
}

func (p *play) comment(ctx context.Context, s *scene, maintainer string) error {
	body := map[string]string{
		"bug":           "Thanks for the report, I can reproduce this on the latest release. Looking into it.",
		"feature":       "I like the idea. Could you say a little more about how you would use it day to day?",
		"question":      "Have you had a look at the configuration guide? If it leaves the question open, we should improve it.",
		"documentation": "Good catch. A pull request would be very welcome.",
		"security":      "Thank you for telling us. We are looking into this with priority.",
		"performance":   "Could you attach a profile? The numbers alone do not tell us where the time goes.",
		"maintenance":   "Agreed, let us do this before the next release.",
	}[s.issue.Expected.Category]
	if _, err := p.g.Comment(ctx, s.repo.FullName(), s.number, maintainer, body); err != nil {
		return err
	}
	p.tell(s, "issue_comment", "created", maintainer, excerpt(body))
	return nil
}

// edit lets the author add something that was left out.
func (p *play) edit(ctx context.Context, s *scene) error {
	is, err := p.g.Issue(s.repo.FullName(), s.number)
	if err != nil {
		return err
	}
	body := strings.TrimRight(is.Body, "\n") + "\n\n**Edit:** I checked again today and it is the same on a clean installation."
	if err := p.g.EditIssue(ctx, s.repo.FullName(), s.number, s.issue.Author, nil, &body); err != nil {
		return err
	}
	p.tell(s, "issues", "edited", s.issue.Author, "")
	return nil
}

// LabelFor returns the repository's label that stands for a category, a priority or a component, or nothing.
func (c *CorpusRepository) LabelFor(value string) string {
	if value == "" {
		return ""
	}
	for _, synonym := range synonyms(value) {
		for _, l := range c.Labels {
			if lastWord(l.Name) == synonym {
				return l.Name
			}
		}
	}
	return ""
}

// categoryOf is the category a label stands for, or nothing.
func (c *CorpusRepository) categoryOf(label string) string {
	for _, category := range Categories() {
		if slices.Contains(synonyms(category), lastWord(label)) {
			return category
		}
	}
	return ""
}

// lastWord is the label without its prefix: "kind/bug", "Type: Bug" and "C-bug" are all "bug".
func lastWord(label string) string {
	label = strings.ToLower(label)
	for _, separator := range []string{"/", ":"} {
		if at := strings.LastIndex(label, separator); at >= 0 {
			label = label[at+1:]
		}
	}
	if len(label) > 2 && label[1] == '-' {
		label = label[2:]
	}
	return strings.TrimSpace(label)
}

func synonyms(value string) []string {
	others := map[string][]string{
		"bug":           {"defect", "kind bug"},
		"feature":       {"enhancement", "feature request", "feature-request"},
		"question":      {"support", "help", "usage"},
		"documentation": {"docs", "doc"},
		"security":      {"vulnerability"},
		"performance":   {"perf", "speed"},
		"maintenance":   {"chore", "cleanup", "tech-debt", "refactoring"},
		"critical":      {"p0", "urgent", "critical-urgent"},
		"high":          {"p1", "important", "important-soon"},
		"medium":        {"p2", "normal", "important-longterm"},
		"low":           {"p3", "backlog"},
	}
	return append([]string{strings.ToLower(value)}, others[value]...)
}
