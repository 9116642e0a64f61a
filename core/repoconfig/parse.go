// Package repoconfig reads what a repository says of itself in files: its
// configuration (.github/dispatchai.yml, with its organisation's), and which
// labels its workflows react to. Both are strangers' text: every reading is
// bounded, and none panics.
package repoconfig

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v4"

	"github.com/dispatchai/dispatchai/core/triage"
)

// File is a configuration file as it was fetched.
type File struct {
	// Name stands in faults, as "acme/shop/.github/dispatchai.yml".
	Name    string
	Content []byte
}

// Options are what the server knows that a file may speak of.
type Options struct {
	// Classifiers are the names of the plugins that the server runs. Without
	// any, every well-formed name is taken.
	Classifiers []string
}

// Parse reads the files that configure one repository: its own last, before it
// those that it inherits from. No file, and an empty one, mean the defaults.
//
// A later file wins key by key, in nested mappings too, and its lists take the
// place of earlier ones. Rules add up: the repository's own are tried first, and
// one takes the place of an inherited rule of the same name. With "inherit:
// false" in the last file the others count for nothing, faults included.
//
// All faults are told at once, file by file in the order of lines, those of the
// files together last. The
// configuration is to be used only when there are none.
func Parse(options Options, files ...File) (triage.RepositoryConfig, []triage.ConfigFault) {
	p := parser{options: options, config: triage.DefaultRepositoryConfig(), places: make(map[string]place)}
	roots := make([]*yaml.Node, len(files))
	bad := make([]*syntaxFault, len(files))
	for i, f := range files {
		roots[i], bad[i] = readDocument(f.Content)
	}
	first := 0
	if n := len(files); n > 1 && bad[n-1] == nil && inheritsNothing(roots[n-1]) {
		first = n - 1
	}
	var faults []triage.ConfigFault
	readable := true
	for i := first; i < len(files); i++ {
		p.reader = reader{file: files[i].Name}
		switch f := bad[i]; {
		case f != nil:
			readable = false
			p.faults = append(p.faults, triage.ConfigFault{File: p.file, Line: f.line, Column: f.column, Message: f.message})
		case roots[i] != nil:
			p.plain(roots[i])
			p.root(roots[i])
		}
		slices.SortStableFunc(p.faults, func(a, b triage.ConfigFault) int {
			if a.Line != b.Line {
				return a.Line - b.Line
			}
			return a.Column - b.Column
		})
		if p.untold {
			p.faults = append(p.faults, triage.ConfigFault{File: p.file, Message: fmt.Sprintf("there are more than %d faults; the others are not listed", maxFaults)})
		}
		faults = append(faults, p.faults...)
	}
	if readable {
		p.reader = reader{}
		p.whole(slices.ContainsFunc(faults, func(f triage.ConfigFault) bool { return strings.HasPrefix(f.Path, "needs-info") }))
		faults = append(faults, p.faults...)
	}
	return p.config, faults
}

// inheritsNothing tells whether a file says "inherit: false".
func inheritsNothing(root *yaml.Node) bool {
	if root == nil || root.Kind != yaml.MappingNode {
		return false
	}
	for i := 0; i+1 < len(root.Content); i += 2 {
		if v := root.Content[i+1]; root.Content[i].Value == "inherit" {
			return v.Kind == yaml.ScalarNode && v.Tag == "!!bool" && strings.EqualFold(v.Value, "false")
		}
	}
	return false
}

// parser applies one file after the other to a configuration.
type parser struct {
	reader
	options Options
	config  triage.RepositoryConfig
	// places is where values stand that only make sense together, by their path.
	places map[string]place
}

type place struct {
	file string
	node *yaml.Node
}

func (p *parser) note(n *yaml.Node, path string) { p.places[path] = place{p.file, n} }

// late tells a fault that shows only when all files are read.
func (p *parser) late(path, format string, args ...any) {
	at := p.places[path]
	p.file = at.file
	p.fault(at.node, path, format, args...)
}

