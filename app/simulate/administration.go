package simulate

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// NewRepository describes a repository to create.
type NewRepository struct {
	Owner       string
	Name        string
	Description string
	Private     bool
	// Personal makes the owner a user instead of an organisation, when the account does not exist yet.
	Personal bool
	Labels   []Label
	// Roles gives people more than reading, by login.
	Roles map[string]Role
	// Files are the content of its first commit, by path. Without any the repository is empty.
	Files map[string]string
	// DefaultBranch is "main" when empty.
	DefaultBranch string
}

// CreateRepository creates a repository, and its owner's account where needed. An App installed on all repositories of
// the owner gets it at once, with installation_repositories.added and repository.created.
func (g *GitHub) CreateRepository(ctx context.Context, n NewRepository) error {
	kind := kindOrganization
	if n.Personal {
		kind = kindUser
	}
	if !validRepositoryName(n.Name) {
		return fmt.Errorf("%w: %q is not a repository name (letters, digits, '.', '-' and '_', 100 at most)", ErrInvalid, n.Name)
	}
	owner, err := g.account(n.Owner, kind)
	if err != nil {
		return err
	}
	id := g.ids.repository.Add(1)
	r := &repository{id: id, nodeID: nodeID("R", id), created: g.now(), updated: g.now(), pushed: g.now(), description: n.Description, private: n.Private,
		labels: map[string]*label{}, comments: map[int64]*comment{}, roles: map[*account]Role{}, changed: make(chan struct{}),
		defaultBranch: cmp.Or(n.DefaultBranch, "main"), branches: map[string]*commit{}, commits: map[string]*commit{}}
	if len(n.Files) > 0 {
		files, err := NewCommit{Files: n.Files}.apply(nil)
		if err != nil {
			return err
		}
		r.setBranch(r.defaultBranch, newCommit(nil, owner, "Initial commit", r.created, files))
	}
	for _, login := range slices.Sorted(maps.Keys(n.Roles)) {
		a, err := g.person(login)
		if err != nil {
			return err
		}
		r.roles[a] = n.Roles[login]
	}
	r.rename(g, owner, n.Name)
	for _, l := range n.Labels {
		if err := l.validate(); err != nil {
			return err
		}
		key := strings.ToLower(l.Name)
		if r.labels[key] != nil {
			return fmt.Errorf("%w: the label %q is given twice", ErrExists, l.Name)
		}
		r.labels[key] = g.newLabel(r, 0, l)
		r.labelOrder = append(r.labelOrder, r.labels[key])
	}
	key := strings.ToLower(owner.login + "/" + n.Name)
	var everywhere *installation
	g.mu.Lock()
	if g.repos[key] != nil {
		g.mu.Unlock()
		return fmt.Errorf("%w: repository %s/%s", ErrExists, n.Owner, n.Name)
	}
	delete(g.moved, key)
	g.repos[key], g.reposByID[id] = r, r
	g.reposByOwner[owner] = append(g.reposByOwner[owner], r)
	for _, inst := range g.installations {
		if inst.account == owner {
			everywhere = inst
		}
	}
	g.mu.Unlock()
	if everywhere == nil {
		return nil
	}
	everywhere.mu.Lock()
	all := everywhere.all
	everywhere.mu.Unlock()
	if !all {
		return nil
	}
	if err := g.adopt(ctx, everywhere, []*repository{r}); err != nil {
		return err
	}
	sender, err := g.administrator(owner, "")
	if err != nil {
		return err
	}
	return g.change(ctx, r, sender, false, func(c *change) error {
		c.emit("repository", "created", nil, "", nil)
		return nil
	})
}

func validRepositoryName(name string) bool {
	if name == "" || len(name) > 100 || name == "." || name == ".." {
		return false
	}
	return strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == "" && !strings.HasSuffix(name, ".git")
}

