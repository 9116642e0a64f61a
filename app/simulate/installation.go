package simulate

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// installation is the App installed on one account.
type installation struct {
	id      int64
	nodeID  string
	account *account
	created time.Time
	limiter *limiter

	grant     atomic.Pointer[grant]
	suspended atomic.Bool
	removed   atomic.Bool

	mu          sync.Mutex
	all         bool // every repository of the account, later ones too
	repos       []*repository
	updated     time.Time
	suspendedAt time.Time
	suspendedBy *account
	tokens      []*token // oldest first
	sequence    uint64
}

// grant is what the owner agreed to; it is replaced, never changed.
type grant struct {
	permissions map[string]string
	events      []string
}

// token is an installation access token. It is immutable.
type token struct {
	secret      string
	inst        *installation
	permissions map[string]string
	repos       map[*repository]bool // nil: all of the installation's
	expires     time.Time
}

// The most tokens of one installation that live at a time; a further one revokes the oldest.
const maxTokens = 1000

// InstallOptions says what an owner grants when installing the App.
type InstallOptions struct {
	// Repositories are the names, without owner, of the repositories to install on; nil means all, later ones included.
	Repositories []string
	// Permissions granted, by name: "read" or "write". Nil means the App's own (Options.Permissions).
	Permissions map[string]string
	// Events subscribed to. Nil means the App's own (Options.Events).
	Events []string
	// Sender is the login of who does it; empty means the account itself, or its first administrator.
	Sender string
}

// Installation is a snapshot of one installation.
type Installation struct {
	ID           int64
	Account      string
	Repositories []string // full names, sorted
	All          bool
	Suspended    bool
	Permissions  map[string]string
	Events       []string
}

func (inst *installation) covers(r *repository) bool {
	return r.installation.Load() == inst && !inst.removed.Load()
}

// delivers tells whether an event of that name goes to the App's webhook for this installation.
func (g *GitHub) delivers(inst *installation, event string) bool {
	if inst == nil || inst.removed.Load() || g.outbox.target() == "" {
		return false
	}
	if event == "installation" {
		return true // as is installation_repositories: sent to every App without a subscription
	}
	if inst.suspended.Load() {
		return false
	}
	gr := inst.grant.Load()
	return event == "installation_repositories" || slices.Contains(gr.events, event) && gr.allowsEvent(event)
}

// allowsEvent applies the permission that GitHub asks for an event: without it the owner would not have been offered the event.
func (gr *grant) allowsEvent(event string) bool {
	switch event {
	case "issues":
		return allows(gr.permissions, "issues", "read")
	case "issue_comment", "label":
		return allows(gr.permissions, "issues", "read") || allows(gr.permissions, "pull_requests", "read")
	case "pull_request":
		return allows(gr.permissions, "pull_requests", "read")
	case "push":
		return allows(gr.permissions, "contents", "read")
	}
	return allows(gr.permissions, "metadata", "read")
}

func permissionLevel(level string) int {
	return slices.Index([]string{"read", "write", "admin"}, level) + 1
}

func allows(granted map[string]string, name, level string) bool {
	return permissionLevel(granted[name]) >= permissionLevel(level)
}

// Install installs the App on an account and sends installation.created. It returns the installation's ID.
func (g *GitHub) Install(ctx context.Context, account string, o InstallOptions) (int64, error) {
	owner := g.findAccount(account)
	if owner == nil {
		return 0, fmt.Errorf("%w: no account %q; create a repository of it first", ErrNotFound, account)
	}
	sender, err := g.administrator(owner, o.Sender)
	if err != nil {
		return 0, err
	}
	if o.Permissions == nil {
		o.Permissions = g.asked().permissions
	}
	if o.Events == nil {
		o.Events = g.asked().events
	}
	gr := &grant{permissions: maps.Clone(o.Permissions), events: slices.Clone(o.Events)}
	gr.permissions["metadata"] = "read" // mandatory for every App
	repos, err := g.selectRepositories(owner, o.Repositories)
	if err != nil {
		return 0, err
	}

	id := g.ids.installation.Add(1)
	inst := &installation{id: id, nodeID: nodeID("IN", id), account: owner, created: g.now(), updated: g.now(), all: o.Repositories == nil,
		repos: repos, limiter: &limiter{}}
	inst.grant.Store(gr)
	g.mu.Lock()
	for _, other := range g.installations {
		if other.account == owner {
			g.mu.Unlock()
			return 0, fmt.Errorf("%w: the App is installed on %s already, as installation %d", ErrExists, account, other.id)
		}
	}
	g.installations[id] = inst
	g.mu.Unlock()
	for _, r := range repos {
		r.installation.Store(inst)
	}
	return id, g.tell(ctx, inst, sender, "installation", "created", func(d *document) {
		briefs(d, "repositories", repos)
		d.null("requester")
	})
}