func (p *parser) root(n *yaml.Node) {
	entries, _ := p.object(n, "", keysOf(""))
	for _, e := range entries {
		switch e.name {
		case "mode":
			if m, ok := p.choice(names(triage.Modes()))(e.value, e.path); ok {
				p.config.Mode = triage.Mode(m)
			}
		case "modes":
			p.modes(e)
		case "classifiers":
			p.classifiers(e)
		case "challenger":
			if name, ok := p.challenger(e.value, e.path); ok {
				p.config.Challenger = name
				p.note(e.value, e.path)
			}
		case "daily-budget":
			if v, ok := p.amount(e.value, e.path, maxBudget); ok {
				p.config.DailyBudgetUSD = v
			}
		case "thresholds":
			p.config.Thresholds = p.thresholds(e, p.config.Thresholds)
		case "labels":
			p.labels(e)
		case "issue-types":
			p.issueTypes(e)
		case "rules":
			p.rules(e)
		case "skip":
			p.skip(e)
		case "needs-info":
			p.needsInfo(e)
		case "retriage":
			p.retriage(e)
		case "commands":
			p.set(&p.config.Commands, e)
		case "backfill":
			if b, ok := p.choice(names(triage.Backfills()))(e.value, e.path); ok {
				p.config.Backfill = triage.Backfill(b)
			}
		case "checks":
			p.set(&p.config.Checks, e)
		case "inherit":
			p.boolean(e.value, e.path)
		}
	}
}

// set sets a switch.
func (p *parser) set(to *bool, e entry) {
	if v, ok := p.boolean(e.value, e.path); ok {
		*to = v
	}
}

// setTexts replaces a list.
func (p *parser) setTexts(to *[]string, e entry, most int, of func(*yaml.Node, string) (string, bool)) {
	if v, ok := p.texts(e.value, e.path, most, of); ok {
		*to = v
	}
}

func (p *parser) modes(in entry) {
	entries, _ := p.object(in.value, in.path, keysOf("modes"))
	modes := maps.Clone(p.config.Modes)
	for _, e := range entries {
		if m, ok := p.choice(names(triage.Modes()))(e.value, e.path); ok {
			if modes == nil {
				modes = make(map[triage.Field]triage.Mode)
			}
			modes[triage.Field(e.name)] = triage.Mode(m)
		}
	}
	p.config.Modes = modes
}

func (p *parser) thresholds(in entry, before triage.Thresholds) triage.Thresholds {
	entries, _ := p.object(in.value, in.path, keysOf("thresholds"))
	thresholds := maps.Clone(before)
	for _, e := range entries {
		if v, ok := p.probability(e.value, e.path); ok {
			if thresholds == nil {
				thresholds = make(triage.Thresholds)
			}
			thresholds[triage.Field(e.name)] = v
		}
	}
	return thresholds
}

func (p *parser) classifiers(in entry) {
	nodes, ok := p.list(in.value, in.path, maxEntries)
	if !ok {
		return
	}
	p.config.Classifiers = nil
	for i, n := range nodes {
		path := at(in.path, i)
		var c triage.ClassifierChoice
		if n.Kind != yaml.MappingNode {
			if c.Name, ok = p.classifier(n, path); !ok {
				continue
			}
		} else {
			entries, _ := p.object(n, path, keysOf("classifiers[]"))
			if !slices.ContainsFunc(entries, func(e entry) bool { return e.name == "name" }) {
				p.fault(n, path, "the name is missing; say which classifier is meant")
			}
			for _, e := range entries {
				switch e.name {
				case "name":
					c.Name, _ = p.classifier(e.value, e.path)
				case "fields":
					var fields []string
					p.setTexts(&fields, e, maxEntries, p.choice(names(labelledFields())))
					for _, f := range fields {
						c.Fields = append(c.Fields, triage.Field(f))
					}
				case "thresholds":
					c.Thresholds = p.thresholds(e, nil)
				}
			}
		}
		if c.Name != "" && slices.ContainsFunc(p.config.Classifiers, func(o triage.ClassifierChoice) bool { return o.Name == c.Name }) {
			p.fault(n, path, "the classifier %s is named already; name each once", c.Name)
		}
		p.config.Classifiers = append(p.config.Classifiers, c)
	}
}

// challenger is a classifier's name, or the word for none.
func (p *parser) challenger(n *yaml.Node, path string) (string, bool) {
	if n.Kind == yaml.ScalarNode && n.Value == triage.NoChallenger {
		return triage.NoChallenger, true
	}
	return p.classifier(n, path)
}

