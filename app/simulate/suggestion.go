package simulate

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// intent is why an agent makes a change, as newer servers take it along with the change.
type intent struct {
	Rationale  string `json:"rationale"`
	Confidence string `json:"confidence"` // "low", "medium", "high" or nothing
	Suggest    bool   `json:"suggest"`    // propose the change instead of making it
}

// GitHub's limit on the reason for a change.
const maxRationale = 280

func (n intent) validate() error {
	switch {
	case n.Confidence != "" && !slices.Contains([]string{"low", "medium", "high"}, n.Confidence):
		return fmt.Errorf("%w: the confidence %q is not one of low, medium and high", ErrInvalid, n.Confidence)
	case utf8.RuneCountInString(n.Rationale) > maxRationale:
		return fmt.Errorf("%w: the rationale is longer than %d characters", ErrInvalid, maxRationale)
	}
	return nil
}

// members writes the intent's members as REST answers have them, the confidence in capitals.
func (n intent) members(d *document) {
	d.text("rationale", n.Rationale)
	d.text("confidence", strings.ToUpper(n.Confidence))
}

// suggestion is a change that somebody proposed to an issue; its repository's lock guards it.
type suggestion struct {
	id       int64
	action   string // "add_label" or "set_type"
	target   int64  // ID of the label or the type
	value    string // the type's name
	intent   intent
	actor    *account
	state    string
	event    int64 // of the history, once approved
	resolver *account
	created  time.Time
	updated  time.Time
}

// The states of a suggestion.
const (
	suggestionPending     = "pending"
	suggestionApproved    = "approved"
	suggestionDismissed   = "dismissed"
	suggestionReplaced    = "replaced"
	suggestionInvalidated = "invalidated"
)

// The most suggestions kept of one issue; the oldest go first.
const maxSuggestions = 1000

// Suggestion is a snapshot of a change proposed to an issue.
type Suggestion struct {
	ID         int64
	Action     string // "add_label" or "set_type"
	Label      string // of add_label; empty when the label was deleted
	Type       string // of set_type
	State      string // "pending", "approved", "dismissed", "replaced" or "invalidated"
	Rationale  string
	Confidence string // "low", "medium", "high" or empty
	Actor      string // login of who proposed it
	ResolvedBy string // login of who approved or dismissed it
}

// Suggestions returns the changes proposed to an issue in whatever state, oldest first.
func (g *GitHub) Suggestions(repo string, number int) (all []Suggestion, err error) {
	err = g.view(repo, number, func(r *repository, is *issue) {
		for _, s := range is.suggestions {
			one := Suggestion{ID: s.id, Action: s.action, Type: s.value, State: s.state, Rationale: s.intent.Rationale, Confidence: s.intent.Confidence,
				Actor: s.actor.name(), ResolvedBy: s.resolver.name()}
			if l := r.labelByID(s.target); l != nil && s.action == "add_label" {
				one.Label = l.name
			}
			all = append(all, one)
		}
	})
	return all, err
}

// ApproveSuggestion makes a proposed change in the name of who approves it, with the event of that change ("labeled",
// "typed"), and dismisses what else is proposed for the same. It needs the triage role.
func (g *GitHub) ApproveSuggestion(ctx context.Context, repo string, number int, login string, id int64) error {
	return g.onIssue(ctx, repo, number, login, RoleTriage, false, func(c *change, is *issue) error {
		s, err := is.suggestion(id)
		if err == nil {
			err = c.approve(is, s)
		}
		return err
	})
}

// DismissSuggestion refuses a proposed change. GitHub makes no event of it: the App learns it by listing the issue's
// suggestions. It needs the triage role.
func (g *GitHub) DismissSuggestion(ctx context.Context, repo string, number int, login string, id int64) error {
	return g.onIssue(ctx, repo, number, login, RoleTriage, false, func(c *change, is *issue) error {
		s, err := is.suggestion(id)
		if err == nil {
			err = c.dismiss(s)
		}
		return err
	})
}

func (is *issue) suggestion(id int64) (*suggestion, error) {
	for _, s := range is.suggestions {
		if s.id == id {
			return s, nil
		}
	}
	return nil, fmt.Errorf("%w: no suggestion %d on #%d", ErrNotFound, id, is.number)
}

func (r *repository) labelByID(id int64) *label {
	for _, l := range r.labelOrder {
		if l.id == id {
			return l
		}
	}
	return nil
}

// suggest records a proposal. One of the same actor for the same that is still pending is replaced.
func (c *change) suggest(is *issue, action string, target int64, value string, n intent) error {
	if is.pull {
		return fmt.Errorf("%w: changes are suggested to issues, not to pull requests", ErrInvalid)
	}
	for _, s := range is.suggestions {
		if s.state == suggestionPending && s.actor == c.actor && s.action == action && (s.target == target || action == "set_type") {
			s.state, s.updated = suggestionReplaced, c.now
		}
	}
	if len(is.suggestions) >= maxSuggestions {
		is.suggestions = slices.Delete(is.suggestions, 0, 1)
	}
	is.suggestions = append(is.suggestions, &suggestion{id: c.g.ids.suggestion.Add(1), action: action, target: target, value: value, intent: n,
		actor: c.actor, state: suggestionPending, created: c.now, updated: c.now})
	c.repo.notify()
	return nil
}

