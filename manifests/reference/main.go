// Command reference writes docs/configuration.md from the schema of the
// configuration file. It is run by "make generate", in the repository's root.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

const (
	schemaFile = "manifests/repo-config.schema.json"
	pageFile   = "docs/configuration.md"
)

// schema is what the page needs of a JSON Schema.
type schema struct {
	ID          string            `json:"$id"`
	Ref         string            `json:"$ref"`
	Description string            `json:"description"`
	Type        string            `json:"type"`
	Enum        []string          `json:"enum"`
	Properties  members           `json:"properties"`
	Values      json.RawMessage   `json:"additionalProperties"`
	Items       *schema           `json:"items"`
	AnyOf       []schema          `json:"anyOf"`
	Required    []string          `json:"required"`
	Minimum     *float64          `json:"minimum"`
	Maximum     *float64          `json:"maximum"`
	MaxLength   int               `json:"maxLength"`
	MaxItems    int               `json:"maxItems"`
	Default     json.RawMessage   `json:"default"`
	Examples    []json.RawMessage `json:"examples"`
	Defs        map[string]schema `json:"$defs"`
}

// members are an object's members in the order they are written.
type members []member

type member struct {
	name string
	of   schema
}

func (m *members) UnmarshalJSON(data []byte) error {
	d := json.NewDecoder(bytes.NewReader(data))
	if _, err := d.Token(); err != nil {
		return err
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return err
		}
		var of schema
		if err := d.Decode(&of); err != nil {
			return err
		}
		*m = append(*m, member{name.(string), of})
	}
	return nil
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	data, err := os.ReadFile(schemaFile)
	if err != nil {
		return fmt.Errorf("read the schema (run this in the repository's root): %w", err)
	}
	text, err := page(data)
	if err != nil {
		return fmt.Errorf("%s: %w", schemaFile, err)
	}
	return os.WriteFile(pageFile, text, 0o644)
}

// page is the reference of the schema in data.
func page(data []byte) ([]byte, error) {
	var root schema
	if err := json.Unmarshal(data, &root); err != nil {
		return nil, err
	}
	w := writer{defs: root.Defs}
	fmt.Fprintf(&w.out, `# Configuration of a repository

<!-- Generated from %[1]s by "make generate". Change that file instead. -->

%[2]s

Keep it on the default branch. With this first line, editors that know the YAML language server check it as you type:

`+"```yaml\n# yaml-language-server: $schema=%[3]s\nmode: suggest\n```"+`

The file %[4]s in the repository %[5]s of your organisation gives the defaults for all its repositories. A repository's own
file wins key by key; its lists take the place of inherited ones. Rules add up: a repository's own are tried first, and one takes
the place of an inherited rule of the same name.

A file with a fault changes nothing: the last good configuration stays in force, and every fault is shown with its line and
column on the dashboard and, where DispatchAI may write checks, on the commit. A file is at most 64 KiB; aliases and tags of
YAML are not accepted. Put a pattern that starts with an asterisk in quotes.

## All keys

`, schemaFile, root.Description, root.ID, "`.github/dispatchai.yml`", "`.github`")
	w.table("", root, 0)
	for _, m := range root.Properties {
		if err := w.section(m.name, m.of); err != nil {
			return nil, err
		}
	}
	return w.out.Bytes(), nil
}

type writer struct {
	out  bytes.Buffer
	defs map[string]schema
}

// section describes a key and what is below it.
func (w *writer) section(name string, s schema) error {
	s = w.resolve(s)
	fmt.Fprintf(&w.out, "\n## `%s`\n\n%s\n\n", name, s.Description)
	w.facts(s)
	w.table(name, s, 1)
	for _, e := range s.Examples {
		var value any
		if err := json.Unmarshal(e, &value); err != nil {
			return err
		}
		example, err := yaml.Dump(map[string]any{name: value})
		if err != nil {
			return err
		}
		fmt.Fprintf(&w.out, "\n```yaml\n%s```\n", example)
	}
	return nil
}

// facts writes type and default.
func (w *writer) facts(s schema) {
	fmt.Fprintf(&w.out, "Value: %s.", w.kind(s))
	if d := shown(s.Default); d != "" {
		fmt.Fprintf(&w.out, " Default: %s.", d)
	}
	w.out.WriteByte('\n')
}

