package triage

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// ConfigFileName is where a repository keeps its configuration, and where an
// organisation keeps, in its repository .github, the one that all others inherit.
const ConfigFileName = ".github/dispatchai.yml"

// RepositoryConfig is how one repository wants to be treated, as its
// configuration file and its organisation's say. It is a value that may be
// stored as JSON; its maps and slices must not be changed.
type RepositoryConfig struct {
	// Mode holds for every field that Modes does not name; see ModeOf.
	Mode  Mode           `json:"mode"`
	Modes map[Field]Mode `json:"modes,omitempty"`
	// Classifiers are those to ask, in this order, in place of the server's own
	// chain. Empty: the server's chain.
	Classifiers []ClassifierChoice `json:"classifiers,omitempty"`
	// Challenger is the classifier to ask beside the chain, without any effect, or
	// NoChallenger. Empty: the server's.
	Challenger string `json:"challenger,omitempty"`
	// DailyBudgetUSD is what answers for the repository may cost on one UTC day, in
	// US dollars, where that is less than the server's bound; 0: the server's.
	DailyBudgetUSD float64 `json:"daily_budget_usd,omitempty"`
	// Thresholds hold for answers of every classifier that states none of its
	// own; fields that are missing take their default. See Threshold.
	Thresholds Thresholds      `json:"thresholds,omitempty"`
	Labels     LabelConfig     `json:"labels"`
	IssueTypes IssueTypeConfig `json:"issue_types"`
	Rules      []Rule          `json:"rules,omitempty"`
	Skip       SkipConfig      `json:"skip"`
	NeedsInfo  NeedsInfoConfig `json:"needs_info"`
	Retriage   RetriageConfig  `json:"retriage"`
	// Commands tells whether /dispatch commands in comments are obeyed.
	Commands bool `json:"commands"`
	// Backfill is what is classified of the issues that were there before the App.
	Backfill Backfill `json:"backfill"`
	// Checks tells whether faults of the configuration file are shown as a check
	// run on the commit that brought them.
	Checks bool `json:"checks"`
}

// DefaultRepositoryConfig is the configuration of a repository without a file.
func DefaultRepositoryConfig() RepositoryConfig {
	return RepositoryConfig{
		Mode:   ModeApply,
		Labels: LabelConfig{Limit: DefaultLabelLimit},
		NeedsInfo: NeedsInfoConfig{
			Categories: []string{"bug"},
			Comment:    "Thank you for the report. To look into it we need a little more; please add it to the description above, or answer here:",
		},
		Retriage: RetriageConfig{Edit: true, Reopen: true, Comment: true},
		Commands: true,
		Backfill: BackfillNone,
		Checks:   true,
	}
}

// NoChallenger as RepositoryConfig.Challenger stands for none.
const NoChallenger = "none"

// Mode is what becomes of an answer that is sure enough.
type Mode string

// The modes.
const (
	// ModeApply writes labels.
	ModeApply Mode = "apply"
	// ModeSuggest shows labels as suggestions; what a person says is written.
	ModeSuggest Mode = "suggest"
	// ModeShadow classifies and writes nothing to GitHub, whoever asks for it.
	ModeShadow Mode = "shadow"
)

// Modes lists every mode.
func Modes() []Mode { return []Mode{ModeApply, ModeSuggest, ModeShadow} }

// ClassifierChoice is one classifier of a repository's chain.
type ClassifierChoice struct {
	// Name is the operator's name for the plugin.
	Name string `json:"name"`
	// Fields are those it is asked for; empty: all that it knows.
	Fields []Field `json:"fields,omitempty"`
	// Thresholds take the place of the repository's for its answers.
	Thresholds Thresholds `json:"thresholds,omitempty"`
}

// The bounds of LabelConfig.Limit.
const (
	DefaultLabelLimit = 5
	MaxLabelLimit     = 20
)

// LabelConfig says how a repository's labels are read and which are written.
// Globs ignore case; see MatchGlob.
type LabelConfig struct {
	// Map ties a field's values to labels: all of them are understood, the first
	// is written. A value without labels is never written.
	Map map[Field]map[string][]string `json:"map,omitempty"`
	// Ignore are globs of labels that say nothing, unless Map names them.
	Ignore []string `json:"ignore,omitempty"`
	// Never are globs of labels that are understood but never written.
	Never []string `json:"never,omitempty"`
	// Allow are globs of labels that may be written although a workflow reacts
	// to them or their name is that of a label which drives automation.
	Allow []string `json:"allow,omitempty"`
	// Limit is how many labels the app wants on one issue at most.
	Limit int `json:"limit"`
}