// SetRole changes what a person may do in a repository. GitHub sends no event of it.
func (g *GitHub) SetRole(repo, login string, role Role) error {
	r, err := g.repository(repo)
	if err != nil {
		return err
	}
	a, err := g.person(login)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if role == RoleNone {
		delete(r.roles, a)
	} else {
		r.roles[a] = role
	}
	return nil
}

// RenameRepository gives a repository another name; the old one redirects. It needs the admin role.
func (g *GitHub) RenameRepository(ctx context.Context, repo, login, name string) error {
	if !validRepositoryName(name) {
		return fmt.Errorf("%w: %q is not a repository name", ErrInvalid, name)
	}
	return g.moveRepository(ctx, repo, login, "", name)
}

// TransferRepository gives a repository to another account. It leaves the installation it was in and joins the new
// owner's, if that is on all repositories. It needs the admin role.
func (g *GitHub) TransferRepository(ctx context.Context, repo, login, owner string) error {
	return g.moveRepository(ctx, repo, login, owner, "")
}

func (g *GitHub) moveRepository(ctx context.Context, repo, login, ownerLogin, name string) error {
	r, err := g.repository(repo)
	if err != nil {
		return err
	}
	r.mu.Lock()
	oldOwner, oldName := r.owner, r.name
	r.mu.Unlock()
	owner := oldOwner
	if ownerLogin != "" {
		if owner, err = g.account(ownerLogin, kindOrganization); err != nil {
			return err
		}
	}
	if name == "" {
		name = oldName
	}
	person, err := g.person(login)
	if err != nil {
		return err
	}
	r.mu.Lock()
	role := r.role(person)
	r.mu.Unlock()
	if role < RoleAdmin {
		return fmt.Errorf("%w: %s needs the role admin in %s; give it with SetRole", ErrForbidden, login, repo)
	}
	oldKey, key := strings.ToLower(oldOwner.login+"/"+oldName), strings.ToLower(owner.login+"/"+name)
	g.mu.Lock()
	if g.repos[key] != nil {
		g.mu.Unlock()
		return fmt.Errorf("%w: repository %s/%s", ErrExists, owner.login, name)
	}
	delete(g.repos, oldKey)
	delete(g.moved, key)
	g.repos[key], g.moved[oldKey] = r, r.id
	var joins, leaves *installation
	if owner != oldOwner {
		g.reposByOwner[oldOwner] = slices.DeleteFunc(g.reposByOwner[oldOwner], func(other *repository) bool { return other == r })
		g.reposByOwner[owner] = append(g.reposByOwner[owner], r)
		leaves = r.installation.Load()
		for _, inst := range g.installations {
			if inst.account == owner {
				joins = inst
			}
		}
	}
	g.mu.Unlock()
	err = g.change(ctx, r, person, false, func(c *change) error {
		r.rename(g, owner, name)
		r.updated = c.now
		if owner == oldOwner {
			c.emit("repository", "renamed", nil, oldName, func(d *document) {
				d.object("changes")
				d.object("repository")
				from(d, "name", oldName)
				d.end('}')
				d.end('}')
			})
			return nil
		}
		c.emit("repository", "transferred", nil, oldOwner.login, func(d *document) {
			d.object("changes")
			d.object("owner")
			d.object("from")
			if org := oldOwner.organization(); org != nil {
				d.raw("organization", org)
			} else {
				d.raw("user", oldOwner.simple)
			}
			d.end('}')
			d.end('}')
			d.end('}')
		})
		return nil
	})
	if err != nil || owner == oldOwner {
		return err
	}
	if leaves != nil {
		if err := g.leave(ctx, leaves, r); err != nil {
			return err
		}
	}
	if joins == nil {
		return nil
	}
	joins.mu.Lock()
	all := joins.all
	joins.mu.Unlock()
	if all {
		return g.adopt(ctx, joins, []*repository{r})
	}
	return nil
}

