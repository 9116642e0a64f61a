package openai

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dispatchai/dispatchai/plugins/sdk"
)

// Issues of one repository may share a request, which then pays once for the rules,
// the descriptions and the schema. An issue might then speak of its neighbours, so that
// only those share one in which nothing looks as if it spoke to the model, and what is
// said of one holds nothing of another. Whatever goes wrong, each is asked about alone.

// MaxBatch is the most issues that share a request.
const MaxBatch = Parallel

// gatherFor is how long a question waits for others: those of one batch of the host
// arrive together, and a model takes many times as long.
const gatherFor = 50 * time.Millisecond

// batcher gathers questions.
type batcher struct {
	wait time.Duration
	mu   sync.Mutex
	open map[string]*gathering
}

// gathering is a request in the making.
type gathering struct {
	questions []*question
	full      chan struct{}
	done      chan struct{} // closed once the outcomes are there
	outcomes  []batchOutcome
}

type batchOutcome struct {
	result sdk.Result
	err    error
}

// gather puts a question to the model, together with others where there are any.
func (m *model) gather(ctx context.Context, q *question) (sdk.Result, error) {
	most := m.settings.Batch
	if most <= 1 {
		return m.ask(ctx, q)
	}
	b := &m.batcher
	key := q.kind()
	b.mu.Lock()
	g := b.open[key]
	first := g == nil
	if first {
		g = &gathering{full: make(chan struct{}), done: make(chan struct{})}
		b.open[key] = g
	}
	place := len(g.questions)
	g.questions = append(g.questions, q)
	if len(g.questions) == most {
		delete(b.open, key)
		close(g.full)
	}
	b.mu.Unlock()
	if first {
		timer := time.NewTimer(b.wait)
		select {
		case <-timer.C:
		case <-g.full:
		}
		timer.Stop()
		b.mu.Lock()
		if b.open[key] == g {
			delete(b.open, key)
		}
		b.mu.Unlock()
		// The others wait for it even if nobody waits for the first any more.
		g.outcomes = m.askTogether(context.WithoutCancel(ctx), g.questions)
		close(g.done)
	}
	select {
	case <-g.done:
		return g.outcomes[place].result, g.outcomes[place].err
	case <-ctx.Done():
		return sdk.Result{}, ctx.Err()
	}
}

// kind is the same for questions that one request can hold.
func (q *question) kind() string {
	var b strings.Builder
	b.WriteString(q.prompt)
	for _, f := range q.fields {
		if f.name != sdk.Assignees { // which differ by what is similar
			fmt.Fprintf(&b, "\x00%s\x00%q", f.name, f.values)
		}
	}
	return b.String()
}

// askTogether gives an outcome for each of the questions.
func (m *model) askTogether(ctx context.Context, questions []*question) []batchOutcome {
	outcomes := make([]batchOutcome, len(questions))
	if len(questions) == 1 {
		outcomes[0].result, outcomes[0].err = m.ask(ctx, questions[0])
		return outcomes
	}
	mark := newMark()
	completion, err := m.complete(ctx, together(questions, mark), int64(maxAnswerTokens*len(questions)))
	if err != nil && !isTooLong(err) {
		for i := range outcomes {
			outcomes[i].err = err
		}
		return outcomes
	}
	var used spent
	var all map[string]json.RawMessage
	if err == nil {
		used = spentBy(completion)
		if content, whole := said(completion); whole {
			_ = json.Unmarshal([]byte(content), &all) // what is not there is asked for alone
		}
	}
	var alone sync.WaitGroup
	for i, q := range questions {
		others := slices.Delete(slices.Clone(questions), i, i+1)
		result, err := q.parse(all[property(i)], mark, others...)
		if err == nil {
			outcomes[i].result = result
			continue
		}
		alone.Go(func() { outcomes[i].result, outcomes[i].err = m.ask(ctx, q) })
	}
	alone.Wait()
	// What the request cost counts, whatever it was good for.
	for i := range outcomes {
		outcomes[i].result.Usage = sum(outcomes[i].result.Usage, m.settings.rate.usage(used.part(i, len(questions))))
	}
	return outcomes
}

// property is that of the answer about the question at a place.
func property(place int) string { return fmt.Sprintf("issue_%d", place+1) }

// together is the request about several questions of one kind.
func together(questions []*question, mark string) asked {
	var user strings.Builder
	fmt.Fprintf(&user, "The mark is %s\nThis time there are %d issues. Each property of the JSON object is about the one issue of its name: judge it by its own text alone.\n", mark, len(questions))
	union := *questions[0]
	union.fields = slices.Clone(union.fields)
	for i, q := range questions {
		user.WriteString(q.told(mark, strings.ReplaceAll(property(i), "_", " ")))
		for _, f := range q.fields {
			if f.name != sdk.Assignees {
				continue
			}
			at := slices.IndexFunc(union.fields, func(u field) bool { return u.name == f.name })
			if at < 0 {
				at = len(union.fields)
				union.fields = append(union.fields, field{name: f.name})
			}
			values := slices.Concat(union.fields[at].values, f.values)
			slices.Sort(values)
			values = slices.Compact(values)
			union.fields[at].values = values[:min(len(values), maxOptions)]
		}
	}
	properties, required := make(map[string]any), make([]string, len(questions))
	for i := range questions {
		required[i] = property(i)
		properties[required[i]] = map[string]any{"$ref": "#/$defs/issue"}
	}
	return asked{
		system: questions[0].prompt, user: user.String(),
		schema: map[string]any{
			"type": "object", "properties": properties, "required": required, "additionalProperties": false,
			"$defs": map[string]any{"issue": union.schema()},
		},
	}
}
