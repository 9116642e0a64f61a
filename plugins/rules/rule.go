package rules

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/dispatchai/dispatchai/plugins/sdk"
)

// applyRules lets the rules of a repository, then those for all, have their say
// over answers. It returns notes on values that the repository does not have.
func applyRules(ctx context.Context, request sdk.Request, d *document, o *options, answers map[sdk.Field]sdk.Answer, lists ...*settings) ([]string, error) {
	var notes []string
	var tags []tagged
	decided := map[sdk.Field]bool{}
	for n, list := range lists {
		for i := range list.rules {
			// An expression over a long text may take milliseconds.
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			r := &list.rules[i]
			if !r.holds(request, d) {
				continue
			}
			reason := fmt.Sprintf("Matches the repository's rule “%s”.", quotable(r.name))
			if n > 0 {
				reason = fmt.Sprintf("Matches the rule “%s” for all repositories.", quotable(r.name))
			}
			for _, s := range r.set {
				for _, v := range s.values {
					value, ok := o.resolve(s.field, v)
					switch {
					case !ok:
						// A rule for all repositories may speak of values that
						// some of them lack.
						if n == 0 {
							notes = append(notes, fmt.Sprintf("The rule “%s” sets %s to “%s”, which the repository does not have.", quotable(r.name), s.field, quotable(v)))
						}
					case s.field == sdk.Tags:
						tags = addTag(tags, tagged{value, r.confidence, "is set by the rule “" + quotable(r.name) + "”"})
					case !decided[s.field]:
						decided[s.field] = true
						answers[s.field] = sdk.Answer{Values: []string{value}, Confidence: r.confidence, Reason: reason}
					}
				}
			}
			if r.stop {
				setTags(answers, tags)
				return notes, nil
			}
		}
	}
	// They take the place of tags read off the text, whose lower confidence
	// would be that of the whole answer.
	setTags(answers, tags)
	return notes, nil
}

func addTag(tags []tagged, t tagged) []tagged {
	for _, have := range tags {
		if have.value == t.value {
			return tags
		}
	}
	return append(tags, t)
}

// resolve finds the repository's own spelling of a value, by the value itself,
// by its label, or by another word for the same.
func (o *options) resolve(field sdk.Field, name string) (string, bool) {
	if v, ok := o.value(field, name); ok {
		return v, true
	}
	switch field {
	case sdk.Category:
		for c := range categories {
			if fold(name) == c.String() && o.category[c] != "" {
				return o.category[c], true
			}
		}
	case sdk.Priority, sdk.Severity:
		values := &o.priority
		if field == sdk.Severity {
			values = &o.severity
		}
		for u := range urgencies {
			if fold(name) == u.String() && values[u] != "" {
				return values[u], true
			}
		}
	}
	return "", false
}

// holds tells whether all conditions of a rule hold. The cheap ones come first.
func (r *rule) holds(request sdk.Request, d *document) bool {
	if len(r.repositories) > 0 && !globAny(r.repositories, request.Repository.FullName) {
		return false
	}
	if r.author != "" && !glob(r.author, request.Issue.Author) {
		return false
	}
	for _, want := range r.labels {
		has := false
		for _, label := range request.Issue.Labels {
			has = has || glob(want, label)
		}
		if !has {
			return false
		}
	}
	for _, t := range r.template {
		if !d.answers(t) {
			return false
		}
	}
	return (r.title == nil || r.title.Match(d.text[:d.bodyAt-1])) &&
		(r.body == nil || r.body.Match(d.text[d.bodyAt:])) &&
		(r.any == nil || r.any.Match(d.text))
}

// answers tells whether a heading has an answer that matches. What was left
// empty, or says that there is no response, is the empty answer.
func (d *document) answers(t templateCondition) bool {
	for i := range d.sections {
		s := &d.sections[i]
		if !headingIs(d.lower[s.heading.start:s.heading.end], t.heading) {
			continue
		}
		var answer []byte
		if s.answered && s.answer.start < s.answer.end {
			answer = bytes.Trim(d.text[s.answer.start:s.answer.end], " \n:*")
		}
		if t.answer.Match(answer) {
			return true
		}
	}
	return false
}

// headingIs compares a heading's words with those wanted.
func headingIs(lower []byte, want string) bool {
	for i := 0; i < len(lower); {
		j, _ := nextWord(lower, i)
		if j == i {
			i++
			continue
		}
		word := string(lower[i:j])
		if !strings.HasPrefix(want, word) {
			return false
		}
		want = want[len(word):]
		if want != "" && want[0] != ' ' {
			return false
		}
		want = strings.TrimPrefix(want, " ")
		i = j
	}
	return want == ""
}

func globAny(patterns []string, s string) bool {
	for _, p := range patterns {
		if glob(p, s) {
			return true
		}
	}
	return false
}

// glob matches without regard to case: * is any run of characters, slashes
// too, and ? any one. It takes at most len(pattern)·len(s) steps.
func glob(pattern, s string) bool {
	p, t := []rune(strings.ToLower(pattern)), []rune(strings.ToLower(s))
	i, j, star, mark := 0, 0, -1, 0
	for j < len(t) {
		switch {
		case i < len(p) && p[i] == '*':
			star, mark = i, j
			i++
		case i < len(p) && (p[i] == '?' || p[i] == t[j]):
			i++
			j++
		case star >= 0:
			mark++
			i, j = star+1, mark
		default:
			return false
		}
	}
	for i < len(p) && p[i] == '*' {
		i++
	}
	return i == len(p)
}
