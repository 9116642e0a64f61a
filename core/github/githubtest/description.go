// Package githubtest holds what tests see of GitHub's API to the description
// that GitHub publishes of it: the requests that are made, and the answers of
// whatever stands in for GitHub.
package githubtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/routers"
)

// file is GitHub's description of the API of github.com below the root of this
// module; `npm ci` in web/ puts it there.
const file = "web/node_modules/@octokit/openapi/generated/api.github.com.json"

// description is what GitHub publishes. Of its 1,200 operations only those are
// read that are asked for.
type description struct {
	root       segment
	components map[string]map[string]json.RawMessage
	errors     *operation // holds the bodies that any operation may fail with

	seen      sync.Map // from uint64 to []string: by an exchange's fingerprint, what is wrong with it
	requested sync.Map // from the names of operations to nothing: those that were watched
}

// segment is a node of the tree of paths.
type segment struct {
	literal    map[string]*segment
	variable   *segment
	operations map[string]*operation // by method
	rest       map[string]*operation // by method, of paths whose last variable has slashes in it
}

// operation is a method of a path.
type operation struct {
	name      string // "GET /repos/{owner}/{repo}/labels"
	variables []string
	raw       json.RawMessage
	load      func() (*schemas, error)
}

// schemas is an operation with all that it refers to. The copy for requests
// allows no member that it does not describe, nor does that for answers.
type schemas struct {
	request *routers.Route
	answers *openapi3.Responses
}

// published reads the description once per process; fs.ErrNotExist says that it
// is not installed.
var published = sync.OnceValues(func() (*description, error) {
	root, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	for {
		if _, err := os.Stat(filepath.Join(root, "go.mod")); err == nil {
			break
		}
		if root == filepath.Dir(root) {
			return nil, errors.New("githubtest: the tests run outside of this module")
		}
		root = filepath.Dir(root)
	}
	content, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		return nil, err
	}
	return parse(content)
})

func parse(content []byte) (*description, error) {
	var document struct {
		Paths      map[string]map[string]json.RawMessage
		Components map[string]map[string]json.RawMessage
	}
	if err := json.Unmarshal(content, &document); err != nil {
		return nil, fmt.Errorf("githubtest: %s: %w", file, err)
	}
	if len(document.Paths) == 0 {
		return nil, fmt.Errorf("githubtest: %s describes no paths", file)
	}
	d := &description{components: document.Components}
	for path, methods := range document.Paths {
		for method, raw := range methods {
			d.add(strings.ToUpper(method), path, raw)
		}
	}
	d.errors = d.operation(http.MethodGet, "/errors", json.RawMessage(`{"responses": {
		"4XX": {"description": "", "content": {"application/json": {"schema": {"anyOf": [
			{"$ref": "#/components/schemas/validation-error"}, {"$ref": "#/components/schemas/validation-error-simple"}, {"$ref": "#/components/schemas/basic-error"}]}}}},
		"5XX": {"description": "", "content": {"application/json": {"schema": {"$ref": "#/components/schemas/basic-error"}}}}}}`))
	return d, nil
}

func (d *description) operation(method, path string, raw json.RawMessage) *operation {
	o := &operation{name: method + " " + path, raw: raw}
	for part := range strings.SplitSeq(path, "/") {
		if name, ok := strings.CutPrefix(part, "{"); ok {
			o.variables = append(o.variables, strings.TrimSuffix(name, "}"))
		}
	}
	o.load = sync.OnceValues(func() (*schemas, error) {
		s, err := d.schemas(o)
		if err != nil {
			err = fmt.Errorf("githubtest: %s of %s: %w", o.name, file, err)
		}
		return s, err
	})
	return o
}

func (d *description) add(method, path string, raw json.RawMessage) {
	o := d.operation(method, path, raw)
	n := &d.root
	parts := strings.Split(strings.Trim(path, "/"), "/")
	for i, part := range parts {
		switch {
		case !strings.HasPrefix(part, "{"):
			if n.literal == nil {
				n.literal = make(map[string]*segment)
			}
			if n.literal[part] == nil {
				n.literal[part] = &segment{}
			}
			n = n.literal[part]
		case i == len(parts)-1 && bytes.Contains(raw, []byte(`"x-multi-segment": true`)):
			if n.rest == nil {
				n.rest = make(map[string]*operation)
			}
			n.rest[method] = o
			return
		default:
			if n.variable == nil {
				n.variable = &segment{}
			}
			n = n.variable
		}
	}
	if n.operations == nil {
		n.operations = make(map[string]*operation)
	}
	n.operations[method] = o
}

// find returns the operation of a path as it was sent, escaped, and the values
// of the path's variables, still escaped.
func (d *description) find(method, path string) (*operation, []string) {
	if method == http.MethodHead {
		method = http.MethodGet
	}
	path = strings.Trim(path, "/")
	// Where a repository was renamed or transferred GitHub redirects to it by its ID, by a path that stands
	// for the described one: https://docs.github.com/rest/using-the-rest-api/best-practices-for-using-the-rest-api#follow-redirects
	if byID, ok := strings.CutPrefix(path, "repositories/"); ok {
		if id, rest, more := strings.Cut(byID, "/"); more {
			path = "repos/" + id + "/" + id + "/" + rest
		}
	}
	return d.root.find(method, path, nil)
}

