package simulate

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// labelWish is a label in a request: its name, or an object with it and, for newer servers, a reason.
type labelWish struct {
	name string
	why  intent
}

// UnmarshalJSON takes both forms.
func (w *labelWish) UnmarshalJSON(b []byte) error {
	if json.Unmarshal(b, &w.name) == nil {
		return nil
	}
	var object struct {
		Name *string `json:"name"`
		intent
	}
	if err := json.Unmarshal(b, &object); err != nil || object.Name == nil {
		return fmt.Errorf("%s is not a label: it takes a name, or an object with one", b)
	}
	w.name, w.why = *object.Name, object.intent
	return nil
}

func names(labels []labelWish) []string {
	out := make([]string, len(labels))
	for i, l := range labels {
		out[i] = l.name
	}
	return out
}

// labelList reads the body of a labels request: {"labels": [...]} or the bare array.
func (c *call) labelList() ([]labelWish, *reply) {
	var raw json.RawMessage
	if out := c.decode(&raw); out != nil {
		return nil, out
	}
	var list []labelWish
	err := json.Unmarshal(raw, &list)
	if err != nil {
		var object struct {
			Labels *[]labelWish `json:"labels"`
		}
		if err = json.Unmarshal(raw, &object); err == nil && object.Labels == nil {
			err = fmt.Errorf("no labels given")
		} else if err == nil {
			list = *object.Labels
		}
	}
	for _, l := range list {
		if invalid := l.why.validate(); err == nil && c.g.opts.Suggestions {
			err = invalid
		}
	}
	if err != nil {
		out := c.invalid("Label", "labels", "invalid", err.Error())
		return nil, &out
	}
	return list, nil
}

// The most labels an issue can have.
const maxIssueLabels = 100

func listIssueLabels(c *call) reply {
	return c.onIssue(func(is *issue) reply {
		c.look(is, ReadLabels)
		return c.labels(is.labels)
	})
}

func (is *issue) labelReply() reply {
	var d document
	is.labelObjects(&d)
	return ok(d)
}

// addIssueLabels creates labels that the repository does not have, as GitHub does. Those that are to be suggested are
// kept for people to decide on, where this server knows that.
func addIssueLabels(c *call) reply {
	wanted, out := c.labelList()
	if out != nil {
		return *out
	}
	return c.changeIssue("Label", "name", func(ch *change, is *issue) (reply, error) {
		direct := wanted
		if c.g.opts.Suggestions {
			direct = slices.DeleteFunc(slices.Clone(wanted), func(w labelWish) bool { return w.why.Suggest })
			if err := ch.suggestLabels(is, wanted); err != nil {
				return reply{}, err
			}
		}
		labels, err := ch.ensureLabels(names(direct))
		if err != nil {
			return reply{}, err
		}
		if len(is.labels)+len(labels) > maxIssueLabels {
			return reply{}, fmt.Errorf("%w: an issue has at most %d labels", ErrInvalid, maxIssueLabels)
		}
		for _, w := range direct {
			l, err := ch.findLabel(w.name)
			if err != nil {
				return reply{}, err
			}
			ch.why = c.reason(w.why)
			ch.addLabel(is, l)
		}
		ch.why = nil
		return is.labelReply(), nil
	})
}

// suggestLabels records those of the labels that are to be suggested and are not on the issue already.
func (c *change) suggestLabels(is *issue, wanted []labelWish) error {
	for _, w := range wanted {
		if !w.why.Suggest {
			continue
		}
		l, err := c.findLabel(w.name)
		if err != nil {
			return fmt.Errorf("%w: %s has no label %q to suggest", ErrInvalid, c.repo.fullName(), w.name)
		}
		if is.has(l) >= 0 {
			continue
		}
		if err := c.suggest(is, "add_label", l.id, "", w.why); err != nil {
			return err
		}
	}
	return nil
}

func setIssueLabels(c *call) reply {
	wanted, out := c.labelList()
	if out != nil {
		return *out
	}
	return c.changeIssue("Label", "name", func(ch *change, is *issue) (reply, error) {
		labels, err := ch.ensureLabels(names(wanted))
		if err != nil {
			return reply{}, err
		}
		ch.setLabels(is, labels)
		return is.labelReply(), nil
	})
}

func clearIssueLabels(c *call) reply {
	return c.changeIssue("Label", "name", func(ch *change, is *issue) (reply, error) {
		ch.setLabels(is, nil)
		return noContent(), nil
	})
}

func removeIssueLabel(c *call) reply {
	return c.changeIssue("Label", "name", func(ch *change, is *issue) (reply, error) {
		l := ch.repo.labels[strings.ToLower(c.path("name"))]
		if l == nil || !ch.removeLabel(is, l) {
			return fail(http.StatusNotFound, "Label does not exist", c.route.docs), nil
		}
		return is.labelReply(), nil
	})
}
