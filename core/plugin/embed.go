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

// Embeddings are what a plugin made of texts, one per text in the same order.
type Embeddings struct {
	// Model names the space: vectors or terms of different models must not be compared.
	Model string
	// Vectors are all finite and of the length that Describe().Embedding states; nil
	// when the model is of terms.
	Vectors [][]float32
	// Terms are within the bounds of the SDK, none twice in a text; nil unless the
	// model is of terms.
	Terms [][]sdk.Term
}

// Embed turns texts into vectors or terms, as Describe().Embedding tells. A text
// that the plugin fails over even when it is asked for it alone has a nil vector
// or nil terms (which is logged and counted): its issue has no neighbours, and that is all. A text
// of no words may have a vector of zeros, or terms that are empty and not nil.
//
// An error means that there are no embeddings at all: an UnavailableError,
// ErrUnsupported, the context's, or a CallError when every text failed.
func (p *Plugin) Embed(ctx context.Context, texts []sdk.Text) (Embeddings, error) {
	first, err := p.running()
	if err != nil {
		return Embeddings{}, err
	}
	embedding := first.description.Embedding
	if embedding == nil {
		return Embeddings{}, fmt.Errorf("plugin %s: Embed: %w", p.name, ErrUnsupported)
	}
	if len(texts) == 0 {
		return Embeddings{Model: embedding.Name}, nil
	}
	messages := make([]*pb.Text, len(texts))
	sizes := make([]int, len(texts))
	block := make([]pb.Text, len(texts))
	for i, t := range texts {
		block[i].Title, block[i].Body = encodable(t.Title, maxTitle), encodable(t.Body, sdk.MaxBodyBytes)
		messages[i], sizes[i] = &block[i], proto.Size(&block[i])+frame
	}
	out := Embeddings{Model: embedding.Name}
	size := 4 * embedding.Dimensions // of an answer
	if embedding.Terms {
		out.Terms, size = make([][]sdk.Term, len(texts)), sdk.MaxTerms*(4+4+2)
	} else {
		out.Vectors = make([][]float32, len(texts))
	}
	var last error
	failed := 0
	err = p.run(ctx, &batch{
		method:   "Embed",
		sizes:    sizes,
		overhead: func(int) int { return 0 },
		limit:    min(p.batchLimit(), (maxCall/2)/(size+frame)),
		send: func(ctx context.Context, process *process, from, to int) error {
			if now := process.description.Embedding; now == nil || *now != *embedding {
				return &malformedError{"the plugin was restarted with another embedding model; embed again"}
			}
			response, err := process.service.Embed(ctx, &pb.EmbedRequest{Texts: messages[from:to]})
			if err != nil {
				return err
			}
			if n := len(response.GetVectors()); n != to-from {
				p.metrics.dropped.WithLabelValues("vector", "count").Inc()
				return &malformedError{fmt.Sprintf("%d vectors for %d texts", n, to-from)}
			}
			if embedding.Terms {
				return p.acceptTerms(response, out.Terms[from:to])
			}
			return p.acceptVectors(response, embedding.Dimensions, out.Vectors[from:to])
		},
		fail: func(_ int, err error) {
			failed++
			last = err
		},
	})
	if err != nil {
		return Embeddings{}, err
	}
	if failed > 0 {
		// What could not be asked for must be asked for again, so it is no nil vector.
		if _, counts := errors.AsType[*CallError](last); !counts || failed == len(texts) {
			return Embeddings{}, last
		}
		p.log.Warn("plugin could not embed some texts", "texts", len(texts), "failed", failed, "error", last)
	}
	return out, nil
}

func (p *Plugin) acceptVectors(response *pb.EmbedResponse, dimensions int, out [][]float32) error {
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

func (p *Plugin) acceptTerms(response *pb.EmbedResponse, out [][]sdk.Term) error {
	for i, v := range response.GetVectors() {
		ids, weights, shares := v.GetTerms(), v.GetWeights(), v.GetShares()
		if len(weights) != len(ids) || len(shares) != len(ids) {
			p.metrics.dropped.WithLabelValues("vector", "length").Inc()
			return &malformedError{fmt.Sprintf("%d terms with %d weights and %d shares", len(ids), len(weights), len(shares))}
		}
		if len(ids) > sdk.MaxTerms {
			p.metrics.dropped.WithLabelValues("vector", "length").Inc()
			return &malformedError{fmt.Sprintf("%d terms of a text; at most %d are possible", len(ids), sdk.MaxTerms)}
		}
		terms := make([]sdk.Term, len(ids))
		for j, id := range ids {
			terms[j] = sdk.Term{ID: id, Weight: weights[j], Share: uint16(min(shares[j], math.MaxUint16))}
		}
		if err := sdk.CheckTerms(terms); err != nil {
			p.metrics.dropped.WithLabelValues("vector", "terms").Inc()
			return &malformedError{err.Error()}
		}
		out[i] = terms
	}
	return nil
}