// table lists the keys below path, all the way down from depth 1 on.
func (w *writer) table(path string, s schema, depth int) {
	rows := w.rows(path, s, depth)
	if len(rows) == 0 {
		return
	}
	if depth > 0 {
		w.out.WriteByte('\n')
	}
	w.out.WriteString("| key | value | default | meaning |\n|---|---|---|---|\n")
	for _, r := range rows {
		w.out.WriteString(r)
	}
}

func (w *writer) rows(path string, s schema, depth int) []string {
	var rows []string
	if s.Items != nil {
		rows = append(rows, w.rows(path+"[]", w.resolve(*s.Items), depth)...)
	}
	for _, a := range s.AnyOf {
		if a.Properties != nil {
			rows = append(rows, w.rows(path, a, depth)...)
		}
	}
	for _, m := range s.Properties {
		of, name := w.resolve(m.of), m.name
		if path != "" {
			name = path + "." + name
		}
		key := "`" + name + "`"
		if depth == 0 {
			key = fmt.Sprintf("[`%s`](#%s)", name, name)
		}
		kind := w.kind(of)
		if slices.Contains(s.Required, m.name) {
			kind += ", required"
		}
		rows = append(rows, fmt.Sprintf("| %s | %s | %s | %s |\n", key, kind, shown(of.Default), cell(of.Description)))
		if depth > 0 {
			rows = append(rows, w.rows(name, of, depth+1)...)
		}
	}
	return rows
}

// resolve replaces a reference by what it refers to.
func (w *writer) resolve(s schema) schema {
	if s.Ref == "" {
		return s
	}
	to := w.defs[strings.TrimPrefix(s.Ref, "#/$defs/")]
	if s.Description != "" {
		to.Description = s.Description
	}
	to.Default = s.Default
	if s.Examples != nil {
		to.Examples = s.Examples
	}
	return to
}

// kind says what a value looks like.
func (w *writer) kind(s schema) string {
	s = w.resolve(s)
	switch {
	case s.Enum != nil:
		return "`" + strings.Join(s.Enum, "`, `") + "`"
	case s.Items != nil:
		return fmt.Sprintf("list of %s, at most %d", plural(w.kind(*s.Items)), s.MaxItems)
	case len(s.AnyOf) == 2 && s.AnyOf[1].Items != nil:
		return w.kind(s.AnyOf[0]) + ", or a list of at most " + fmt.Sprint(s.AnyOf[1].MaxItems)
	case len(s.AnyOf) == 2 && s.Properties == nil:
		return w.kind(s.AnyOf[0]) + " or " + w.kind(s.AnyOf[1])
	case s.Properties != nil:
		return "mapping"
	case s.Type == "object":
		var of schema
		if json.Unmarshal(s.Values, &of) == nil {
			return "mapping of names to " + plural(w.kind(of))
		}
		return "mapping"
	case s.Type == "string":
		return fmt.Sprintf("text of at most %d characters", s.limit())
	case s.Type == "boolean":
		return "`true` or `false`"
	case s.Type == "integer":
		return fmt.Sprintf("whole number, %g to %g", *s.Minimum, *s.Maximum)
	case s.Type == "number" && s.Minimum == nil:
		return fmt.Sprintf("number above 0, at most %g", *s.Maximum)
	case s.Type == "number":
		return fmt.Sprintf("number, %g to %g", *s.Minimum, *s.Maximum)
	}
	return s.Type
}

func (s schema) limit() int {
	if s.MaxLength == 0 {
		return 40 // a classifier's name
	}
	return s.MaxLength
}

func plural(kind string) string {
	for _, noun := range []string{"text", "mapping"} {
		if rest, ok := strings.CutPrefix(kind, noun); ok {
			return noun + "s" + rest
		}
	}
	return kind
}

// shown writes a default into a cell; nothing for none and for empty lists.
func shown(value json.RawMessage) string {
	if len(value) == 0 || string(value) == "[]" {
		return ""
	}
	var text string
	if json.Unmarshal(value, &text) == nil {
		return cell("`" + text + "`")
	}
	var list []string
	if json.Unmarshal(value, &list) == nil {
		return cell("`" + strings.Join(list, "`, `") + "`")
	}
	return "`" + string(value) + "`"
}

func cell(s string) string { return strings.ReplaceAll(s, "|", "\\|") }
