package repoconfig

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"

	"github.com/dispatchai/dispatchai/core/triage"
)

// Reactions is what workflows do when labels change.
type Reactions struct {
	// Labels are globs of the labels that workflows ask for, as
	// triage.TaxonomyOptions takes them: sorted, each once.
	Labels []string `json:"labels,omitempty"`
	// Unclear says, one sentence each, what runs when an issue is labelled without
	// it being known for which labels. Strangers' text is quoted in it.
	Unclear []string `json:"unclear,omitempty"`
}

// The bounds of what is read of workflows.
const (
	maxNodes     = 40_000 // of one file, with what aliases repeat; four characters of an expression count as one
	maxReactions = 200
	maxUnclear   = 20
)

// WorkflowFile tells whether a path in a repository is that of a workflow.
func WorkflowFile(path string) bool {
	name, ok := strings.CutPrefix(path, ".github/workflows/")
	return ok && !strings.Contains(name, "/") && (strings.HasSuffix(name, ".yml") || strings.HasSuffix(name, ".yaml"))
}

// ReadWorkflows finds which labels a repository's workflow files react to: those
// that conditions and scripts compare with, and those given to widely used
// actions that wait for labels. It errs on the side of a label too many. What it
// cannot read of a workflow that runs when an issue is labelled stands in
// Unclear, and it is the caller's to decide what that means.
func ReadWorkflows(files ...File) Reactions {
	var r Reactions
	for _, f := range files {
		w := workflow{file: f.Name, reactions: &r}
		w.read(f.Content)
	}
	slices.Sort(r.Labels)
	r.Labels = slices.CompactFunc(r.Labels, func(a, b string) bool { return triage.LabelKey(a) == triage.LabelKey(b) })
	return r
}

// workflow is one file being read.
type workflow struct {
	file      string
	reactions *Reactions
	nodes     int
	// labelled tells that it runs when an issue gets a label.
	labelled bool
}

func (w *workflow) read(content []byte) {
	root, fault := readDocument(content)
	if fault != nil {
		w.unclear("cannot be read: %s", fault.message)
		return
	}
	if root == nil {
		return
	}
	w.labelled = w.runsOnLabels(w.member(root, "on"))
	for name, job := range w.members(w.member(root, "jobs")) {
		w.job(name, job)
	}
	if w.nodes > maxNodes {
		w.unclear("is too large to be read")
	}
}

func (w *workflow) unclear(format string, args ...any) {
	if len(w.reactions.Unclear) < maxUnclear {
		w.reactions.Unclear = append(w.reactions.Unclear, fmt.Sprintf("the workflow %s ", shown(w.file))+fmt.Sprintf(format, args...))
	}
}

// reacts notes labels.
func (w *workflow) reacts(patterns ...string) {
	for _, p := range patterns {
		p = strings.TrimSpace(strings.Trim(strings.TrimSpace(p), `"'`))
		if p == "" || utf8.RuneCountInString(p) > maxGlob || strings.Contains(p, "${{") || strings.Trim(p, "*") == "" {
			continue
		}
		if len(w.reactions.Labels) >= maxReactions {
			w.unclear("and others ask for more labels than are kept (%d)", maxReactions)
			return
		}
		if !slices.Contains(w.reactions.Labels, p) {
			w.reactions.Labels = append(w.reactions.Labels, p)
		}
	}
}

// follow gives what an alias stands for, and counts.
func (w *workflow) follow(n *yaml.Node) *yaml.Node {
	for range maxDepth {
		if w.nodes++; n == nil || w.nodes > maxNodes {
			return nil
		}
		if n.Kind != yaml.AliasNode {
			return n
		}
		n = n.Alias
	}
	return nil
}

// members walks a mapping; of anything else it yields none.
func (w *workflow) members(n *yaml.Node) func(yield func(string, *yaml.Node) bool) {
	return func(yield func(string, *yaml.Node) bool) {
		n = w.follow(n)
		if n == nil || n.Kind != yaml.MappingNode {
			return
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			if value := w.follow(n.Content[i+1]); value == nil || !yield(n.Content[i].Value, value) {
				return
			}
		}
	}
}

func (w *workflow) member(n *yaml.Node, name string) *yaml.Node {
	for key, value := range w.members(n) {
		if key == name {
			return value
		}
	}
	return nil
}

// words gives a scalar's text, or those of a list.
func (w *workflow) words(n *yaml.Node) []string {
	n = w.follow(n)
	switch {
	case n == nil:
		return nil
	case n.Kind == yaml.ScalarNode:
		return []string{n.Value}
	case n.Kind != yaml.SequenceNode:
		return nil
	}
	var all []string
	for _, c := range n.Content {
		if c = w.follow(c); c != nil && c.Kind == yaml.ScalarNode {
			all = append(all, c.Value)
		}
	}
	return all
}

