package simulate

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// repository is one repository and everything in it. mu guards all below it; whoever holds it must not take GitHub.mu.
type repository struct {
	id      int64
	nodeID  string
	created time.Time

	// installation is the App's installation that covers the repository, nil when it is not installed there.
	installation atomic.Pointer[installation]

	mu          sync.Mutex
	owner       *account
	name        string
	description string
	private     bool
	archived    bool
	deleted     bool
	fixed       document // the members of its JSON that rarely change, without braces
	apiURL      string   // ".../repos/{owner}/{name}"
	pageURL     string
	labels      map[string]*label // by lower-case name
	labelOrder  []*label          // by creation
	issues      []*issue          // issues[n-1] is number n
	comments    map[int64]*comment
	roles       map[*account]Role
	openIssues  int64
	updated     time.Time
	pushed      time.Time

	defaultBranch string
	branches      map[string]*commit // by name; none while the repository is empty
	commits       map[string]*commit // by SHA
	checks        []*checkRun        // by ID

	sequence uint64        // of events that belong to no issue
	waiters  int           // of WaitFor
	changed  chan struct{} // closed and replaced on a change while somebody waits
}

// Role is what a person may do in a repository; each includes those before it.
type Role int

// The roles of repositories, https://docs.github.com/organizations/managing-user-access-to-your-organizations-repositories/managing-repository-roles.
const (
	RoleNone Role = iota
	RoleRead
	RoleTriage
	RoleWrite
	RoleMaintain
	RoleAdmin
)

// String is the role's name in GitHub's API ("role_name").
func (r Role) String() string {
	return [...]string{"none", "read", "triage", "write", "maintain", "admin"}[min(max(r, RoleNone), RoleAdmin)]
}

// label is immutable once published: an edit puts a new one in its place.
type label struct {
	id          int64
	name        string
	color       string
	description string
	isDefault   bool
	object      []byte
}

// Label is a label of a repository.
type Label struct {
	Name        string `json:"name"`
	Color       string `json:"color"` // six hexadecimal digits; "ededed" when empty
	Description string `json:"description"`
}

// isDefaultLabel tells the labels GitHub gives to a new repository; their "default" member is true.
func isDefaultLabel(name string) bool {
	switch name {
	case "bug", "documentation", "duplicate", "enhancement", "good first issue", "help wanted", "invalid", "question", "wontfix":
		return true
	}
	return false
}

func (g *GitHub) newLabel(r *repository, id int64, l Label) *label {
	if id == 0 {
		id = g.ids.label.Add(1)
	}
	made := &label{id: id, name: l.Name, color: strings.ToLower(l.Color), description: l.Description,
		isDefault: isDefaultLabel(l.Name)}
	if made.color == "" {
		made.color = "ededed"
	}
	made.render(r)
	return made
}

func (l *label) render(r *repository) {
	var d document
	d.begin('{')
	d.num("id", l.id)
	d.str("node_id", nodeID("LA", r.id, l.id))
	d.str("url", r.apiURL+"/labels/"+escapePath(l.name))
	d.str("name", l.name)
	d.str("color", l.color)
	d.flag("default", l.isDefault)
	d.text("description", l.description)
	d.end('}')
	l.object = d
}

func (l Label) validate() error {
	switch {
	case strings.TrimSpace(l.Name) == "":
		return fmt.Errorf("%w: a label needs a name", ErrInvalid)
	case len([]rune(l.Name)) > 50:
		return fmt.Errorf("%w: the label name %q is longer than 50 characters", ErrInvalid, l.Name)
	case len([]rune(l.Description)) > 100:
		return fmt.Errorf("%w: the description of label %q is longer than 100 characters", ErrInvalid, l.Name)
	case l.Color != "" && !isColor(l.Color):
		return fmt.Errorf("%w: the colour %q of label %q is not six hexadecimal digits", ErrInvalid, l.Color, l.Name)
	}
	return nil
}

func isColor(s string) bool {
	return len(s) == 6 && strings.Trim(strings.ToLower(s), hexDigits) == ""
}

