package simulate

import (
	"fmt"
	"slices"
	"time"
)

// reaction is somebody's reaction to a comment. GitHub sends no event of it.
type reaction struct {
	id      int64
	author  *account
	content string
	at      time.Time
}

// reactionContents are the reactions there are, in the order of GitHub's summaries.
func reactionContents() []string {
	return []string{"+1", "-1", "laugh", "hooray", "confused", "heart", "rocket", "eyes"}
}

// Reaction is a reaction to a comment.
type Reaction struct {
	Author  string // login
	Content string // "+1", "-1", "laugh", "hooray", "confused", "heart", "rocket" or "eyes"
	At      time.Time
}

// Reactions returns the reactions to a comment, oldest first.
func (g *GitHub) Reactions(repo string, comment int64) ([]Reaction, error) {
	r, err := g.repository(repo)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.comments[comment]
	if m == nil {
		return nil, fmt.Errorf("%w: no comment %d in %s", ErrNotFound, comment, repo)
	}
	found := make([]Reaction, len(m.reactions))
	for i, x := range m.reactions {
		found[i] = Reaction{Author: x.author.name(), Content: x.content, At: x.at}
	}
	return found, nil
}

// reactions writes the summary of an issue's or a comment's reactions.
func reactions(d *document, api string, given []reaction) {
	d.object("reactions")
	d.str("url", api+"/reactions")
	d.num("total_count", int64(len(given)))
	for _, content := range reactionContents() {
		count := 0
		for _, x := range given {
			if x.content == content {
				count++
			}
		}
		d.num(content, int64(count))
	}
	d.end('}')
}

func (x reaction) object(d *document, r *repository) {
	d.begin('{')
	d.num("id", x.id)
	d.str("node_id", nodeID("REA", r.id, x.id))
	d.raw("user", x.author.object())
	d.str("content", x.content)
	d.instant("created_at", x.at)
	d.end('}')
}

func listReactions(c *call) reply {
	c.repo.mu.Lock()
	defer c.repo.mu.Unlock()
	m := c.repo.comments[c.id("id")]
	if m == nil {
		return notFound()
	}
	given := m.reactions
	if content := c.r.URL.Query().Get("content"); content != "" {
		given = slices.DeleteFunc(slices.Clone(given), func(x reaction) bool { return x.content != content })
	}
	w := c.window(len(given))
	var d document
	d.begin('[')
	for _, x := range given[w.first:w.last] {
		x.object(&d, c.repo)
	}
	d.end(']')
	return c.listed(w, d)
}

// createReaction answers 200 instead of 201 when the App reacted so before.
func createReaction(c *call) reply {
	var asked struct {
		Content string `json:"content"`
	}
	if out := c.decode(&asked); out != nil {
		return *out
	}
	if !slices.Contains(reactionContents(), asked.Content) {
		return c.invalid("Reaction", "content", "invalid", "")
	}
	var out reply
	err := c.act(func(ch *change) error {
		m := ch.repo.comments[c.id("id")]
		if m == nil {
			return ErrNotFound
		}
		var d document
		if at := slices.IndexFunc(m.reactions, func(x reaction) bool { return x.author == ch.actor && x.content == asked.Content }); at >= 0 {
			m.reactions[at].object(&d, ch.repo)
			out = ok(d)
			return nil
		}
		x := reaction{id: c.g.ids.reaction.Add(1), author: ch.actor, content: asked.Content, at: ch.now}
		m.reactions = append(m.reactions, x)
		ch.repo.notify()
		x.object(&d, ch.repo)
		out = created(d)
		return nil
	})
	if err != nil {
		return c.failed(err, "Reaction", "content")
	}
	return out
}

// deleteReaction takes back a reaction of the App's own.
func deleteReaction(c *call) reply {
	err := c.act(func(ch *change) error {
		m := ch.repo.comments[c.id("id")]
		if m == nil {
			return ErrNotFound
		}
		at := slices.IndexFunc(m.reactions, func(x reaction) bool { return x.id == c.id("reaction") })
		if at < 0 || m.reactions[at].author != ch.actor {
			return ErrNotFound
		}
		m.reactions = slices.Delete(m.reactions, at, at+1)
		return nil
	})
	if err != nil {
		return c.failed(err, "Reaction", "id")
	}
	return noContent()
}
