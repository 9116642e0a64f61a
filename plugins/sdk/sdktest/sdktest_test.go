package sdktest_test

import (
	"context"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dispatchai/dispatchai/plugins/sdk"
	"github.com/dispatchai/dispatchai/plugins/sdk/sdktest"
)

// classifier conforms, but for what its function does.
type classifier struct {
	description sdk.Description
	classify    func(context.Context, sdk.Request) (sdk.Result, error)
}

func (c classifier) Describe() sdk.Description { return c.description }

func (c classifier) Classify(ctx context.Context, r sdk.Request) (sdk.Result, error) {
	return c.classify(ctx, r)
}

type embedder struct {
	classifier
	embed func([]sdk.Text) [][]float32
}

func (e embedder) Embed(_ context.Context, texts []sdk.Text) ([][]float32, error) {
	return e.embed(texts), nil
}

type termEmbedder struct {
	classifier
	terms func(sdk.Text) []sdk.Term
}

func (e termEmbedder) EmbedTerms(_ context.Context, texts []sdk.Text) ([][]sdk.Term, error) {
	out := make([][]sdk.Term, len(texts))
	for i, t := range texts {
		out[i] = e.terms(t)
	}
	return out, nil
}

func good(_ context.Context, r sdk.Request) (sdk.Result, error) {
	for _, o := range r.Repository.Options[sdk.Category] {
		if o.Value == "bug" && strings.Contains(r.Issue.Body, "panic:") {
			return sdk.Result{Fields: map[sdk.Field]sdk.Answer{
				sdk.Category: {Values: []string{"bug"}, Confidence: 0.9, Reason: "The text quotes a panic."},
			}}, nil
		}
	}
	return sdk.Result{}, nil
}

func description() sdk.Description {
	return sdk.Description{Name: "example", Version: "1.0.0", Fields: []sdk.Field{sdk.Category}}
}

func vectors(texts []sdk.Text) [][]float32 {
	out := make([][]float32, len(texts))
	for i, t := range texts {
		out[i] = []float32{float32(len(t.Title)), 1}
	}
	return out
}

func TestConforming(t *testing.T) {
	sdktest.Run(t, classifier{description(), good}, sdktest.Options{})
	d := description()
	d.Embedding = &sdk.EmbeddingModel{Name: "m", Dimensions: 2}
	sdktest.Run(t, embedder{classifier{d, good}, vectors}, sdktest.Options{})
	d.Embedding = &sdk.EmbeddingModel{Name: "m", Terms: true}
	sdktest.Run(t, termEmbedder{classifier{d, good}, func(t sdk.Text) []sdk.Term {
		return []sdk.Term{{ID: uint32(len(t.Title)), Weight: 1, Share: 6}}
	}}, sdktest.Options{})
}

// Every fault is found, and said so that the author knows what to mend.
func TestFaults(t *testing.T) {
	answer := func(f sdk.Field, a sdk.Answer) func(context.Context, sdk.Request) (sdk.Result, error) {
		return func(context.Context, sdk.Request) (sdk.Result, error) {
			return sdk.Result{Fields: map[sdk.Field]sdk.Answer{f: a}}, nil
		}
	}
	var calls atomic.Int64
	embedding := description()
	embedding.Embedding = &sdk.EmbeddingModel{Name: "m", Dimensions: 2}
	words := description()
	words.Embedding = &sdk.EmbeddingModel{Name: "m", Terms: true}
	terms := func(list ...sdk.Term) sdk.Classifier {
		return termEmbedder{classifier{words, good}, func(sdk.Text) []sdk.Term { return list }}
	}
	for want, c := range map[string]sdk.Classifier{
		"it must be above 0 and at most 64": terms(sdk.Term{ID: 1}),
		"stands in 1001 of 1000 issues":     terms(sdk.Term{ID: 1, Weight: 1, Share: 1001}),
		"stands twice among":                terms(sdk.Term{ID: 1, Weight: 1}, sdk.Term{ID: 1, Weight: 2}),
		"at most 2048 are possible":         terms(make([]sdk.Term, 2049)...),
		"there are no terms in":             terms(),
		"must be of Terms when, and only":   termEmbedder{classifier{embedding, good}, func(sdk.Text) []sdk.Term { return nil }},
		"has other terms when it is embedded alone": termEmbedder{classifier{words, good}, func(sdk.Text) []sdk.Term {
			return []sdk.Term{{ID: uint32(calls.Add(1)), Weight: 1}}
		}},
		"must be a semantic version":                 classifier{sdk.Description{Name: "x", Version: "latest"}, good},
		"not among the repository's options":         classifier{description(), answer(sdk.Category, sdk.Answer{Values: []string{"admin"}})},
		"which its description does not list":        classifier{description(), answer(sdk.Priority, sdk.Answer{Values: []string{"high"}})},
		"must be between 0 and 1":                    classifier{description(), answer(sdk.Category, sdk.Answer{Values: []string{"bug"}, Confidence: math.NaN()})},
		"has 2 values":                               classifier{description(), answer(sdk.Category, sdk.Answer{Values: []string{"bug", "feature"}})},
		"leave the field out":                        classifier{description(), answer(sdk.Category, sdk.Answer{})},
		"when, and only when, there is an Embed":     classifier{embedding, good},
		"the description states 2":                   embedder{classifier{embedding, good}, func(t []sdk.Text) [][]float32 { return make([][]float32, len(t)) }},
		"a repository without options: \"bug\" is n": classifier{description(), answer(sdk.Category, sdk.Answer{Values: []string{"bug"}})},
		"panic: index out of range": classifier{description(), func(_ context.Context, r sdk.Request) (sdk.Result, error) {
			if r.Issue.Title == "" {
				panic("index out of range")
			}
			return sdk.Result{}, nil
		}},
		"two answers to one issue differ": classifier{description(), func(context.Context, sdk.Request) (sdk.Result, error) {
			return sdk.Result{Usage: sdk.Usage{InputTokens: calls.Add(1)}}, nil
		}},
		"it changed the Repository": classifier{description(), func(_ context.Context, r sdk.Request) (sdk.Result, error) {
			return sdk.Result{}, func() error { r.Repository.FullName = "mine"; return nil }()
		}},
		"no answer within": classifier{description(), func(_ context.Context, r sdk.Request) (sdk.Result, error) {
			if r.Issue.Title == "minified" {
				select {}
			}
			return sdk.Result{}, nil
		}},
	} {
		t.Run(want, func(t *testing.T) {
			if strings.HasPrefix(want, "it changed") {
				// What it breaks is shared, which the race detector would report here.
				c = sequential{c}
			}
			for _, f := range sdktest.Check(t.Context(), c, sdktest.Options{Timeout: 2 * time.Second}) {
				if strings.Contains(f.Error(), want) {
					return
				}
			}
			t.Error("the fault was not found")
		})
	}
}

// sequential gives a classifier a Repository of its own when it is called from
// several goroutines, and the caller's otherwise.
type sequential struct{ sdk.Classifier }

func (s sequential) Classify(ctx context.Context, r sdk.Request) (sdk.Result, error) {
	if r.Similar == nil {
		own := *r.Repository
		r.Repository = &own
	}
	return s.Classifier.Classify(ctx, r)
}