// administrator finds who acts for an account: the one named, the user itself, or somebody who administers a repository.
func (g *GitHub) administrator(owner *account, login string) (*account, error) {
	if login != "" {
		return g.person(login)
	}
	if owner.kind != kindOrganization {
		return owner, nil
	}
	g.mu.RLock()
	repos := slices.Clone(g.reposByOwner[owner])
	g.mu.RUnlock()
	for _, r := range repos {
		r.mu.Lock()
		var found *account
		for a, role := range r.roles {
			if role == RoleAdmin && (found == nil || a.id < found.id) {
				found = a
			}
		}
		r.mu.Unlock()
		if found != nil {
			return found, nil
		}
	}
	return g.person(strings.ToLower(owner.login) + "-admin")
}

func (g *GitHub) selectRepositories(owner *account, names []string) ([]*repository, error) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if names == nil {
		return slices.Clone(g.reposByOwner[owner]), nil
	}
	var repos []*repository
	for _, name := range names {
		r := g.repos[strings.ToLower(owner.login+"/"+name)]
		if r == nil {
			return nil, fmt.Errorf("%w: no repository %s/%s", ErrNotFound, owner.login, name)
		}
		if !slices.Contains(repos, r) {
			repos = append(repos, r)
		}
	}
	return repos, nil
}

// tell sends an event about an installation.
func (g *GitHub) tell(ctx context.Context, inst *installation, sender *account, event, action string, fill func(*document)) error {
	if g.opts.OnEvent != nil {
		g.opts.OnEvent(Event{At: g.now(), Event: event, Action: action, Actor: sender.login, Bot: sender.kind == kindBot, About: inst.account.login})
	}
	if !g.delivers(inst, event) && action != "deleted" || g.outbox.target() == "" {
		return nil
	}
	inst.mu.Lock()
	inst.sequence++
	guid := g.guid(guidScope{kind: 'i', id: inst.id, sequence: inst.sequence})
	var d document
	d.begin('{')
	d.str("action", action)
	d.key("installation")
	inst.object(&d, g, true)
	inst.mu.Unlock()
	fill(&d)
	d.raw("sender", sender.simple)
	d.end('}')
	return g.outbox.enqueue(ctx, []*delivery{{guid: guid, event: event, action: action, installation: inst.id, payload: d}}, false)
}

func briefs(d *document, name string, repos []*repository) {
	d.array(name)
	for _, r := range repos {
		r.mu.Lock()
		r.brief(d)
		r.mu.Unlock()
	}
	d.end(']')
}

// object writes the installation's JSON; the caller holds mu. Webhooks give its times as Unix seconds, the REST API as text.
func (inst *installation) object(d *document, g *GitHub, webhook bool) {
	gr := inst.grant.Load()
	id := itoa(int(inst.id))
	page := g.baseURL + "/settings/installations/" + id
	if inst.account.kind == kindOrganization {
		page = g.baseURL + "/organizations/" + inst.account.login + "/settings/installations/" + id
	}
	d.begin('{')
	d.num("id", inst.id)
	d.str("client_id", g.opts.ClientID)
	d.raw("account", inst.account.object())
	d.str("repository_selection", inst.selection())
	d.str("access_tokens_url", g.apiURL+"/app/installations/"+id+"/access_tokens")
	d.str("repositories_url", g.apiURL+"/installation/repositories")
	d.str("html_url", page)
	d.num("app_id", g.opts.AppID)
	d.str("app_slug", g.opts.AppSlug)
	d.num("target_id", inst.account.id)
	d.str("target_type", string(inst.account.kind))
	permissionsObject(d, gr.permissions)
	d.strings("events", gr.events)
	if webhook {
		d.num("created_at", inst.created.Unix())
		d.num("updated_at", inst.updated.Unix())
	} else {
		d.instant("created_at", inst.created)
		d.instant("updated_at", inst.updated)
	}
	if files := *g.singleFiles.Load(); len(files) > 0 && gr.permissions["single_file"] != "" {
		d.str("single_file_name", files[0])
		d.flag("has_multiple_single_files", len(files) > 1)
		d.strings("single_file_paths", files)
	} else {
		d.null("single_file_name")
		d.flag("has_multiple_single_files", false)
		d.strings("single_file_paths", nil)
	}
	d.raw("suspended_by", inst.suspendedBy.object())
	d.instant("suspended_at", inst.suspendedAt)
	d.end('}')
}

