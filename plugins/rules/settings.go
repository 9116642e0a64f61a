package rules

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/dispatchai/dispatchai/plugins/sdk"
)

// settings is a list of rules, checked and compiled.
type settings struct {
	rules []rule
}

// rule says what an issue is, if all of its conditions hold.
type rule struct {
	name         string
	repositories []string // globs
	title        *regexp.Regexp
	body         *regexp.Regexp
	any          *regexp.Regexp
	author       string   // a glob; empty for everyone
	labels       []string // globs, each of which a label must match
	template     []templateCondition
	set          []setting
	confidence   float64
	stop         bool
}

// templateCondition asks for an answer below a heading.
type templateCondition struct {
	heading string // words in lower case, joined by blanks
	answer  *regexp.Regexp
}

type setting struct {
	field  sdk.Field
	values []string
}

// The limits of settings. They bound what the rules of one repository can cost
// the others: the time of a regular expression is its size times the text's.
const (
	maxSettings     = 64 << 10 // bytes
	maxRules        = 100
	maxExpression   = 500  // characters
	maxProgram      = 1000 // instructions of one expression
	maxPrograms     = 4000 // instructions of all of them
	maxRuleName     = 80
	maxValue        = 100
	maxConditions   = 20
	ruleConfidence  = 0.95 // when a rule states none
	settingsExample = `{"rules":[{"name":"...","when":{"title":"..."},"set":{"category":"..."}}]}`
)

// ruleFields are the fields that a rule may set.
var ruleFields = [...]sdk.Field{sdk.Category, sdk.Priority, sdk.Severity, sdk.Component, sdk.Tags, sdk.Effort}

// ValidateSettings checks settings without using them: those given to Configure
// for all repositories, or those of one repository. The error names each fault
// by rule and field, all of them at once. Nothing, null and {} are settings
// without rules. Their form is
//
//	{"rules": [{
//	  "name":         "parser crashes",          required, stands in the reason
//	  "repositories": ["acme/*"],                globs; left out: all
//	  "when": {                                  all conditions must hold
//	    "title":    "(?i)^parser",               RE2 regular expressions, which see
//	    "body":     "panic:",                    the text without HTML comments and
//	    "any":      "(?i)parser",                its first 20,000 characters;
//	    "author":   "*[bot]",                    glob on the login
//	    "labels":   ["area/*"],                  globs, each on some label
//	    "template": {"Which part?": "(?i)cli"}   an expression on a heading's answer
//	  },
//	  "set": {"category": "bug", "tags": ["crash"]},   values or labels of the repository
//	  "confidence": 0.95,                        0 to 1; left out: 0.95
//	  "stop": false                              true: no rule after it is tried
//	}]}
//
// In globs * stands for any characters and ? for one; they and headings ignore
// case. A repository's own rules are tried before those for all repositories;
// the first to set a field decides it, tags add up, and both take the place of
// what the text alone would have said.
func ValidateSettings(raw json.RawMessage) error {
	_, err := parseSettings(raw)
	return err
}

// parseSettings checks and compiles settings.
func parseSettings(raw json.RawMessage) (*settings, error) {
	s := &settings{}
	if len(bytes.TrimSpace(raw)) == 0 || string(bytes.TrimSpace(raw)) == "null" {
		return s, nil
	}
	if len(raw) > maxSettings {
		return nil, fmt.Errorf("rules: the settings are %d bytes long; make them %d at most", len(raw), maxSettings)
	}
	p := &settingsParser{}
	top, ok := p.object("settings", raw, "rules")
	if !ok {
		return nil, errors.Join(p.faults...)
	}
	var list []json.RawMessage
	if in, ok := top["rules"]; ok {
		if err := json.Unmarshal(in, &list); err != nil {
			p.fault("rules", "must be a list of rules, such as %s", settingsExample)
		}
	}
	if len(list) > maxRules {
		p.fault("rules", "there are %d rules; at most %d are allowed", len(list), maxRules)
		list = nil
	}
	names := map[string]int{}
	for i, in := range list {
		p.where = fmt.Sprintf("rule %d", i+1)
		r := p.rule(in)
		if r.name != "" {
			if first, ok := names[r.name]; ok {
				p.fault("name", "is the name of rule %d too; give each rule its own, so that reasons can cite it", first)
			} else {
				names[r.name] = i + 1
			}
		}
		s.rules = append(s.rules, r)
	}
	p.where = ""
	if p.program > maxPrograms {
		p.fault("rules", "the regular expressions are too large together (%d instructions, at most %d); shorten alternatives and repetitions", p.program, maxPrograms)
	}
	if len(p.faults) > 0 {
		return nil, errors.Join(p.faults...)
	}
	return s, nil
}