func (c *change) resolve(s *suggestion, state string) error {
	if s.state != suggestionPending {
		return fmt.Errorf("%w: the suggestion is %s already", ErrInvalid, s.state)
	}
	s.state, s.resolver, s.updated = state, c.actor, c.now
	c.repo.notify()
	return nil
}

func (c *change) approve(is *issue, s *suggestion) error {
	l, t := c.repo.labelByID(s.target), c.repo.owner.issueType(s.value)
	if s.action == "add_label" && l == nil || s.action == "set_type" && t == nil {
		return fmt.Errorf("%w: what was suggested does not exist any more", ErrInvalid)
	}
	if err := c.resolve(s, suggestionApproved); err != nil {
		return err
	}
	for _, other := range is.suggestions {
		if other.state == suggestionPending && other.action == s.action && (other.target == s.target || s.action == "set_type") {
			other.state, other.resolver, other.updated = suggestionDismissed, c.actor, c.now
		}
	}
	c.why = &s.intent
	defer func() { c.why = nil }()
	if s.action == "add_label" {
		c.addLabel(is, l)
	} else {
		c.setType(is, t)
	}
	if n := len(is.history); n > 0 {
		s.event = is.history[n-1].id
	}
	return nil
}

func (c *change) dismiss(s *suggestion) error { return c.resolve(s, suggestionDismissed) }

// invalidate ends what is pending for a change that was made otherwise, or cannot be made any more.
func (c *change) invalidate(is *issue, action string, target int64) {
	for _, s := range is.suggestions {
		if s.state == suggestionPending && s.action == action && s.target == target {
			s.state, s.updated = suggestionInvalidated, c.now
		}
	}
}

func (s *suggestion) object(d *document, is *issue) {
	d.begin('{')
	d.num("id", s.id)
	d.num("issue_id", is.id)
	d.str("action", s.action)
	d.str("state", s.state)
	d.num("target_id", s.target)
	d.text("target_value", s.value)
	s.intent.members(d)
	d.num("actor_id", s.actor.id)
	if s.event == 0 {
		d.null("issue_event_id")
	} else {
		d.num("issue_event_id", s.event)
	}
	if s.resolver == nil {
		d.null("resolved_by")
	} else {
		d.num("resolved_by", s.resolver.id)
	}
	d.instant("created_at", s.created)
	d.instant("updated_at", s.updated)
	d.end('}')
}

// suggestible tells whether this server knows suggestions, and the issue can have them.
func (c *call) suggestible(is *issue) bool { return c.g.opts.Suggestions && !is.pull }

func listSuggestions(c *call) reply {
	q := c.r.URL.Query()
	state, action := q.Get("state"), q.Get("action")
	if state == "" {
		state = suggestionPending
	}
	known := []string{suggestionPending, "applied", suggestionApproved, suggestionDismissed, suggestionReplaced, suggestionInvalidated, "all"}
	if !slices.Contains(known, state) {
		return c.invalid("IssueSuggestion", "state", "invalid", "")
	}
	if !slices.Contains([]string{"", "set_type", "add_label", "add_field", "add_assignee", "close_issue"}, action) {
		return c.invalid("IssueSuggestion", "action", "invalid", "")
	}
	return c.onIssue(func(is *issue) reply {
		if !c.suggestible(is) {
			return notFound()
		}
		var found []*suggestion
		for _, s := range is.suggestions {
			if (state == "all" || s.state == state) && (action == "" || s.action == action) {
				found = append(found, s)
			}
		}
		w := c.window(len(found))
		var d document
		d.begin('[')
		for _, s := range found[w.first:w.last] {
			s.object(&d, is)
		}
		d.end(']')
		return c.listed(w, d)
	})
}

func approveSuggestion(c *call) reply {
	return c.resolveSuggestion(func(ch *change, is *issue, s *suggestion) error { return ch.approve(is, s) })
}

func dismissSuggestion(c *call) reply {
	return c.resolveSuggestion(func(ch *change, _ *issue, s *suggestion) error { return ch.dismiss(s) })
}

func (c *call) resolveSuggestion(f func(*change, *issue, *suggestion) error) reply {
	return c.changeIssue("IssueSuggestion", "state", func(ch *change, is *issue) (reply, error) {
		if !c.suggestible(is) {
			return fail(http.StatusNotFound, "Not Found", c.route.docs), nil
		}
		id, _ := strconv.ParseInt(c.path("id"), 10, 64)
		s, err := is.suggestion(id)
		if err == nil {
			err = f(ch, is, s)
		}
		if err != nil {
			return reply{}, err
		}
		var d document
		s.object(&d, is)
		return ok(d), nil
	})
}
