package repoconfig

import (
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"

	"github.com/dispatchai/dispatchai/core/triage"
)

const schemaFile = "../../manifests/repo-config.schema.json"

func mapKeys[V any](m map[string]V) iter.Seq[string] { return maps.Keys(m) }

func compileSchema(t testing.TB) *jsonschema.Schema {
	t.Helper()
	schema, err := jsonschema.NewCompiler().Compile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func readSchema(t testing.TB) map[string]any {
	t.Helper()
	data, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	var schema map[string]any
	if err := json.Unmarshal(data, &schema); err != nil {
		t.Fatal(err)
	}
	return schema
}

// instance is a file as an editor hands it to the schema: keys are words, and
// values what YAML 1.2 makes of them.
func instance(t testing.TB, content []byte) any {
	t.Helper()
	root, fault := readDocument(content)
	if fault != nil {
		t.Fatalf("%v", fault)
	}
	if root == nil {
		return map[string]any{}
	}
	return plainValue(t, root)
}

func plainValue(t testing.TB, n *yaml.Node) any {
	switch n.Kind {
	case yaml.MappingNode:
		m := make(map[string]any)
		for i := 0; i+1 < len(n.Content); i += 2 {
			m[n.Content[i].Value] = plainValue(t, n.Content[i+1])
		}
		return m
	case yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, c := range n.Content {
			list[i] = plainValue(t, c)
		}
		return list
	}
	switch n.Tag {
	case "!!null":
		return nil
	case "!!bool":
		return strings.EqualFold(n.Value, "true")
	case "!!int", "!!float":
		var v float64
		if err := n.Decode(&v); err != nil {
			t.Fatal(err)
		}
		if v != v || v-v != 0 {
			return n.Value // JSON has no such numbers
		}
		return json.Number(strconv.FormatFloat(v, 'f', -1, 64))
	}
	return n.Value
}

func TestSchemaAndParserAgree(t *testing.T) {
	schema := compileSchema(t)
	for name, content := range corpus(t, "valid") {
		config, faults := Parse(running, File{Name: name, Content: content})
		if len(faults) > 0 {
			t.Errorf("valid/%s: the parser refuses it: %v", name, faults)
		}
		acceptedByThePlugin(t, config)
		if err := schema.Validate(instance(t, content)); err != nil {
			t.Errorf("valid/%s: the schema refuses it: %v", name, err)
		}
	}
	for name, content := range corpus(t, "invalid") {
		if _, faults := Parse(running, File{Name: name, Content: content}); len(faults) == 0 {
			t.Errorf("invalid/%s: the parser accepts it", name)
		}
		if err := schema.Validate(instance(t, content)); err == nil {
			t.Errorf("invalid/%s: the schema accepts it", name)
		}
	}
	// Each part of a file with many faults is one.
	for key, value := range instance(t, corpus(t, "invalid")["types.yml"]).(map[string]any) {
		if err := schema.Validate(map[string]any{key: value}); err == nil {
			t.Errorf("the schema accepts %s: %v", key, value)
		}
	}
}

// node is one place in the schema.
type node struct {
	path   string // as keysOf has it
	schema map[string]any
	wrap   func(value any) any // makes a whole file of a value for this place
}

// walk visits every place that a file can have, below n.
func walk(t *testing.T, root map[string]any, n node, visit func(node)) {
	t.Helper()
	if ref, ok := n.schema["$ref"].(string); ok {
		target := root["$defs"].(map[string]any)[strings.TrimPrefix(ref, "#/$defs/")].(map[string]any)
		merged := maps.Clone(target)
		maps.Copy(merged, n.schema)
		delete(merged, "$ref")
		n.schema = merged
	}
	visit(n)
	alternatives, _ := n.schema["anyOf"].([]any)
	for _, a := range alternatives {
		a := a.(map[string]any)
		if a["properties"] != nil || a["items"] != nil {
			walk(t, root, node{n.path, a, n.wrap}, func(child node) {
				if child.path != n.path || child.schema["properties"] != nil {
					visit(child)
				}
			})
		}
	}
	if items, ok := n.schema["items"].(map[string]any); ok {
		walk(t, root, node{n.path + "[]", items, func(v any) any { return n.wrap([]any{v}) }}, visit)
	}
	properties, _ := n.schema["properties"].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		path := name
		if n.path != "" {
			path = n.path + "." + name
		}
		wrap := func(v any) any {
			object := map[string]any{}
			switch n.path {
			case "rules[]":
				object = map[string]any{"name": "x", "when": map[string]any{"title": "x"}, "set": map[string]any{"category": "bug"}}
			case "classifiers[]":
				object["name"] = "rules"
			case "needs-info":
				object["answers"] = []any{"Version"}
			}
			object[name] = v
			return n.wrap(object)
		}
		walk(t, root, node{path, properties[name].(map[string]any), wrap}, visit)
	}
}