// settingsParser collects the faults.
type settingsParser struct {
	where   string // the rule being read
	program int    // instructions of all expressions so far
	faults  []error
}

func (p *settingsParser) fault(field, format string, args ...any) {
	where := field
	switch {
	case field == "":
		where = p.where
	case p.where != "":
		where = p.where + ": " + field
	}
	// A fault may quote what somebody wrote, and is read in logs and pages.
	text := appendClean(nil, fmt.Sprintf(format, args...), 2*maxExpression)
	p.faults = append(p.faults, fmt.Errorf("rules: %s: %s", where, bytes.ReplaceAll(text, []byte("\n"), []byte(" "))))
}

// object reads a JSON object and refuses names it may not have.
func (p *settingsParser) object(field string, raw json.RawMessage, allowed ...string) (map[string]json.RawMessage, bool) {
	var m map[string]json.RawMessage
	if err := json.Unmarshal(raw, &m); err != nil || m == nil {
		var bad *json.SyntaxError
		if errors.As(err, &bad) {
			p.fault(field, "is not JSON: %v (at byte %d)", bad, bad.Offset)
		} else {
			p.fault(field, "must be a JSON object")
		}
		return nil, false
	}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		if !slices.Contains(allowed, name) {
			p.fault(inside(field, quotable(name)), "is not known; known are %s", strings.Join(allowed, ", "))
		}
	}
	return m, true
}

func inside(outer, name string) string {
	if outer == "settings" || outer == "" {
		return name
	}
	return outer + "." + name
}

// rule reads one rule.
func (p *settingsParser) rule(raw json.RawMessage) rule {
	r := rule{confidence: ruleConfidence}
	m, ok := p.object("", raw, "name", "repositories", "when", "set", "confidence", "stop")
	if !ok {
		return r
	}
	r.name = p.text(m, "", "name", maxRuleName)
	if r.name != "" {
		p.where += fmt.Sprintf(" %q", quotable(r.name))
	} else if m["name"] == nil {
		p.fault("name", "is missing; it stands in the reasons that maintainers read")
	}
	r.repositories = p.texts(m, "", "repositories")
	conditions := 0
	if in, ok := m["when"]; ok {
		conditions = p.when(in, &r)
	}
	if conditions == 0 && m["repositories"] == nil {
		p.fault("when", "has no condition; the rule would hold for every issue")
	}
	if in, ok := m["set"]; !ok {
		p.fault("set", "is missing; say which fields the rule sets")
	} else {
		p.set(in, &r)
	}
	if in, ok := m["confidence"]; ok {
		if err := json.Unmarshal(in, &r.confidence); err != nil || string(in) == "null" || !(r.confidence > 0 && r.confidence <= 1) {
			p.fault("confidence", "must be a number above 0 and at most 1")
			r.confidence = ruleConfidence
		}
	}
	if in, ok := m["stop"]; ok {
		if err := json.Unmarshal(in, &r.stop); err != nil || string(in) == "null" {
			p.fault("stop", "must be true or false")
		}
	}
	return r
}

