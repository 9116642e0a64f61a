package rules

import (
	"context"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/dispatchai/dispatchai/plugins/sdk"
)

func embed(t testing.TB, texts ...sdk.Text) [][]sdk.Term {
	t.Helper()
	out, err := New().EmbedTerms(context.Background(), texts)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestTerms(t *testing.T) {
	got := map[uint32]sdk.Term{}
	for _, term := range embed(t, sdk.Text{Title: "The parser fails", Body: "the PARSER, parser 3 and 4, v1.2.3 ??"})[0] {
		got[term.ID] = term
	}
	for word, want := range map[string]struct {
		count float64
		share uint16
	}{"the": {2, 960}, "parser": {3, unknownWord}, "fails": {1, 70}, "#": {2, 400}, "#.#": {1, 180}, "?": {1, 350}, "and": {1, 900}} {
		term, ok := got[hashOf([]byte(word))]
		if !ok || math.Abs(float64(term.Weight)-1-math.Log(want.count)) > 1e-6 || term.Share != want.share {
			t.Errorf("%q is %+v, want it %v times, share %d", word, term, want.count, want.share)
		}
	}
	if len(got) != 7 {
		t.Errorf("%d terms: %v", len(got), got)
	}
}

func TestEmbedShape(t *testing.T) {
	var many strings.Builder
	for n := range 5000 {
		fmt.Fprintf(&many, "word%c%c%c ", 'a'+n%26, 'a'+n/26%26, 'a'+n/676)
	}
	texts := []sdk.Text{
		{}, {Title: "the", Body: "it is"}, {Title: "\xff\u200b", Body: strings.Repeat("\u202eä字", 30000)}, {Body: strings.Repeat("a b c ", 20000)},
		{Title: "first", Body: many.String()},
	}
	terms, again := embed(t, texts...), embed(t, texts...)
	for i, list := range terms {
		if err := sdk.CheckTerms(list); err != nil || (len(list) == 0) != (i == 0) {
			t.Errorf("text %d has %d terms, %v", i, len(list), err)
		}
		if !reflect.DeepEqual(list, again[i]) {
			t.Errorf("text %d differs the second time", i)
		}
		if alone := embed(t, texts[i])[0]; !reflect.DeepEqual(list, alone) {
			t.Errorf("text %d depends on its batch", i)
		}
	}
	if last := terms[len(terms)-1]; len(last) != sdk.MaxTerms || last[0].ID != hashOf([]byte("first")) {
		t.Errorf("of too many words %d were taken", len(last))
	}
	if got := embed(t); len(got) != 0 {
		t.Errorf("the terms of %d texts for none", len(got))
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := New().EmbedTerms(ctx, texts); err == nil {
		t.Error("a cancelled call went on")
	}
}

// TestHashIsFixed: stored terms stay comparable with new ones only while the
// hash is what it was.
func TestHashIsFixed(t *testing.T) {
	for word, want := range map[string]uint32{"parser": hashParser, "字列": hashCharacters} {
		if got := hashOf([]byte(word)); got != want {
			t.Errorf("hash of %q is %#x", word, got)
		}
	}
}

func TestScriptWithoutBlanks(t *testing.T) {
	terms := embed(t, sdk.Text{Title: "文字列の並べ替え結果が間違っている"}, sdk.Text{Title: "並べ替えの結果が間違い"}, sdk.Text{Title: "設定画面が開かない"})
	shared := func(a, b []sdk.Term) (n int) {
		for _, x := range a {
			if slices.ContainsFunc(b, func(y sdk.Term) bool { return x.ID == y.ID }) {
				n++
			}
		}
		return n
	}
	if near, far := shared(terms[0], terms[1]), shared(terms[0], terms[2]); near < 7 || far > 1 {
		t.Errorf("%d pairs of characters are shared with the near one, %d with the far one", near, far)
	}
}

// TestBackground checks the table: each word once, cut as issues are, and a
// share that makes sense.
func TestBackground(t *testing.T) {
	seen := map[string]bool{}
	for n, line := range strings.Split(backgroundWords, "\n")[1:] {
		_, words, _ := strings.Cut(line, ":")
		for _, w := range strings.Fields(words) {
			if seen[w] {
				t.Errorf("line %d: %q stands twice", n+2, w)
			}
			seen[w] = true
			if w == "#" || w == "#.#" || w == "?" {
				continue
			}
			if end, kind := nextWord([]byte(w), 0); end != len(w) || kind != plainWord || strings.ToLower(w) != w {
				t.Errorf("line %d: %q is not a word as issues are cut into", n+2, w)
			}
		}
	}
	if len(seen) < 400 {
		t.Errorf("%d words", len(seen))
	}
	b := newBackground()
	if len(b.perMille) != len(seen) {
		t.Errorf("%d words were read, %d stand there", len(b.perMille), len(seen))
	}
	if the, odd := b.commonness([]byte("the")), b.commonness([]byte("mojibake")); the < 900 || the > sdk.MaxTermShare || odd != unknownWord {
		t.Errorf("of a thousand issues, \"the\" is in %d, an unknown word in %d", the, odd)
	}
}

func FuzzEmbed(f *testing.F) {
	f.Add("a", "b 1.2 ?? 字字")
	c := New()
	f.Fuzz(func(t *testing.T, title, body string) {
		terms, err := c.EmbedTerms(context.Background(), []sdk.Text{{Title: title, Body: body}})
		if err != nil {
			t.Fatal(err)
		}
		if err := sdk.CheckTerms(terms[0]); err != nil {
			t.Error(err)
		}
	})
}

func BenchmarkEmbed(b *testing.B) {
	for name, issue := range map[string]sdk.Issue{"1KB": report(1 << 10), "15KB": report(15 << 10), "65KB": report(65 << 10)} {
		b.Run(name, func(b *testing.B) {
			c, texts := New(), []sdk.Text{{Title: issue.Title, Body: issue.Body}}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.EmbedTerms(context.Background(), texts); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// The hashes of two words as the present embedding makes them.
const (
	hashParser     uint32 = 0x943b7748
	hashCharacters uint32 = 0x588466a6
)