func (s *segment) find(method, path string, values []string) (*operation, []string) {
	if path == "" {
		return s.operations[method], values
	}
	part, tail, _ := strings.Cut(path, "/")
	if next := s.literal[part]; next != nil {
		if o, found := next.find(method, tail, values); o != nil {
			return o, found
		}
	}
	if s.variable != nil {
		if o, found := s.variable.find(method, tail, append(slices.Clone(values), part)); o != nil {
			return o, found
		}
	}
	if o := s.rest[method]; o != nil {
		return o, append(slices.Clone(values), path)
	}
	return nil, nil
}

// methods lists those that the description has for a path.
func (d *description) methods(path string) []string {
	var found []string
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		if o, _ := d.find(method, path); o != nil {
			found = append(found, method)
		}
	}
	return found
}

// schemas makes a document of the operation and of what it refers to, and reads
// it. The whole description would take a gigabyte and half a minute.
func (d *description) schemas(o *operation) (*schemas, error) {
	components := make(map[string]map[string]any)
	body, err := d.cut(o.raw, components)
	if err != nil {
		return nil, err
	}
	method, path, _ := strings.Cut(o.name, " ")
	document, err := json.Marshal(map[string]any{
		"openapi": "3.0.3", "info": map[string]any{"title": o.name, "version": "1"},
		"paths": map[string]any{path: map[string]any{strings.ToLower(method): body}}, "components": components,
	})
	if err != nil {
		return nil, err
	}
	spec, err := openapi3.NewLoader().LoadFromData(document)
	if err != nil {
		return nil, err
	}
	item := spec.Paths.Value(path)
	described := item.GetOperation(method)
	strict := strictness{parts: make(map[*openapi3.Schema]bool), done: make(map[*openapi3.Schema]bool)}
	if described.RequestBody != nil {
		for _, media := range described.RequestBody.Value.Content {
			strict.collect(media.Schema)
		}
	}
	for _, answer := range described.Responses.Map() {
		for _, media := range answer.Value.Content {
			strict.collect(media.Schema)
		}
	}
	strict.apply()
	return &schemas{
		request: &routers.Route{Spec: spec, Path: path, PathItem: item, Method: method, Operation: described},
		answers: described.Responses,
	}, nil
}

// cut returns a part of the description without its examples and prose, and
// puts what it refers to into components.
func (d *description) cut(raw json.RawMessage, components map[string]map[string]any) (any, error) {
	var part any
	if err := json.Unmarshal(raw, &part); err != nil {
		return nil, err
	}
	return part, d.prune(part, false, components)
}

// prune changes part in place. In the members of "properties" every name is a
// property's, elsewhere "examples" and the like are the description's own.
func (d *description) prune(part any, properties bool, components map[string]map[string]any) error {
	switch part := part.(type) {
	case []any:
		for _, element := range part {
			if err := d.prune(element, false, components); err != nil {
				return err
			}
		}
	case map[string]any:
		if !properties {
			for name := range part {
				if slices.Contains([]string{"example", "examples", "description", "externalDocs", "headers", "title"}, name) || strings.HasPrefix(name, "x-") {
					delete(part, name)
				}
			}
			if _, answer := part["content"]; answer || len(part) == 0 {
				part["description"] = "" // an answer has to have one
			}
			if reference, ok := part["$ref"].(string); ok {
				return d.refer(reference, components)
			}
		}
		for name, member := range part {
			if err := d.prune(member, !properties && name == "properties", components); err != nil {
				return err
			}
		}
	}
	return nil
}

// refer puts what a reference names into components, once.
func (d *description) refer(reference string, components map[string]map[string]any) error {
	kind, name, ok := strings.Cut(strings.TrimPrefix(reference, "#/components/"), "/")
	raw, known := d.components[kind][name]
	if !ok || !known {
		return fmt.Errorf("nothing is at %s", reference)
	}
	if components[kind] == nil {
		components[kind] = make(map[string]any)
	}
	if _, done := components[kind][name]; done {
		return nil
	}
	components[kind][name] = nil
	part, err := d.cut(raw, components)
	components[kind][name] = part
	return err
}

// strictness closes schemas: what they have no property for is a fault. GitHub
// leaves its schemas open, but what it does not describe nobody can rely on.
type strictness struct {
	parts map[*openapi3.Schema]bool // of an "allOf": each sees the members of the others
	done  map[*openapi3.Schema]bool
}

func (s *strictness) collect(reference *openapi3.SchemaRef) {
	if reference == nil || reference.Value == nil || s.done[reference.Value] {
		return
	}
	schema := reference.Value
	s.done[schema] = true
	for _, part := range schema.AllOf {
		s.parts[part.Value] = true
	}
	for _, list := range []openapi3.SchemaRefs{schema.AllOf, schema.AnyOf, schema.OneOf} {
		for _, part := range list {
			s.collect(part)
		}
	}
	for _, property := range schema.Properties {
		s.collect(property)
	}
	s.collect(schema.Items)
	s.collect(schema.Not)
	s.collect(schema.AdditionalProperties.Schema)
}

func (s *strictness) apply() {
	closed := false
	for schema := range s.done {
		open := schema.AdditionalProperties.Has == nil && schema.AdditionalProperties.Schema == nil
		if len(schema.Properties) > 0 && open && len(schema.AllOf) == 0 && !s.parts[schema] {
			schema.AdditionalProperties.Has = &closed
		}
	}
}

// installed says what is missing, if the description is.
func installed(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("GitHub's description of its API is not installed: `npm ci` in web/ installs it: %w", err)
	}
	return err
}
