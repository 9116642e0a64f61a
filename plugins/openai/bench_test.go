package openai

import (
	"encoding/csv"
	"fmt"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dispatchai/dispatchai/plugins/openai/openaitest"
	"github.com/dispatchai/dispatchai/plugins/sdk"
)

// BenchmarkIssues measures what real issues cost and how many of them are known already:
// those of a CSV file with the columns repo, title and body, named by DISPATCHAI_ISSUES_CSV,
// each once, in its order. Tokens are counted as one for four bytes, and the answers are of
// the usual length: what OpenAI counts differs by some per cent.
func BenchmarkIssues(b *testing.B) {
	path := os.Getenv("DISPATCHAI_ISSUES_CSV")
	if path == "" {
		b.Skip("DISPATCHAI_ISSUES_CSV names no file of issues")
	}
	requests := issuesOf(b, path)
	for _, batch := range []int{1, 4, 8} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			for b.Loop() {
				server := &openaitest.Server{Answer: usual}
				model := httptest.NewServer(server)
				c := New()
				if err := c.Configure(b.Context(), settingsFor(model.URL, fmt.Sprintf(`"batch":%d`, batch))); err != nil {
					b.Fatal(err)
				}
				c.model.Load().batcher.wait = 500 * time.Millisecond // the machine is slower than the model
				cost, known, held := askAll(b, c, requests)
				model.Close()
				n := float64(len(requests))
				spent := server.Spent()
				b.ReportMetric(1000*cost/n, "usd/1000-issues")
				b.ReportMetric(100*float64(known)/n, "known-%")
				b.ReportMetric(100*float64(held)/n, "held-%")
				b.ReportMetric(float64(len(server.Asked()))/n, "requests/issue")
				b.ReportMetric(float64(spent.Input)/n, "input-tokens/issue")
				b.ReportMetric(float64(spent.Output)/n, "output-tokens/issue")
			}
		})
	}
}

// usual answers with texts as long as a model's.
func usual(r openaitest.Request) openaitest.Answer {
	answer := openaitest.First(r)
	var lengthen func(map[string]any)
	lengthen = func(m map[string]any) {
		for name, v := range m {
			switch v := v.(type) {
			case map[string]any:
				lengthen(v)
			case string:
				switch name {
				case "reasoning":
					m[name] = "The reporter describes behaviour that differs from what the documentation promises, with steps and a version. Nothing in it asks for a change of what exists."
				case "reason":
					m[name] = "It reports behaviour that contradicts the documentation."
				case "summary":
					m[name] = "The program stops with an error when the described steps are followed on the given version."
				}
			}
		}
	}
	lengthen(answer)
	return openaitest.Answer{Content: answer}
}

// askAll asks in batches as the host does.
func askAll(b *testing.B, c *Classifier, requests []sdk.Request) (cost float64, known, held int) {
	for batch := range slices.Chunk(requests, Parallel) {
		results := make([]sdk.Result, len(batch))
		var wg sync.WaitGroup
		for i, r := range batch {
			wg.Go(func() {
				var err error
				if results[i], err = c.Classify(b.Context(), r); err != nil {
					b.Error(err)
				}
			})
		}
		wg.Wait()
		for _, r := range results {
			cost += r.Usage.CostUSD
			if r.Usage.Cached {
				known++
			}
			if r.Hold != "" {
				held++
			}
		}
	}
	return cost, known, held
}

// issuesOf reads the issues, repository by repository.
func issuesOf(b *testing.B, path string) []sdk.Request {
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
		b.Fatalf("%s lacks a column of repo, title and body", path)
	}
	repositories := make(map[string]*sdk.Repository)
	var requests []sdk.Request
	for i, row := range rows[1:] {
		r := repositories[row[repo]]
		if r == nil {
			r = repository()
			r.ID, r.FullName = int64(len(repositories)+1), row[repo]
			repositories[row[repo]] = r
		}
		requests = append(requests, sdk.Request{Repository: r, Issue: sdk.Issue{Number: i + 1, Title: row[title], Body: row[body]}})
	}
	slices.SortStableFunc(requests, func(x, y sdk.Request) int { return strings.Compare(x.Repository.FullName, y.Repository.FullName) })
	return requests
}
