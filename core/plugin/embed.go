package plugin

import (
	"context"
	"errors"
	"fmt"
	"math"

	"google.golang.org/protobuf/proto"

	"github.com/dispatchai/dispatchai/plugins/sdk"
	pb "github.com/dispatchai/dispatchai/proto/dispatchai/classifier/v1"
)

// Embed turns texts into vectors, one per text in the same order, all finite
// and of the length that Describe().Embedding states, and gives the model's
// name: vectors of different models must not be compared. A text that the
// plugin fails over even when it is asked for it alone has a nil vector (which
// is logged and counted): its issue has no neighbours, and that is all. A text
// of no words may have a vector of zeros.
//
// An error means that there are no vectors at all: an UnavailableError,
// ErrUnsupported, the context's, or a CallError when every text failed.
func (p *Plugin) Embed(ctx context.Context, texts []sdk.Text) (vectors [][]float32, model string, err error) {
	first, err := p.running()
	if err != nil {
		return nil, "", err
	}
	embedding := first.description.Embedding
	if embedding == nil {
		return nil, "", fmt.Errorf("plugin %s: Embed: %w", p.spec.Name, ErrUnsupported)
	}
	if len(texts) == 0 {
		return nil, embedding.Name, nil
	}
	messages := make([]*pb.Text, len(texts))
	sizes := make([]int, len(texts))
	block := make([]pb.Text, len(texts))
	for i, t := range texts {
		block[i].Title, block[i].Body = encodable(t.Title, maxTitle), encodable(t.Body, sdk.MaxBodyBytes)
		messages[i], sizes[i] = &block[i], proto.Size(&block[i])+frame
	}
	vectors = make([][]float32, len(texts))
	var last error
	failed := 0
	err = p.run(ctx, &batch{
		method:   "Embed",
		sizes:    sizes,
		overhead: func(int) int { return 0 },
		limit:    min(p.batchLimit(), (maxCall/2)/(4*embedding.Dimensions+frame)),
		send: func(ctx context.Context, process *process, from, to int) error {
			if now := process.description.Embedding; now == nil || *now != *embedding {
				return &malformedError{"the plugin was restarted with another embedding model; embed again"}
			}
			response, err := process.service.Embed(ctx, &pb.EmbedRequest{Texts: messages[from:to]})
			if err != nil {
				return err
			}
			return p.acceptVectors(response, embedding.Dimensions, vectors[from:to])
		},
		fail: func(_ int, err error) {
			failed++
			last = err
		},
	})
	if err != nil {
		return nil, "", err
	}
	if failed > 0 {
		// What could not be asked for must be asked for again, so it is no nil vector.
		if _, counts := errors.AsType[*CallError](last); !counts || failed == len(texts) {
			return nil, "", last
		}
		p.log.Warn("plugin could not embed some texts", "texts", len(texts), "failed", failed, "error", last)
	}
	return vectors, embedding.Name, nil
}

func (p *Plugin) acceptVectors(response *pb.EmbedResponse, dimensions int, out [][]float32) error {
	if n := len(response.GetVectors()); n != len(out) {
		p.metrics.dropped.WithLabelValues("vector", "count").Inc()
		return &malformedError{fmt.Sprintf("%d vectors for %d texts", n, len(out))}
	}
	for i, v := range response.GetVectors() {
		values := v.GetValues()
		if len(values) != dimensions {
			p.metrics.dropped.WithLabelValues("vector", "length").Inc()
			return &malformedError{fmt.Sprintf("a vector of %d numbers; its model has %d dimensions", len(values), dimensions)}
		}
		for _, x := range values {
			if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
				p.metrics.dropped.WithLabelValues("vector", "not_finite").Inc()
				return &malformedError{"a vector with numbers that are not finite"}
			}
		}
		out[i] = values
	}
	return nil
}