// rename gives the repository another owner or name and prepares its JSON anew. The caller holds mu, or nobody else has r.
func (r *repository) rename(g *GitHub, owner *account, name string) {
	r.owner, r.name = owner, name
	r.apiURL = g.apiURL + "/repos/" + owner.login + "/" + name
	r.pageURL = g.baseURL + "/" + owner.login + "/" + name
	r.prepare(g)
	for i, old := range r.labelOrder {
		fresh := *old
		fresh.render(r)
		r.replaceLabel(i, &fresh)
	}
}

// replaceLabel puts fresh where the label of that index was, on the issues too: GitHub keeps a renamed label on its issues.
func (r *repository) replaceLabel(at int, fresh *label) {
	old := r.labelOrder[at]
	delete(r.labels, strings.ToLower(old.name))
	r.labels[strings.ToLower(fresh.name)] = fresh
	r.labelOrder[at] = fresh
	for _, is := range r.issues {
		if at := slices.Index(is.labels, old); at >= 0 {
			is.labels[at] = fresh
		}
	}
}

func (r *repository) fullName() string { return r.owner.login + "/" + r.name }

// path is the repository's name for people who do not hold its lock.
func (r *repository) path() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.fullName()
}

func (r *repository) prepare(g *GitHub) {
	var d document
	full := r.fullName()
	visibility := "public"
	if r.private {
		visibility = "private"
	}
	d.num("id", r.id)
	d.str("node_id", r.nodeID)
	d.str("name", r.name)
	d.str("full_name", full)
	d.flag("private", r.private)
	d.str("html_url", r.pageURL)
	d.text("description", r.description)
	d.flag("fork", false)
	d.str("url", r.apiURL)
	for _, link := range []struct{ name, path string }{
		{"forks_url", "/forks"}, {"keys_url", "/keys{/key_id}"}, {"collaborators_url", "/collaborators{/collaborator}"},
		{"teams_url", "/teams"}, {"hooks_url", "/hooks"}, {"issue_events_url", "/issues/events{/number}"}, {"events_url", "/events"},
		{"assignees_url", "/assignees{/user}"}, {"branches_url", "/branches{/branch}"}, {"tags_url", "/tags"},
		{"blobs_url", "/git/blobs{/sha}"}, {"git_tags_url", "/git/tags{/sha}"}, {"git_refs_url", "/git/refs{/sha}"},
		{"trees_url", "/git/trees{/sha}"}, {"statuses_url", "/statuses/{sha}"}, {"languages_url", "/languages"},
		{"stargazers_url", "/stargazers"}, {"contributors_url", "/contributors"}, {"subscribers_url", "/subscribers"},
		{"subscription_url", "/subscription"}, {"commits_url", "/commits{/sha}"}, {"git_commits_url", "/git/commits{/sha}"},
		{"comments_url", "/comments{/number}"}, {"issue_comment_url", "/issues/comments{/number}"},
		{"contents_url", "/contents/{+path}"}, {"compare_url", "/compare/{base}...{head}"}, {"merges_url", "/merges"},
		{"archive_url", "/{archive_format}{/ref}"}, {"downloads_url", "/downloads"}, {"issues_url", "/issues{/number}"},
		{"pulls_url", "/pulls{/number}"}, {"milestones_url", "/milestones{/number}"},
		{"notifications_url", "/notifications{?since,all,participating}"}, {"labels_url", "/labels{/name}"},
		{"releases_url", "/releases{/id}"}, {"deployments_url", "/deployments"},
	} {
		d.str(link.name, r.apiURL+link.path)
	}
	host := strings.TrimPrefix(strings.TrimPrefix(g.baseURL, "http://"), "https://")
	d.str("git_url", "git://"+host+"/"+full+".git")
	d.str("ssh_url", "git@"+host+":"+full+".git")
	d.str("clone_url", r.pageURL+".git")
	d.str("svn_url", r.pageURL)
	d.null("homepage")
	d.num("size", 0)
	for _, count := range []string{"stargazers_count", "watchers_count", "forks_count", "forks", "watchers"} {
		d.num(count, 0)
	}
	d.null("language")
	for _, feature := range []string{"has_issues", "has_projects", "has_downloads", "has_wiki"} {
		d.flag(feature, true)
	}
	for _, feature := range []string{"has_pages", "has_discussions", "disabled", "is_template", "web_commit_signoff_required"} {
		d.flag(feature, false)
	}
	d.flag("archived", r.archived)
	d.null("mirror_url")
	d.null("license")
	d.flag("allow_forking", true)
	d.array("topics")
	d.end(']')
	d.str("visibility", visibility)
	d.str("default_branch", r.defaultBranch)
	r.fixed = d
}

