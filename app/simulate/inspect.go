package simulate

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"
)

// Issue is a snapshot of an issue or a pull request.
type Issue struct {
	Repository   string // "owner/name"
	RepositoryID int64
	ID           int64
	Number       int
	Title        string
	Body         string
	Author       string // login; empty when the account was deleted
	State        string // "open" or "closed"
	StateReason  string
	Labels       []string // in the order they were added
	Assignees    []string // logins
	Type         string   // of the organisation's issue types
	Locked       bool
	Pinned       bool
	Comments     int
	PullRequest  bool
	CreatedAt    time.Time
	UpdatedAt    time.Time
	ClosedAt     time.Time
	HTMLURL      string
}

// LabelEvent is a label put on an issue or taken off it.
type LabelEvent struct {
	Action string // "labeled" or "unlabeled"
	Label  string
	Actor  string // login
	Bot    bool
	At     time.Time
}

// CommentSnapshot is a comment as it is now.
type CommentSnapshot struct {
	ID        int64
	Author    string
	Body      string
	CreatedAt time.Time
	UpdatedAt time.Time
}

func (is *issue) snapshot(r *repository) Issue {
	s := Issue{Repository: r.fullName(), RepositoryID: r.id, ID: is.id, Number: is.number, Title: is.title, Body: is.body, Author: is.author.name(),
		State: is.state, StateReason: is.stateReason, Comments: len(is.comments), PullRequest: is.pull,
		CreatedAt: is.created, UpdatedAt: is.updated, ClosedAt: is.closed, HTMLURL: r.pageURL + "/issues/" + itoa(is.number)}
	s.Locked, s.Pinned = is.locked, is.pinned
	if is.kind != nil {
		s.Type = is.kind.name
	}
	for _, a := range is.assignees {
		s.Assignees = append(s.Assignees, a.name())
	}
	for _, l := range is.labels {
		s.Labels = append(s.Labels, l.name)
	}
	return s
}

// view runs f on an issue under its repository's lock.
func (g *GitHub) view(repo string, number int, f func(*repository, *issue)) error {
	r, err := g.repository(repo)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	is, err := r.issue(number)
	if err == nil {
		f(r, is)
	}
	return err
}

// Issue returns an issue as it is now. ErrNotFound and ErrGone tell that there is none.
func (g *GitHub) Issue(repo string, number int) (s Issue, err error) {
	err = g.view(repo, number, func(r *repository, is *issue) { s = is.snapshot(r) })
	return s, err
}

// LabelEvents returns an issue's history of labels, oldest first, as far as Options.EventsPerIssue kept it.
func (g *GitHub) LabelEvents(repo string, number int) (events []LabelEvent, err error) {
	err = g.view(repo, number, func(_ *repository, is *issue) {
		for _, o := range is.history {
			if o.label != nil {
				events = append(events, LabelEvent{Action: o.kind, Label: o.label.name, Actor: o.actor.login, Bot: o.actor.kind == kindBot, At: o.at})
			}
		}
	})
	return events, err
}

// BotLabelWrites returns how often the App's bot put each label on an issue, however long its history is. A label
// written twice without anybody removing it between cannot be: GitHub makes no event of a label that is there already.
func (g *GitHub) BotLabelWrites(repo string, number int) (map[string]int, error) {
	writes := map[string]int{}
	err := g.view(repo, number, func(_ *repository, is *issue) {
		for _, w := range is.written {
			writes[w.label] = w.count
		}
	})
	return writes, err
}

// Comments returns an issue's comments, oldest first.
func (g *GitHub) Comments(repo string, number int) (comments []CommentSnapshot, err error) {
	err = g.view(repo, number, func(_ *repository, is *issue) {
		for _, m := range is.comments {
			comments = append(comments, CommentSnapshot{ID: m.id, Author: m.author.name(), Body: m.body, CreatedAt: m.created, UpdatedAt: m.updated})
		}
	})
	return comments, err
}

