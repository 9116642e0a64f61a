package openai

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	api "github.com/openai/openai-go/v3"

	"github.com/dispatchai/dispatchai/plugins/sdk"
)

// The bounds of what the model says in words, in bytes.
const (
	maxSummary   = 300
	maxReason    = 240
	maxReasoning = 800
)

// errCutOff says that the answer was longer than it may be.
var errCutOff = errors.New("the model's answer was cut off")

// errNoAnswer says that what came is no answer.
var errNoAnswer = errors.New("the model gave no valid answer")

// read takes what the model said for an answer to the question, and drops what it
// may not say. An error is one that asking again may mend.
func (q *question) read(c *api.ChatCompletion, mark string) (sdk.Result, error) {
	if len(c.Choices) == 0 {
		return sdk.Result{}, fmt.Errorf("%w: there is no choice in it", errNoAnswer)
	}
	choice := c.Choices[0]
	switch {
	case choice.Message.Refusal != "":
		return sdk.Result{Reasoning: "The model declined to classify this issue."}, nil
	case choice.FinishReason == "content_filter":
		return sdk.Result{Reasoning: "The model server's filter kept the answer back."}, nil
	case choice.FinishReason == "length":
		return sdk.Result{}, errCutOff
	}
	return q.parse([]byte(choice.Message.Content), mark)
}

// said is the content of a whole answer.
func said(c *api.ChatCompletion) (string, bool) {
	if len(c.Choices) == 0 || c.Choices[0].Message.Refusal != "" || c.Choices[0].FinishReason != "stop" {
		return "", false
	}
	return c.Choices[0].Message.Content, true
}

// given is the model's answer for a field.
type given struct {
	Value      *string  `json:"value"`
	Values     []string `json:"values"`
	Confidence float64  `json:"confidence"`
	Reason     string   `json:"reason"`
}

// parse reads the JSON of an answer to the question, which was put together with others.
func (q *question) parse(content []byte, mark string, others ...*question) (sdk.Result, error) {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(bytes.TrimSpace(content), &all); err != nil {
		return sdk.Result{}, fmt.Errorf("%w: it is not a JSON object", errNoAnswer)
	}
	guard := q.guard(mark, others...)
	result := sdk.Result{Fields: make(map[sdk.Field]sdk.Answer)}
	var reasoning string
	if err := json.Unmarshal(all["reasoning"], &reasoning); err == nil {
		result.Reasoning = guard.pass(reasoning, maxReasoning)
	}
	known := false
	for _, f := range q.fields {
		raw, ok := all[string(f.name)]
		if !ok {
			continue
		}
		if f.name == sdk.Summary {
			var summary *string
			if json.Unmarshal(raw, &summary) != nil {
				continue
			}
			known = true
			if summary != nil {
				if s := guard.pass(*summary, maxSummary); s != "" {
					result.Fields[f.name] = sdk.Answer{Values: []string{s}, Confidence: summaryConfidence}
				}
			}
			continue
		}
		var g given
		if json.Unmarshal(raw, &g) != nil {
			continue
		}
		known = true
		if g.Value != nil {
			g.Values = []string{*g.Value}
		}
		if values := f.among(g.Values); len(values) > 0 {
			result.Fields[f.name] = sdk.Answer{Values: values, Confidence: min(max(g.Confidence, 0), 1), Reason: guard.pass(g.Reason, maxReason)}
		}
	}
	if !known {
		return sdk.Result{}, fmt.Errorf("%w: it has none of the fields that were asked for", errNoAnswer)
	}
	return result, nil
}

// summaryConfidence stands for that of a summary, which is not right or wrong.
const summaryConfidence = 0.9

// among are the values that may be chosen, each once.
func (f field) among(values []string) []string {
	most := 1
	switch f.name {
	case sdk.Tags:
		most = sdk.MaxTags
	case sdk.Assignees:
		most = sdk.MaxAssignees
	}
	var kept []string
	for _, v := range values {
		if slices.Contains(f.values, v) && !slices.Contains(kept, v) && len(kept) < most {
			kept = append(kept, v)
		}
	}
	return kept
}

// oneLine is a text as one line of at most limit bytes.
func oneLine(s string, limit int) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) <= limit {
		return s
	}
	const mark = "…"
	s = strings.ToValidUTF8(s[:limit-len(mark)], "")
	if i := strings.LastIndexByte(s, ' '); i > limit/2 {
		s = s[:i]
	}
	return s + mark
}