// IssueTypeConfig says whether the category sets the issue's type, where the
// organisation has issue types.
type IssueTypeConfig struct {
	Set bool `json:"set"`
	// Map names the type of a category; others are found by name.
	Map map[string]string `json:"map,omitempty"`
}

// SkipConfig says which issues are left alone. Its globs ignore case.
type SkipConfig struct {
	Authors []string `json:"authors,omitempty"`
	Labels  []string `json:"labels,omitempty"`
}

// RetriageConfig says what makes an issue be classified again.
type RetriageConfig struct {
	Edit    bool `json:"edit"`
	Reopen  bool `json:"reopen"`
	Comment bool `json:"comment"` // the author's answer to a needs-info request
}

// Backfill is which older issues are classified when the App is installed.
type Backfill string

// The choices of Backfill.
const (
	BackfillNone Backfill = "none"
	BackfillOpen Backfill = "open"
	BackfillAll  Backfill = "all"
)

// Backfills lists every choice.
func Backfills() []Backfill { return []Backfill{BackfillNone, BackfillOpen, BackfillAll} }

// Rule says what an issue is, if all of its conditions hold. Its JSON is that of
// the rules plugin's settings.
type Rule struct {
	Name         string         `json:"name"`
	Repositories []string       `json:"repositories,omitempty"`
	When         RuleConditions `json:"when,omitzero"`
	Set          RuleValues     `json:"set"`
	Confidence   float64        `json:"confidence,omitzero"` // 0: the plugin's own
	Stop         bool           `json:"stop,omitempty"`
}

// RuleConditions must all hold; those left empty do. Title, Body, Any and the
// values of Template are RE2 expressions, Author and Labels are globs.
type RuleConditions struct {
	Title    string            `json:"title,omitempty"`
	Body     string            `json:"body,omitempty"`
	Any      string            `json:"any,omitempty"`
	Author   string            `json:"author,omitempty"`
	Labels   []string          `json:"labels,omitempty"`
	Template map[string]string `json:"template,omitempty"`
}

// IsZero tells whether there is no condition.
func (r RuleConditions) IsZero() bool {
	return r.Title == "" && r.Body == "" && r.Any == "" && r.Author == "" && len(r.Labels) == 0 && len(r.Template) == 0
}

// RuleValues is what a rule sets. In JSON a field that is not Multiple is a
// single text.
type RuleValues map[Field][]string