// leave takes one repository out of an installation, whose selection stays as it is.
func (g *GitHub) leave(ctx context.Context, inst *installation, r *repository) error {
	sender, err := g.administrator(inst.account, "")
	if err != nil {
		return err
	}
	inst.mu.Lock()
	inst.repos = slices.DeleteFunc(inst.repos, func(other *repository) bool { return other == r })
	selection := inst.selection()
	inst.mu.Unlock()
	r.installation.CompareAndSwap(inst, nil)
	return g.tell(ctx, inst, sender, "installation_repositories", "removed", selectionChange(selection, nil, []*repository{r}))
}

// SetPrivate changes a repository's visibility and sends repository.privatized or publicized. It needs the admin role.
func (g *GitHub) SetPrivate(ctx context.Context, repo, login string, private bool) error {
	return g.act(ctx, repo, login, RoleAdmin, func(c *change) error {
		if c.repo.private == private {
			return nil
		}
		action := "publicized"
		if private {
			action = "privatized"
		}
		c.repo.private, c.repo.updated = private, c.now
		c.repo.prepare(g)
		c.emit("repository", action, nil, "", nil)
		return nil
	})
}

// SetArchived makes a repository read-only, for people and the App alike, or opens it again, and sends
// repository.archived or unarchived. It needs the admin role.
func (g *GitHub) SetArchived(ctx context.Context, repo, login string, archived bool) error {
	return g.administer(ctx, repo, login, func(c *change) error {
		if c.repo.archived == archived {
			return nil
		}
		action := "unarchived"
		if archived {
			action = "archived"
		}
		c.repo.archived, c.repo.updated = archived, c.now
		c.repo.prepare(g)
		c.emit("repository", action, nil, "", nil)
		return nil
	})
}

// DeleteRepository deletes a repository and sends repository.deleted. It needs the admin role.
func (g *GitHub) DeleteRepository(ctx context.Context, repo, login string) error {
	var gone *repository
	var owner *account
	var key string
	err := g.administer(ctx, repo, login, func(c *change) error {
		c.emit("repository", "deleted", nil, "", nil)
		c.repo.deleted = true
		gone, owner, key = c.repo, c.repo.owner, strings.ToLower(c.repo.fullName())
		return nil
	})
	if err != nil {
		return err
	}
	g.mu.Lock()
	delete(g.repos, key)
	delete(g.reposByID, gone.id)
	g.reposByOwner[owner] = slices.DeleteFunc(g.reposByOwner[owner], func(other *repository) bool { return other == gone })
	g.mu.Unlock()
	if inst := gone.installation.Load(); inst != nil {
		return g.leave(ctx, inst, gone)
	}
	return nil
}

// Ping sends the event that GitHub sends when a webhook is set up.
func (g *GitHub) Ping(ctx context.Context) error {
	if g.outbox.target() == "" {
		return fmt.Errorf("%w: no webhook URL is set", ErrInvalid)
	}
	stamp := g.clock.Now().Format(time.RFC3339)
	var d document
	d.begin('{')
	d.str("zen", "Anything added dilutes everything else.")
	d.num("hook_id", g.outbox.hookID)
	d.object("hook")
	d.str("type", "App")
	d.num("id", g.outbox.hookID)
	d.str("name", "web")
	d.flag("active", true)
	d.strings("events", g.asked().events)
	d.object("config")
	d.str("content_type", "json")
	d.str("insecure_ssl", "0")
	d.str("secret", "********")
	d.str("url", g.outbox.target())
	d.end('}')
	d.str("updated_at", stamp)
	d.str("created_at", stamp)
	d.num("app_id", g.opts.AppID)
	d.str("deliveries_url", g.apiURL+"/app/hook/deliveries")
	d.end('}')
	d.end('}')
	guid := g.guid(guidScope{kind: 'p', id: g.opts.AppID, sequence: g.pings.Add(1)})
	return g.outbox.enqueue(ctx, []*delivery{{guid: guid, event: "ping", payload: d}}, false)
}
