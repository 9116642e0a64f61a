package simulate

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// issueType is a type of issues that an organisation has. It is immutable.
type issueType struct {
	id      int64
	name    string
	enabled bool
	object  []byte
	brief   document // as events have it
}

// IssueType is a type of issues that an organisation has.
type IssueType struct {
	Name        string
	Description string
	Color       string // "gray", "blue", "green", "yellow", "orange", "red", "pink" or "purple"; "gray" when empty
	Disabled    bool
}

// SetIssueTypes gives an organisation these types of issues in place of those it had; one of the same name keeps its
// ID. Issues keep the type they have. GitHub sends no event of it.
func (g *GitHub) SetIssueTypes(org string, types ...IssueType) error {
	owner := g.findAccount(org)
	if owner == nil || owner.kind != kindOrganization {
		return fmt.Errorf("%w: no organisation %q; create a repository of it first", ErrNotFound, org)
	}
	made := make([]*issueType, 0, len(types))
	for _, t := range types {
		if strings.TrimSpace(t.Name) == "" || slices.ContainsFunc(made, func(other *issueType) bool { return strings.EqualFold(other.name, t.Name) }) {
			return fmt.Errorf("%w: an issue type needs a name of its own, %q is none", ErrInvalid, t.Name)
		}
		if t.Color == "" {
			t.Color = "gray"
		}
		if !slices.Contains([]string{"gray", "blue", "green", "yellow", "orange", "red", "pink", "purple"}, t.Color) {
			return fmt.Errorf("%w: the colour %q of issue type %q", ErrInvalid, t.Color, t.Name)
		}
		fresh := &issueType{name: t.Name, enabled: !t.Disabled}
		if old := owner.anyIssueType(t.Name); old != nil {
			fresh.id = old.id
		} else {
			fresh.id = g.ids.issueType.Add(1)
		}
		fresh.render(t, g.now())
		made = append(made, fresh)
	}
	owner.issueTypes.Store(&made)
	return nil
}

func (t *issueType) render(from IssueType, at time.Time) {
	var d document
	d.begin('{')
	d.num("id", t.id)
	d.str("node_id", nodeID("IT", t.id))
	d.str("name", t.name)
	d.text("description", from.Description)
	d.str("color", from.Color)
	d.instant("created_at", at)
	d.instant("updated_at", at)
	d.flag("is_enabled", t.enabled)
	d.end('}')
	t.object = d
	t.brief.begin('{')
	t.brief.num("id", t.id)
	t.brief.str("name", t.name)
	t.brief.str("color", from.Color)
	t.brief.end('}')
}

func (a *account) allIssueTypes() []*issueType {
	if types := a.issueTypes.Load(); types != nil {
		return *types
	}
	return nil
}

func (a *account) anyIssueType(name string) *issueType {
	for _, t := range a.allIssueTypes() {
		if strings.EqualFold(t.name, name) {
			return t
		}
	}
	return nil
}

// issueType finds a type that issues may be given, or nil.
func (a *account) issueType(name string) *issueType {
	if t := a.anyIssueType(name); t != nil && t.enabled {
		return t
	}
	return nil
}

// SetIssueType gives an issue a type of its organisation, or none with an empty name, and sends issues.typed or untyped.
// It needs the triage role.
func (g *GitHub) SetIssueType(ctx context.Context, repo string, number int, login, name string) error {
	return g.onIssue(ctx, repo, number, login, RoleTriage, false, func(c *change, is *issue) error {
		t, err := c.findType(name)
		if err == nil {
			c.setType(is, t)
		}
		return err
	})
}

// findType finds the type of that name; the empty name is no type.
func (c *change) findType(name string) (*issueType, error) {
	if name == "" {
		return nil, nil
	}
	if t := c.repo.owner.issueType(name); t != nil {
		return t, nil
	}
	return nil, fmt.Errorf("%w: %s has no issue type %q", ErrInvalid, c.repo.owner.login, name)
}

// setType gives the issue a type, or none when it is nil.
func (c *change) setType(is *issue, t *issueType) {
	old := is.kind
	if old == t || old != nil && t != nil && old.id == t.id {
		return
	}
	is.kind = t
	c.touch(is)
	if t == nil {
		c.remember(is, occurrence{kind: "issue_type_removed", before: old})
		c.emit("issues", "untyped", is, old.name, func(d *document) { d.raw("type", old.object) })
		return
	}
	c.invalidate(is, "set_type", t.id)
	o := occurrence{kind: "issue_type_added", after: t}
	if old != nil {
		o.kind, o.before = "issue_type_changed", old
	}
	c.remember(is, o)
	c.emit("issues", "typed", is, t.name, func(d *document) { d.raw("type", t.object) })
}

// typeWish is the type in a request: a name, null for none, or an object with both and a reason.
type typeWish struct {
	given bool
	name  string
	why   intent
}

// UnmarshalJSON takes all three forms.
func (w *typeWish) UnmarshalJSON(b []byte) error {
	w.given = true
	if string(b) == "null" || json.Unmarshal(b, &w.name) == nil {
		return nil
	}
	var object struct {
		Value *string `json:"value"`
		intent
	}
	if err := json.Unmarshal(b, &object); err != nil {
		return fmt.Errorf("%s is not a type: it takes a name, null, or an object with a value", b)
	}
	if object.Value != nil {
		w.name = *object.Value
	}
	w.why = object.intent
	return nil
}

// mayType tells whether the caller has what counts as push access for types; without it a type is dropped silently.
func (c *call) mayType() bool {
	return allows(c.token.permissions, c.g.opts.IssueTypePermission, "write")
}

// checkType finds what a request wants of an issue's type, before anything else of the request is done.
func (c *call) checkType(ch *change, w typeWish) (*issueType, error) {
	if !w.given || !c.mayType() {
		return nil, nil
	}
	if err := w.why.validate(); err != nil {
		return nil, err
	}
	return ch.findType(w.name)
}

// giveType does what a request wants of an issue's type, with what checkType found.
func (c *call) giveType(ch *change, is *issue, w typeWish, t *issueType) error {
	if !w.given || !c.mayType() {
		return nil
	}
	if c.g.opts.Suggestions && w.why.Suggest && t != nil {
		return ch.suggest(is, "set_type", t.id, t.name, w.why)
	}
	ch.why = c.reason(w.why)
	ch.setType(is, t)
	ch.why = nil
	return nil
}

// reason is the intent to remember with a change, nil where this server knows none or none was given.
func (c *call) reason(n intent) *intent {
	if !c.g.opts.Suggestions || n.Rationale == "" && n.Confidence == "" {
		return nil
	}
	return &n
}

func listOrganizationTypes(c *call) reply {
	org := c.g.findAccount(c.path("org"))
	if org == nil || org.kind != kindOrganization {
		return notFound()
	}
	if org != c.inst.account || !allows(c.token.permissions, c.route.needs[0].permission, c.route.needs[0].level) {
		return c.forbidden()
	}
	return c.types(org)
}

// listRepositoryTypes lists the types of the repository's owner; a person's repository has none.
func listRepositoryTypes(c *call) reply {
	c.repo.mu.Lock()
	owner := c.repo.owner
	c.repo.mu.Unlock()
	if owner.kind != kindOrganization {
		return fail(http.StatusNotFound, "Not Found", c.route.docs)
	}
	return c.types(owner)
}

func (c *call) types(org *account) reply {
	var d document
	d.begin('[')
	for _, t := range org.allIssueTypes() {
		d.item(t.object)
	}
	d.end(']')
	return ok(d)
}