// AllIssues yields every issue and pull request, repository by repository in the order of their creation. State may
// change while the caller ranges; each snapshot is consistent in itself.
func (g *GitHub) AllIssues() iter.Seq[Issue] {
	return func(yield func(Issue) bool) {
		g.mu.RLock()
		repos := slices.SortedFunc(maps.Values(g.reposByID), func(a, b *repository) int { return cmp.Compare(a.id, b.id) })
		g.mu.RUnlock()
		for _, r := range repos {
			for i := 0; ; i++ {
				r.mu.Lock()
				if i >= len(r.issues) {
					r.mu.Unlock()
					break
				}
				is := r.issues[i]
				here := !is.deleted && is.movedTo == ""
				s := is.snapshot(r)
				r.mu.Unlock()
				if here && !yield(s) {
					return
				}
			}
		}
	}
}

// WaitFor waits until an issue is as the predicate wants it and returns it so. When ctx ends first, the error says what
// the issue was like.
func (g *GitHub) WaitFor(ctx context.Context, repo string, number int, fits func(Issue) bool) (Issue, error) {
	r, err := g.repository(repo)
	if err != nil {
		return Issue{}, err
	}
	r.mu.Lock()
	r.waiters++
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		r.waiters--
		r.mu.Unlock()
	}()
	for {
		r.mu.Lock()
		is, err := r.issue(number)
		var s Issue
		if err == nil {
			s = is.snapshot(r)
		}
		changed := r.changed
		r.mu.Unlock()
		if err != nil || fits(s) {
			return s, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return s, fmt.Errorf("%s#%d is %s with labels %q, not as awaited: %w", repo, number, s.State, s.Labels, context.Cause(ctx))
		}
	}
}

// Repositories returns the full names of all repositories, in the order of their creation.
func (g *GitHub) Repositories() []string {
	g.mu.RLock()
	repos := slices.SortedFunc(maps.Values(g.reposByID), func(a, b *repository) int { return cmp.Compare(a.id, b.id) })
	g.mu.RUnlock()
	names := make([]string, len(repos))
	for i, r := range repos {
		names[i] = r.path()
	}
	return names
}

// RepositoryID returns a repository's ID.
func (g *GitHub) RepositoryID(repo string) (int64, error) {
	r, err := g.repository(repo)
	if err != nil {
		return 0, err
	}
	return r.id, nil
}

// Labels returns a repository's labels in the order of their creation.
func (g *GitHub) Labels(repo string) ([]Label, error) {
	r, err := g.repository(repo)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	labels := make([]Label, len(r.labelOrder))
	for i, l := range r.labelOrder {
		labels[i] = Label{Name: l.name, Color: l.color, Description: l.description}
	}
	return labels, nil
}

// Installations returns the App's installations by ID.
func (g *GitHub) Installations() []Installation {
	g.mu.RLock()
	all := slices.SortedFunc(maps.Values(g.installations), func(a, b *installation) int { return cmp.Compare(a.id, b.id) })
	g.mu.RUnlock()
	out := make([]Installation, len(all))
	for i, inst := range all {
		gr := inst.grant.Load()
		inst.mu.Lock()
		repos := slices.Clone(inst.repos)
		out[i] = Installation{ID: inst.id, Account: inst.account.login, All: inst.all, Suspended: inst.suspended.Load(),
			Permissions: maps.Clone(gr.permissions), Events: slices.Clone(gr.events)}
		inst.mu.Unlock()
		for _, r := range repos {
			out[i].Repositories = append(out[i].Repositories, r.path())
		}
		slices.Sort(out[i].Repositories)
	}
	return out
}

// InstallationOf returns the ID of the installation that covers a repository; ErrNotFound when the App is not installed there.
func (g *GitHub) InstallationOf(repo string) (int64, error) {
	r, err := g.repository(repo)
	if err != nil {
		return 0, err
	}
	if inst := r.installation.Load(); inst != nil {
		return inst.id, nil
	}
	return 0, fmt.Errorf("%w: the App is not installed on %s", ErrNotFound, repo)
}

// Requests counts the API's requests by route, such as "POST /repos/{owner}/{repo}/issues/{number}/labels"; "unknown"
// are those for paths that do not exist. Routes never asked for are left out.
func (g *GitHub) Requests() map[string]int64 {
	counts := map[string]int64{}
	for _, rt := range g.routes {
		if n := rt.count.Load(); n > 0 {
			counts[rt.pattern] = n
		}
	}
	return counts
}
