package repoconfig

import (
	"fmt"
	"slices"

	"go.yaml.in/yaml/v4"

	"github.com/dispatchai/dispatchai/core/triage"
)

// rules reads a file's rules and puts them before those that were inherited. A
// rule that passes is one that the rules plugin accepts.
func (p *parser) rules(in entry) {
	nodes, ok := p.list(in.value, in.path, maxRules)
	if !ok {
		return
	}
	p.note(in.value, in.path)
	own := make([]triage.Rule, 0, len(nodes))
	for i, n := range nodes {
		rule := p.rule(n, at(in.path, i))
		if rule.Name != "" && named(own, rule.Name) {
			p.fault(n, at(in.path, i), "the name %s is that of a rule above; give each its own, so that reasons can cite it", shown(rule.Name))
		}
		own = append(own, rule)
	}
	for _, rule := range p.config.Rules {
		if !named(own, rule.Name) {
			own = append(own, rule)
		}
	}
	p.config.Rules = own
}

func named(rules []triage.Rule, name string) bool {
	return slices.ContainsFunc(rules, func(r triage.Rule) bool { return r.Name == name })
}

func (p *parser) rule(n *yaml.Node, path string) triage.Rule {
	var rule triage.Rule
	entries, ok := p.object(n, path, keysOf("rules[]"))
	if !ok {
		return rule
	}
	has := func(name string) bool {
		return slices.ContainsFunc(entries, func(e entry) bool { return e.name == name })
	}
	if !has("name") {
		p.fault(n, path, "the name is missing; it stands in the reasons that maintainers read")
	}
	if !has("set") {
		p.fault(n, path, "there is no \"set\"; say which fields the rule sets")
	}
	if !has("when") && !has("repositories") {
		p.fault(n, path, "there is no \"when\"; the rule would hold for every issue")
	}
	for _, e := range entries {
		switch e.name {
		case "name":
			rule.Name, _ = p.text(maxRuleName)(e.value, e.path)
		case "repositories":
			rule.Repositories = p.some(e, p.glob)
		case "when":
			rule.When = p.conditions(e, has("repositories"))
		case "set":
			rule.Set = p.values(e)
		case "confidence":
			v, ok := p.probability(e.value, e.path)
			if ok && v == 0 {
				p.fault(e.value, e.path, "must be above 0; remove the rule if it is to have no effect")
			}
			rule.Confidence = v
		case "stop":
			rule.Stop, _ = p.boolean(e.value, e.path)
		}
	}
	return rule
}

// some reads texts of which there must be one at least.
func (p *parser) some(e entry, of func(*yaml.Node, string) (string, bool)) []string {
	all, ok := p.texts(e.value, e.path, maxRuleValues, of)
	if ok && len(all) == 0 {
		p.fault(e.value, e.path, "is empty; give it an entry, or remove the key")
	}
	return all
}

func (p *parser) conditions(in entry, elsewhere bool) triage.RuleConditions {
	var c triage.RuleConditions
	entries, ok := p.object(in.value, in.path, keysOf("rules[].when"))
	if ok && len(entries) == 0 && len(in.value.Content) == 0 && !elsewhere {
		p.fault(in.value, in.path, "has no condition; the rule would hold for every issue")
	}
	for _, e := range entries {
		switch e.name {
		case "title":
			c.Title, _ = p.expression(e.value, e.path)
		case "body":
			c.Body, _ = p.expression(e.value, e.path)
		case "any":
			c.Any, _ = p.expression(e.value, e.path)
		case "author":
			c.Author, _ = p.glob(e.value, e.path)
		case "labels":
			c.Labels = p.some(e, p.glob)
		case "template":
			c.Template = p.template(e)
		}
	}
	return c
}

func (p *parser) template(in entry) map[string]string {
	headings, ok := p.mapping(in.value, in.path)
	if !ok {
		return nil
	}
	if len(headings) == 0 || len(headings) > maxRuleValues {
		p.fault(in.value, in.path, "must map 1 to %d headings of the issue form each to a regular expression on its answer", maxRuleValues)
		return nil
	}
	template := make(map[string]string, len(headings))
	for _, e := range headings {
		if len(e.name) > maxHeading || !hasWords(e.name) {
			p.fault(e.key, e.path, "names no heading; write the words of the issue form, at most %d characters", maxHeading)
			continue
		}
		template[e.name], _ = p.expression(e.value, e.path)
	}
	return template
}

func (p *parser) values(in entry) triage.RuleValues {
	entries, ok := p.object(in.value, in.path, keysOf("rules[].set"))
	if ok && len(entries) == 0 && len(in.value.Content) == 0 {
		p.fault(in.value, in.path, "is empty; say which fields the rule sets")
	}
	values := make(triage.RuleValues, len(entries))
	for _, e := range entries {
		f := triage.Field(e.name)
		if f.Multiple() {
			values[f] = p.some(e, p.text(maxGlob))
		} else if v, ok := p.text(maxGlob)(e.value, e.path); ok {
			values[f] = []string{v}
		}
	}
	return values
}

// wholeRules checks the rules of all files together, whose cost is bounded.
func (p *parser) wholeRules() {
	rules := p.config.Rules
	if len(rules) > maxRules {
		p.late("rules", "there are %d rules with those inherited; at most %d are allowed", len(rules), maxRules)
	}
	size := 0
	for _, r := range rules {
		for _, s := range [...]string{r.When.Title, r.When.Body, r.When.Any} {
			size += programSize(s)
		}
		for _, s := range r.When.Template {
			size += programSize(s)
		}
	}
	if size > maxPrograms {
		p.late("rules", "the regular expressions are too large together (%d instructions, at most %d); shorten alternatives and repetitions", size, maxPrograms)
	}
	settings, err := p.config.RuleSettings()
	if err == nil && len(settings) > maxRuleSettings {
		err = fmt.Errorf("the rules are %d bytes long together; make them %d at most", len(settings), maxRuleSettings)
	}
	if err != nil {
		p.late("rules", "%v", err)
	}
}
