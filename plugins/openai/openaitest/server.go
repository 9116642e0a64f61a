// Package openaitest stands in for a model server in tests: it follows OpenAI's
// published API, refuses requests that are not as it is described, counts tokens the
// same way every time, and misbehaves when it is told to.
package openaitest

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

//go:embed requests.schema.json
var requests []byte

// Key is the API key that the server takes.
const Key = "sk-test-0123456789abcdefghijklmnop"

// Request is a chat completion that was asked for.
type Request struct {
	Model    string `json:"model"`
	Messages []struct {
		Role    string `json:"role"`
		Content string `json:"content"`
	} `json:"messages"`
	MaxCompletionTokens int64 `json:"max_completion_tokens"`
	ResponseFormat      struct {
		JSONSchema struct {
			Strict bool           `json:"strict"`
			Schema map[string]any `json:"schema"`
		} `json:"json_schema"`
	} `json:"response_format"`
}

// System is the first message of a request.
func (r Request) System() string { return r.Messages[0].Content }

// User is the last message of a request.
func (r Request) User() string { return r.Messages[len(r.Messages)-1].Content }

// Fields are those that the schema asks for, with the values that each allows.
func (r Request) Fields() map[string][]string {
	fields := make(map[string][]string)
	properties, _ := r.ResponseFormat.JSONSchema.Schema["properties"].(map[string]any)
	for name, p := range properties {
		fields[name] = allowed(p)
	}
	return fields
}

func allowed(p any) (values []string) {
	m, ok := p.(map[string]any)
	if !ok {
		return nil
	}
	if enum, ok := m["enum"].([]any); ok {
		for _, v := range enum {
			if s, ok := v.(string); ok {
				values = append(values, s)
			}
		}
	}
	for _, key := range []string{"items", "value", "values"} {
		values = append(values, allowed(m[key])...)
	}
	if inner, ok := m["properties"]; ok {
		values = append(values, allowed(inner)...)
	}
	return values
}

// Answer is what the server says to a chat completion.
type Answer struct {
	// Content is the message; an object is encoded.
	Content any
	// FinishReason is "stop" unless set; Refusal a refusal.
	FinishReason string
	Refusal      string
	// CachedTokens are those of the prompt that the server still had.
	CachedTokens int64
	// NoChoices leaves the choices empty.
	NoChoices bool
	// Raw, where it is set, does whatever it likes instead.
	Raw http.HandlerFunc
}

// Server is an http.Handler for a base URL that ends in /v1. Its fields are set
// before the first request.
type Server struct {
	// Answer makes the answer to a request; nil chooses the first value of everything.
	Answer func(Request) Answer
	// Embedding makes a text's vector; nil a vector of its length.
	Embedding func(text string, dimensions int) []float64

	mu       sync.Mutex
	asked    []Request
	embedded [][]string
	spent    Spent
	faults   []string
}

// Spent are the tokens that were counted.
type Spent struct{ Input, Cached, Output int64 }

// Asked are the chat completions so far.
func (s *Server) Asked() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

// Embedded are the texts of each request for embeddings.
func (s *Server) Embedded() [][]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.embedded)
}

// Spent are the tokens that all answers together cost.
func (s *Server) Spent() Spent {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.spent
}

// Faults are what was wrong with requests.
func (s *Server) Faults() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.faults)
}

// Tokens is how many tokens a text is counted as: one for four bytes, as OpenAI
// gives for English text.
func Tokens(s string) int64 { return int64(len(s)+3) / 4 }

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 16<<20))
	switch {
	case err != nil:
		return
	case r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json":
		s.refuse(w, http.StatusMethodNotAllowed, "invalid_request", r.Method+" "+r.Header.Get("Content-Type"))
	case r.Header.Get("Authorization") != "Bearer "+Key:
		Fail(w, http.StatusUnauthorized, "invalid_api_key", "Incorrect API key provided: "+r.Header.Get("Authorization"))
	case strings.HasSuffix(r.URL.Path, "/v1/chat/completions"):
		s.complete(w, r, body)
	case strings.HasSuffix(r.URL.Path, "/v1/embeddings"):
		s.embed(w, body)
	default:
		Fail(w, http.StatusNotFound, "not_found", "Invalid URL "+r.URL.Path)
	}
}

// Fail answers with an error as OpenAI does.
func Fail(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"message": message, "type": "invalid_request_error", "param": nil, "code": code}})
}

