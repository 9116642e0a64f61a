package simulate

import (
	"os"
	"slices"
	"strings"
	"testing"
)

func testCorpus(t testing.TB) []*CorpusRepository {
	t.Helper()
	corpus, err := ReadCorpus(os.DirFS("testdata/corpus"))
	must(t, err)
	return corpus
}

func TestTheDemosCorpus(t *testing.T) {
	corpus, err := Corpus()
	must(t, err)
	total := 0
	titles := map[string]string{}
	for _, c := range corpus {
		total += len(c.Issues)
		for _, is := range c.Issues {
			if other := titles[is.Title]; other != "" {
				t.Errorf("%q is in %s and in %s", is.Title, other, c.FullName())
			}
			titles[is.Title] = c.FullName()
			if c.LabelFor(is.Expected.Category) == "" {
				t.Errorf("%s has no label for the category %s", c.FullName(), is.Expected.Category)
			}
			if is.Expected.Component != "" && c.LabelFor(is.Expected.Component) == "" {
				t.Errorf("%s has no label for the component %s", c.FullName(), is.Expected.Component)
			}
			if is.Expected.Priority != "" && c.LabelFor(is.Expected.Priority) == "" {
				t.Errorf("%s has no label for the priority %s", c.FullName(), is.Expected.Priority)
			}
		}
	}
	if len(corpus) < 3 || total < 150 {
		t.Errorf("%d issues in %d repositories, want at least 150 in 3", total, len(corpus))
	}
}

func TestACorpusWithFaultsTellsThemAll(t *testing.T) {
	_, err := ParseCorpus([]byte(`{"repository":{"owner":"-","name":"a b"},"labels":[{"name":"x"},{"name":"X"}],"issues":[
		{"title":"same","author":"a","expected":{"category":"bug"}},{"title":"same","author":"","labels":["nope"],"expected":{"category":"rant","priority":"soon"}}]}`))
	if err == nil {
		t.Fatal("no fault found")
	}
	for _, want := range []string{"owner", "a b", "twice", "used before", "nope", "rant", "soon", `""`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the fault about %q is not told: %v", want, err)
		}
	}
	if _, err := ParseCorpus([]byte(`{"repositories":{}}`)); err == nil {
		t.Error("an unknown member is accepted")
	}
}

func TestLabelsForExpectations(t *testing.T) {
	c := testCorpus(t)[0]
	got := []string{c.LabelFor("bug"), c.LabelFor("documentation"), c.LabelFor("high"), c.LabelFor("storage"), c.LabelFor("security"), c.LabelFor("")}
	if want := []string{"kind/bug", "kind/docs", "priority/high", "area/storage", "", ""}; !slices.Equal(got, want) {
		t.Errorf("labels %q, want %q", got, want)
	}
}

func FuzzParseCorpus(f *testing.F) {
	for _, name := range []string{"testdata/corpus/tidepool.json", "testdata/corpus/foxglass.json"} {
		content, err := os.ReadFile(name)
		must(f, err)
		f.Add(content)
	}
	f.Add([]byte(`{"repository":null,"labels":[null],"issues":[{}]}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		c, err := ParseCorpus(content)
		if (c == nil) == (err == nil) {
			t.Fatalf("corpus %v with error %v", c, err)
		}
	})
}
