package sdktest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
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
	sdktest.Run(t, &learner{classifier: classifier{description(), nil}}, sdktest.Options{})
	sdktest.Run(t, configurer{classifier{description(), good}, func([]byte) error { return nil }}, sdktest.Options{})
}

// Every fault is found, and said so that the author knows what to mend.
func TestFaults(t *testing.T) {
	answer := func(f sdk.Field, a sdk.Answer) func(context.Context, sdk.Request) (sdk.Result, error) {
		return func(context.Context, sdk.Request) (sdk.Result, error) {
			return sdk.Result{Fields: map[sdk.Field]sdk.Answer{f: a}}, nil
		}
	}
	var calls atomic.Int64
	var others sync.Map
	embedding := description()
	embedding.Embedding = &sdk.EmbeddingModel{Name: "m", Dimensions: 2}
	words := description()
	words.Embedding = &sdk.EmbeddingModel{Name: "m", Terms: true}
	terms := func(list ...sdk.Term) sdk.Classifier {
		return termEmbedder{classifier{words, good}, func(sdk.Text) []sdk.Term { return list }}
	}
	for want, c := range map[string]sdk.Classifier{
		"it must be above 0 and at most 64":         terms(sdk.Term{ID: 1}),
		"stands in 1001 of 1000 issues":             terms(sdk.Term{ID: 1, Weight: 1, Share: 1001}),
		"stands twice among":                        terms(sdk.Term{ID: 1, Weight: 1}, sdk.Term{ID: 1, Weight: 2}),
		"at most 2048 are possible":                 terms(make([]sdk.Term, 2049)...),
		"there are no terms in":                     terms(),
		"start: the description names an Embedding": termEmbedder{classifier{embedding, good}, func(sdk.Text) []sdk.Term { return nil }},
		"has other terms when it is embedded alone": termEmbedder{classifier{words, good}, func(sdk.Text) []sdk.Term {
			return []sdk.Term{{ID: uint32(calls.Add(1)), Weight: 1}}
		}},
		"must be a semantic version":          classifier{sdk.Description{Name: "x", Version: "latest"}, good},
		"lists no fields and no embedding":    classifier{sdk.Description{Name: "x", Version: "1.0.0"}, good},
		"not among the repository's options":  classifier{description(), answer(sdk.Category, sdk.Answer{Values: []string{"admin"}})},
		"which its description does not list": classifier{description(), answer(sdk.Priority, sdk.Answer{Values: []string{"high"}})},
		"which is not a field":                classifier{description(), answer("colour", sdk.Answer{Values: []string{"red"}})},
		"must be between 0 and 1":             classifier{description(), answer(sdk.Category, sdk.Answer{Values: []string{"bug"}, Confidence: math.NaN()})},
		"has 2 values":                        classifier{description(), answer(sdk.Category, sdk.Answer{Values: []string{"bug", "feature"}})},
		"leave the field out":                 classifier{description(), answer(sdk.Category, sdk.Answer{})},
		"is not one; tokens and cost": classifier{description(), func(context.Context, sdk.Request) (sdk.Result, error) {
			return sdk.Result{Usage: sdk.Usage{CostUSD: -1}}, nil
		}},
		"the description states 2":                      embedder{classifier{embedding, good}, func(t []sdk.Text) [][]float32 { return make([][]float32, len(t)) }},
		"a repository without options: \"bug\" is n":    classifier{description(), answer(sdk.Category, sdk.Answer{Values: []string{"bug"}})},
		"a repository with options of its own: \"bug\"": classifier{description(), answer(sdk.Category, sdk.Answer{Values: []string{"bug"}})},
		"panicked: index out of range": classifier{description(), func(_ context.Context, r sdk.Request) (sdk.Result, error) {
			if r.Issue.Title == "" {
				panic("index out of range")
			}
			return sdk.Result{}, nil
		}},
		"two answers to one issue differ": classifier{description(), func(context.Context, sdk.Request) (sdk.Result, error) {
			return sdk.Result{Reasoning: fmt.Sprint("This is number ", calls.Add(1))}, nil
		}},
		"alone, and reasoning:\"I know this one.\" in a batch of 256": classifier{description(), func(_ context.Context, r sdk.Request) (sdk.Result, error) {
			// Only the issues of a batch share a Repository.
			if _, again := others.LoadOrStore(r.Repository, true); again {
				return sdk.Result{Reasoning: "I know this one."}, nil
			}
			return sdk.Result{}, nil
		}},
		"no answer within": classifier{description(), func(_ context.Context, r sdk.Request) (sdk.Result, error) {
			if r.Issue.Title == "minified" {
				select {}
			}
			return sdk.Result{}, nil
		}},
		"a cancelled call: it went on for": classifier{description(), func(_ context.Context, r sdk.Request) (sdk.Result, error) {
			if len(r.Similar) == 0 && r.Issue.Title == "minified" {
				select {}
			}
			return sdk.Result{}, nil
		}},
		"settings: it does not accept to be without settings": configurer{classifier{description(), good}, func(s []byte) error {
			if len(s) == 0 {
				return errors.New("api_key is missing")
			}
			return nil
		}},
		"repeats the secret among the settings": configurer{classifier{description(), good}, func(s []byte) error {
			if len(s) > 0 {
				return fmt.Errorf("these are no settings: %s", s)
			}
			return nil
		}},
		"an event that comes twice must count once": &learner{classifier: classifier{description(), nil}, countTwice: true},
		"must forget a repository as though":        &learner{classifier: classifier{description(), nil}, keep: true},
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			for _, f := range sdktest.Check(t.Context(), c, sdktest.Options{Timeout: 2 * time.Second}) {
				if strings.Contains(f.Error(), want) {
					return
				}
			}
			t.Error("the fault was not found")
		})
	}
}