// object writes the repository's JSON as the next member called name, or as the next element when name is empty, as
// lists and tokens have it.
func (r *repository) object(d *document, name string, more func(*document)) {
	if name != "" {
		d.key(name)
	}
	d.begin('{')
	d.members(r.fixed)
	d.num("open_issues_count", r.openIssues)
	d.num("open_issues", r.openIssues)
	d.raw("owner", r.owner.simple)
	d.instant("created_at", r.created)
	d.instant("updated_at", r.updated)
	d.instant("pushed_at", r.pushed)
	if more != nil {
		more(d)
	}
	d.end('}')
}

// properties is what webhooks, and the repository when it is asked for alone, have besides.
func (r *repository) properties(d *document) {
	d.object("custom_properties")
	d.end('}')
}

// pushObject writes the repository as a push event has it: times in Unix seconds, an owner with a name and an address.
func (r *repository) pushObject(d *document) {
	d.object("repository")
	d.members(r.fixed)
	d.num("open_issues_count", r.openIssues)
	d.num("open_issues", r.openIssues)
	d.object("owner")
	d.str("name", r.owner.login)
	d.str("email", r.owner.email())
	d.members(r.owner.simple[1 : len(r.owner.simple)-1])
	d.end('}')
	d.num("created_at", r.created.Unix())
	d.instant("updated_at", r.updated)
	d.num("pushed_at", r.pushed.Unix())
	d.num("stargazers", 0)
	d.str("master_branch", r.defaultBranch)
	r.properties(d)
	if r.owner.kind == kindOrganization {
		d.str("organization", r.owner.login)
	}
	d.end('}')
}

// brief is the short form of a repository in installation events.
func (r *repository) brief(d *document) {
	d.begin('{')
	d.num("id", r.id)
	d.str("node_id", r.nodeID)
	d.str("name", r.name)
	d.str("full_name", r.fullName())
	d.flag("private", r.private)
	d.end('}')
}

func (r *repository) issue(number int) (*issue, error) {
	if number < 1 || number > len(r.issues) {
		return nil, fmt.Errorf("%w: no issue %s#%d", ErrNotFound, r.fullName(), number)
	}
	is := r.issues[number-1]
	switch {
	case is.deleted:
		return nil, fmt.Errorf("%w: %s#%d was deleted", ErrGone, r.fullName(), number)
	case is.movedTo != "":
		return nil, fmt.Errorf("%w: %s#%d was transferred to %s", ErrGone, r.fullName(), number, is.movedTo)
	}
	return is, nil
}

// role is what a person may do here; everybody reads a public repository.
func (r *repository) role(a *account) Role {
	if a == nil || a.deleted.Load() {
		return RoleNone
	}
	if a == r.owner {
		return RoleAdmin
	}
	role := r.roles[a]
	if role < RoleRead && !r.private {
		return RoleRead
	}
	return role
}

func (r *repository) association(a *account) string {
	switch {
	case a == nil:
		return "NONE"
	case a == r.owner:
		return "OWNER"
	case r.roles[a] > RoleNone && r.owner.kind == kindOrganization:
		return "MEMBER"
	case r.roles[a] > RoleNone:
		return "COLLABORATOR"
	}
	return "NONE"
}

// notify wakes those who wait for a change of the repository.
func (r *repository) notify() {
	if r.waiters > 0 {
		close(r.changed)
		r.changed = make(chan struct{})
	}
}

// escapePath escapes a path segment the way GitHub's own URLs do: spaces and slashes are escaped, a colon is not.
func escapePath(s string) string {
	const upperHex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("-_.~:!$&'()*,;=@", c) >= 0:
			b.WriteByte(c)
		default:
			b.WriteByte('%')
			b.WriteByte(upperHex[c>>4])
			b.WriteByte(upperHex[c&0xf])
		}
	}
	return b.String()
}

func itoa(n int) string { return strconv.Itoa(n) }
