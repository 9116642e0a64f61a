package rules

import (
	"strings"
	"testing"
)

// placed writes a phrase where a zone is read. The stand-ins for classes of
// words become members of the class.
func placed(text string, in zone) (title, body string) {
	words := strings.Fields(text)
	for i, w := range words {
		switch w {
		case "#":
			words[i] = "42"
		case "#.#":
			words[i] = "4.2"
		}
	}
	text = strings.Join(words, " ")
	switch in {
	case inTitle:
		return text, ""
	case inHeading:
		return "", "### " + text + "\n\nzyx"
	case inChecked:
		return "", "- [x] " + text
	case inCode:
		return "", "```\n" + text + "\n```"
	}
	return "", "Zyx. " + text + " zyx"
}

// TestEachCue writes every phrase of every table where its cue looks, and finds
// it there and nowhere else.
func TestEachCue(t *testing.T) {
	l := New().lexicon
	d, h := &document{lex: l}, &hits{}
	for _, p := range l.phrases {
		c := &l.cues[p.cue]
		for _, in := range []zone{inTitle, inProse, inHeading, inChecked, inCode} {
			title, body := placed(p.text, in)
			d.read(title, body)
			l.match(d, h)
			// A prefix such as "a: b" never arises: phrases have no colon.
			if got, want := h.count[p.cue] > 0, c.in&in != 0; got != want {
				t.Errorf("%q in zone %d: found %v, want %v", p.text, in, got, want)
			}
		}
	}
}

// TestCuesAreSound looks for phrases that could never match, that stand twice in
// a cue, and cues that say nothing.
func TestCuesAreSound(t *testing.T) {
	for _, c := range New().lexicon.cues {
		if c.in == 0 || c.weights == (weights{}) && c.priority == (levels{}) && c.severity == (levels{}) && c.tag == "" {
			t.Errorf("%q says nothing", c.words)
		}
		if c.tag != "" && (c.confidence < leastNamed || c.confidence > 1) {
			t.Errorf("tag %q has confidence %v", c.tag, c.confidence)
		}
		seen := map[string]bool{}
		for _, p := range strings.Split(c.words, "|") {
			if p == "" || seen[p] {
				t.Errorf("%q stands twice, or is empty, in %q", p, c.words)
			}
			seen[p] = true
			for _, w := range strings.Fields(strings.TrimPrefix(p, "^")) {
				if w == "#" || w == "#.#" || w == "?" {
					continue
				}
				if end, kind := nextWord([]byte(w), 0); end != len(w) || kind != plainWord || strings.ToLower(w) != w {
					t.Errorf("%q is not a word as issues are cut into", w)
				}
			}
		}
	}
}

func TestNegation(t *testing.T) {
	l := New().lexicon
	d, h := &document{lex: l}, &hits{}
	count := func(body string) (n int) {
		d.read("", body)
		l.match(d, h)
		for i, c := range l.cues {
			if c.severity.critical > 2.5 {
				n += int(h.count[i])
			}
		}
		return n
	}
	for body, want := range map[string]int{
		"There is data loss.":                  1,
		"There is no data loss.":               0,
		"It works without any data loss.":      0,
		"I did not try. Data loss happens.":    1,
		"This never once caused us data loss.": 1, // beyond three words
		"Data loss, and data corruption, yes.": 2,
	} {
		if got := count(body); got != want {
			t.Errorf("%q: %d, want %d", body, got, want)
		}
	}
}
