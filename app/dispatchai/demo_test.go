package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/dispatchai/dispatchai/app/simulate"
)

// hostile is what a stranger may put into an issue to take over a terminal.
const hostile = "\x1b]0;owned\x07\x1b[2J\r\n\u009b31m\u202egnp.exe\u2066\u200e\u2028 \xff end"

// TestStoryIsFitForATerminal: nothing that comes from an issue drives the
// terminal or breaks the line, whatever field it comes in.
func TestStoryIsFitForATerminal(t *testing.T) {
	t.Parallel()
	for _, event := range []string{"issues", "issue_comment"} {
		for _, action := range []string{"opened", "labeled", "unlabeled", "created", "edited"} {
			for _, bot := range []bool{false, true} {
				var out bytes.Buffer
				s := &story{out: &out}
				s.tell(simulate.Event{
					At: time.Now(), Event: event, Action: action, Bot: bot, Number: 7,
					Repository: "acme/" + hostile, Title: hostile + strings.Repeat("x", 300), Actor: hostile, About: hostile,
				})
				line, rest, _ := strings.Cut(out.String(), "\n")
				if line == "" || rest != "" {
					t.Errorf("%s.%s: not one line: %q", event, action, out.String())
				}
				for _, r := range line {
					if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' {
						t.Errorf("%s.%s: %U is in the line %q", event, action, r, line)
					}
				}
			}
		}
	}
}

// TestStoryAsJSON: machines get the text as it is, escaped.
func TestStoryAsJSON(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	s := &story{out: &out, asJSON: true}
	s.tell(simulate.Event{Event: "issues", Action: "opened", Number: 7, Repository: "acme/widgets", Title: "a\n\x1b[2J"})
	s.tell(simulate.Event{Event: "installation", Action: "created"})
	var event struct{ Event, Title string }
	if err := json.Unmarshal(out.Bytes(), &event); err != nil {
		t.Fatalf("not one JSON line: %v in %q", err, out.String())
	}
	if event.Event != "issues.opened" || event.Title != "a\n\x1b[2J" || strings.Contains(out.String(), "\x1b") {
		t.Errorf("the line is %q", out.String())
	}
}

func TestClean(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                      "",
		"crash now":             "crash now",
		"Zürich 日本語 ✓":          "Zürich 日本語 ✓",
		"👩‍👩‍👧 family":          "👩‍👩‍👧 family",
		"a\tb\r\nc":             "a b  c",
		"a\xffb":                "a\uFFFDb",
		"twelve letters":        "twelve lette…",
		"\u202eabc\u200f\u061c": " abc  ",
	} {
		if got := clean(text, 12); got != want {
			t.Errorf("clean(%q) = %q, want %q", text, got, want)
		}
	}
}
