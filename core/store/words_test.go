package store

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestIndexWords(t *testing.T) {
	for _, test := range []struct {
		title, body string
		want        []string
	}{
		{"", "", nil},
		{"Crash in net/http", "crash: v1.2 (x86_64)", []string{"crash", "in", "net", "http", "v1", "2", "x86", "64"}},
		{"Größe", "É e\u0301", []string{"größe", "é", "e\u0301"}},
		{"日本語", "本 a日b", []string{"日本", "本語", "語", "本", "a", "日", "b"}},
		{strings.Repeat("x", 100), "", []string{strings.Repeat("x", 32)}},
		{"", strings.Repeat("語", 70), []string{"語語", "語"}},
		{"\x00\xff'\"*()", "", nil},
		{"", strings.Repeat("a ", SearchableBytes/2) + "beyond", []string{"a"}},
		{"", strings.Repeat("a", SearchableBytes-1) + "語", []string{strings.Repeat("a", 32)}}, // cut within a rune
	} {
		if got := IndexWords(test.title, test.body); !slices.Equal(got, test.want) {
			t.Errorf("IndexWords(%.40q, %.40q) = %.200q, want %.200q", test.title, test.body, got, test.want)
		}
	}
}

func TestQueryWords(t *testing.T) {
	for search, want := range map[string][]string{
		"":                                    nil,
		" \"' ":                               nil,
		"Crash crash NEAR":                    {"crash", "near"},
		"日本語":                                 {"日本", "本語"},
		"日":                                   {"日"},
		strings.Repeat("a b c ", 1000):        {"a", "b", "c"},
		"a b c d e f g h i j k l m n o p q r": strings.Fields("a b c d e f g h i j k l m n o p"),
	} {
		if got := QueryWords(search); !slices.Equal(got, want) {
			t.Errorf("QueryWords(%.40q) = %q, want %q", search, got, want)
		}
	}
}

// FuzzWords checks what the stores rely on: words hold nothing that could be an
// operator or a separator, and an issue is found by any text it holds.
func FuzzWords(f *testing.F) {
	for _, s := range []string{"", "Crash in net/http", "日本語のa1 b", "\x00\xff\xed\xa0\x80", "e\u0301 \u0301", "ΑΒΓ ǅ İ ß", strings.Repeat("x語", 40)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		words := IndexWords(text, "")
		for i, w := range words {
			if w == "" || !utf8.ValidString(w) || utf8.RuneCountInString(w) > maxWordRunes || strings.ContainsAny(w, " \t\n\"'*()^:+-\x00") {
				t.Fatalf("word %q of %q", w, text)
			}
			if slices.Contains(words[:i], w) {
				t.Fatalf("word %q of %q twice", w, text)
			}
		}
		if len(text) > SearchableBytes {
			return
		}
		body := IndexWords("", text)
		if !slices.Equal(words, body) {
			t.Fatalf("title gives %q, body %q", words, body)
		}
		for _, q := range QueryWords(text) {
			if !slices.ContainsFunc(words, func(w string) bool { return strings.HasPrefix(w, q) }) {
				t.Fatalf("%q is not found by its word %q among %q", text, q, words)
			}
		}
	})
}
