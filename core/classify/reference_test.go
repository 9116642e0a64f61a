package classify

import (
	"cmp"
	"encoding/csv"
	"fmt"
	"math"
	"os"
	"slices"
	"testing"

	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/plugins/sdk"
)

// BenchmarkReference measures how well similar issues are found in real ones:
// those of a CSV file with the columns repo, title and body, named by DISPATCHAI_ISSUES_CSV.
// The truth is the cosine of all terms weighted (1+ln tf)·ln((1+N)/(1+df)) by the
// repository's own N issues. Reported are the share of the true ten nearest
// among those found, and how often the nearest is among them.
func BenchmarkReference(b *testing.B) {
	path := os.Getenv("DISPATCHAI_ISSUES_CSV")
	if path == "" {
		b.Skip("DISPATCHAI_ISSUES_CSV names no file of issues")
	}
	repositories := readIssues(b, path)
	for _, size := range []int{50, 100, 300} {
		var groups [][]store.Terms
		for _, texts := range repositories {
			for part := range slices.Chunk(texts, size) {
				if len(part) == size {
					groups = append(groups, termsOf(b, part...))
				}
			}
		}
		for name, w := range map[string]func([]store.Terms) (search, documents *weighting, candidates int){
			"before-a-vocabulary": func([]store.Terms) (*weighting, *weighting, int) {
				none := weightingOf(&vocabulary{})
				return none, none, candidates
			},
			"folded-only": func(terms []store.Terms) (*weighting, *weighting, int) {
				own := weightingOf(counted(terms...))
				return own, own, 0
			},
			"ranked": func(terms []store.Terms) (*weighting, *weighting, int) {
				own := weightingOf(counted(terms...))
				return own, own, candidates
			},
			"ranked-while-none-is-renewed": func(terms []store.Terms) (*weighting, *weighting, int) {
				return weightingOf(counted(terms...)), weightingOf(&vocabulary{}), candidates
			},
		} {
			b.Run(fmt.Sprintf("issues=%d/%s", size, name), func(b *testing.B) {
				var overlap, nearest, queries float64
				for b.Loop() {
					for _, terms := range groups {
						search, documents, candidates := w(terms)
						o, n := found(terms, search, documents, candidates)
						overlap, nearest, queries = overlap+o, nearest+n, queries+float64(len(terms))
					}
				}
				b.ReportMetric(overlap/queries, "overlap@10")
				b.ReportMetric(100*nearest/queries, "nearest-%")
			})
		}
	}
}

func readIssues(b *testing.B, path string) map[string][]sdk.Text {
	file, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	rows, err := csv.NewReader(file).ReadAll()
	if err != nil {
		b.Fatal(err)
	}
	repo, title, body := slices.Index(rows[0], "repo"), slices.Index(rows[0], "title"), slices.Index(rows[0], "body")
	if repo < 0 || title < 0 || body < 0 {
		b.Fatalf("%s has the columns %v; repo, title and body are needed", path, rows[0])
	}
	repositories := make(map[string][]sdk.Text)
	for _, row := range rows[1:] {
		repositories[row[repo]] = append(repositories[row[repo]], sdk.Text{Title: row[title], Body: row[body]})
	}
	return repositories
}

// found searches as the store does, for every issue among the others, and sums
// up how much of the truth it finds.
func found(terms []store.Terms, search, documents *weighting, candidates int) (overlap, nearest float64) {
	vectors := make([][]float32, len(terms))
	for i := range terms {
		vectors[i] = unit(documents.fold(terms[i]))
	}
	truth := exactWeights(terms)
	for i := range terms {
		want := top(10, len(terms), i, func(j int) float64 { return dot(truth[i], truth[j]) })
		query := unit(search.fold(terms[i]))
		got := top(max(10, candidates), len(terms), i, func(j int) float64 {
			var sum float32
			for at, x := range query {
				sum += x * vectors[j][at]
			}
			return float64(sum)
		})
		if candidates > 0 {
			exact := search.similarity(terms[i])
			slices.SortStableFunc(got, func(a, b int) int { return -cmp.Compare(exact(terms[a]), exact(terms[b])) })
		}
		got = got[:10]
		for _, j := range want {
			if slices.Contains(got, j) {
				overlap += 0.1
			}
		}
		if slices.Contains(got, want[0]) {
			nearest++
		}
	}
	return overlap, nearest
}

func top(n, of, but int, score func(int) float64) []int {
	scores, all := make([]float64, of), make([]int, 0, of)
	for j := range of {
		if j != but {
			scores[j] = score(j)
			all = append(all, j)
		}
	}
	slices.SortStableFunc(all, func(a, b int) int { return -cmp.Compare(scores[a], scores[b]) })
	return all[:min(n, len(all))]
}

func unit(v []float32) []float32 {
	out := make([]float32, foldedSize)
	var sum float64
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	for i, x := range v {
		out[i] = float32(float64(x) / math.Sqrt(sum))
	}
	return out
}

// exactWeights gives each issue's terms, in the order of IDs, by the definition.
func exactWeights(terms []store.Terms) [][]weightedTerm {
	df := make(map[uint32]float64)
	for _, t := range terms {
		for i := range t.Len() {
			id, _, _ := t.At(i)
			df[id]++
		}
	}
	weights := store.UnpackWeights()
	out := make([][]weightedTerm, len(terms))
	for n, t := range terms {
		var sum float64
		for i := range t.Len() {
			id, weight, _ := t.At(i)
			x := float64(weights[weight]) * math.Log((1+float64(len(terms)))/(1+df[id]))
			out[n] = append(out[n], weightedTerm{id, float32(x)})
			sum += x * x
		}
		for i := range out[n] {
			out[n][i].idf /= float32(math.Sqrt(sum))
		}
	}
	return out
}

func dot(a, b []weightedTerm) (sum float64) {
	for len(a) > 0 && len(b) > 0 {
		switch c := cmp.Compare(a[0].id, b[0].id); {
		case c < 0:
			a = a[1:]
		case c > 0:
			b = b[1:]
		default:
			sum += float64(a[0].idf) * float64(b[0].idf)
			a, b = a[1:], b[1:]
		}
	}
	return sum
}