func (s *Server) refuse(w http.ResponseWriter, status int, code, fault string) {
	s.mu.Lock()
	s.faults = append(s.faults, fault)
	s.mu.Unlock()
	Fail(w, status, code, fault)
}

func validate(name string, body []byte) error {
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(requests))
	if err != nil {
		return err
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("requests", document); err != nil {
		return err
	}
	schema, err := c.Compile("requests#/$defs/" + name)
	if err != nil {
		return err
	}
	instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return err
	}
	return schema.Validate(instance)
}

func (s *Server) complete(w http.ResponseWriter, r *http.Request, body []byte) {
	var request Request
	err := validate("CreateChatCompletionRequest", body)
	if err == nil {
		err = json.Unmarshal(body, &request)
	}
	if err == nil && request.ResponseFormat.JSONSchema.Strict {
		err = checkStrict(request.ResponseFormat.JSONSchema.Schema)
	}
	if err != nil {
		s.refuse(w, http.StatusBadRequest, "invalid_request_error", err.Error())
		return
	}
	s.mu.Lock()
	s.asked = append(s.asked, request)
	s.mu.Unlock()
	answer := Answer{Content: First(request)}
	if s.Answer != nil {
		answer = s.Answer(request)
	}
	if answer.Raw != nil {
		answer.Raw(w, r)
		return
	}
	content, isText := answer.Content.(string)
	if !isText {
		text, err := json.Marshal(answer.Content)
		if err != nil {
			s.refuse(w, http.StatusInternalServerError, "server_error", err.Error())
			return
		}
		content = string(text)
	}
	if answer.FinishReason == "" {
		answer.FinishReason = "stop"
	}
	used := Spent{Cached: answer.CachedTokens, Output: Tokens(content + answer.Refusal)}
	for _, m := range request.Messages {
		used.Input += Tokens(m.Content)
	}
	schema, _ := json.Marshal(request.ResponseFormat.JSONSchema.Schema)
	used.Input += Tokens(string(schema))
	s.mu.Lock()
	s.spent.Input, s.spent.Cached, s.spent.Output = s.spent.Input+used.Input, s.spent.Cached+used.Cached, s.spent.Output+used.Output
	s.mu.Unlock()
	message := map[string]any{"role": "assistant", "content": content, "refusal": nil}
	if answer.Refusal != "" {
		message["content"], message["refusal"] = nil, answer.Refusal
	}
	choices := []any{map[string]any{"index": 0, "message": message, "logprobs": nil, "finish_reason": answer.FinishReason}}
	if answer.NoChoices {
		choices = []any{}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{
		"id": "chatcmpl-test", "object": "chat.completion", "created": 1, "model": request.Model, "choices": choices,
		"usage": map[string]any{
			"prompt_tokens": used.Input, "completion_tokens": used.Output, "total_tokens": used.Input + used.Output,
			"prompt_tokens_details": map[string]any{"cached_tokens": used.Cached},
		},
	})
}

// First answers with the first value of every field that is asked for.
func First(r Request) map[string]any {
	return Fill(r, func(_ string, values []string) string {
		if len(values) > 0 {
			return values[0]
		}
		return "A short text."
	})
}

// Fill answers every field that is asked for with what choose says, with a
// confidence of 0.9. Nothing sees to it that the schema allows it.
func Fill(r Request, choose func(field string, values []string) string) map[string]any {
	return fill(r.ResponseFormat.JSONSchema.Schema, r.ResponseFormat.JSONSchema.Schema, choose)
}

func fill(schema, root map[string]any, choose func(field string, values []string) string) map[string]any {
	answer := make(map[string]any)
	properties, _ := schema["properties"].(map[string]any)
	for field, p := range properties {
		m, _ := p.(map[string]any)
		if d := definition(m, root); d != nil {
			answer[field] = fill(d, root, choose)
			continue
		}
		inner, _ := m["properties"].(map[string]any)
		value := choose(field, allowed(p))
		switch {
		case inner == nil:
			answer[field] = value
		case inner["values"] != nil:
			answer[field] = map[string]any{"values": []string{value}, "confidence": 0.9, "reason": "It is so."}
		default:
			answer[field] = map[string]any{"value": value, "confidence": 0.9, "reason": "It is so."}
		}
	}
	return answer
}

