// Package rules classifies issues by evidence that anyone can read in them:
// titles, headings of templates, stack traces, expressions, paths, and the
// rules that a repository writes for itself. It needs no configuration, no
// network and no training, gives the same answer to the same issue always, and
// names what it saw in each answer.
package rules

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/dispatchai/dispatchai/plugins/sdk"
)

// Version is the version of the classifier; it changes with its answers.
const Version = "1.0.0"

// Classifier is the sdk.Classifier of this package; it is an sdk.Configurer and
// an sdk.TermEmbedder too. Make one with New. All methods may be called from many
// goroutines at once.
type Classifier struct {
	lexicon    *lexicon
	background *background
	settings   atomic.Pointer[settings] // for all repositories
	profiles   profiles
	scratch    sync.Pool // of *scratch
}

var (
	_ sdk.Classifier   = (*Classifier)(nil)
	_ sdk.Configurer   = (*Classifier)(nil)
	_ sdk.TermEmbedder = (*Classifier)(nil)
)

// scratch is the memory that one call works in.
type scratch struct {
	doc   document
	hits  hits
	found []finding
	text  []byte
	lower []byte
	terms termTable
}

// New makes a classifier that works without being configured.
func New() *Classifier {
	c := &Classifier{lexicon: newLexicon(categoryCues, levelCues, tagCues), background: newBackground()}
	c.profiles.limit = maxProfiles
	c.settings.Store(&settings{})
	c.scratch.New = func() any { return &scratch{doc: document{lex: c.lexicon}} }
	return c
}

// Describe says what the classifier can do. Effort is only ever set by a rule
// of the repository's own.
func (c *Classifier) Describe() sdk.Description {
	return sdk.Description{
		Name:      "rules",
		Version:   Version,
		Fields:    []sdk.Field{sdk.Category, sdk.Priority, sdk.Severity, sdk.Component, sdk.Tags, sdk.Effort},
		Embedding: &sdk.EmbeddingModel{Name: embeddingName, Terms: true},
	}
}

// Configure takes the rules for all repositories (see ValidateSettings for
// their form). Settings with a fault are refused whole, with every fault named,
// and those before stay in force.
func (c *Classifier) Configure(_ context.Context, raw json.RawMessage) error {
	s, err := parseSettings(raw)
	if err != nil {
		return err
	}
	c.settings.Store(s)
	return nil
}

// Classify answers each field that the repository has options for and the issue
// gives evidence of. A repository whose own settings have a fault is classified
// without them, and Reasoning says so: its owner's mistake must not stop its
// issues. The only error is that of ctx.
func (c *Classifier) Classify(ctx context.Context, request sdk.Request) (sdk.Result, error) {
	if err := ctx.Err(); err != nil {
		return sdk.Result{}, err
	}
	if request.Repository == nil {
		return sdk.Result{}, errors.New("rules: the request names no repository, without which no field has values to choose from")
	}
	p := c.profiles.of(request.Repository, c.lexicon, c.background)
	s := c.scratch.Get().(*scratch)
	defer c.scratch.Put(s)
	d := &s.doc
	d.read(request.Issue.Title, request.Issue.Body)
	c.lexicon.match(d, &s.hits)
	s.found = d.find(&s.hits, s.found[:0])

	r := &reader{d: d, hits: &s.hits, found: s.found, options: p.options, issue: &request.Issue, similar: request.Similar}
	answers := make(map[sdk.Field]sdk.Answer, 5)
	what, sure := r.category(answers)
	r.urgency(answers, sdk.Priority, what)
	r.urgency(answers, sdk.Severity, what)
	r.component(answers)
	r.tags(answers, what, sure)

	var notes []string
	if p.fault != nil {
		notes = append(notes, "The repository's own rules were not used: "+quoteError(p.fault))
	}
	more, err := applyRules(ctx, request, d, p.options, answers, p.settings, c.settings.Load())
	if err != nil {
		return sdk.Result{}, err
	}
	notes = append(notes, more...)
	return sdk.Result{Fields: answers, Reasoning: reasoning(answers, notes)}, nil
}

// reasoning joins the reasons of the fields.
func reasoning(answers map[sdk.Field]sdk.Answer, notes []string) string {
	var b strings.Builder
	for _, field := range [...]sdk.Field{sdk.Category, sdk.Priority, sdk.Severity, sdk.Component, sdk.Tags, sdk.Effort} {
		if a, ok := answers[field]; ok {
			if b.Len() > 0 {
				b.WriteByte(' ')
			}
			fmt.Fprintf(&b, "%s %s: %s", strings.ToUpper(string(field[:1]))+string(field[1:]), strings.Join(a.Values, ", "), a.Reason)
		}
	}
	for _, n := range notes {
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(n)
	}
	return b.String()
}

// quoteError makes a fault fit to stand in a sentence.
func quoteError(err error) string {
	text := strings.ReplaceAll(err.Error(), "\n", "; ")
	if len(text) > 300 {
		text = strings.ToValidUTF8(text[:300], "") + "…"
	}
	return text + "."
}
