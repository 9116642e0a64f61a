package simulate

import (
	"cmp"
	"slices"
	"time"
)

func listComments(c *call) reply {
	return c.onIssue(func(is *issue) reply {
		comments := is.comments
		if since, err := time.Parse(time.RFC3339, c.r.URL.Query().Get("since")); err == nil {
			comments = slices.DeleteFunc(slices.Clone(comments), func(m *comment) bool { return m.updated.Before(since) })
		}
		w := c.window(len(comments))
		var d document
		d.begin('[')
		for _, m := range comments[w.first:w.last] {
			m.object(&d, "", c.g, c.repo)
		}
		d.end(']')
		return c.listed(w, d)
	})
}

// listRepositoryComments lists the comments of all issues and pull requests, by their creation unless asked otherwise.
func listRepositoryComments(c *call) reply {
	q := c.r.URL.Query()
	since, out := c.since()
	if out != nil {
		return *out
	}
	c.repo.mu.Lock()
	defer c.repo.mu.Unlock()
	var found []*comment
	for _, m := range c.repo.comments {
		if !m.issue.deleted && !m.updated.Before(since) {
			found = append(found, m)
		}
	}
	slices.SortFunc(found, func(a, b *comment) int {
		if q.Get("sort") == "updated" {
			return cmp.Or(a.updated.Compare(b.updated), cmp.Compare(a.id, b.id))
		}
		return cmp.Compare(a.id, b.id)
	})
	if q.Get("sort") != "" && q.Get("direction") != "asc" { // the direction counts for nothing without a sort
		slices.Reverse(found)
	}
	w := c.window(len(found))
	var d document
	d.begin('[')
	for _, m := range found[w.first:w.last] {
		m.object(&d, "", c.g, c.repo)
	}
	d.end(']')
	return c.listed(w, d)
}

func (c *call) body() (string, *reply) {
	var asked struct {
		Body string `json:"body"`
	}
	if out := c.decode(&asked); out != nil {
		return "", out
	}
	if asked.Body == "" {
		out := c.invalid("IssueComment", "body", "missing_field", "")
		return "", &out
	}
	return asked.Body, nil
}

func createComment(c *call) reply {
	body, out := c.body()
	if out != nil {
		return *out
	}
	return c.changeIssue("IssueComment", "body", func(ch *change, is *issue) (reply, error) {
		m, err := ch.comment(is, body)
		if err != nil {
			return reply{}, err
		}
		var d document
		m.object(&d, "", c.g, c.repo)
		return created(d), nil
	})
}

func getComment(c *call) reply {
	c.repo.mu.Lock()
	defer c.repo.mu.Unlock()
	m := c.repo.comments[c.id("id")]
	if m == nil {
		return notFound()
	}
	var d document
	m.object(&d, "", c.g, c.repo)
	return changed(d, m.updated)
}

// changeComment changes the comment in the path; an App edits and deletes only what it wrote itself.
func (c *call) changeComment(f func(*change, *comment) error) (reply, bool) {
	var d document
	err := c.act(func(ch *change) error {
		m := ch.repo.comments[c.id("id")]
		switch {
		case m == nil:
			return ErrNotFound
		case m.author != c.g.bot:
			return ErrForbidden
		}
		err := f(ch, m)
		m.object(&d, "", c.g, c.repo)
		return err
	})
	if err != nil {
		return c.failed(err, "IssueComment", "body"), false
	}
	return ok(d), true
}

func updateComment(c *call) reply {
	body, out := c.body()
	if out != nil {
		return *out
	}
	answer, _ := c.changeComment(func(ch *change, m *comment) error { return ch.editComment(m, body) })
	return answer
}

func deleteComment(c *call) reply {
	answer, done := c.changeComment(func(ch *change, m *comment) error {
		ch.deleteComment(m)
		return nil
	})
	if done {
		return noContent()
	}
	return answer
}
