package simulate

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// onIssue runs f on the issue in the path, under its repository's lock.
func (c *call) onIssue(f func(*issue) reply) reply {
	number, _ := strconv.Atoi(c.path("number"))
	c.repo.mu.Lock()
	defer c.repo.mu.Unlock()
	is, err := c.repo.issue(number)
	if err != nil {
		if to := c.transferred(number); to != "" {
			return movedTo(c.r, to)
		}
		return c.failed(err, "Issue", "number")
	}
	return f(is)
}

// changeIssue is onIssue for what changes it in the App's name.
func (c *call) changeIssue(resource, field string, f func(*change, *issue) (reply, error)) reply {
	number, _ := strconv.Atoi(c.path("number"))
	var out reply
	var to string
	err := c.act(func(ch *change) error {
		is, err := ch.repo.issue(number)
		if err != nil {
			to = c.transferred(number)
			return err
		}
		out, err = f(ch, is)
		return err
	})
	switch {
	case to != "":
		return movedTo(c.r, to)
	case err != nil:
		return c.failed(err, resource, field)
	}
	return out
}

// transferred is where the issue of that number went, or nothing. The caller holds the repository's lock.
func (c *call) transferred(number int) string {
	if number < 1 || number > len(c.repo.issues) {
		return ""
	}
	return c.repo.issues[number-1].movedTo
}

func (c *call) issueObject(is *issue) []byte {
	d := make(document, 0, 4096+len(is.body)+len(is.body)/16)
	is.object(&d, "", c.g, c.repo)
	return d
}

func getIssue(c *call) reply {
	return c.onIssue(func(is *issue) reply { return changed(c.issueObject(is), is.updated) })
}

func listIssues(c *call) reply {
	q := c.r.URL.Query()
	state := cmp.Or(q.Get("state"), "open")
	if state != "open" && state != "closed" && state != "all" {
		return c.invalid("Issue", "state", "invalid", "")
	}
	since, out := c.since()
	if out != nil {
		return *out
	}
	creator, kind := q.Get("creator"), q.Get("type")
	c.repo.mu.Lock()
	defer c.repo.mu.Unlock()
	var wanted []*label
	if names := q.Get("labels"); names != "" {
		for name := range strings.SplitSeq(names, ",") {
			wanted = append(wanted, c.repo.labels[strings.ToLower(strings.TrimSpace(name))])
		}
	}
	var found []*issue
	for _, is := range c.repo.issues {
		switch {
		case is.deleted || is.movedTo != "", state != "all" && is.state != state, is.updated.Before(since),
			!is.ofType(kind), creator != "" && !strings.EqualFold(is.author.name(), creator),
			slices.ContainsFunc(wanted, func(l *label) bool { return l == nil || is.has(l) < 0 }):
			continue
		}
		found = append(found, is)
	}
	switch q.Get("sort") {
	case "updated":
		slices.SortStableFunc(found, func(a, b *issue) int { return a.updated.Compare(b.updated) })
	case "comments":
		slices.SortStableFunc(found, func(a, b *issue) int { return cmp.Compare(len(a.comments), len(b.comments)) })
	}
	if q.Get("direction") != "asc" {
		slices.Reverse(found)
	}
	w := c.window(len(found))
	d := make(document, 0, 4096*(w.last-w.first)+2)
	d.begin('[')
	for _, is := range found[w.first:w.last] {
		is.object(&d, "", c.g, c.repo)
	}
	d.end(']')
	return c.listed(w, d)
}

// since is the time after which the caller wants what was changed, the zero time when it wants all.
func (c *call) since() (time.Time, *reply) {
	text := c.r.URL.Query().Get("since")
	if text == "" {
		return time.Time{}, nil
	}
	since, err := time.Parse(time.RFC3339, text)
	if err != nil {
		out := c.invalid("Issue", "since", "invalid", "")
		return time.Time{}, &out
	}
	return since, nil
}

// ofType tells whether the issue has the type that a list is asked for: a name, "*" for any, "none", or nothing for all.
func (is *issue) ofType(wanted string) bool {
	switch wanted {
	case "":
		return true
	case "*":
		return is.kind != nil
	case "none":
		return is.kind == nil
	}
	return is.kind != nil && strings.EqualFold(is.kind.name, wanted)
}