var classifierName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,39}$`)

func (p *parser) classifier(n *yaml.Node, path string) (string, bool) {
	name, ok := p.text(maxGlob)(n, path)
	switch known := p.options.Classifiers; {
	case !ok:
		return "", false
	case !classifierName.MatchString(name):
		p.fault(n, path, "%s is not a classifier's name (lower-case letters, digits, dashes)", shown(name))
		return "", false
	case len(known) > 0 && !slices.Contains(known, name):
		p.fault(n, path, "this server runs no classifier %s%s", name, instead(name, known))
		return "", false
	}
	return name, true
}

func (p *parser) issueTypes(in entry) {
	entries, _ := p.object(in.value, in.path, keysOf("issue-types"))
	for _, e := range entries {
		switch e.name {
		case "set":
			p.set(&p.config.IssueTypes.Set, e)
		case "map":
			values, _ := p.object(e.value, e.path, keysOf("issue-types.map"))
			types := maps.Clone(p.config.IssueTypes.Map)
			for _, v := range values {
				if name, ok := p.text(maxLabel)(v.value, v.path); ok {
					if types == nil {
						types = make(map[string]string)
					}
					types[v.name] = name
				}
			}
			p.config.IssueTypes.Map = types
		}
	}
}

func (p *parser) skip(in entry) {
	entries, _ := p.object(in.value, in.path, keysOf("skip"))
	for _, e := range entries {
		switch e.name {
		case "authors":
			p.setTexts(&p.config.Skip.Authors, e, maxEntries, p.glob)
		case "labels":
			p.setTexts(&p.config.Skip.Labels, e, maxEntries, p.glob)
		}
	}
}

func (p *parser) needsInfo(in entry) {
	entries, _ := p.object(in.value, in.path, keysOf("needs-info"))
	c := &p.config.NeedsInfo
	p.note(in.value, "needs-info.answers")
	for _, e := range entries {
		switch e.name {
		case "ask":
			p.set(&c.Ask, e)
		case "answers":
			p.setTexts(&c.Answers, e, maxAnswers, p.heading)
		case "categories":
			p.setTexts(&c.Categories, e, maxEntries, p.choice(triage.ClosedValues(triage.FieldCategory)))
		case "comment":
			if s, ok := p.text(maxComment)(e.value, e.path); ok {
				c.Comment = s
			}
		}
	}
}

// heading reads the heading of an issue form.
func (p *parser) heading(n *yaml.Node, path string) (string, bool) {
	s, ok := p.text(maxHeading)(n, path)
	if ok && !hasWords(s) {
		p.fault(n, path, "%s names no heading; write the words of the issue form", shown(s))
		return "", false
	}
	return s, ok
}

func hasWords(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) })
}

func (p *parser) retriage(in entry) {
	entries, _ := p.object(in.value, in.path, keysOf("retriage"))
	for _, e := range entries {
		switch e.name {
		case "edit":
			p.set(&p.config.Retriage.Edit, e)
		case "reopen":
			p.set(&p.config.Retriage.Reopen, e)
		case "comment":
			p.set(&p.config.Retriage.Comment, e)
		}
	}
}

// whole checks what shows only when all files are read. asksBadly tells that
// what they say of needs-info has faults already.
func (p *parser) whole(asksBadly bool) {
	c := &p.config
	switch {
	case asksBadly || !c.NeedsInfo.Ask:
	case len(c.NeedsInfo.Answers) == 0:
		p.late("needs-info.answers", "no answers are named; list the headings of the issue form whose answers are needed")
	case len(c.NeedsInfo.Categories) == 0:
		p.late("needs-info.answers", "no categories are named; list in needs-info.categories those whose issues need answers, or set needs-info.ask to false")
	}
	if slices.ContainsFunc(c.Classifiers, func(o triage.ClassifierChoice) bool { return o.Name != "" && o.Name == c.Challenger }) {
		p.late("challenger", "%s is one of the classifiers, which decide; name another, or none", c.Challenger)
	}
	p.wholeRules()
	said := make(map[string]string)
	for _, f := range labelledFields() {
		for _, v := range slices.Sorted(maps.Keys(c.Labels.Map[f])) {
			path := mapPath(f, v)
			for _, name := range c.Labels.Map[f][v] {
				if other, twice := said[triage.LabelKey(name)]; twice {
					p.late(path, "the label %s stands for %s already; a label has one meaning", shown(name), other)
					continue
				}
				said[triage.LabelKey(name)] = path
			}
		}
	}
}
