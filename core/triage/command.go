package triage

import (
	"slices"
	"strings"
)

// Verb is what a /dispatch command asks for.
type Verb string

// The verbs. VerbSet stands for the names of the fields that it sets.
const (
	VerbClassify Verb = "classify" // classify anew
	VerbSet      Verb = "set"      // correct a field
	VerbIgnore   Verb = "ignore"   // leave the issue alone
	VerbResume   Verb = "resume"   // no longer
	VerbUndo     Verb = "undo"     // withdraw what plugins said
)

// Command is one line of a comment that speaks to the app. Verb is "" when it
// was not understood.
type Command struct {
	Verb   Verb
	Field  Field    // of VerbSet
	Values []string // of VerbSet; none clears the field
}

const (
	commandWord = "/dispatch"
	// maxCommands bounds the commands of one comment; what follows is not read.
	maxCommands = 10
	// maxCommandLine is the longest line that may be a command, in bytes.
	maxCommandLine = 500
)

// ParseCommands finds the commands of a comment: lines that begin with
// "/dispatch", outside code and quotations. The text comes from strangers; it is
// read in one pass and nothing of it is kept but words of the commands.
func ParseCommands(body string) []Command {
	if !strings.Contains(strings.ToLower(body), commandWord) {
		return nil
	}
	var commands []Command
	fence, comment, quoted := "", false, false
	for line := range strings.Lines(body) {
		line = strings.TrimRight(line, "\r\n")
		text := line
		if fence == "" {
			text, comment = outsideComments(line, comment)
		}
		text = strings.TrimSpace(text)
		mark := fenceOf(text)
		switch {
		case fence != "":
			if strings.HasPrefix(mark, fence) && strings.Trim(text, fence[:1]) == "" {
				fence = ""
			}
			continue
		case mark != "":
			fence, quoted = mark, false
			continue
		case text == "":
			quoted = false
			continue
		case strings.HasPrefix(text, ">"):
			quoted = true
			continue
		}
		// A quotation goes on in the lines after it until an empty one, and what
		// is set in by four blanks is code; a command begins its line.
		if c, ok := parseCommand(text); ok && !quoted && strings.HasPrefix(line, text[:1]) && len(commands) < maxCommands {
			commands = append(commands, c)
		}
	}
	return commands
}

// parseCommand reads one line; false means that it is no command at all.
func parseCommand(line string) (Command, bool) {
	word, rest, _ := strings.Cut(strings.ReplaceAll(line, "\t", " "), " ")
	if !strings.EqualFold(word, commandWord) {
		return Command{}, false
	}
	if len(line) > maxCommandLine {
		return Command{}, true
	}
	name, arguments, _ := strings.Cut(strings.TrimSpace(rest), " ")
	name, arguments = strings.ToLower(name), strings.TrimSpace(arguments)
	if f := Field(name); f.Labelled() {
		values, ok := commandValues(f, arguments)
		if !ok {
			return Command{}, true
		}
		return Command{Verb: VerbSet, Field: f, Values: values}, true
	}
	verb := Verb(name)
	if arguments != "" || !slices.Contains([]Verb{VerbClassify, VerbIgnore, VerbResume, VerbUndo}, verb) {
		return Command{}, true
	}
	return Command{Verb: verb}, true
}

// commandValues reads what follows a field's name: the whole of it is the value
// of a field with one, as it may be of several words; fields with several take
// them between commas, or between blanks where there is no comma.
func commandValues(f Field, arguments string) ([]string, bool) {
	if arguments == "" {
		return nil, false
	}
	if strings.EqualFold(arguments, "none") {
		return []string{}, true
	}
	values := []string{arguments}
	if f.Multiple() {
		values = strings.Split(arguments, ",")
		if len(values) == 1 {
			values = strings.Fields(arguments)
		}
	}
	var said []string
	for _, v := range values {
		if v = strings.Trim(strings.TrimSpace(v), "`\""); v != "" && !slices.Contains(said, v) {
			said = append(said, v)
		}
	}
	return said, len(said) > 0
}

// Resolve finds the field's values that a person named, by value or by label and
// without regard to case; false means that the repository does not have one of them.
func (t Taxonomy) Resolve(f Field, named []string) ([]string, bool) {
	values := make([]string, 0, len(named))
	for _, name := range named {
		value, ok := t.resolve(f, name)
		if !ok {
			return nil, false
		}
		if !slices.Contains(values, value) {
			values = append(values, value)
		}
	}
	return values, true
}

func (t Taxonomy) resolve(f Field, name string) (string, bool) {
	for _, o := range t.Options(f) {
		if strings.EqualFold(o.Value, name) {
			return o.Value, true
		}
	}
	m, ok := t.Means(name)
	return m.Value, ok && m.Field == f && t.Allows(f, m.Value)
}
