package simulate

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// NewIssue describes an issue to open.
type NewIssue struct {
	Author string // login; the account is made when it does not exist
	Title  string
	Body   string
	// Labels the issue is opened with. A reporter can set any through an issue form; labels the repository lacks are refused.
	Labels []string
}

func (g *GitHub) repository(name string) (*repository, error) {
	key := strings.ToLower(name)
	g.mu.RLock()
	defer g.mu.RUnlock()
	r := g.repos[key]
	if r == nil {
		r = g.reposByID[g.moved[key]]
	}
	if r == nil {
		return nil, fmt.Errorf("%w: no repository %q", ErrNotFound, name)
	}
	return r, nil
}

// act lets a person change a repository in which they need at least that role.
func (g *GitHub) act(ctx context.Context, repo, login string, needed Role, f func(*change) error) error {
	r, err := g.repository(repo)
	if err != nil {
		return err
	}
	a, err := g.person(login)
	if err != nil {
		return err
	}
	return g.change(ctx, r, a, false, func(c *change) error {
		if err := c.require(needed); err != nil {
			return err
		}
		if err := c.writable(); err != nil {
			return err
		}
		return f(c)
	})
}

// administer is act for what a repository's administrators may do even when it is archived.
func (g *GitHub) administer(ctx context.Context, repo, login string, f func(*change) error) error {
	r, err := g.repository(repo)
	if err != nil {
		return err
	}
	a, err := g.person(login)
	if err != nil {
		return err
	}
	return g.change(ctx, r, a, false, func(c *change) error {
		if err := c.require(RoleAdmin); err != nil {
			return err
		}
		return f(c)
	})
}

func (c *change) writable() error {
	if c.repo.archived {
		return fmt.Errorf("repository %s is %w; SetArchived opens it again", c.repo.fullName(), ErrArchived)
	}
	return nil
}

func (c *change) require(needed Role) error {
	if have := c.repo.role(c.actor); have < needed && c.actor.kind != kindBot {
		return fmt.Errorf("%w: %s needs the role %s in %s and has %s; give it with SetRole", ErrForbidden, c.actor.login, needed, c.repo.fullName(), have)
	}
	return nil
}

// onIssue is act for an issue. Its author may do what needs a role where authorToo.
func (g *GitHub) onIssue(ctx context.Context, repo string, number int, login string, needed Role, authorToo bool, f func(*change, *issue) error) error {
	return g.act(ctx, repo, login, RoleRead, func(c *change) error {
		is, err := c.repo.issue(number)
		if err != nil {
			return err
		}
		if !authorToo || is.author != c.actor {
			if err := c.require(needed); err != nil {
				return err
			}
		}
		return f(c, is)
	})
}

// OpenIssue opens an issue and returns its number. Like every act here it sends the webhooks that GitHub would, and
// waits for room in their queue until ctx ends.
func (g *GitHub) OpenIssue(ctx context.Context, repo string, n NewIssue) (int, error) {
	return g.open(ctx, repo, n, false)
}

// OpenPullRequest opens a pull request, which GitHub's issue endpoints list among the issues.
func (g *GitHub) OpenPullRequest(ctx context.Context, repo string, n NewIssue) (int, error) {
	return g.open(ctx, repo, n, true)
}

func (g *GitHub) open(ctx context.Context, repo string, n NewIssue, pull bool) (number int, err error) {
	err = g.act(ctx, repo, n.Author, RoleRead, func(c *change) error {
		var labels []*label
		for _, name := range n.Labels {
			l, err := c.findLabel(name)
			if err != nil {
				return err
			}
			if !slices.Contains(labels, l) {
				labels = append(labels, l)
			}
		}
		is, err := c.open(n, pull, labels)
		if err == nil {
			number = is.number
		}
		return err
	})
	return number, err
}

// EditIssue changes an issue's title and body; a nil one stays. Its author may, and who has the write role.
func (g *GitHub) EditIssue(ctx context.Context, repo string, number int, login string, title, body *string) error {
	return g.onIssue(ctx, repo, number, login, RoleWrite, true, func(c *change, is *issue) error { return c.edit(is, title, body) })
}

// CloseIssue closes an issue. The reason is "completed", "not_planned" or "duplicate"; empty means completed.
func (g *GitHub) CloseIssue(ctx context.Context, repo string, number int, login, reason string) error {
	return g.onIssue(ctx, repo, number, login, RoleTriage, true, func(c *change, is *issue) error {
		c.setState(is, "closed", reason)
		return nil
	})
}

// ReopenIssue opens a closed issue again.
func (g *GitHub) ReopenIssue(ctx context.Context, repo string, number int, login string) error {
	return g.onIssue(ctx, repo, number, login, RoleTriage, true, func(c *change, is *issue) error {
		c.setState(is, "open", "")
		return nil
	})
}

// AddLabel puts a label of the repository on an issue; a label already there changes nothing. It needs the triage role.
// A bot's login ("name[bot]") acts as another App.
func (g *GitHub) AddLabel(ctx context.Context, repo string, number int, login, name string) error {
	return g.onIssue(ctx, repo, number, login, RoleTriage, false, func(c *change, is *issue) error {
		l, err := c.findLabel(name)
		if err == nil {
			c.addLabel(is, l)
		}
		return err
	})
}

