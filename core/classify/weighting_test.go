package classify

import (
	"context"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/plugins/rules"
	"github.com/dispatchai/dispatchai/plugins/sdk"
)

// termsOf has the rules plugin cut texts into terms.
func termsOf(t testing.TB, texts ...sdk.Text) []store.Terms {
	t.Helper()
	made, err := rules.New().EmbedTerms(context.Background(), texts)
	if err != nil {
		t.Fatal(err)
	}
	packed := make([]store.Terms, len(made))
	for i, list := range made {
		terms := make([]store.Term, len(list))
		for j, term := range list {
			terms[j] = store.Term(term)
		}
		packed[i] = store.PackTerms(terms)
	}
	return packed
}

func counted(issues ...store.Terms) *vocabulary {
	c := newCounter()
	for _, terms := range issues {
		c.add(terms)
	}
	return c.vocabulary()
}

func weightingOf(v *vocabulary) *weighting {
	weights := store.UnpackWeights()
	return newWeighting(1, v, &weights)
}

func cosine(a, b []float32) float64 {
	var dot, aa, bb float64
	for i := range a {
		dot, aa, bb = dot+float64(a[i])*float64(b[i]), aa+float64(a[i])*float64(a[i]), bb+float64(b[i])*float64(b[i])
	}
	return dot / math.Sqrt(aa*bb)
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
	terms := termsOf(t, pairs...)
	w := weightingOf(&vocabulary{}) // a repository of few issues
	for i := range terms {
		exact, best, at := w.similarity(terms[i]), -1.0, -1
		for j := range terms {
			if c := exact(terms[j]); j != i && c > best {
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
	terms := termsOf(t, pairs...)
	w := weightingOf(&vocabulary{})
	within, across := 1.0, 0.0
	for i := range terms {
		exact := w.similarity(terms[i])
		for j := range i {
			if i/2 == j/2 {
				within = min(within, exact(terms[j]))
			} else {
				across = max(across, exact(terms[j]))
			}
		}
	}
	t.Logf("pairs at least %.2f, others at most %.2f", within, across)
	if across > 0.35 || within < across {
		t.Errorf("pairs at least %.2f, others at most %.2f", within, across)
	}
}

func TestIDF(t *testing.T) {
	common, rare, once := uint32(1), uint32(2), uint32(3)
	var issues []store.Terms
	for n := range 100 {
		list := []store.Term{{ID: common, Weight: 1, Share: 900}}
		if n < 5 {
			list = append(list, store.Term{ID: rare, Weight: 1, Share: 6})
		}
		if n == 0 {
			list = append(list, store.Term{ID: once, Weight: 1, Share: 6})
		}
		issues = append(issues, store.PackTerms(list))
	}
	own, none := weightingOf(counted(issues...)), weightingOf(&vocabulary{})
	share := func(of uint16) byte {
		_, _, packed := store.PackTerms([]store.Term{{Weight: 1, Share: of}}).At(0)
		return packed
	}
	for name, c := range map[string]struct{ got, want float64 }{
		"in all":                     {float64(own.idf(common, share(900))), math.Log(106. / (101 + 5*.9))},
		"in five":                    {float64(own.idf(rare, share(6))), math.Log(106. / (6 + 5*.006))},
		"in one":                     {float64(own.idf(once, share(6))), math.Log(106. / (2 + 5*.006))},
		"in none, common elsewhere":  {float64(own.idf(9, share(500))), math.Log(106. / (2 + 5*.5))},
		"before counting, common":    {float64(none.idf(common, share(900))), math.Log(6 / (1 + 5*.9))},
		"before counting, rare":      {float64(none.idf(rare, share(6))), math.Log(6 / (1 + 5*.006))},
		"before counting, in all":    {float64(none.idf(7, share(1000))), leastIDF},
		"a thing nobody knows about": {float64(none.idf(7, 0)), math.Log(6)},
	} {
		if math.Abs(c.got-c.want) > 0.005 {
			t.Errorf("%s: %v, want %v", name, c.got, c.want)
		}
	}
}

// TestFoldingIsFixed: stored vectors stay comparable with new ones only while
// terms are folded as they were.
func TestFoldingIsFixed(t *testing.T) {
	for id, want := range map[uint32]struct {
		place int
		minus bool
	}{1: {1207, false}, 0x943b7748: {881, true}, 0xffffffff: {313, true}} {
		vector := weightingOf(&vocabulary{}).fold(store.PackTerms([]store.Term{{ID: id, Weight: 1}}))
		if x := vector[want.place]; x == 0 || (x < 0) != want.minus {
			for at, x := range vector {
				if x != 0 {
					t.Errorf("%#x is at %d (%v), want it at %d", id, at, x, want.place)
				}
			}
		}
	}
}

// TestSimilarityIsTheCosine compares with the definition, and folding with both.
func TestSimilarityIsTheCosine(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var issues []store.Terms
	for range 200 {
		list := make([]store.Term, 1+r.IntN(80))
		for i := range list {
			list[i] = store.Term{ID: uint32(1 + r.ExpFloat64()*40), Weight: float32(1 + r.Float64()*3), Share: uint16(r.IntN(1000))}
		}
		issues = append(issues, store.PackTerms(list))
	}
	w := weightingOf(counted(issues...))
	dense := func(terms store.Terms) []float32 {
		v := make([]float32, 1000)
		for i := range terms.Len() {
			id, weight, share := terms.At(i)
			v[id] = w.weights[weight] * w.idf(id, share)
		}
		return v
	}
	var loss float64
	for n := range 50 {
		exact := w.similarity(issues[n])
		for m := range issues {
			want := cosine(dense(issues[n]), dense(issues[m]))
			if got := exact(issues[m]); math.Abs(got-want) > 1e-6 {
				t.Fatalf("similarity %v, want %v", got, want)
			}
			loss += math.Abs(cosine(w.fold(issues[n]), w.fold(issues[m])) - want)
		}
		if got := exact(nil); got != 0 {
			t.Errorf("similarity to nothing %v", got)
		}
	}
	if loss /= float64(50 * len(issues)); loss > 0.03 {
		t.Errorf("folding changes a similarity by %v in the mean", loss)
	}
	if w.fold(nil) != nil || w.similarity(nil)(issues[0]) != 0 {
		t.Error("nothing is similar to something")
	}
}

func TestVocabularyIsBounded(t *testing.T) {
	c := newCounter()
	id := uint32(0)
	for range 400 { // 600,000 terms of which a third recurs
		var list []store.Term
		for range store.MaxTerms {
			id++
			list = append(list, store.Term{ID: id, Weight: 1}, store.Term{ID: id%300_000 + 1<<31, Weight: 1})
		}
		c.add(store.PackTerms(list[:store.MaxTerms]))
		if len(c.terms) > maxCounted {
			t.Fatalf("%d terms are being counted", len(c.terms))
		}
	}
	for range 3 {
		c.add(store.PackTerms([]store.Term{{ID: 5, Weight: 1}, {ID: 1 << 31, Weight: 1}}))
	}
	v := c.vocabulary()
	if len(v.terms) > maxVocabulary || v.issues != 403 || v.terms[0].id != 5 || v.terms[0].issues < 3 {
		t.Errorf("%d terms of %d issues, first %+v", len(v.terms), v.issues, v.terms[0])
	}
	again, err := decodeVocabulary(v.encode())
	if err != nil || !reflect.DeepEqual(v, again) {
		t.Errorf("what was encoded comes back otherwise: %v", err)
	}
}

func FuzzDecodeVocabulary(f *testing.F) {
	f.Add(counted(store.PackTerms([]store.Term{{ID: 1, Weight: 1}, {ID: 1 << 31, Weight: 1, Share: 9}}), store.PackTerms([]store.Term{{ID: 1, Weight: 1}, {ID: 1 << 31, Weight: 1, Share: 9}})).encode())
	f.Add([]byte{vocabularyFormat, 2, 1, 0xff, 0xff, 0xff, 0xff, 0x7f, 2, 3})
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := decodeVocabulary(b)
		if err != nil {
			return
		}
		again, err := decodeVocabulary(v.encode())
		if err != nil || !reflect.DeepEqual(v, again) {
			t.Fatalf("%+v comes back as %+v, %v", v, again, err)
		}
		weightingOf(v).fold(store.PackTerms([]store.Term{{ID: 1, Weight: 1}}))
	})
}

func BenchmarkWeighting(b *testing.B) {
	text := sdk.Text{Title: "Crash when parsing an empty file", Body: strings.Repeat(form, 2)}
	terms := termsOf(b, text)[0]
	w := weightingOf(counted(termsOf(b, pairs...)...))
	b.Run("fold", func(b *testing.B) {
		for b.Loop() {
			w.fold(terms)
		}
	})
	b.Run("compare-with-100", func(b *testing.B) {
		for b.Loop() {
			exact := w.similarity(terms)
			for range candidates {
				exact(terms)
			}
		}
	})
}
