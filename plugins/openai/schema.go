package openai

import (
	"github.com/dispatchai/dispatchai/plugins/sdk"
)

// The bounds of strict schemas, of which OpenAI allows 1,000 values in all, and for
// one property with more than 250 of them 15,000 characters
// (https://developers.openai.com/api/docs/guides/structured-outputs).
const (
	maxOptions    = 200
	maxAllOptions = 900
	maxOptionText = 15_000
)

// sentiments are the values of the sentiment where the repository names none.
func sentiments() []string { return []string{"positive", "neutral", "negative", "frustrated"} }

// chosen are the values that a field may have, in the order of the repository's own,
// as many as a schema takes.
func chosen(f sdk.Field, r sdk.Request, room *int) []string {
	var values []string
	if r.Repository != nil {
		for _, o := range r.Repository.Options[f] {
			values = append(values, o.Value)
		}
	}
	switch {
	case len(values) > 0:
	case f == sdk.Sentiment:
		values = sentiments()
	case f == sdk.Assignees:
		values = responsible(r)
	}
	kept, size := values[:0:0], 0
	seen := make(map[string]bool)
	for _, v := range values {
		if v == "" || seen[v] {
			continue
		}
		if size += len(v); size > maxOptionText || len(kept) == maxOptions || *room == 0 {
			break
		}
		seen[v] = true
		kept = append(kept, v)
		*room--
	}
	return kept
}

// responsible are the people who were assigned to similar issues: nobody else is
// suggested, whatever the text says.
func responsible(r sdk.Request) []string {
	var people []string
	for _, s := range r.Similar {
		people = append(people, s.Fields[sdk.Assignees]...)
	}
	return people
}

// schema is that of the answer to a question: every property is required and no
// other allowed, as strict schemas want it.
func (q *question) schema() map[string]any {
	object := func(properties map[string]any, required []string) map[string]any {
		return map[string]any{"type": "object", "properties": properties, "required": required, "additionalProperties": false}
	}
	properties := map[string]any{"reasoning": map[string]any{"type": "string", "description": "What the text says that decides, in two sentences at most."}}
	required := []string{"reasoning"}
	for _, f := range q.fields {
		required = append(required, string(f.name))
		if f.name == sdk.Summary {
			properties[string(f.name)] = map[string]any{"type": []string{"string", "null"}, "description": "The issue in one sentence of at most 200 characters."}
			continue
		}
		value := map[string]any{"type": []string{"string", "null"}, "enum": nullable(f.values)}
		key := "value"
		if f.name.Multiple() {
			key = "values"
			value = map[string]any{"type": "array", "items": map[string]any{"type": "string", "enum": f.values}}
		}
		properties[string(f.name)] = object(map[string]any{
			key:          value,
			"confidence": map[string]any{"type": "number", "description": "The probability, 0 to 1, that this is right."},
			"reason":     map[string]any{"type": "string", "description": "Why, in one short sentence; empty without a value."},
		}, []string{key, "confidence", "reason"})
	}
	return object(properties, required)
}

func nullable(values []string) []any {
	out := make([]any, 0, len(values)+1)
	for _, v := range values {
		out = append(out, v)
	}
	return append(out, nil)
}