// when reads the conditions and gives how many were stated, faulty ones too.
func (p *settingsParser) when(raw json.RawMessage, r *rule) int {
	m, ok := p.object("when", raw, "title", "body", "any", "author", "labels", "template")
	if !ok {
		return 1
	}
	r.title = p.expression("when.title", p.text(m, "when", "title", 0))
	r.body = p.expression("when.body", p.text(m, "when", "body", 0))
	r.any = p.expression("when.any", p.text(m, "when", "any", 0))
	r.author = p.text(m, "when", "author", maxValue)
	r.labels = p.texts(m, "when", "labels")
	in, ok := m["template"]
	if !ok {
		return len(m)
	}
	var headings map[string]json.RawMessage
	if err := json.Unmarshal(in, &headings); err != nil || len(headings) == 0 || len(headings) > maxConditions {
		p.fault("when.template", "must map 1 to %d headings of the issue template each to a regular expression on its answer", maxConditions)
		return len(m)
	}
	for _, heading := range slices.Sorted(maps.Keys(headings)) {
		field := "when.template." + quotable(heading)
		words := strings.Join(splitWords(heading), " ")
		if words == "" {
			p.fault(field, "names no heading")
			continue
		}
		var expression string
		if err := json.Unmarshal(headings[heading], &expression); err != nil || expression == "" {
			p.fault(field, "must be a regular expression")
			continue
		}
		if re := p.expression(field, expression); re != nil {
			r.template = append(r.template, templateCondition{words, re})
		}
	}
	return len(m)
}

// set reads what the rule sets.
func (p *settingsParser) set(raw json.RawMessage, r *rule) {
	allowed := make([]string, len(ruleFields))
	for i, f := range ruleFields {
		allowed[i] = string(f)
	}
	m, ok := p.object("set", raw, allowed...)
	if !ok {
		return
	}
	if len(m) == 0 {
		p.fault("set", "is empty; say which fields the rule sets")
	}
	for _, f := range ruleFields {
		if m[string(f)] == nil {
			continue
		}
		if f == sdk.Tags {
			if values := p.texts(m, "set", string(f)); len(values) > 0 {
				r.set = append(r.set, setting{f, values})
			}
			continue
		}
		if v := p.text(m, "set", string(f), maxValue); v != "" {
			r.set = append(r.set, setting{f, []string{v}})
		}
	}
}

// text reads a string that may be left out but not be empty. limit 0 leaves the
// length to expression.
func (p *settingsParser) text(m map[string]json.RawMessage, outer, name string, limit int) string {
	in, ok := m[name]
	if !ok {
		return ""
	}
	var s string
	if err := json.Unmarshal(in, &s); err != nil || strings.TrimSpace(s) == "" {
		p.fault(inside(outer, name), "must be a text that is not empty")
		return ""
	}
	if limit > 0 && utf8.RuneCountInString(s) > limit {
		p.fault(inside(outer, name), "is longer than %d characters", limit)
		return ""
	}
	return s
}

// texts reads a list of strings, or a single one.
func (p *settingsParser) texts(m map[string]json.RawMessage, outer, name string) []string {
	in, ok := m[name]
	if !ok {
		return nil
	}
	var list []string
	var one string
	if err := json.Unmarshal(in, &one); err == nil && string(in) != "null" {
		list = []string{one}
	} else if err := json.Unmarshal(in, &list); err != nil || len(list) == 0 || len(list) > maxConditions {
		p.fault(inside(outer, name), "must be a list of 1 to %d texts", maxConditions)
		return nil
	}
	for _, s := range list {
		if strings.TrimSpace(s) == "" || utf8.RuneCountInString(s) > maxValue {
			p.fault(inside(outer, name), "has an entry that is empty or longer than %d characters", maxValue)
			return nil
		}
	}
	return list
}

// expression compiles a regular expression within the limits; nil for none.
func (p *settingsParser) expression(field, s string) *regexp.Regexp {
	if s == "" {
		return nil
	}
	if utf8.RuneCountInString(s) > maxExpression {
		p.fault(field, "is longer than %d characters", maxExpression)
		return nil
	}
	parsed, err := syntax.Parse(s, syntax.Perl)
	if err != nil {
		p.fault(field, "is not a regular expression in RE2 syntax: %s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
		return nil
	}
	prog, err := syntax.Compile(parsed.Simplify())
	if err != nil || len(prog.Inst) > maxProgram {
		p.fault(field, "is too large (at most %d instructions); shorten its alternatives and repetitions", maxProgram)
		return nil
	}
	p.program += len(prog.Inst)
	re, err := regexp.Compile(s)
	if err != nil {
		p.fault(field, "is not a regular expression in RE2 syntax: %v", err)
		return nil
	}
	return re
}
