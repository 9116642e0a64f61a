package simulate

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// labelName is a label in a request: its name, or an object with it.
type labelName string

// UnmarshalJSON takes both forms. Suggestions, which newer servers know, are refused rather than applied.
func (n *labelName) UnmarshalJSON(b []byte) error {
	var text string
	if json.Unmarshal(b, &text) == nil {
		*n = labelName(text)
		return nil
	}
	var object struct {
		Name    *string `json:"name"`
		Suggest bool    `json:"suggest"`
	}
	if err := json.Unmarshal(b, &object); err != nil || object.Name == nil {
		return fmt.Errorf("%s is not a label: it takes a name, or an object with one", b)
	}
	if object.Suggest {
		return fmt.Errorf("this server does not know label suggestions")
	}
	*n = labelName(*object.Name)
	return nil
}

func names(labels []labelName) []string {
	out := make([]string, len(labels))
	for i, l := range labels {
		out[i] = string(l)
	}
	return out
}

// labelList reads the body of a labels request: {"labels": [...]} or the bare array.
func (c *call) labelList() ([]string, *reply) {
	var raw json.RawMessage
	if out := c.decode(&raw); out != nil {
		return nil, out
	}
	var list []labelName
	err := json.Unmarshal(raw, &list)
	if err != nil {
		var object struct {
			Labels *[]labelName `json:"labels"`
		}
		if err = json.Unmarshal(raw, &object); err == nil && object.Labels == nil {
			err = fmt.Errorf("no labels given")
		} else if err == nil {
			list = *object.Labels
		}
	}
	if err != nil {
		out := c.invalid("Label", "labels", "invalid", err.Error())
		return nil, &out
	}
	return names(list), nil
}

// The most labels an issue can have.
const maxIssueLabels = 100

func listIssueLabels(c *call) reply {
	return c.onIssue(func(is *issue) reply { return c.labels(is.labels) })
}

func (is *issue) labelReply() reply {
	var d document
	is.labelObjects(&d)
	return ok(d)
}

// addIssueLabels creates labels that the repository does not have, as GitHub does.
func addIssueLabels(c *call) reply {
	wanted, out := c.labelList()
	if out != nil {
		return *out
	}
	return c.changeIssue("Label", "name", func(ch *change, is *issue) (reply, error) {
		labels, err := ch.ensureLabels(wanted)
		if err != nil {
			return reply{}, err
		}
		if len(is.labels)+len(labels) > maxIssueLabels {
			return reply{}, fmt.Errorf("%w: an issue has at most %d labels", ErrInvalid, maxIssueLabels)
		}
		for _, l := range labels {
			ch.addLabel(is, l)
		}
		return is.labelReply(), nil
	})
}

func setIssueLabels(c *call) reply {
	wanted, out := c.labelList()
	if out != nil {
		return *out
	}
	return c.changeIssue("Label", "name", func(ch *change, is *issue) (reply, error) {
		labels, err := ch.ensureLabels(wanted)
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
