// Package openai classifies issues by a language model behind OpenAI's API, or any
// that speaks like it. One call with a strict JSON schema, whose enums are the
// repository's own values, gives every field that is asked for.
//
// The text of an issue is hostile: it is fenced as data, what looks like an
// instruction to the model is found, and where the answer depends on it, a human has
// to look. What the model writes in words is checked for pieces of the prompt before
// anybody sees it. docs/openai.md says what is sent, and what it costs.
package openai

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/dispatchai/dispatchai/plugins/sdk"
)

// Version is the version of the classifier; it changes with its answers.
const Version = "1.0.0"

// Dimensions is the length of an embedding.
const Dimensions = 1536

// maxBatch keeps a batch of slow calls within the host's deadline.
const maxBatch = 32

// Parallel is how many issues of a batch are worked on at once.
const Parallel = 8

// Classifier is the sdk.Classifier of this package; it is an sdk.Configurer and an
// sdk.Embedder too. Make one with New. All methods may be called from many
// goroutines at once.
type Classifier struct {
	model atomic.Pointer[model]
}

var (
	_ sdk.Classifier = (*Classifier)(nil)
	_ sdk.Configurer = (*Classifier)(nil)
	_ sdk.Embedder   = (*Classifier)(nil)
)

// New makes a classifier that must be configured before it is asked.
func New() *Classifier { return &Classifier{} }

// Describe says what the classifier can do.
func (c *Classifier) Describe() sdk.Description {
	return sdk.Description{
		Name: "openai", Version: Version, Fields: sdk.Fields(),
		Embedding: &sdk.EmbeddingModel{Name: embeddingModel, Dimensions: Dimensions},
		MaxBatch:  maxBatch,
	}
}

// Configure takes the settings, and forgets every answer that was kept.
func (c *Classifier) Configure(_ context.Context, text json.RawMessage) error {
	s, err := ParseSettings(text)
	if err != nil {
		return err
	}
	c.model.Store(newModel(s))
	return nil
}

// errUnconfigured is an error of the host, which configures before it asks.
var errUnconfigured = errors.New("it is not configured: it needs at least an api_key (OPENAI_API_KEY)")

// Classify asks the model about one issue, or knows the answer already.
func (c *Classifier) Classify(ctx context.Context, r sdk.Request) (sdk.Result, error) {
	m := c.model.Load()
	if m == nil {
		return sdk.Result{}, errUnconfigured
	}
	q := newQuestion(r)
	if len(q.fields) == 0 {
		return sdk.Result{}, nil
	}
	if len(q.suspicions) > 0 {
		return m.distrust(ctx, q)
	}
	return m.answers.answer(ctx, m.keyOf(q), q, func(ctx context.Context) (sdk.Result, error) {
		return m.gather(ctx, q)
	})
}

// distrust classifies an issue whose text may speak to the model: with what looks
// like that, and without. Where the answers differ a human has to look, and what is
// answered is what the rest of the text says.
func (m *model) distrust(ctx context.Context, q *question) (sdk.Result, error) {
	rest := q.without()
	if rest.empty() {
		return sdk.Result{Hold: fmt.Sprintf("The text %s, and says nothing else.", q.suspicions.describe())}, nil
	}
	without, err := m.ask(ctx, rest)
	if err != nil {
		return sdk.Result{}, err
	}
	with, err := m.ask(ctx, q)
	if err != nil {
		return sdk.Result{}, err
	}
	flipped := differ(without, with)
	without.Usage = sum(without.Usage, with.Usage)
	if len(flipped) == 0 {
		return without, nil
	}
	for _, f := range flipped {
		if a, ok := without.Fields[f]; ok {
			a.Confidence *= distrusted
			without.Fields[f] = a
		}
	}
	without.Hold = fmt.Sprintf("The text %s, and the answer depends on it.", q.suspicions.describe())
	return without, nil
}

// distrusted is what is left of the confidence in an answer that a part of the text
// tried to steer.
const distrusted = 0.5

// differ gives the fields with values to choose from that two results do not agree on.
func differ(a, b sdk.Result) []sdk.Field {
	var fields []sdk.Field
	for _, f := range sdk.Fields() {
		if f == sdk.Summary || f == sdk.Sentiment {
			continue
		}
		x, y := slices.Sorted(slices.Values(a.Fields[f].Values)), slices.Sorted(slices.Values(b.Fields[f].Values))
		if !slices.Equal(x, y) {
			fields = append(fields, f)
		}
	}
	return fields
}

func sum(a, b sdk.Usage) sdk.Usage {
	return sdk.Usage{InputTokens: a.InputTokens + b.InputTokens, OutputTokens: a.OutputTokens + b.OutputTokens, CostUSD: a.CostUSD + b.CostUSD}
}
