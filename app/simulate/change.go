package simulate

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// change is one act of somebody in one repository. It is built under the repository's lock, so that every payload
// shows the state at its event; its webhooks leave after the lock is released.
type change struct {
	g          *GitHub
	repo       *repository
	actor      *account
	viaApp     bool
	why        *intent // of what is being done, nil when nobody gave a reason
	now        time.Time
	deliveries []*delivery
	events     []Event
}

// change runs act under the repository's lock and then sends what it emitted. An error of act is returned as it is;
// what act did before it stays done.
func (g *GitHub) change(ctx context.Context, repo *repository, actor *account, viaApp bool, act func(*change) error) error {
	c := &change{g: g, repo: repo, actor: actor, viaApp: viaApp, now: g.now()}
	repo.mu.Lock()
	var err error
	if repo.deleted {
		err = fmt.Errorf("%w: repository %s was deleted", ErrNotFound, repo.fullName())
	} else if err = act(c); len(c.events) > 0 {
		repo.notify()
	}
	repo.mu.Unlock()
	if g.opts.OnEvent != nil {
		for _, e := range c.events {
			g.opts.OnEvent(e)
		}
	}
	if sendErr := g.outbox.enqueue(ctx, c.deliveries, viaApp); err == nil {
		err = sendErr
	}
	return err
}

// now is the clock's time to the second, the precision of GitHub's API.
func (g *GitHub) now() time.Time { return g.clock.Now().UTC().Truncate(time.Second) }

// emit records an event and, where the App is to hear of it, makes its webhook; fill writes the members between
// "action" and "repository". It returns the webhook's GUID, nothing when none was made.
func (c *change) emit(event, action string, is *issue, about string, fill func(*document)) (guid string) {
	if is != nil && is.pull && event == "issues" {
		event = "pull_request"
	}
	inst, guid := c.announce(event, action, is, about)
	if inst == nil {
		return ""
	}
	size := len(c.repo.fixed) + len(c.actor.simple) + len(c.repo.owner.org) + 4096
	if is != nil {
		size += len(is.body) + len(is.body)/16
	}
	d := make(document, 0, size)
	d.begin('{')
	d.str("action", action)
	if event == "pull_request" {
		d.num("number", int64(is.number))
		is.pullRequest(&d, c.repo)
	} else if is != nil {
		is.object(&d, "issue", c.g, c.repo)
	}
	if fill != nil {
		fill(&d)
	}
	c.repo.object(&d, "repository", c.repo.properties)
	c.g.closing(&d, c.repo.owner, c.actor, inst)
	c.deliveries = append(c.deliveries, &delivery{guid: guid, event: event, action: action,
		installation: inst.id, repository: c.repo.id, payload: d})
	return guid
}

// announce records an event. It returns the installation whose App is to hear of it, nil when none is, and its delivery's GUID.
func (c *change) announce(event, action string, is *issue, about string) (*installation, string) {
	c.events = append(c.events, c.event(event, action, is, about))
	scope := guidScope{kind: 'r', id: c.repo.id}
	if is != nil {
		is.sequence++
		scope.number, scope.sequence = is.number, is.sequence
	} else {
		c.repo.sequence++
		scope.sequence = c.repo.sequence
	}
	inst := c.repo.installation.Load()
	if !c.g.delivers(inst, event) {
		return nil, ""
	}
	return inst, c.g.guid(scope)
}

// closing writes the last members of every payload.
func (g *GitHub) closing(d *document, owner, sender *account, inst *installation) {
	if org := owner.organization(); len(org) > 0 {
		d.raw("organization", org)
	}
	d.raw("sender", sender.simple)
	d.object("installation")
	d.num("id", inst.id)
	d.str("node_id", inst.nodeID)
	d.end('}')
	d.end('}')
}

func (c *change) event(event, action string, is *issue, about string) Event {
	e := Event{At: c.now, Event: event, Action: action, Repository: c.repo.fullName(), Actor: c.actor.login, Bot: c.actor.kind == kindBot, About: about}
	if is != nil {
		e.Number, e.Title = is.number, is.title
	}
	return e
}

func (c *change) touch(is *issue) {
	is.updated = c.now
	c.repo.updated = c.now
}

func (c *change) remember(is *issue, o occurrence) {
	o.id, o.actor, o.viaApp, o.at, o.why = c.g.ids.event.Add(1), c.actor, c.viaApp, c.now, c.why
	is.remember(o, c.g.opts.EventsPerIssue)
}

