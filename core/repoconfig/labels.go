package repoconfig

import (
	"maps"

	"github.com/dispatchai/dispatchai/core/triage"
)

func (p *parser) labels(in entry) {
	entries, _ := p.object(in.value, in.path, keysOf("labels"))
	c := &p.config.Labels
	for _, e := range entries {
		switch e.name {
		case "map":
			p.labelMap(e)
		case "ignore":
			p.setTexts(&c.Ignore, e, maxEntries, p.glob)
		case "never":
			p.setTexts(&c.Never, e, maxEntries, p.glob)
		case "allow":
			p.setTexts(&c.Allow, e, maxEntries, p.glob)
		case "limit":
			if n, ok := p.integer(e.value, e.path, 1, triage.MaxLabelLimit); ok {
				c.Limit = n
			}
		}
	}
}

func (p *parser) labelMap(in entry) {
	fields, _ := p.object(in.value, in.path, keysOf("labels.map"))
	merged := make(map[triage.Field]map[string][]string, len(p.config.Labels.Map)+len(fields))
	for f, values := range p.config.Labels.Map {
		merged[f] = maps.Clone(values)
	}
	for _, field := range fields {
		f := triage.Field(field.name)
		values, ok := p.mapping(field.value, field.path)
		if !ok || !p.count(field.value, field.path, maxMapped) {
			continue
		}
		written := make(map[string]string, len(values))
		for _, e := range values {
			value, ok := triage.CanonicalValue(f, e.name)
			switch closed := triage.ClosedValues(f); {
			case ok && (closed != nil || hasWords(e.name)):
			case closed != nil:
				p.fault(e.key, e.path, "%s is no %s%s", shown(e.name), f, instead(e.name, closed))
				continue
			default:
				p.fault(e.key, e.path, "this has neither letter nor digit; give the %s a name", f)
				continue
			}
			if first, twice := written[value]; twice {
				p.fault(e.key, e.path, "this is the same as %s above; keep one of them", shown(first))
				continue
			}
			written[value] = e.name
			labels, ok := p.texts(e.value, e.path, maxRuleValues, p.text(maxLabel))
			if !ok {
				continue
			}
			if merged[f] == nil {
				merged[f] = make(map[string][]string)
			}
			merged[f][value] = labels
			p.note(e.value, mapPath(f, value))
		}
	}
	p.config.Labels.Map = merged
}

func mapPath(f triage.Field, value string) string {
	return inside(inside("labels.map", string(f)), value)
}