func createIssue(c *call) reply {
	var asked struct {
		Title  string      `json:"title"`
		Body   string      `json:"body"`
		Labels []labelWish `json:"labels"`
		Type   typeWish    `json:"type"`
	}
	if out := c.decode(&asked); out != nil {
		return *out
	}
	if asked.Title == "" {
		return c.invalid("Issue", "title", "missing_field", "")
	}
	var out reply
	err := c.act(func(ch *change) error {
		labels, err := ch.ensureLabels(names(asked.Labels))
		if err != nil {
			return err
		}
		kind, err := c.checkType(ch, asked.Type)
		if err != nil {
			return err
		}
		is, err := ch.open(NewIssue{Title: asked.Title, Body: asked.Body}, false, labels)
		if err == nil {
			err = c.giveType(ch, is, asked.Type, kind)
			out = created(c.issueObject(is))
		}
		return err
	})
	if err != nil {
		return c.failed(err, "Issue", "title")
	}
	return out
}

func updateIssue(c *call) reply {
	var asked struct {
		Title       *string      `json:"title"`
		Body        *string      `json:"body"`
		State       *string      `json:"state"`
		StateReason *string      `json:"state_reason"`
		Labels      *[]labelWish `json:"labels"`
		Type        typeWish     `json:"type"`
	}
	if out := c.decode(&asked); out != nil {
		return *out
	}
	if asked.State != nil && *asked.State != "open" && *asked.State != "closed" {
		return c.invalid("Issue", "state", "invalid", "")
	}
	if asked.Labels != nil && c.g.opts.Suggestions && slices.ContainsFunc(*asked.Labels, func(w labelWish) bool { return w.why.Suggest }) {
		return c.invalid("Issue", "labels", "invalid", "This simulation takes suggested labels only where labels are added to an issue.")
	}
	return c.changeIssue("Issue", "title", func(ch *change, is *issue) (reply, error) {
		kind, err := c.checkType(ch, asked.Type)
		if err != nil {
			return reply{}, err
		}
		if err := ch.edit(is, asked.Title, asked.Body); err != nil {
			return reply{}, err
		}
		if asked.Labels != nil {
			labels, err := ch.ensureLabels(names(*asked.Labels))
			if err != nil {
				return reply{}, err
			}
			ch.setLabels(is, labels)
		}
		if asked.State != nil {
			reason := ""
			if asked.StateReason != nil {
				reason = *asked.StateReason
			}
			ch.setState(is, *asked.State, reason)
		}
		if err := c.giveType(ch, is, asked.Type, kind); err != nil {
			return reply{}, err
		}
		return ok(c.issueObject(is)), nil
	})
}

func listEvents(c *call) reply {
	return c.onIssue(func(is *issue) reply {
		c.look(is, ReadHistory)
		w := c.window(len(is.history))
		var d document
		d.begin('[')
		for _, o := range is.history[w.first:w.last] {
			o.object(&d, c.g, c.repo)
		}
		d.end(']')
		return c.listed(w, d)
	})
}

// listRepositoryEvents lists what happened to all issues, newest first, each event with its issue.
func listRepositoryEvents(c *call) reply {
	type happened struct {
		is *issue
		o  occurrence
	}
	c.repo.mu.Lock()
	defer c.repo.mu.Unlock()
	var found []happened
	for _, is := range c.repo.issues {
		if is.deleted || is.movedTo != "" {
			continue
		}
		for _, o := range is.history {
			found = append(found, happened{is, o})
		}
	}
	slices.SortFunc(found, func(a, b happened) int { return cmp.Compare(b.o.id, a.o.id) })
	w := c.window(len(found))
	var d document
	d.begin('[')
	for _, h := range found[w.first:w.last] {
		h.o.object(&d, c.g, c.repo)
		d = d[:len(d)-1]
		h.is.object(&d, "issue", c.g, c.repo)
		d.end('}')
	}
	d.end(']')
	return c.listed(w, d)
}

// listTimeline lists the issue's events and comments in the order of their time.
func listTimeline(c *call) reply {
	return c.onIssue(func(is *issue) reply {
		type entry struct {
			at     time.Time
			object []byte
		}
		var entries []entry
		for _, o := range is.history {
			var d document
			o.object(&d, c.g, c.repo)
			entries = append(entries, entry{o.at, d})
		}
		for _, m := range is.comments {
			var d document
			m.object(&d, "", c.g, c.repo)
			d = d[:len(d)-1]
			d.str("event", "commented")
			d.raw("actor", m.author.object())
			d.end('}')
			entries = append(entries, entry{m.created, d})
		}
		slices.SortStableFunc(entries, func(a, b entry) int { return a.at.Compare(b.at) })
		w := c.window(len(entries))
		var d document
		d.begin('[')
		for _, e := range entries[w.first:w.last] {
			d.item(e.object)
		}
		d.end(']')
		return c.listed(w, d)
	})
}