func (c *change) open(n NewIssue, pull bool, labels []*label) (*issue, error) {
	if err := validText(n.Title, n.Body); err != nil {
		return nil, err
	}
	is := &issue{id: c.g.ids.issue.Add(1), number: len(c.repo.issues) + 1, title: n.Title, body: n.Body, author: c.actor,
		association: c.repo.association(c.actor), viaApp: c.viaApp, pull: pull, state: "open", created: c.now, labels: labels}
	c.repo.issues = append(c.repo.issues, is)
	c.repo.openIssues++
	c.touch(is)
	c.emit("issues", "opened", is, "", nil)
	for _, l := range labels { // GitHub sends "labeled" for the labels of a new issue as well
		c.labelled(is, l)
	}
	return is, nil
}

// GitHub's limits: 256 characters of title, 65,536 of body.
func validText(title, body string) error {
	switch {
	case strings.TrimSpace(title) == "":
		return fmt.Errorf("%w: an issue needs a title", ErrInvalid)
	case utf8.RuneCountInString(title) > 256:
		return fmt.Errorf("%w: the title is longer than 256 characters", ErrInvalid)
	}
	return validBody(body)
}

func validBody(body string) error {
	if len(body) > 65536 && utf8.RuneCountInString(body) > 65536 {
		return fmt.Errorf("%w: the body is longer than 65,536 characters", ErrInvalid)
	}
	return nil
}

func (c *change) labelled(is *issue, l *label) {
	c.touch(is)
	c.remember(is, occurrence{kind: "labeled", label: l})
	if c.actor == c.g.bot {
		is.countWrite(l.name)
	}
	c.step(is, "labeled", l)
}

// addLabel does nothing when the label is on the issue already, as GitHub does.
func (c *change) addLabel(is *issue, l *label) {
	if is.has(l) >= 0 {
		return
	}
	is.labels = append(is.labels, l)
	c.invalidate(is, "add_label", l.id)
	c.labelled(is, l)
}

func (c *change) removeLabel(is *issue, l *label) bool {
	at := is.has(l)
	if at < 0 {
		return false
	}
	is.labels = slices.Delete(is.labels, at, at+1)
	c.touch(is)
	c.remember(is, occurrence{kind: "unlabeled", label: l})
	c.step(is, "unlabeled", l)
	return true
}

// setLabels makes the issue's labels exactly these.
func (c *change) setLabels(is *issue, labels []*label) {
	for _, on := range slices.Clone(is.labels) {
		if !slices.Contains(labels, on) {
			c.removeLabel(is, on)
		}
	}
	for _, l := range labels {
		c.addLabel(is, l)
	}
}

// edit changes title and body; nil leaves one as it is.
func (c *change) edit(is *issue, title, body *string) error {
	newTitle, newBody := is.title, is.body
	if title != nil {
		newTitle = *title
	}
	if body != nil {
		newBody = *body
	}
	if err := validText(newTitle, newBody); err != nil {
		return err
	}
	oldTitle, oldBody := is.title, is.body
	if newTitle == oldTitle && newBody == oldBody {
		return nil
	}
	is.title, is.body = newTitle, newBody
	c.touch(is)
	if newTitle != oldTitle {
		c.remember(is, occurrence{kind: "renamed", from: oldTitle, to: newTitle})
	}
	c.emit("issues", "edited", is, "", func(d *document) {
		d.object("changes")
		if newTitle != oldTitle {
			from(d, "title", oldTitle)
		}
		if newBody != oldBody {
			from(d, "body", oldBody)
		}
		d.end('}')
	})
	return nil
}

func from(d *document, name, old string) {
	d.object(name)
	d.str("from", old)
	d.end('}')
}

func (c *change) setState(is *issue, state, reason string) {
	if is.state == state {
		return
	}
	is.state, is.stateReason = state, reason
	action := "reopened"
	if state == "closed" {
		action = "closed"
		is.closed, is.closedBy = c.now, c.actor
		if is.stateReason == "" {
			is.stateReason = "completed"
		}
		c.repo.openIssues--
	} else {
		is.closed, is.closedBy, is.stateReason = time.Time{}, nil, "reopened"
		c.repo.openIssues++
	}
	c.touch(is)
	c.remember(is, occurrence{kind: action})
	c.emit("issues", action, is, is.stateReason, nil)
}

func (c *change) comment(is *issue, body string) (*comment, error) {
	if strings.TrimSpace(body) == "" {
		return nil, fmt.Errorf("%w: a comment needs a body", ErrInvalid)
	}
	if err := validBody(body); err != nil {
		return nil, err
	}
	m := &comment{id: c.g.ids.comment.Add(1), issue: is, author: c.actor, association: c.repo.association(c.actor), viaApp: c.viaApp,
		body: body, created: c.now, updated: c.now}
	is.comments = append(is.comments, m)
	c.repo.comments[m.id] = m
	c.touch(is)
	c.emit("issue_comment", "created", is, excerpt(body), func(d *document) { m.object(d, "comment", c.g, c.repo) })
	return m, nil
}

