package openai

import (
	"context"
	"errors"
	"fmt"

	api "github.com/openai/openai-go/v3"

	"github.com/dispatchai/dispatchai/plugins/sdk"
)

// The bounds of one request for embeddings: OpenAI takes 2,048 texts of 8,192 tokens
// and 300,000 tokens in all. A token has at least one byte, and few have less than
// two; what is beyond these bounds tells little of an issue.
const (
	maxEmbedText  = 8 << 10
	maxEmbedBytes = 256 << 10
)

// Embed gives the vector of each text.
func (c *Classifier) Embed(ctx context.Context, texts []sdk.Text) ([][]float32, error) {
	m := c.model.Load()
	if m == nil {
		return nil, errUnconfigured
	}
	vectors := make([][]float32, 0, len(texts))
	for len(vectors) < len(texts) {
		var input []string
		size := 0
		for _, t := range texts[len(vectors):] {
			s := embedded(t)
			if size += len(s); size > maxEmbedBytes && len(input) > 0 {
				break
			}
			input = append(input, s)
		}
		part, err := m.embed(ctx, input)
		if err != nil {
			return nil, err
		}
		vectors = append(vectors, part...)
	}
	return vectors, nil
}

func embedded(t sdk.Text) string {
	s := cutMiddle(visible(t.Title)+"\n\n"+visible(t.Body), maxEmbedText)
	if s == "\n\n" {
		return " "
	}
	return s
}

func (m *model) embed(ctx context.Context, input []string) ([][]float32, error) {
	limited, cancel := context.WithTimeout(ctx, m.settings.timeout)
	defer cancel()
	response, err := m.client.Embeddings.New(limited, api.EmbeddingNewParams{
		Model: embeddingModel, Input: api.EmbeddingNewParamsInputUnion{OfArrayOfStrings: input},
		Dimensions: api.Int(Dimensions), EncodingFormat: api.EmbeddingNewParamsEncodingFormatFloat,
	})
	if err != nil {
		return nil, m.failed(ctx, err)
	}
	vectors := make([][]float32, len(input))
	for _, e := range response.Data {
		if e.Index < 0 || e.Index >= int64(len(input)) || vectors[e.Index] != nil {
			return nil, errors.New("the model server gave an embedding that was not asked for")
		}
		if len(e.Embedding) != Dimensions {
			return nil, fmt.Errorf("the model server gave an embedding of %d numbers instead of %d; is %s what OPENAI_BASE_URL serves?", len(e.Embedding), Dimensions, embeddingModel)
		}
		v := make([]float32, Dimensions)
		for i, x := range e.Embedding {
			v[i] = float32(x)
		}
		vectors[e.Index] = v
	}
	for i, v := range vectors {
		if v == nil {
			return nil, fmt.Errorf("the model server gave no embedding for text %d", i)
		}
	}
	return vectors, nil
}
