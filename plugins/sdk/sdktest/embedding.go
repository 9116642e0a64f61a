package sdktest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/dispatchai/dispatchai/plugins/sdk"
	pb "github.com/dispatchai/dispatchai/proto/dispatchai/classifier/v1"
)

// embeddable are the texts to embed, an ordinary one second.
func embeddable() []*pb.Text {
	texts := []*pb.Text{{}, {Title: "Crash when saving a file", Body: "It fails."}}
	for _, i := range issues() {
		texts = append(texts, &pb.Text{Title: i.issue.GetTitle(), Body: i.issue.GetBody()})
	}
	return texts
}

func (k *checker) embed(ctx context.Context, texts []*pb.Text) ([]*pb.Vector, error) {
	var vectors []*pb.Vector
	err := k.call(ctx, func(ctx context.Context) error {
		r, err := k.service.Embed(ctx, &pb.EmbedRequest{Texts: texts})
		vectors = r.GetVectors()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("call Embed for %d texts: %w", len(texts), err)
	}
	if len(vectors) != len(texts) {
		return nil, fmt.Errorf("%d vectors for %d texts; give one for each, in their order", len(vectors), len(texts))
	}
	return vectors, nil
}

func (k *checker) embedding(ctx context.Context) error {
	texts := embeddable()
	most := k.most()
	vectors := make([]*pb.Vector, 0, len(texts))
	for part := range slices.Chunk(texts, most) {
		v, err := k.embed(ctx, part)
		if err != nil {
			return err
		}
		vectors = append(vectors, v...)
	}
	model := k.described.GetEmbedding()
	for i, v := range vectors {
		if err := vectorFault(v, model); err != nil {
			return fmt.Errorf("of the text %.40q: %w", texts[i].GetTitle(), err)
		}
	}
	if model.GetTerms() && len(vectors[1].GetTerms()) == 0 {
		return fmt.Errorf("there are no terms in %q", texts[1].GetTitle())
	}
	alone, err := k.embed(ctx, texts[1:2])
	if err != nil {
		return err
	}
	if !k.options.Varies && !sameVector(alone[0], vectors[1]) {
		if model.GetTerms() {
			return errors.New("a text has other terms when it is embedded alone")
		}
		return errors.New("a text has another vector when it is embedded alone")
	}
	_, err = k.embed(ctx, nil)
	return err
}

// vectorFault says what is wrong with a vector of a model.
func vectorFault(v *pb.Vector, model *pb.EmbeddingModel) error {
	if !model.GetTerms() {
		if n := len(v.GetTerms()); n > 0 {
			return fmt.Errorf("there are %d terms; the description states vectors of %d dimensions", n, model.GetDimensions())
		}
		if n := len(v.GetValues()); n != int(model.GetDimensions()) {
			return fmt.Errorf("the vector has %d numbers; the description states %d", n, model.GetDimensions())
		}
		for _, x := range v.GetValues() {
			if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
				return fmt.Errorf("the vector has the number %v; all must be finite", x)
			}
		}
		return nil
	}
	ids, weights, shares := v.GetTerms(), v.GetWeights(), v.GetShares()
	if len(weights) != len(ids) || len(shares) != len(ids) {
		return fmt.Errorf("there are %d terms with %d weights and %d shares; give as many of each", len(ids), len(weights), len(shares))
	}
	return sdk.CheckTerms(terms(v))
}

func terms(v *pb.Vector) []sdk.Term {
	out := make([]sdk.Term, len(v.GetTerms()))
	for i, id := range v.GetTerms() {
		out[i] = sdk.Term{ID: id, Weight: v.GetWeights()[i], Share: uint16(min(v.GetShares()[i], math.MaxUint16))}
	}
	return out
}

// sameVector compares terms without regard to their order, which means nothing.
func sameVector(a, b *pb.Vector) bool {
	if len(a.GetTerms()) == 0 || len(b.GetTerms()) == 0 {
		return proto.Equal(a, b)
	}
	byID := func(x, y sdk.Term) int { return cmp.Compare(x.ID, y.ID) }
	return vectorShape(a) && slices.Equal(slices.SortedFunc(slices.Values(terms(a)), byID), slices.SortedFunc(slices.Values(terms(b)), byID))
}

func vectorShape(v *pb.Vector) bool {
	return len(v.GetTerms()) == len(v.GetWeights()) && len(v.GetTerms()) == len(v.GetShares())
}