// MarshalJSON writes what the rules plugin reads.
func (v RuleValues) MarshalJSON() ([]byte, error) {
	out := make(map[Field]any, len(v))
	for f, values := range v {
		switch {
		case f.Multiple():
			out[f] = values
		case len(values) == 1:
			out[f] = values[0]
		default:
			return nil, fmt.Errorf("a rule sets %d values of %s, which takes one", len(values), f)
		}
	}
	return json.Marshal(out)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (v *RuleValues) UnmarshalJSON(data []byte) error {
	var in map[Field]json.RawMessage
	if err := json.Unmarshal(data, &in); err != nil {
		return err
	}
	out := make(RuleValues, len(in))
	for f, raw := range in {
		var one string
		if json.Unmarshal(raw, &one) == nil {
			out[f] = []string{one}
			continue
		}
		var many []string
		if err := json.Unmarshal(raw, &many); err != nil {
			return err
		}
		out[f] = many
	}
	*v = out
	return nil
}

// RuleSettings is what the rules plugin is given as the repository's settings; nil without rules.
func (c RepositoryConfig) RuleSettings() (json.RawMessage, error) {
	if len(c.Rules) == 0 {
		return nil, nil
	}
	return json.Marshal(struct {
		Rules []Rule `json:"rules"`
	}{c.Rules})
}

// ModeOf is the mode of one field.
func (c RepositoryConfig) ModeOf(f Field) Mode {
	if m, ok := c.Modes[f]; ok {
		return m
	}
	return c.Mode
}

// Threshold is the least confidence with which an answer of the plugin counts:
// the plugin's own threshold for the field, then the repository's, then the default.
func (c RepositoryConfig) Threshold(plugin string, f Field) float64 {
	for _, choice := range c.Classifiers {
		if choice.Name != plugin {
			continue
		}
		if least, ok := choice.Thresholds[f]; ok {
			return least
		}
	}
	return c.Thresholds.of(f)
}

// Asks tells whether an answer of the plugin about the field is wanted. Without
// a chain of its own the repository takes what the server's says.
func (c RepositoryConfig) Asks(plugin string, f Field) bool {
	if len(c.Classifiers) == 0 {
		return true
	}
	for _, choice := range c.Classifiers {
		if choice.Name == plugin {
			return len(choice.Fields) == 0 || slices.Contains(choice.Fields, f)
		}
	}
	return false
}

// Skips tells whether the issue is to be left alone, and why, for people to read.
func (c RepositoryConfig) Skips(issue Issue) (string, bool) {
	for _, pattern := range c.Skip.Authors {
		if MatchGlob(pattern, issue.Author.Login) {
			return fmt.Sprintf("its author matches %q of skip.authors", pattern), true
		}
	}
	for _, pattern := range c.Skip.Labels {
		for _, l := range issue.Labels {
			if MatchGlob(pattern, l) {
				return fmt.Sprintf("its label %q matches %q of skip.labels", l, pattern), true
			}
		}
	}
	return "", false
}

// HeldFields are the fields whose labels stay on the issue as they are: those
// that are not applied and those of a classification on hold, unless a person said what they are, and all of an issue that
// is to be left alone as long as nobody said anything.
func (c RepositoryConfig) HeldFields(issue Issue, effective Classification) []Field {
	byHand := func(f Field) bool { return effective.Fields[f].Source == SourceHuman }
	_, skip := c.Skips(issue)
	for f := range effective.Fields {
		skip = skip && !byHand(f)
	}
	var held []Field
	for _, f := range Fields() {
		mode := c.ModeOf(f)
		if f.Labelled() && (skip || effective.Hold != "" && !byHand(f) || mode != ModeApply && (mode != ModeSuggest || !byHand(f))) {
			held = append(held, f)
		}
	}
	return held
}

// DesiredLabels turns an effective classification into the labels to write and
// those to suggest, as desiredLabels does, under the repository's
// own modes, thresholds and limit. Of a classification on hold only people's
// labels are left. Over the limit, plugins' labels of the least
// confidence are left out, suggestions before what is written.
func (c RepositoryConfig) DesiredLabels(classification Classification, t Taxonomy) (apply, suggest []DesiredLabel) {
	for _, d := range desiredLabels(classification, t, c.Threshold) {
		if classification.Hold != "" && d.Source != SourceHuman {
			continue
		}
		switch mode := c.ModeOf(d.Field); {
		case mode == ModeApply, mode == ModeSuggest && d.Source == SourceHuman:
			apply = append(apply, d)
		case mode == ModeSuggest:
			suggest = append(suggest, d)
		}
	}
	limit := c.Labels.Limit
	if limit <= 0 {
		limit = DefaultLabelLimit
	}
	apply = atMost(apply, limit)
	return apply, atMost(suggest, max(limit-len(apply), 0))
}

// atMost leaves out plugins' labels, the least confident first, until no more
// than limit are left or only people's.
func atMost(labels []DesiredLabel, limit int) []DesiredLabel {
	for len(labels) > limit {
		least := -1
		for i, d := range labels {
			if d.Source != SourceHuman && (least < 0 || d.Confidence <= labels[least].Confidence) {
				least = i
			}
		}
		if least < 0 {
			break
		}
		labels = slices.Delete(labels, least, least+1)
	}
	return labels
}

// ConfigFault is one thing that is wrong in a configuration file.
type ConfigFault struct {
	// File is the name the file was given, as "acme/shop/.github/dispatchai.yml".
	File string `json:"file,omitempty"`
	// Line and Column count from one, in characters; 0 when the fault has no place.
	Line   int `json:"line,omitempty"`
	Column int `json:"column,omitempty"`
	// Path leads to the faulty value: "thresholds.category", "rules[2].when.title".
	// It is empty when the file as a whole is at fault.
	Path string `json:"path,omitempty"`
	// Message says what is wrong and what to do. It may quote the file, so it is
	// a stranger's text; control characters are escaped in it.
	Message string `json:"message"`
}

// Error gives the fault in one line: file:line:column: path: message.
func (f ConfigFault) Error() string {
	var b strings.Builder
	b.WriteString(f.File)
	if f.Line > 0 {
		if f.File != "" {
			b.WriteByte(':')
		}
		fmt.Fprintf(&b, "%d:%d", f.Line, f.Column)
	}
	if f.Path != "" {
		if b.Len() > 0 {
			b.WriteString(": ")
		}
		b.WriteString(f.Path)
	}
	if b.Len() > 0 {
		b.WriteString(": ")
	}
	b.WriteString(f.Message)
	return b.String()
}

// MatchGlob matches without regard to case: * is any run of characters, slashes
// too, and ? any one; nothing else is special. It takes at most
// len(pattern)·len(s) steps.
func MatchGlob(pattern, s string) bool {
	p, t := []rune(LabelKey(pattern)), []rune(LabelKey(s))
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

func matchesAny(patterns []string, s string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return MatchGlob(p, s) })
}