func (inst *installation) selection() string {
	if inst.all {
		return "all"
	}
	return "selected"
}

func permissionsObject(d *document, permissions map[string]string) {
	d.object("permissions")
	for _, name := range slices.Sorted(maps.Keys(permissions)) {
		d.str(name, permissions[name])
	}
	d.end('}')
}

func (g *GitHub) installation(id int64) (*installation, error) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if inst := g.installations[id]; inst != nil {
		return inst, nil
	}
	return nil, fmt.Errorf("%w: no installation %d", ErrNotFound, id)
}

// Uninstall removes the App from an account: its tokens end at once and installation.deleted is sent.
func (g *GitHub) Uninstall(ctx context.Context, id int64) error {
	inst, err := g.installation(id)
	if err != nil {
		return err
	}
	sender, err := g.administrator(inst.account, "")
	if err != nil {
		return err
	}
	g.mu.Lock()
	delete(g.installations, id)
	g.mu.Unlock()
	inst.removed.Store(true)
	inst.mu.Lock()
	repos, tokens := inst.repos, inst.tokens
	inst.repos, inst.tokens = nil, nil
	inst.mu.Unlock()
	for _, t := range tokens {
		g.tokens.Delete(t.secret)
	}
	for _, r := range repos {
		r.installation.CompareAndSwap(inst, nil)
	}
	return g.tell(ctx, inst, sender, "installation", "deleted", func(d *document) { briefs(d, "repositories", repos) })
}

// Suspend stops an installation: no webhooks of its repositories, and 403 to everything it asks. It sends installation.suspend.
func (g *GitHub) Suspend(ctx context.Context, id int64) error { return g.setSuspended(ctx, id, true) }

// Unsuspend ends a suspension and sends installation.unsuspend.
func (g *GitHub) Unsuspend(ctx context.Context, id int64) error {
	return g.setSuspended(ctx, id, false)
}

func (g *GitHub) setSuspended(ctx context.Context, id int64, suspended bool) error {
	inst, err := g.installation(id)
	if err != nil {
		return err
	}
	sender, err := g.administrator(inst.account, "")
	if err != nil {
		return err
	}
	if inst.suspended.Swap(suspended) == suspended {
		return nil
	}
	action := "unsuspend"
	inst.mu.Lock()
	inst.suspendedAt, inst.suspendedBy = time.Time{}, nil
	if suspended {
		action = "suspend"
		inst.suspendedAt, inst.suspendedBy = g.now(), sender
	}
	inst.updated = g.now()
	inst.mu.Unlock()
	return g.tell(ctx, inst, sender, "installation", action, func(*document) {})
}

// AcceptPermissions replaces what an installation grants and sends installation.new_permissions_accepted. Tokens issued
// before keep the permissions they were issued with.
func (g *GitHub) AcceptPermissions(ctx context.Context, id int64, permissions map[string]string, events []string) error {
	inst, err := g.installation(id)
	if err != nil {
		return err
	}
	sender, err := g.administrator(inst.account, "")
	if err != nil {
		return err
	}
	gr := &grant{permissions: maps.Clone(permissions), events: slices.Clone(events)}
	if gr.permissions == nil {
		gr.permissions = map[string]string{}
	}
	gr.permissions["metadata"] = "read"
	inst.grant.Store(gr)
	inst.mu.Lock()
	inst.updated = g.now()
	repos := slices.Clone(inst.repos)
	inst.mu.Unlock()
	return g.tell(ctx, inst, sender, "installation", "new_permissions_accepted", func(d *document) { briefs(d, "repositories", repos) })
}