// RemoveLabel takes a label off an issue; ErrNotFound when it is not on it. It needs the triage role.
func (g *GitHub) RemoveLabel(ctx context.Context, repo string, number int, login, name string) error {
	return g.onIssue(ctx, repo, number, login, RoleTriage, false, func(c *change, is *issue) error {
		l, err := c.findLabel(name)
		if err == nil && !c.removeLabel(is, l) {
			err = fmt.Errorf("%w: %s#%d does not have the label %q", ErrNotFound, repo, number, name)
		}
		return err
	})
}

// Comment writes a comment and returns its ID.
func (g *GitHub) Comment(ctx context.Context, repo string, number int, login, body string) (id int64, err error) {
	err = g.onIssue(ctx, repo, number, login, RoleRead, true, func(c *change, is *issue) error {
		if is.locked {
			if err := c.require(RoleWrite); err != nil {
				return err
			}
		}
		m, err := c.comment(is, body)
		if err == nil {
			id = m.id
		}
		return err
	})
	return id, err
}

// DeleteIssue deletes an issue: it answers 410 from then on. It needs the admin role.
func (g *GitHub) DeleteIssue(ctx context.Context, repo string, number int, login string) error {
	return g.onIssue(ctx, repo, number, login, RoleAdmin, false, func(c *change, is *issue) error {
		c.emit("issues", "deleted", is, "", nil)
		is.deleted = true
		if is.state == "open" {
			c.repo.openIssues--
		}
		return nil
	})
}

// TransferIssue moves an issue to another repository of the same owner and returns its number there. Labels that exist
// there by name go along. The old place answers 301 from then on.
func (g *GitHub) TransferIssue(ctx context.Context, repo string, number int, login, to string) (int, error) {
	target, err := g.repository(to)
	if err != nil {
		return 0, err
	}
	source, err := g.repository(repo)
	if err != nil {
		return 0, err
	}
	if target == source {
		return 0, fmt.Errorf("%w: an issue is transferred to another repository", ErrInvalid)
	}
	var copied issue
	var oldIssue, oldRepo document
	err = g.onIssue(ctx, repo, number, login, RoleWrite, false, func(_ *change, is *issue) error {
		copied = *is
		copied.labels, copied.history, copied.comments = slices.Clone(is.labels), slices.Clone(is.history), slices.Clone(is.comments)
		copied.course = slices.Clone(is.course)
		is.object(&oldIssue, "", g, source)
		source.object(&oldRepo, "", nil)
		return nil
	})
	if err != nil {
		return 0, err
	}
	var newNumber int
	var newIssue, newRepo document
	var location string
	err = g.act(ctx, to, login, RoleWrite, func(c *change) error {
		is := &copied
		is.suggestions = nil
		is.id, is.number, is.sequence, is.updated = g.ids.issue.Add(1), len(target.issues)+1, 0, c.now
		is.labels = slices.DeleteFunc(is.labels, func(l *label) bool { return target.labels[strings.ToLower(l.name)] == nil })
		for i, l := range is.labels {
			is.labels[i] = target.labels[strings.ToLower(l.name)]
		}
		for i, old := range is.comments {
			moved := *old
			moved.issue = is
			is.comments[i] = &moved
			target.comments[moved.id] = &moved
		}
		target.issues = append(target.issues, is)
		if is.state == "open" {
			target.openIssues++
		}
		newNumber = is.number
		location = target.apiURL + "/issues/" + itoa(is.number)
		is.object(&newIssue, "", g, target)
		target.object(&newRepo, "", nil)
		c.emit("issues", "opened", is, "transferred from "+repo, func(d *document) {
			d.object("changes")
			d.raw("old_issue", oldIssue)
			d.raw("old_repository", oldRepo)
			d.end('}')
		})
		return nil
	})
	if err != nil {
		return 0, err
	}
	return newNumber, g.onIssue(ctx, repo, number, login, RoleWrite, false, func(c *change, is *issue) error {
		c.emit("issues", "transferred", is, to, func(d *document) {
			d.object("changes")
			d.raw("new_issue", newIssue)
			d.raw("new_repository", newRepo)
			d.end('}')
		})
		is.movedTo = location
		if is.state == "open" {
			source.openIssues--
		}
		for _, m := range is.comments {
			delete(source.comments, m.id)
		}
		return nil
	})
}

// CreateLabel adds a label to a repository. It needs the write role.
func (g *GitHub) CreateLabel(ctx context.Context, repo, login string, l Label) error {
	return g.act(ctx, repo, login, RoleWrite, func(c *change) error {
		_, err := c.createLabel(l)
		return err
	})
}

// EditLabel replaces a label's name, colour and description; the issues that have it keep it. It needs the write role.
func (g *GitHub) EditLabel(ctx context.Context, repo, login, name string, to Label) error {
	return g.act(ctx, repo, login, RoleWrite, func(c *change) error {
		old, err := c.findLabel(name)
		if err == nil {
			_, err = c.editLabel(old, to)
		}
		return err
	})
}

// DeleteLabel removes a label from a repository and from its issues. It needs the write role.
func (g *GitHub) DeleteLabel(ctx context.Context, repo, login, name string) error {
	return g.act(ctx, repo, login, RoleWrite, func(c *change) error {
		l, err := c.findLabel(name)
		if err == nil {
			c.deleteLabel(l)
		}
		return err
	})
}