// A check is told as it is made, a fault with what it is.
func TestProgress(t *testing.T) {
	var told []string
	faults := sdktest.Check(t.Context(), classifier{description(), func(_ context.Context, r sdk.Request) (sdk.Result, error) {
		if r.Issue.Body == "" {
			return sdk.Result{}, errors.New("no body")
		}
		return good(t.Context(), r)
	}}, sdktest.Options{Progress: func(r sdktest.Result) {
		if r.Err != nil {
			told = append(told, r.Check+": "+r.Err.Error())
		} else {
			told = append(told, r.Check)
		}
	}})
	if len(told) < 15 || told[0] != "start" || told[1] != "description" {
		t.Errorf("the checks are %q", told)
	}
	for _, f := range faults {
		if !slices.Contains(told, f.Error()) {
			t.Errorf("%q was not told", f)
		}
	}
	if len(faults) != 4 { // two issues, and two checks that ask about them among others
		t.Errorf("the faults are %v", faults)
	}
}

type configurer struct {
	classifier
	configure func([]byte) error
}

func (c configurer) Configure(_ context.Context, settings json.RawMessage) error {
	return c.configure(settings)
}

// learner counts the corrections of a repository, unless its faults make it err.
type learner struct {
	classifier
	countTwice, keep bool

	mu    sync.Mutex
	seen  map[string]bool
	count map[int64]int
}

func (l *learner) Classify(_ context.Context, r sdk.Request) (sdk.Result, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return sdk.Result{Reasoning: fmt.Sprint(l.count[r.Repository.ID])}, nil
}

func (l *learner) Fit(_ context.Context, r sdk.Repository, examples func(func(sdk.Example) bool)) (sdk.Model, error) {
	n := 0
	for range examples {
		n++
	}
	return sdk.Model{RepositoryID: r.ID, Version: "1", Data: make([]byte, n)}, nil
}

func (l *learner) Load(_ context.Context, m sdk.Model) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seen == nil {
		l.seen, l.count = make(map[string]bool), make(map[int64]int)
	}
	l.count[m.RepositoryID] = len(m.Data)
	return nil
}

func (l *learner) Learn(_ context.Context, e sdk.Example) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.seen[e.EventID] || l.countTwice {
		l.count[e.Repository.ID]++
	}
	l.seen[e.EventID] = true
	return nil
}

func (l *learner) Forget(_ context.Context, id int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.keep {
		delete(l.count, id)
	}
	return nil
}