func TestSchemaKnowsTheParsersKeys(t *testing.T) {
	root := readSchema(t)
	compiled := compileSchema(t)
	objects := 0
	walk(t, root, node{"", root, func(v any) any { return v }}, func(n node) {
		properties, isObject := n.schema["properties"].(map[string]any)
		if isObject {
			objects++
			keys := keysOf(n.path)
			if got := slices.Sorted(maps.Keys(properties)); !slices.Equal(got, slices.Sorted(slices.Values(keys))) && !closedKeys(n.path, got) {
				t.Errorf("%q has the keys %v in the schema, and %v in the parser", n.path, got, keys)
			}
			if n.schema["additionalProperties"] != false {
				t.Errorf("%q takes any key in the schema", n.path)
			}
		}
		if n.path == "" || strings.HasSuffix(n.path, "[]") {
			return
		}
		if n.schema["description"] == nil && !isObject {
			t.Errorf("%s has no description", n.path)
		}
		examples, _ := n.schema["examples"].([]any)
		if len(examples) == 0 && !isObject {
			t.Errorf("%s has no example", n.path)
		}
		if d, ok := n.schema["default"]; ok {
			examples = append(examples, d)
		}
		for _, e := range examples {
			file := n.wrap(e)
			if err := compiled.Validate(file); err != nil {
				t.Errorf("%s: the schema refuses its example %v: %v", n.path, e, err)
			}
			content, err := json.Marshal(file)
			if err != nil {
				t.Fatal(err)
			}
			config, faults := Parse(running, File{Name: n.path, Content: content})
			if len(faults) > 0 {
				t.Errorf("%s: the parser refuses the example %s: %v", n.path, content, faults)
			}
			acceptedByThePlugin(t, config)
		}
	})
	if objects < 15 {
		t.Errorf("found only %d mappings in the schema", objects)
	}
	for _, e := range root["examples"].([]any) {
		content, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if _, faults := Parse(running, File{Name: "example", Content: content}); len(faults) > 0 || compiled.Validate(e) != nil {
			t.Errorf("the example %s is refused: %v %v", content, faults, compiled.Validate(e))
		}
	}
}

// closedKeys tells whether a mapping's keys are a field's values, which the
// parser takes from the vocabulary.
func closedKeys(path string, keys []string) bool {
	field, ok := strings.CutPrefix(path, "labels.map.")
	return ok && slices.Equal(keys, slices.Sorted(slices.Values(triage.ClosedValues(triage.Field(field)))))
}

// The defaults that the schema states are those that hold.
func TestSchemaStatesTheDefaults(t *testing.T) {
	root := readSchema(t)
	without, _ := parse("")
	stated := 0
	walk(t, root, node{"", root, func(v any) any { return v }}, func(n node) {
		d, ok := n.schema["default"]
		if !ok || strings.HasPrefix(n.path, "rules[]") {
			return
		}
		stated++
		content, err := json.Marshal(n.wrap(d))
		if err != nil {
			t.Fatal(err)
		}
		config, faults := Parse(running, File{Name: n.path, Content: content})
		if len(faults) > 0 {
			t.Fatalf("%s: %v", n.path, faults)
		}
		if field, isThreshold := strings.CutPrefix(n.path, "thresholds."); isThreshold {
			if f := triage.Field(field); config.Threshold("rules", f) != without.Threshold("rules", f) {
				t.Errorf("%s: the default is %v", n.path, without.Threshold("rules", f))
			}
			config.Thresholds = nil
		}
		if n.path != "needs-info.answers" {
			config.NeedsInfo.Answers = nil // stands in every file that wrap makes
		}
		a, b := fmt.Sprintf("%+v", config), fmt.Sprintf("%+v", without)
		if a != b {
			t.Errorf("%s: its stated default makes a difference:\n%s\n%s", n.path, a, b)
		}
	})
	if stated < 20 {
		t.Errorf("only %d defaults are stated", stated)
	}
}
