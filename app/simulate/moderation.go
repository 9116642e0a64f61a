package simulate

import (
	"context"
	"fmt"
	"slices"
)

// onComment is onIssue for a comment, by its ID. Its author may change it, and who has the write role.
func (g *GitHub) onComment(ctx context.Context, repo string, id int64, login string, f func(*change, *comment) error) error {
	return g.act(ctx, repo, login, RoleRead, func(c *change) error {
		m := c.repo.comments[id]
		if m == nil {
			return fmt.Errorf("%w: no comment %d in %s", ErrNotFound, id, repo)
		}
		if m.author != c.actor {
			if err := c.require(RoleWrite); err != nil {
				return err
			}
		}
		return f(c, m)
	})
}

// EditComment changes a comment's body.
func (g *GitHub) EditComment(ctx context.Context, repo string, id int64, login, body string) error {
	return g.onComment(ctx, repo, id, login, func(c *change, m *comment) error { return c.editComment(m, body) })
}

// DeleteComment deletes a comment.
func (g *GitHub) DeleteComment(ctx context.Context, repo string, id int64, login string) error {
	return g.onComment(ctx, repo, id, login, func(c *change, m *comment) error {
		c.deleteComment(m)
		return nil
	})
}

// Assign gives an issue to somebody. It needs the triage role; assigning who is assigned already changes nothing.
func (g *GitHub) Assign(ctx context.Context, repo string, number int, login, assignee string) error {
	return g.assign(ctx, repo, number, login, assignee, true)
}

// Unassign takes an issue from somebody. It needs the triage role.
func (g *GitHub) Unassign(ctx context.Context, repo string, number int, login, assignee string) error {
	return g.assign(ctx, repo, number, login, assignee, false)
}

func (g *GitHub) assign(ctx context.Context, repo string, number int, login, assignee string, on bool) error {
	who, err := g.person(assignee)
	if err != nil {
		return err
	}
	return g.onIssue(ctx, repo, number, login, RoleTriage, false, func(c *change, is *issue) error {
		at := slices.Index(is.assignees, who)
		if at >= 0 == on {
			return nil
		}
		action := "assigned"
		if on {
			is.assignees = append(slices.Clone(is.assignees), who)
		} else {
			action = "unassigned"
			is.assignees = slices.Delete(slices.Clone(is.assignees), at, at+1)
		}
		c.touch(is)
		c.remember(is, occurrence{kind: action, assignee: who})
		c.emit("issues", action, is, who.login, func(d *document) { d.raw("assignee", who.simple) })
		return nil
	})
}

// Pin shows an issue at the top of the list, Unpin ends that. Both need the write role.
func (g *GitHub) Pin(ctx context.Context, repo string, number int, login string) error {
	return g.mark(ctx, repo, number, login, "pinned", func(is *issue) *bool { return &is.pinned }, true)
}

// Unpin takes an issue from the top of the list.
func (g *GitHub) Unpin(ctx context.Context, repo string, number int, login string) error {
	return g.mark(ctx, repo, number, login, "unpinned", func(is *issue) *bool { return &is.pinned }, false)
}

// Lock leaves commenting to those with the write role, and to the App. It needs the write role.
func (g *GitHub) Lock(ctx context.Context, repo string, number int, login string) error {
	return g.mark(ctx, repo, number, login, "locked", func(is *issue) *bool { return &is.locked }, true)
}

// Unlock lets everybody comment again. It needs the write role.
func (g *GitHub) Unlock(ctx context.Context, repo string, number int, login string) error {
	return g.mark(ctx, repo, number, login, "unlocked", func(is *issue) *bool { return &is.locked }, false)
}

func (g *GitHub) mark(ctx context.Context, repo string, number int, login, action string, mark func(*issue) *bool, on bool) error {
	return g.onIssue(ctx, repo, number, login, RoleWrite, false, func(c *change, is *issue) error {
		if *mark(is) == on {
			return nil
		}
		if is.pull && mark(is) == &is.pinned {
			return fmt.Errorf("%w: only issues are pinned", ErrInvalid)
		}
		*mark(is) = on
		c.touch(is)
		c.remember(is, occurrence{kind: action})
		c.emit("issues", action, is, "", nil)
		return nil
	})
}
