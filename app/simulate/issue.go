package simulate

import (
	"time"
)

// issue is an issue or a pull request; its repository's lock guards it.
type issue struct {
	id          int64
	number      int
	title, body string
	author      *account
	association string
	viaApp      bool
	pull        bool
	state       string // "open" or "closed"
	stateReason string
	locked      bool
	pinned      bool
	assignees   []*account
	kind        *issueType
	suggestions []*suggestion
	labels      []*label
	comments    []*comment
	created     time.Time
	updated     time.Time
	closed      time.Time
	closedBy    *account
	history     []occurrence
	course      []LabelStep
	written     []labelWrites
	sequence    uint64 // of webhooks about the issue, from which their GUIDs come
	deleted     bool
	movedTo     string // API path of the issue it became by a transfer
}

type comment struct {
	id          int64
	issue       *issue
	author      *account
	association string
	viaApp      bool
	body        string
	created     time.Time
	updated     time.Time
	reactions   []reaction
}

// occurrence is an entry of an issue's history, as the events and timeline endpoints list it.
type occurrence struct {
	id       int64
	kind     string // labeled, unlabeled, closed, reopened, renamed, transferred, assigned, ...
	actor    *account
	viaApp   bool
	label    *label
	assignee *account
	from, to string // of a rename
	before   *issueType
	after    *issueType
	why      *intent
	at       time.Time
}

// labelWrites counts how often the App's bot put a label on the issue.
type labelWrites struct {
	label string
	count int
}

func (is *issue) remember(o occurrence, bound int) {
	if bound <= 0 {
		return
	}
	if len(is.history) >= bound {
		is.history = append(is.history[:0], is.history[len(is.history)-bound+1:]...)
	}
	is.history = append(is.history, o)
}

func (is *issue) countWrite(name string) {
	for i := range is.written {
		if is.written[i].label == name {
			is.written[i].count++
			return
		}
	}
	is.written = append(is.written, labelWrites{name, 1})
}

func (is *issue) has(l *label) int {
	for i, on := range is.labels {
		if on == l {
			return i
		}
	}
	return -1
}

func (is *issue) labelObjects(d *document) {
	d.begin('[')
	for _, l := range is.labels {
		d.item(l.object)
	}
	d.end(']')
}

// object writes the issue's JSON as GitHub gives it both in webhooks and in its REST API.
func (is *issue) object(d *document, name string, g *GitHub, r *repository) {
	if name != "" {
		d.key(name)
	}
	number := itoa(is.number)
	api := r.apiURL + "/issues/" + number
	page := r.pageURL + "/issues/" + number
	if is.pull {
		page = r.pageURL + "/pull/" + number
	}
	d.begin('{')
	d.str("url", api)
	d.str("repository_url", r.apiURL)
	d.str("labels_url", api+"/labels{/name}")
	d.str("comments_url", api+"/comments")
	d.str("events_url", api+"/events")
	d.str("html_url", page)
	d.num("id", is.id)
	d.str("node_id", is.nodeID(r))
	is.content(d)
	if is.kind != nil {
		d.raw("type", is.kind.object)
	} else {
		d.null("type")
	}
	d.null("active_lock_reason")
	if is.pull {
		d.flag("draft", false)
		d.object("pull_request")
		d.str("url", r.apiURL+"/pulls/"+number)
		d.str("html_url", page)
		d.str("diff_url", page+".diff")
		d.str("patch_url", page+".patch")
		d.null("merged_at")
		d.end('}')
	} else {
		d.members([]byte(`"sub_issues_summary":{"total":0,"completed":0,"percent_completed":0},` +
			`"issue_dependencies_summary":{"blocked_by":0,"total_blocked_by":0,"blocking":0,"total_blocking":0}`))
	}
	reactions(d, api, nil)
	d.str("timeline_url", api+"/timeline")
	is.app(d, g)
	d.text("state_reason", is.stateReason)
	d.end('}')
}

// content writes the members that issues and pull requests have alike.
func (is *issue) content(d *document) {
	d.num("number", int64(is.number))
	d.str("title", is.title)
	d.raw("user", is.author.object())
	d.key("labels")
	is.labelObjects(d)
	d.str("state", is.state)
	d.flag("locked", is.locked)
	if len(is.assignees) > 0 {
		d.raw("assignee", is.assignees[0].object())
	} else {
		d.null("assignee")
	}
	d.array("assignees")
	for _, a := range is.assignees {
		if !a.deleted.Load() {
			d.item(a.simple)
		}
	}
	d.end(']')
	d.null("milestone")
	d.num("comments", int64(len(is.comments)))
	d.instant("created_at", is.created)
	d.instant("updated_at", is.updated)
	d.instant("closed_at", is.closed)
	d.str("author_association", is.association)
	d.text("body", is.body)
	d.raw("closed_by", is.closedBy.object())
}