// definition is the schema below $defs that another one refers to; nil where it refers to none.
func definition(schema, root map[string]any) map[string]any {
	ref, _ := schema["$ref"].(string)
	name, ok := strings.CutPrefix(ref, "#/$defs/")
	if !ok {
		return nil
	}
	definitions, _ := root["$defs"].(map[string]any)
	d, _ := definitions[name].(map[string]any)
	return d
}

// checkStrict holds a schema to the rules for strict ones
// (https://developers.openai.com/api/docs/guides/structured-outputs): every object
// names all of its properties as required and allows no other; at most 5,000
// properties, ten levels and 1,000 values in all, and 15,000 characters in an enum
// of more than 250 values.
func checkStrict(schema map[string]any) error {
	properties, values := 0, 0
	var visit func(m map[string]any, depth int) error
	visit = func(m map[string]any, depth int) error {
		if depth > 10 {
			return errors.New("the schema has more than ten levels")
		}
		for key := range m {
			if !slices.Contains([]string{"type", "properties", "required", "additionalProperties", "description", "enum", "items", "anyOf", "$ref", "$defs"}, key) {
				return fmt.Errorf("%q is not permitted in a strict schema", key)
			}
		}
		if enum, ok := m["enum"].([]any); ok {
			values += len(enum)
			size := 0
			for _, v := range enum {
				s, _ := v.(string)
				size += len(s)
			}
			if len(enum) == 0 || len(enum) > 250 && size > 15_000 {
				return errors.New("an enum is empty, or has too many characters")
			}
		}
		if _, refers := m["$ref"]; refers && (len(m) != 1 || definition(m, schema) == nil) {
			return errors.New("a $ref stands beside something else, or refers to nothing")
		}
		if definitions, ok := m["$defs"].(map[string]any); ok {
			for _, d := range definitions {
				inner, _ := d.(map[string]any)
				if err := visit(inner, depth+1); err != nil {
					return err
				}
			}
		}
		if items, ok := m["items"].(map[string]any); ok {
			if err := visit(items, depth+1); err != nil {
				return err
			}
		}
		if m["type"] != "object" {
			return nil
		}
		if m["additionalProperties"] != false {
			return errors.New("'additionalProperties' is required to be supplied and to be false")
		}
		inner, _ := m["properties"].(map[string]any)
		required, _ := m["required"].([]any)
		if len(required) != len(inner) {
			return errors.New("'required' is required to be supplied and to be an array including every key in properties")
		}
		for name, p := range inner {
			properties++
			if !slices.Contains(required, any(name)) {
				return fmt.Errorf("'required' lacks %s", name)
			}
			of, ok := p.(map[string]any)
			if !ok {
				return fmt.Errorf("the property %s has no schema", name)
			}
			if err := visit(of, depth+1); err != nil {
				return err
			}
		}
		return nil
	}
	if schema["type"] != "object" {
		return errors.New("the root of a strict schema must be an object")
	}
	if err := visit(schema, 1); err != nil {
		return err
	}
	if properties > 5000 || values > 1000 {
		return fmt.Errorf("the schema has %d properties and %d values", properties, values)
	}
	return nil
}

func (s *Server) embed(w http.ResponseWriter, body []byte) {
	var request struct {
		Model      string   `json:"model"`
		Input      []string `json:"input"`
		Dimensions int      `json:"dimensions"`
	}
	err := validate("CreateEmbeddingRequest", body)
	if err == nil {
		err = json.Unmarshal(body, &request)
	}
	var total int64
	for _, text := range request.Input {
		if n := Tokens(text); n > 8192 {
			err = fmt.Errorf("a text has %d tokens", n)
		}
		total += Tokens(text)
	}
	if total > 300_000 {
		err = fmt.Errorf("the request has %d tokens", total)
	}
	if err != nil {
		s.refuse(w, http.StatusBadRequest, "invalid_request_error", err.Error())
		return
	}
	s.mu.Lock()
	s.embedded = append(s.embedded, request.Input)
	s.mu.Unlock()
	data := make([]any, len(request.Input))
	for i, text := range request.Input {
		vector := make([]float64, request.Dimensions)
		vector[0] = float64(len(text))
		if s.Embedding != nil {
			vector = s.Embedding(text, request.Dimensions)
		}
		// In another order than they were asked for, as the index is for.
		data[len(data)-1-i] = map[string]any{"object": "embedding", "index": i, "embedding": vector}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"object": "list", "model": request.Model, "data": data, "usage": map[string]any{"prompt_tokens": total, "total_tokens": total}})
}
