package rules

import (
	"context"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/dispatchai/dispatchai/plugins/sdk"
)

func embed(t testing.TB, texts ...sdk.Text) [][]float32 {
	t.Helper()
	out, err := New().Embed(context.Background(), texts)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func cosine(a, b []float32) float64 {
	sum := 0.0
	for i := range a {
		sum += float64(a[i]) * float64(b[i])
	}
	return sum
}

const form = `### Steps to reproduce

1. %1
2. %2

### Expected behavior

It should work as described in the documentation.

### Actual behavior

%3

### Version

5.2.1

### Additional context

_No response_

- [x] I have searched the existing issues
- [x] I agree to follow this project's code of conduct
`

func filled(a, b, c string) string {
	return strings.NewReplacer("%1", a, "%2", b, "%3", c).Replace(form)
}

// pairs are issues that say the same in other words, two by two.
var pairs = []sdk.Text{
	{Title: "Export to CSV drops the last row", Body: filled("Open a report", "Export as CSV", "The last row of the report is not in the CSV.")},
	{Title: "Last row missing in CSV export", Body: filled("Create a report with three rows", "Press export, choose CSV", "Only two rows are in the file, the last row is dropped.")},
	{Title: "Login loop with Keycloak", Body: filled("Configure Keycloak as provider", "Log in", "The browser is redirected between Keycloak and the app forever.")},
	{Title: "Endless redirect after Keycloak login", Body: filled("Set up single sign-on with Keycloak", "Try to log in", "Redirected back and forth, endless loop.")},
	{Title: "Thumbnails are rotated on iPhone photos", Body: filled("Upload a photo taken with an iPhone", "Look at the gallery", "EXIF orientation is ignored and thumbnails are rotated.")},
	{Title: "EXIF orientation ignored for thumbnails", Body: filled("Take a portrait photo", "Upload it to the gallery", "Photo is shown rotated by 90 degrees.")},
	{Title: "Parser hangs on deeply nested brackets", Body: filled("Write a file with 10000 brackets", "Run the parser on it", "The parser hangs and recursion eats the stack.")},
	{Title: "Nested brackets: parser recursion never ends", Body: filled("Nest brackets 10000 deep", "Feed the parser", "Hangs until the stack overflows.")},
	{Title: "Emails in Japanese are garbled", Body: filled("Set the locale to Japanese", "Send an invitation email", "Subject shows mojibake instead of kanji.")},
	{Title: "Mojibake in subject of invitation email", Body: filled("Use a Japanese subject", "Invite somebody by email", "The subject is garbled.")},
}

// TestNearDuplicates: of each pair, one is the nearest to the other, although
// all share a template that is longer than what they say.
func TestNearDuplicates(t *testing.T) {
	v := embed(t, pairs...)
	for i := range v {
		best, at := -1.0, -1
		for j := range v {
			if c := cosine(v[i], v[j]); j != i && c > best {
				best, at = c, j
			}
		}
		if at != i^1 {
			t.Errorf("nearest to %q is %q (%.2f)", pairs[i].Title, pairs[at].Title, best)
		}
	}
}

// TestTemplateIsNotSimilarity: what issues share by their form alone brings them
// hardly together.
func TestTemplateIsNotSimilarity(t *testing.T) {
	v := embed(t, pairs...)
	within, across := 1.0, 0.0
	for i := range v {
		for j := range i {
			if i/2 == j/2 {
				within = min(within, cosine(v[i], v[j]))
			} else {
				across = max(across, cosine(v[i], v[j]))
			}
		}
	}
	if across > 0.35 || within < across {
		t.Errorf("pairs at least %.2f, others at most %.2f", within, across)
	}
}

func TestEmbedShape(t *testing.T) {
	texts := append([]sdk.Text{{}, {Title: "the", Body: "it is"}, {Title: "\xff\u200b", Body: strings.Repeat("\u202eä字", 30000)}, {Body: strings.Repeat("a b c ", 20000)}}, pairs...)
	v, again := embed(t, texts...), embed(t, texts...)
	for i, x := range v {
		if len(x) != 1024 {
			t.Fatalf("%d numbers", len(x))
		}
		length := cosine(x, x)
		if math.IsNaN(length) || i != 0 && math.Abs(length-1) > 1e-5 || i == 0 && length != 0 {
			t.Errorf("text %d has length %v", i, length)
		}
		if !reflect.DeepEqual(x, again[i]) {
			t.Errorf("text %d differs the second time", i)
		}
		if alone := embed(t, texts[i])[0]; !reflect.DeepEqual(x, alone) {
			t.Errorf("text %d depends on its batch", i)
		}
	}
	if got := embed(t); len(got) != 0 {
		t.Errorf("%d vectors for no text", len(got))
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := New().Embed(ctx, texts); err == nil {
		t.Error("a cancelled call went on")
	}
}

// TestHashIsFixed: stored vectors stay comparable with new ones only while the
// hash is what it was.
func TestHashIsFixed(t *testing.T) {
	for word, want := range map[string]uint64{"parser": hashParser, "字列": hashCharacters} {
		if got := hashOf([]byte(word)); got != want {
			t.Errorf("hash of %q is %#x", word, got)
		}
	}
}

func TestScriptWithoutBlanks(t *testing.T) {
	v := embed(t, sdk.Text{Title: "文字列の並べ替え結果が間違っている"}, sdk.Text{Title: "並べ替えの結果が間違い"}, sdk.Text{Title: "設定画面が開かない"})
	if near, far := cosine(v[0], v[1]), cosine(v[0], v[2]); near < far+0.2 {
		t.Errorf("near %.2f, far %.2f", near, far)
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
	if the, odd := b.idf([]byte("the")), b.idf([]byte("mojibake")); the > 0.1 || odd < 4.9 || the < 0 {
		t.Errorf("idf of the %.2f, of an unknown word %.2f", the, odd)
	}
}

func FuzzEmbed(f *testing.F) {
	f.Add("a", "b 1.2 ?? 字字")
	c := New()
	f.Fuzz(func(t *testing.T, title, body string) {
		v, err := c.Embed(context.Background(), []sdk.Text{{Title: title, Body: body}})
		if err != nil {
			t.Fatal(err)
		}
		if l := cosine(v[0], v[0]); l != 0 && math.Abs(l-1) > 1e-4 || math.IsNaN(l) {
			t.Errorf("length %v", l)
		}
	})
}

func BenchmarkEmbed(b *testing.B) {
	for name, issue := range map[string]sdk.Issue{"1KB": report(1 << 10), "15KB": report(15 << 10), "65KB": report(65 << 10)} {
		b.Run(name, func(b *testing.B) {
			c, texts := New(), []sdk.Text{{Title: issue.Title, Body: issue.Body}}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Embed(context.Background(), texts); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// The hashes of two words as version 1 of the embedding made them.
const (
	hashParser     uint64 = 0x943b7748158c90a8
	hashCharacters uint64 = 0x588466a664dd9dd3
)
