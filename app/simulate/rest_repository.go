package simulate

import (
	"net/http"
	"slices"
	"strings"
)

func getUser(c *call) reply {
	a := c.g.findAccount(c.path("login"))
	if a == nil {
		return notFound()
	}
	var d document
	d.begin('{')
	d.members(a.simple[1 : len(a.simple)-1])
	d.str("name", a.login)
	for _, name := range []string{"company", "location", "email", "hireable", "bio", "twitter_username"} {
		d.null(name)
	}
	d.str("blog", "")
	c.g.mu.RLock()
	d.num("public_repos", int64(len(c.g.reposByOwner[a])))
	c.g.mu.RUnlock()
	d.num("public_gists", 0)
	d.num("followers", 0)
	d.num("following", 0)
	d.instant("created_at", c.g.created)
	d.instant("updated_at", c.g.created)
	d.end('}')
	return changed(d, c.g.created)
}

func listRepositories(c *call) reply {
	c.inst.mu.Lock()
	repos := slices.Clone(c.inst.repos)
	selection := c.inst.selection()
	c.inst.mu.Unlock()
	if c.token.repos != nil {
		repos = slices.DeleteFunc(repos, func(r *repository) bool { return !c.token.repos[r] })
		selection = "selected"
	}
	w := c.window(len(repos))
	var d document
	d.begin('{')
	d.num("total_count", int64(len(repos)))
	d.str("repository_selection", selection)
	d.array("repositories")
	for _, r := range repos[w.first:w.last] {
		r.mu.Lock()
		r.object(&d, "", c.rights)
		r.mu.Unlock()
	}
	d.end(']')
	d.end('}')
	return c.listed(w, d)
}

// rights is the "permissions" member of a repository as an App sees it.
func (c *call) rights(d *document) {
	write := allows(c.token.permissions, "contents", "write")
	d.object("permissions")
	d.flag("admin", false)
	d.flag("maintain", false)
	d.flag("push", write)
	d.flag("triage", write)
	d.flag("pull", true)
	d.end('}')
}

func getRepository(c *call) reply {
	d := make(document, 0, 8<<10)
	c.repo.mu.Lock()
	defer c.repo.mu.Unlock()
	c.repo.object(&d, "", func(d *document) {
		c.rights(d)
		d.num("network_count", 0)
		d.num("subscribers_count", 0)
		c.repo.properties(d)
	})
	return changed(d, c.repo.updated)
}

// getPermission reports triage as "read" and maintain as "write" in "permission", as GitHub does; "role_name" and the
// user's permissions tell them apart.
func getPermission(c *call) reply {
	a := c.g.findAccount(c.path("login"))
	if a == nil || a.kind == kindOrganization {
		return fail(http.StatusNotFound, c.path("login")+" is not a user", c.route.docs)
	}
	c.repo.mu.Lock()
	role := c.repo.role(a)
	c.repo.mu.Unlock()
	permission := role.String()
	switch role {
	case RoleTriage:
		permission = "read"
	case RoleMaintain:
		permission = "write"
	}
	var d document
	d.begin('{')
	d.str("permission", permission)
	d.object("user")
	d.members(a.simple[1 : len(a.simple)-1])
	d.object("permissions")
	d.flag("admin", role >= RoleAdmin)
	d.flag("maintain", role >= RoleMaintain)
	d.flag("push", role >= RoleWrite)
	d.flag("triage", role >= RoleTriage)
	d.flag("pull", role >= RoleRead)
	d.end('}')
	d.str("role_name", role.String())
	d.end('}')
	d.str("role_name", role.String())
	d.end('}')
	return ok(d)
}

func listLabels(c *call) reply {
	c.repo.mu.Lock()
	defer c.repo.mu.Unlock()
	return c.labels(c.repo.labelOrder)
}

func (c *call) labels(labels []*label) reply {
	w := c.window(len(labels))
	var d document
	d.begin('[')
	for _, l := range labels[w.first:w.last] {
		d.item(l.object)
	}
	d.end(']')
	return c.listed(w, d)
}

func getLabel(c *call) reply {
	c.repo.mu.Lock()
	defer c.repo.mu.Unlock()
	if l := c.repo.labels[strings.ToLower(c.path("name"))]; l != nil {
		return ok(l.object)
	}
	return fail(http.StatusNotFound, "Not Found", c.route.docs)
}

func createLabel(c *call) reply {
	var asked Label
	if out := c.decode(&asked); out != nil {
		return *out
	}
	if asked.Name == "" {
		return c.invalid("Label", "name", "missing_field", "")
	}
	var made *label
	err := c.act(func(ch *change) (err error) {
		made, err = ch.createLabel(asked)
		return err
	})
	if err != nil {
		return c.failed(err, "Label", "name")
	}
	out := created(made.object)
	out.header = http.Header{"Location": {c.g.apiURL + c.r.URL.Path + "/" + escapePath(made.name)}}
	return out
}

func updateLabel(c *call) reply {
	var asked struct {
		NewName     *string `json:"new_name"`
		Name        *string `json:"name"`
		Color       *string `json:"color"`
		Description *string `json:"description"`
	}
	if out := c.decode(&asked); out != nil {
		return *out
	}
	var made *label
	err := c.act(func(ch *change) error {
		old, err := ch.findLabel(c.path("name"))
		if err != nil {
			return err
		}
		to := Label{Name: old.name, Color: old.color, Description: old.description}
		for _, field := range []struct{ to, asked *string }{
			{&to.Name, asked.Name}, {&to.Name, asked.NewName}, {&to.Color, asked.Color}, {&to.Description, asked.Description},
		} {
			if field.asked != nil {
				*field.to = *field.asked
			}
		}
		made, err = ch.editLabel(old, to)
		return err
	})
	if err != nil {
		return c.failed(err, "Label", "name")
	}
	return ok(made.object)
}

func deleteLabel(c *call) reply {
	err := c.act(func(ch *change) error {
		l, err := ch.findLabel(c.path("name"))
		if err == nil {
			ch.deleteLabel(l)
		}
		return err
	})
	if err != nil {
		return c.failed(err, "Label", "name")
	}
	return noContent()
}

// act changes the call's repository in the name of the App's bot.
func (c *call) act(f func(*change) error) error {
	return c.g.change(c.r.Context(), c.repo, c.g.bot, true, func(ch *change) error {
		if err := ch.writable(); err != nil {
			return err
		}
		return f(ch)
	})
}