func (c *change) editComment(m *comment, body string) error {
	if strings.TrimSpace(body) == "" {
		return fmt.Errorf("%w: a comment needs a body", ErrInvalid)
	}
	if err := validBody(body); err != nil {
		return err
	}
	if body == m.body {
		return nil
	}
	old := m.body
	m.body, m.updated = body, c.now
	c.touch(m.issue)
	c.emit("issue_comment", "edited", m.issue, excerpt(body), func(d *document) {
		d.object("changes")
		from(d, "body", old)
		d.end('}')
		m.object(d, "comment", c.g, c.repo)
	})
	return nil
}

func (c *change) deleteComment(m *comment) {
	m.issue.comments = slices.DeleteFunc(m.issue.comments, func(other *comment) bool { return other == m })
	delete(c.repo.comments, m.id)
	c.touch(m.issue)
	c.emit("issue_comment", "deleted", m.issue, excerpt(m.body), func(d *document) { m.object(d, "comment", c.g, c.repo) })
}

func (c *change) createLabel(l Label) (*label, error) {
	if err := l.validate(); err != nil {
		return nil, err
	}
	key := strings.ToLower(l.Name)
	if c.repo.labels[key] != nil {
		return nil, fmt.Errorf("%w: the label %q exists already in %s", ErrExists, l.Name, c.repo.fullName())
	}
	made := c.g.newLabel(c.repo, 0, l)
	c.repo.labels[key] = made
	c.repo.labelOrder = append(c.repo.labelOrder, made)
	c.emit("label", "created", nil, made.name, func(d *document) { d.raw("label", made.object) })
	return made, nil
}

// ensureLabel finds a label or makes it, as GitHub does when an issue is given a label that the repository lacks.
func (c *change) ensureLabel(name string) (*label, error) {
	if l := c.repo.labels[strings.ToLower(name)]; l != nil {
		return l, nil
	}
	return c.createLabel(Label{Name: name})
}

func (c *change) ensureLabels(names []string) ([]*label, error) {
	labels := make([]*label, 0, len(names))
	for _, name := range names {
		l, err := c.ensureLabel(name)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(labels, l) {
			labels = append(labels, l)
		}
	}
	return labels, nil
}

func (c *change) findLabel(name string) (*label, error) {
	if l := c.repo.labels[strings.ToLower(name)]; l != nil {
		return l, nil
	}
	return nil, fmt.Errorf("%w: no label %q in %s", ErrNotFound, name, c.repo.fullName())
}

func (c *change) editLabel(old *label, to Label) (*label, error) {
	if err := to.validate(); err != nil {
		return nil, err
	}
	if other := c.repo.labels[strings.ToLower(to.Name)]; other != nil && other != old {
		return nil, fmt.Errorf("%w: the label %q exists already in %s", ErrExists, to.Name, c.repo.fullName())
	}
	fresh := c.g.newLabel(c.repo, old.id, to)
	c.repo.replaceLabel(slices.Index(c.repo.labelOrder, old), fresh)
	c.emit("label", "edited", nil, fresh.name, func(d *document) {
		d.raw("label", fresh.object)
		d.object("changes")
		for _, field := range []struct{ name, was, is string }{
			{"name", old.name, fresh.name}, {"color", old.color, fresh.color}, {"description", old.description, fresh.description},
		} {
			if field.was != field.is {
				from(d, field.name, field.was)
			}
		}
		d.end('}')
	})
	return fresh, nil
}

// deleteLabel takes the label from the repository and from its issues. GitHub tells of it with one event of the label.
func (c *change) deleteLabel(l *label) {
	delete(c.repo.labels, strings.ToLower(l.name))
	c.repo.labelOrder = slices.DeleteFunc(c.repo.labelOrder, func(other *label) bool { return other == l })
	for _, is := range c.repo.issues {
		c.invalidate(is, "add_label", l.id)
		if at := is.has(l); at >= 0 {
			is.labels = slices.Delete(is.labels, at, at+1)
		}
	}
	c.emit("label", "deleted", nil, l.name, func(d *document) { d.raw("label", l.object) })
}

func excerpt(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	if runes := []rune(line); len(runes) > 80 {
		return string(runes[:79]) + "…"
	}
	return line
}
