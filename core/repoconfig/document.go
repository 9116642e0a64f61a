package repoconfig

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// The bounds of what is read. GitHub's own YAML files stay far below them.
const (
	// MaxBytes is how long a configuration or workflow file may be.
	MaxBytes = 64 << 10
	maxDepth = 32
)

// syntaxFault is why bytes are no YAML document that can be read.
type syntaxFault struct {
	line, column int // 0: it has no place
	message      string
}

// readDocument gives the root of the one document in a file: nil when nothing
// but comments stands in it. The document's aliases are not expanded.
func readDocument(content []byte) (*yaml.Node, *syntaxFault) {
	if len(content) > MaxBytes {
		return nil, &syntaxFault{0, 0, fmt.Sprintf("the file is %d bytes long; make it %d at most", len(content), MaxBytes)}
	}
	if f := checkText(content); f != nil {
		return nil, f
	}
	loader, err := yaml.NewLoader(bytes.NewReader(content), yaml.WithPlugin(depthLimit{}))
	if err != nil {
		return nil, explain(err, content)
	}
	var document, second yaml.Node
	switch err := loader.Load(&document); {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		return nil, explain(err, content)
	}
	switch err := loader.Load(&second); {
	case errors.Is(err, io.EOF):
	case err != nil:
		return nil, explain(err, content)
	default:
		return nil, &syntaxFault{second.Line, second.Column, "a second document starts here (---); keep the file to one"}
	}
	if document.Kind != yaml.DocumentNode || len(document.Content) != 1 {
		return nil, nil
	}
	root := document.Content[0]
	if isNull(root) && root.Value == "" {
		return nil, nil
	}
	return root, nil
}

// depthLimit refuses documents nested deeper than maxDepth. No alias is ever
// expanded, so none is counted.
type depthLimit struct{}

func (depthLimit) CheckDepth(depth int, _ *yaml.DepthContext) error {
	if depth > maxDepth {
		return fmt.Errorf("values are nested more than %d levels deep here", maxDepth)
	}
	return nil
}

func (depthLimit) CheckAlias(int, int) error { return nil }

// checkText finds what no YAML file may hold.
func checkText(content []byte) *syntaxFault {
	line, column := 1, 1
	for i := 0; i < len(content); {
		r, size := utf8.DecodeRune(content[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			return &syntaxFault{line, column, "this is not UTF-8; save the file in that encoding"}
		case r == '\n', r == '\r' && (i+1 == len(content) || content[i+1] != '\n'):
			line, column = line+1, 1
			i += size
			continue
		case r < ' ' && r != '\t' && r != '\r', r >= 0x7f && r < 0xa0 && r != 0x85, r == '\uFFFE', r == '\uFFFF':
			return &syntaxFault{line, column, fmt.Sprintf("the control character %U stands here; remove it", r)}
		}
		column++
		i += size
	}
	return nil
}

// explain says where the library found a fault, and what people most often did
// to bring it about.
func explain(err error, content []byte) *syntaxFault {
	var load *yaml.LoadError
	if !errors.As(err, &load) {
		return &syntaxFault{0, 0, "this is not YAML: " + strings.TrimPrefix(err.Error(), "yaml: ")}
	}
	f := &syntaxFault{line: load.Mark.Line, column: load.Mark.Column, message: load.Message}
	if f.line < 1 && load.ContextMark.Line > 0 {
		f.line, f.column = load.ContextMark.Line, load.ContextMark.Column
	}
	hint := ""
	switch {
	case strings.Contains(load.Message, "nested more than"):
		f.message += "; no key of this file is"
		return f
	case strings.Contains(load.Message, "tab character"), strings.HasPrefix(indentOf(content, f.line), "\t"), strings.Contains(indentOf(content, f.line), "\t"):
		hint = "indent with spaces, not with tabs"
	case strings.Contains(load.Message, "mapping values are not allowed"):
		hint = "put a value that holds a colon in quotes, or mend the indentation"
	case strings.Contains(load.ContextMsg, "alias"), strings.Contains(load.Message, "unknown anchor"), strings.Contains(load.ContextMsg, "anchor"),
		strings.Contains(load.Message, "cannot start any token"):
		hint = "put a value that starts with *, &, @, % or ` in quotes"
	case strings.Contains(load.ContextMsg, "quoted scalar") && strings.Contains(load.Message, "end of stream"):
		f.line, f.column = load.ContextMark.Line, load.ContextMark.Column
		f.message, hint = "this quotation mark is never closed", "close it"
	case strings.Contains(load.ContextMsg, "quoted scalar"):
		hint = "in single quotes a backslash is only a backslash"
	case strings.Contains(load.ContextMsg, "flow"):
		hint = "a list [ ] or mapping { } is not closed, or a comma is missing"
	case strings.Contains(load.ContextMsg, "block"):
		hint = "mend the indentation: keys of one mapping, and dashes of one list, start in the same column"
	}
	f.within(content)
	f.message = "this is not YAML: " + f.message
	if hint != "" {
		f.message += "; " + hint
	}
	return f
}

// within moves a place behind the end, where the library finds that something is
// missing, to the end of the last line.
func (f *syntaxFault) within(content []byte) {
	text := strings.TrimRight(strings.ReplaceAll(strings.ReplaceAll(string(content), "\r\n", "\n"), "\r", "\n"), "\n")
	if last := strings.Count(text, "\n") + 1; f.line > last {
		f.line, f.column = last, utf8.RuneCountInString(text[strings.LastIndexByte(text, '\n')+1:])+1
	}
}

// indentOf is what a line starts with before its first character.
func indentOf(content []byte, line int) string {
	for l := range bytes.Lines(content) {
		if line--; line == 0 {
			return string(l[:len(l)-len(bytes.TrimLeft(l, " \t"))])
		}
	}
	return ""
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }
