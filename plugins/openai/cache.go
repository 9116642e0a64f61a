package openai

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/expirable"
	"golang.org/x/sync/singleflight"

	"github.com/dispatchai/dispatchai/plugins/sdk"
)

// The bounds of what answers are given again for.
const (
	answerAge = 24 * time.Hour
	// Texts resemble each other so much that one answer is right for both when all
	// numbers are the same and of their runs of three words at least nine in ten are:
	// a typo put right, a signature added. Reports that fill in one template with
	// different words share far less.
	shingle   = 3
	alike     = 0.9
	fewest    = 20 // shingles, below which only the same text is alike
	mostKept  = 512
	scopeSize = 64 // answers of one repository that are compared
)

// answers are those that were given lately. What is the same is asked once.
type answers struct {
	kept   *expirable.LRU[key, *kept] // nil where none are kept
	flight singleflight.Group

	mu     sync.Mutex
	recent map[scope][]key // newest last
}

// scope is all but the text that an answer depends on: the repository, what may be
// chosen, what is asked, the model, and what people said of similar issues.
type scope [sha256.Size]byte

// key is an answer's scope with its text.
type key struct {
	scope scope
	text  [sha256.Size]byte
}

type kept struct {
	result   sdk.Result
	shingles []uint64 // sorted
	numbers  uint64
}

func newAnswers(limit int) *answers {
	a := &answers{recent: make(map[scope][]key)}
	if limit > 0 {
		a.kept = expirable.NewLRU[key, *kept](limit, nil, answerAge)
	}
	return a
}

// keyOf is what an answer to the question is kept under.
func (m *model) keyOf(q *question) key {
	h := sha256.New()
	e := json.NewEncoder(h)
	_ = e.Encode(m.settings.Model)
	if q.repository != nil {
		_ = e.Encode(q.repository.ID)
	}
	_ = e.Encode(q.prompt)
	_ = e.Encode(q.schema())
	for _, s := range q.corrected {
		_ = e.Encode(s)
	}
	var k key
	h.Sum(k.scope[:0])
	k.text = sha256.Sum256([]byte(normal(q)))
	return k
}

// normal is the text of a question in which case and blanks make no difference.
func normal(q *question) string {
	return strings.Join(strings.Fields(strings.ToLower(q.title)), " ") + "\n" + strings.Join(strings.Fields(strings.ToLower(q.body)), " ")
}

// answer gives a kept answer, or asks and keeps what comes. Callers with the same
// question wait for one answer; only the first of them pays for it.
func (a *answers) answer(ctx context.Context, k key, q *question, ask func(context.Context) (sdk.Result, error)) (sdk.Result, error) {
	if a.kept == nil {
		return ask(ctx)
	}
	mine := newKept(q)
	if known := a.find(k, mine); known != nil {
		return again(known.result), nil
	}
	asked := false
	done := a.flight.DoChan(string(k.scope[:])+string(k.text[:]), func() (any, error) {
		asked = true
		// It goes on for the others when the first gives up.
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
		defer cancel()
		result, err := ask(limited)
		if err == nil && result.Hold == "" && len(result.Fields) > 0 {
			mine.result = result
			a.keep(k, mine)
		}
		return result, err
	})
	select {
	case r := <-done:
		if r.Err != nil {
			return sdk.Result{}, r.Err
		}
		result := r.Val.(sdk.Result)
		if !asked {
			return again(result), nil
		}
		result.Fields = maps.Clone(result.Fields)
		return result, nil
	case <-ctx.Done():
		return sdk.Result{}, ctx.Err()
	}
}

// again is an answer that was paid for before.
func again(r sdk.Result) sdk.Result {
	r.Fields = maps.Clone(r.Fields)
	r.Usage = sdk.Usage{Cached: true}
	return r
}

func (a *answers) keep(k key, v *kept) {
	a.kept.Add(k, v)
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, known := a.recent[k.scope]; !known && len(a.recent) >= mostKept {
		clear(a.recent)
	}
	a.recent[k.scope] = append(a.recent[k.scope], k)
	if list := a.recent[k.scope]; len(list) > scopeSize {
		a.recent[k.scope] = slices.Clone(list[len(list)-scopeSize:])
	}
}

// find gives the answer to the same text, or to one that is nearly the same.
func (a *answers) find(k key, mine *kept) *kept {
	if v, ok := a.kept.Get(k); ok {
		return v
	}
	if len(mine.shingles) < fewest {
		return nil
	}
	a.mu.Lock()
	near := slices.Clone(a.recent[k.scope])
	a.mu.Unlock()
	for _, other := range slices.Backward(near) {
		if v, ok := a.kept.Get(other); ok && v.numbers == mine.numbers && jaccard(v.shingles, mine.shingles) >= alike {
			return v
		}
	}
	return nil
}

func newKept(q *question) *kept {
	words := strings.Fields(folded(q.title + "\n" + q.body))
	k := &kept{}
	numbers := fnv.New64a()
	for i, w := range words {
		if strings.ContainsAny(w, "0123456789") || w == "not" || w == "no" || w == "never" || w == "without" {
			_, _ = numbers.Write([]byte(w + " "))
		}
		if i+shingle <= len(words) {
			h := fnv.New64a()
			_, _ = h.Write([]byte(strings.Join(words[i:i+shingle], " ")))
			k.shingles = append(k.shingles, h.Sum64())
		}
	}
	k.numbers = binary.BigEndian.Uint64(numbers.Sum(nil))
	slices.Sort(k.shingles)
	k.shingles = slices.Compact(k.shingles)
	return k
}

// jaccard is the share of what two sorted sets have in common.
func jaccard(a, b []uint64) float64 {
	if len(a) == 0 || len(b) == 0 {
		return 0
	}
	both := 0
	for i, j := 0, 0; i < len(a) && j < len(b); {
		switch {
		case a[i] == b[j]:
			both++
			i++
			j++
		case a[i] < b[j]:
			i++
		default:
			j++
		}
	}
	return float64(both) / float64(len(a)+len(b)-both)
}