func (is *issue) nodeID(r *repository) string {
	if is.pull {
		return nodeID("PR", r.id, is.id)
	}
	return nodeID("I", r.id, is.id)
}

func (is *issue) app(d *document, g *GitHub) {
	if is.viaApp {
		d.raw("performed_via_github_app", g.appObject)
	} else {
		d.null("performed_via_github_app")
	}
}

// pullRequest writes the JSON of a pull_request event.
func (is *issue) pullRequest(d *document, r *repository) {
	number := itoa(is.number)
	api, page := r.apiURL+"/pulls/"+number, r.pageURL+"/pull/"+number
	d.object("pull_request")
	d.str("url", api)
	d.num("id", is.id)
	d.str("node_id", is.nodeID(r))
	d.str("html_url", page)
	d.str("diff_url", page+".diff")
	d.str("patch_url", page+".patch")
	d.str("issue_url", r.apiURL+"/issues/"+number)
	is.content(d)
	d.str("commits_url", api+"/commits")
	d.str("comments_url", r.apiURL+"/issues/"+number+"/comments")
	for _, branch := range []struct{ name, ref string }{{"head", "change-" + number}, {"base", "main"}} {
		d.object(branch.name)
		d.str("label", r.owner.login+":"+branch.ref)
		d.str("ref", branch.ref)
		d.str("sha", "0000000000000000000000000000000000000000")
		d.raw("user", r.owner.object())
		r.object(d, "repo", nil)
		d.end('}')
	}
	d.flag("draft", false)
	d.flag("merged", false)
	d.null("merged_at")
	d.end('}')
}

func (m *comment) object(d *document, name string, g *GitHub, r *repository) {
	if name != "" {
		d.key(name)
	}
	id := itoa(int(m.id))
	api := r.apiURL + "/issues/comments/" + id
	number := itoa(m.issue.number)
	d.begin('{')
	d.str("url", api)
	d.str("html_url", r.pageURL+"/issues/"+number+"#issuecomment-"+id)
	d.str("issue_url", r.apiURL+"/issues/"+number)
	d.num("id", m.id)
	d.str("node_id", nodeID("IC", r.id, m.id))
	d.raw("user", m.author.object())
	d.instant("created_at", m.created)
	d.instant("updated_at", m.updated)
	d.str("author_association", m.association)
	d.str("body", m.body)
	reactions(d, api, m.reactions)
	if m.viaApp {
		d.raw("performed_via_github_app", g.appObject)
	} else {
		d.null("performed_via_github_app")
	}
	d.end('}')
}

func (o occurrence) object(d *document, g *GitHub, r *repository) {
	d.begin('{')
	d.num("id", o.id)
	d.str("node_id", nodeID("LE", r.id, o.id))
	d.str("url", r.apiURL+"/issues/events/"+itoa(int(o.id)))
	d.raw("actor", o.actor.object())
	d.str("event", o.kind)
	d.null("commit_id")
	d.null("commit_url")
	d.instant("created_at", o.at)
	if o.label != nil {
		d.object("label")
		d.str("name", o.label.name)
		d.str("color", o.label.color)
		d.end('}')
	}
	if o.after != nil {
		d.raw("issue_type", o.after.brief)
	}
	if o.before != nil {
		d.raw("prev_issue_type", o.before.brief)
	}
	if g.opts.Suggestions && o.kind != "renamed" && o.kind != "transferred" {
		if o.why != nil {
			d.object("intent")
			o.why.members(d)
			d.end('}')
		} else {
			d.null("intent")
		}
	}
	if o.assignee != nil {
		d.raw("assignee", o.assignee.object())
		d.raw("assigner", o.actor.object())
	}
	if o.kind == "renamed" {
		d.object("rename")
		d.str("from", o.from)
		d.str("to", o.to)
		d.end('}')
	}
	if o.viaApp {
		d.raw("performed_via_github_app", g.appObject)
	} else {
		d.null("performed_via_github_app")
	}
	d.end('}')
}
