package plugin

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/dispatchai/dispatchai/core/triage"
	"github.com/dispatchai/dispatchai/plugins/sdk"
)

// BenchmarkClassify measures host to plugin and back with issues of 1 KB, in
// batches of several sizes from two callers, and batches of 256 over as many
// repositories. The classifier does next to nothing.
func BenchmarkClassify(b *testing.B) {
	body := strings.Repeat("It fails every time. ", 1024/21)
	for _, c := range []struct {
		name         string
		size         int
		repositories int
	}{{"one", 1, 1}, {"16", 16, 1}, {"256", 256, 1}, {"256-repositories", 256, 256}} {
		b.Run(c.name, func(b *testing.B) {
			p, err := Launch(context.Background(), Spec{Name: "bench", Path: self(b), Args: []string{asPlugin, "sdk"}}, Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = p.Close() }()
			repositories := make([]*sdk.Repository, c.repositories)
			for i := range repositories {
				r := *repository
				repositories[i] = &r
			}
			batch := make([]Item, c.size)
			for i := range batch {
				batch[i] = Item{Repository: repositories[i%len(repositories)], Issue: triage.Issue{Number: i + 1, Title: fmt.Sprintf("Issue %d", i), Body: body}}
			}
			b.ReportAllocs()
			b.ResetTimer()
			var wg sync.WaitGroup
			for caller := range 2 {
				wg.Go(func() {
					for n := caller; n < b.N; n += 2 {
						if _, err := p.Classify(context.Background(), batch); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N*c.size)/b.Elapsed().Seconds(), "issues/s")
		})
	}
}

// BenchmarkRules measures the rules plugin from host to plugin and back with issues of
// 1 KB in batches of 256, with one core on either side.
func BenchmarkRules(b *testing.B) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	p, err := Launch(context.Background(), Spec{Name: "bench", Path: self(b), Args: []string{asPlugin, "rules-on-one-core"}}, Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	const size = 256
	body := strings.Repeat("When I run it with two files it crashes, and every time with the same error. ", 1024/77)
	batch := make([]Item, size)
	for i := range batch {
		batch[i] = Item{Repository: repository, Issue: triage.Issue{Number: i + 1, Title: fmt.Sprintf("Crash with %d files", i), Body: body}}
	}
	var wg sync.WaitGroup
	b.ResetTimer()
	for caller := range 2 { // one batch on its way while another is answered
		wg.Go(func() {
			for n := caller; n < b.N; n += 2 {
				outcomes, err := p.Classify(context.Background(), batch)
				if err != nil || len(outcomes[0].Fields) == 0 {
					b.Errorf("%v, %+v", err, outcomes)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "issues/s")
}