// runsOnLabels reads a workflow's triggers. Of pull requests' labels none is
// ours, so only issues count. Without types every change of an issue counts.
func (w *workflow) runsOnLabels(on *yaml.Node) bool {
	if slices.Contains(w.words(on), "issues") {
		return true
	}
	for event, how := range w.members(on) {
		if event != "issues" {
			continue
		}
		types := w.words(w.member(how, "types"))
		return len(types) == 0 || slices.Contains(types, "labeled") || slices.Contains(types, "unlabeled")
	}
	return false
}

// job reads one job. It is clear what starts it when its own condition can be
// read, or those of all its steps.
func (w *workflow) job(name string, job *yaml.Node) {
	own := w.condition(w.member(job, "if"))
	guarded := own.elsewhere || own.holds && !own.unclear
	open := false
	steps := w.follow(w.member(job, "steps"))
	if steps == nil || steps.Kind != yaml.SequenceNode {
		open = true // it calls another workflow
	} else {
		for _, s := range steps.Content {
			test := w.step(s)
			open = open || !test.elsewhere && (!test.holds || test.unclear)
		}
	}
	if w.labelled && !guarded && (open || own.unclear) {
		w.unclear("runs the job %s when an issue is labelled, and it cannot be read for which labels", shown(name))
	}
}

func (w *workflow) condition(n *yaml.Node) labelTest {
	n = w.follow(n)
	if n == nil || n.Kind != yaml.ScalarNode {
		return labelTest{}
	}
	if w.nodes += len(n.Value) / 4; w.nodes > maxNodes {
		return labelTest{}
	}
	test := readTest(n.Value)
	w.reacts(test.patterns...)
	return test
}

// step reads one step and gives its condition.
func (w *workflow) step(s *yaml.Node) labelTest {
	test := w.condition(w.member(s, "if"))
	w.condition(w.member(s, "run"))
	uses := w.follow(w.member(s, "uses"))
	action := ""
	if uses != nil {
		action, _, _ = strings.Cut(strings.ToLower(uses.Value), "@")
	}
	inputs := labelInputs(action)
	if action == "actions/stale" {
		w.reacts("Stale") // unless it says otherwise, and then no less
	}
	for _, block := range [...]string{"with", "env"} {
		for key, value := range w.members(w.member(s, block)) {
			switch text := value.Value; {
			case slices.Contains(inputs, strings.ToLower(key)) && strings.Contains(key, "pattern"):
				w.reacts(startOf(text))
			case slices.Contains(inputs, strings.ToLower(key)):
				for _, entry := range w.words(value) {
					w.reacts(listed(entry)...)
				}
			case key == "script":
				w.condition(value)
			case strings.Contains(text, "${{"):
				w.condition(value)
			}
		}
	}
	return test
}

// labelInputs are the inputs, or variables, by which widely used actions are
// told the labels that they wait for. Labels that only keep an action from its
// work are not among them.
func labelInputs(action string) []string {
	switch action {
	case "actions/stale":
		return []string{"stale-issue-label", "stale-pr-label", "close-issue-label", "only-labels", "only-issue-labels", "any-of-labels", "any-of-issue-labels"}
	case "actions/add-to-project":
		return []string{"labeled"}
	case "korthout/backport-action", "tibdex/backport", "zeebe-io/backport-action":
		return []string{"label_pattern", "copy_labels_pattern"}
	case "sorenlouv/backport-github-action":
		return []string{"auto_backport_label_prefix"}
	case "pascalgn/automerge-action":
		return []string{"merge_labels", "update_labels"}
	case "lee-dohm/no-response":
		return []string{"responserequiredlabel"}
	case "actions-cool/issues-helper":
		return []string{"labels"}
	case "peter-evans/close-issue", "dessant/support-requests":
		return []string{"support-label", "labels"}
	case "dessant/lock-threads":
		return []string{"include-any-issue-labels", "include-all-issue-labels"}
	}
	return nil
}

// startOf is a glob that holds wherever a regular expression does, as far as
// the expression starts with plain letters; "" when it does not.
func startOf(expression string) string {
	rest, anchored := strings.CutPrefix(expression, "^")
	end := strings.IndexAny(rest, `\.+*?()|[]{}^$`)
	if end < 0 {
		end = len(rest)
	} else if rest[end] == '?' || rest[end] == '*' || rest[end] == '{' {
		end = max(end-1, 0)
	}
	plain := rest[:end]
	switch {
	case strings.TrimSpace(plain) == "" || strings.Contains(rest, "|"):
		return ""
	case !anchored:
		return "*" + plain + "*"
	}
	return plain + "*"
}
