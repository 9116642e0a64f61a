package plugin

import (
	"context"
	"fmt"

	"github.com/dispatchai/dispatchai/core/triage"
	"github.com/dispatchai/dispatchai/plugins/sdk"
	pb "github.com/dispatchai/dispatchai/proto/dispatchai/classifier/v1"
)

// Item is one issue to classify with what is known around it.
type Item struct {
	// Repository may be shared between items, by pointer, which makes a batch
	// smaller; it is not changed. Its options are the taxonomy that answers are
	// checked against.
	Repository *sdk.Repository
	Issue      triage.Issue
	// Similar holds the nearest issues, nearest first; the plugin sees at most 20.
	Similar []Similar
	// Wanted are the fields that are still open; answers for others are dropped.
	// Empty: every field is wanted.
	Wanted []triage.Field
}

// Similar is a neighbour and what is held to be true of it.
type Similar struct {
	triage.Neighbour
	Fields map[triage.Field][]string
	// Corrected are those of Fields that a human said.
	Corrected []triage.Field
}

// Outcome is what became of one item.
type Outcome struct {
	// Fields holds the answers that passed the checks, each with Source, Plugin
	// and Version set. A field that is not there was abstained from, or dropped.
	Fields    map[triage.Field]triage.Answer
	Reasoning string
	Usage     triage.Usage
	// Cached tells that the answer was known from an identical or nearly identical issue.
	Cached bool
	// Hold, when it is not empty, is why a human must look before anything is written.
	Hold string
	// Truncated tells that the plugin saw only a part of the issue.
	Truncated bool
	// Err is a CallError or an ItemError, which count as an attempt; or an
	// UnavailableError or the context's error, which do not.
	Err error
}

// Classify asks the plugin about the items, in as few calls as the bounds
// allow, and gives one outcome per item in the same order. An error means that
// there are no outcomes at all: an UnavailableError, ErrUnsupported or the
// context's.
//
// A call that fails - a crash, a hang, an answer that is none - is repeated item
// by item, so that only the item at fault carries a CallError.
func (p *Plugin) Classify(ctx context.Context, items []Item) ([]Outcome, error) {
	if len(items) == 0 {
		return nil, nil
	}
	if _, err := p.running(); err != nil {
		return nil, err
	}
	r := newRequest(items, p.nextID.Add(uint64(len(items)))-uint64(len(items)), p.Spec().Manifest.withheld())
	outcomes := make([]Outcome, len(items))
	for i := range outcomes {
		outcomes[i].Truncated = r.items[i].Issue.Truncated
		if outcomes[i].Truncated {
			p.metrics.truncated.Inc()
		}
	}
	err := p.run(ctx, &batch{
		method:   "Classify",
		sizes:    r.sizes,
		overhead: func(i int) int { return r.repositories[items[i].Repository].size },
		limit:    p.batchLimit(),
		send: func(ctx context.Context, process *process, from, to int) error {
			response, err := process.service.Classify(ctx, r.message(from, to))
			if err != nil {
				return err
			}
			return p.settle(process, r, response, outcomes, from, to)
		},
		fail: func(i int, err error) {
			outcomes[i].Err = err
		},
	})
	if err != nil {
		p.metrics.items.WithLabelValues("unavailable").Add(float64(len(items)))
		return nil, err
	}
	for i := range outcomes {
		p.metrics.items.WithLabelValues(itemOutcome(outcomes[i].Err)).Inc()
	}
	return outcomes, nil
}

func itemOutcome(err error) string {
	if err == nil {
		return "ok"
	}
	if _, waits := RetryAfter(err); waits {
		return "unavailable"
	}
	return "error"
}

// batchLimit is how many items a call may hold.
func (p *Plugin) batchLimit() int {
	limit := p.options.MaxBatch
	if own := p.Describe().MaxBatch; own > 0 {
		limit = min(limit, own)
	}
	return limit
}

// settle takes the plugin's outcomes for the items from to to. What is for
// another item, or for one a second time, is dropped; an item without an
// outcome is in error, unless none has one: then the call is.
func (p *Plugin) settle(process *process, r *request, response *pb.ClassifyResponse, outcomes []Outcome, from, to int) error {
	settled := make([]bool, to-from)
	count := 0
	for _, o := range response.GetOutcomes() {
		i := int64(o.GetId()) - int64(r.first)
		switch {
		case i < int64(from) || i >= int64(to):
			p.metrics.dropped.WithLabelValues("all", "other_item").Inc()
			continue
		case settled[i-int64(from)]:
			p.metrics.dropped.WithLabelValues("all", "duplicate_item").Inc()
			continue
		}
		out := &outcomes[i]
		switch v := o.GetOutcome().(type) {
		case *pb.Outcome_Classification:
			p.accept(process, &r.source[i], v.Classification, out)
		case *pb.Outcome_Error:
			out.Err = p.itemError(v.Error)
		default:
			p.metrics.dropped.WithLabelValues("all", "empty_outcome").Inc()
			continue
		}
		settled[i-int64(from)] = true
		count++
	}
	if count == to-from {
		return nil
	}
	if count == 0 {
		return &malformedError{fmt.Sprintf("%d items were sent and none was answered", to-from)}
	}
	for n, done := range settled {
		if !done {
			p.metrics.dropped.WithLabelValues("all", "missing_item").Inc()
			outcomes[from+n].Err = &CallError{
				Plugin: p.name, Method: "Classify", How: Malformed,
				Err: &malformedError{"the item was not answered"},
			}
		}
	}
	return nil
}

func (p *Plugin) itemError(e *pb.ItemError) error {
	if e.GetRetryAfter() != nil && e.GetRetryAfter().AsDuration() > 0 {
		return p.delayed(e)
	}
	message := p.redact.text(e.GetMessage(), maxError)
	if message == "" {
		message = "it gave an error without a message"
	}
	return &ItemError{Plugin: p.name, Message: message, Permanent: e.GetPermanent()}
}

// maxError bounds the text of a plugin's errors.
const maxError = sdk.MaxReasonBytes
