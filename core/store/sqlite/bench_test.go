package sqlite

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

// workload makes what the pipeline stores: issues with bodies of about 1.5 KB,
// a classification with reasons, an embedding of a hundred terms (as many of
// 1,536 places set) and five similar issues.
type workload struct {
	r            *rand.Rand
	repositories int
	words        []string
	next         []int
	event        int
}

const batch = 256

func newWorkload(repositories int) *workload {
	w := &workload{r: rand.New(rand.NewPCG(3, 4)), repositories: repositories, next: make([]int, repositories)}
	for range 8000 {
		word := make([]byte, 3+w.r.IntN(8))
		for i := range word {
			word[i] = byte('a' + w.r.IntN(26))
		}
		w.words = append(w.words, string(word))
	}
	return w
}

func (w *workload) text(bytes int) string {
	var b strings.Builder
	for b.Len() < bytes {
		f := w.r.Float64()
		b.WriteString(w.words[int(f*f*f*float64(len(w.words)))])
		b.WriteByte(" \n"[w.r.IntN(20)/19])
	}
	return b.String()
}

func (w *workload) embedding() store.Embedding {
	v, terms := make([]float32, 1536), make([]store.Term, 100)
	for i := range terms {
		terms[i] = store.Term{ID: w.r.Uint32N(100_000), Weight: 1, Share: 6}
		v[w.r.IntN(len(v))] = float32(w.r.NormFloat64())
	}
	return store.Embedding{Model: "words/1536", Vector: v, Terms: store.PackTerms(terms)}
}

// change is a new issue of the next repository, as it is first stored.
func (w *workload) change() store.IssueChange {
	w.event++
	repository := w.event % w.repositories
	w.next[repository]++
	key := triage.IssueKey{RepositoryID: int64(repository + 1), Number: w.next[repository]}
	now := time.Unix(1_700_000_000+int64(w.event), 0)
	answer := func(v string) triage.Answer {
		return triage.Answer{Values: []string{v}, Confidence: 0.9, Reason: "The body has a heading \"Steps to reproduce\" and a stack trace.", Source: triage.SourcePlugin, Plugin: "rules", Version: "1.0.0"}
	}
	c := store.IssueChange{
		EventID: fmt.Sprintf("8a1f2c3d-0000-4000-8000-%012d", w.event), EventType: triage.Classified, ReceivedAt: now,
		Position: store.Position{Offset: int64(w.event)},
		Issue: triage.Issue{
			ID: int64(w.event), Number: key.Number, Title: w.text(60), Body: w.text(1500), State: "open",
			Repository: triage.Repository{ID: key.RepositoryID, InstallationID: key.RepositoryID, FullName: fmt.Sprintf("acme/repository-%d", key.RepositoryID)},
			Author:     triage.Actor{Login: "octocat", Type: triage.ActorUser}, AuthorAssociation: "NONE", Labels: []string{},
			URL: fmt.Sprintf("https://github.com/acme/repository-%d/issues/%d", key.RepositoryID, key.Number), CreatedAt: now, UpdatedAt: now,
		},
		TextHash: "0123456789abcdef0123456789abcdef",
		Classification: &triage.Classification{
			DeliveryID: "x", ClassifiedAt: now, Reasoning: "A bug with a stack trace.",
			Fields: map[triage.Field]triage.Answer{
				triage.FieldCategory: answer([]string{"bug", "feature", "question"}[w.event%3]), triage.FieldPriority: answer("high"),
				triage.FieldComponent: answer("parser"), triage.FieldTags: answer("crash"),
			},
		},
	}
	embedding := w.embedding()
	c.Embedding = &embedding
	for i := range 5 {
		c.Similar = append(c.Similar, triage.Neighbour{IssueID: int64(i), Number: i + 1, Title: "Crash when the configuration is missing", State: "open", URL: c.Issue.URL, Similarity: 0.5})
	}
	return c
}

func (w *workload) changes(n int) []store.IssueChange {
	changes := make([]store.IssueChange, n)
	for i := range changes {
		changes[i] = w.change()
	}
	return changes
}

func fill(b *testing.B, s *Store, w *workload, issues int) {
	b.Helper()
	for issues > 0 {
		n := min(issues, batch)
		if _, err := s.ApplyIssues(b.Context(), w.changes(n)); err != nil {
			b.Fatal(err)
		}
		issues -= n
	}
}

// meter reports issues per second and, because other programs may share the
// machine, the processor time of the whole process per operation.
type meter struct {
	b     *testing.B
	items int
	began time.Duration
	spent time.Duration
}

func measured(b *testing.B, items int) *meter {
	return &meter{b: b, items: items, began: processorTime(b)}
}

func (m *meter) pause() {
	m.b.StopTimer()
	m.spent += processorTime(m.b) - m.began
}

func (m *meter) resume() {
	m.began = processorTime(m.b)
	m.b.StartTimer()
}

func (m *meter) report() {
	m.spent += processorTime(m.b) - m.began
	m.b.ReportMetric(float64(m.items)*float64(m.b.N)/m.b.Elapsed().Seconds(), "issues/s")
	m.b.ReportMetric(float64(m.spent.Microseconds())/1000/float64(m.b.N), "cpu-ms/op")
}

func processorTime(b *testing.B) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func BenchmarkApplyIssues(b *testing.B) {
	for _, stored := range []int{0, 20_000} {
		b.Run(fmt.Sprintf("new-256/stored-%d", stored), func(b *testing.B) {
			s, w := openStore(b, Options{}), newWorkload(1000)
			fill(b, s, w, stored)
			m := measured(b, batch)
			for b.Loop() {
				m.pause()
				changes := w.changes(batch)
				m.resume()
				if _, err := s.ApplyIssues(b.Context(), changes); err != nil {
					b.Fatal(err)
				}
			}
			m.report()
		})
	}
	b.Run("again-256", func(b *testing.B) {
		s, w := openStore(b, Options{}), newWorkload(1000)
		changes := w.changes(batch)
		n := 0
		m := measured(b, batch)
		for b.Loop() {
			m.pause()
			n++
			for i := range changes {
				changes[i].EventID = fmt.Sprint(n, "-", i)
				changes[i].Position.Offset += batch
			}
			m.resume()
			if _, err := s.ApplyIssues(b.Context(), changes); err != nil {
				b.Fatal(err)
			}
		}
		m.report()
	})
	b.Run("new-1/callers-64", func(b *testing.B) {
		s, w := openStore(b, Options{}), newWorkload(1000)
		changes := w.changes(20_000)
		var next atomic.Int64
		b.SetParallelism(32)
		m := measured(b, 1)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				i := int(next.Add(1)) % len(changes)
				if _, err := s.ApplyIssues(context.Background(), changes[i:i+1]); err != nil {
					b.Error(err)
					return
				}
			}
		})
		m.report()
	})
}

func BenchmarkLoadIssues(b *testing.B) {
	s, w := openStore(b, Options{}), newWorkload(1000)
	fill(b, s, w, 20_000)
	keys := make([]triage.IssueKey, batch)
	m := measured(b, batch)
	for b.Loop() {
		for i := range keys {
			keys[i] = triage.IssueKey{RepositoryID: int64(1 + w.r.IntN(1000)), Number: 1 + w.r.IntN(20)}
		}
		if _, err := s.LoadIssues(b.Context(), keys); err != nil {
			b.Fatal(err)
		}
	}
	m.report()
}

func BenchmarkAppliedEvents(b *testing.B) {
	s, w := openStore(b, Options{}), newWorkload(1000)
	fill(b, s, w, 20_000)
	ids := make([]string, batch)
	m := measured(b, batch)
	for b.Loop() {
		for i := range ids {
			ids[i] = fmt.Sprintf("8a1f2c3d-0000-4000-8000-%012d", w.r.IntN(40_000))
		}
		if _, err := s.AppliedEvents(b.Context(), ids); err != nil {
			b.Fatal(err)
		}
	}
	m.report()
}

func BenchmarkNeighbours(b *testing.B) {
	for _, size := range []struct{ repositories, each, queries int }{{1000, 20, 256}, {20, 1000, 256}, {20, 1000, 1}, {1, 20_000, 1}} {
		for _, cached := range []bool{true, false} {
			b.Run(fmt.Sprintf("repositories-%d/issues-%d/queries-%d/cached-%v", size.repositories, size.each, size.queries, cached), func(b *testing.B) {
				options := Options{VectorCacheBytes: 1}
				if cached {
					options.VectorCacheBytes = 64 << 20
				}
				s, w := openStore(b, options), newWorkload(size.repositories)
				fill(b, s, w, size.repositories*size.each)
				queries := make([]store.NeighbourQuery, size.queries)
				for id := range size.repositories {
					if _, err := s.Neighbours(b.Context(), []store.NeighbourQuery{{RepositoryID: int64(id + 1), Limit: 1, Embedding: w.embedding()}}); err != nil {
						b.Fatal(err)
					}
				}
				exact := func(t store.Terms) float64 { return float64(t[0]) }
				m := measured(b, size.queries)
				for b.Loop() {
					for i := range queries {
						queries[i] = store.NeighbourQuery{RepositoryID: int64(1 + w.r.IntN(size.repositories)), Number: 1, Limit: 5, Embedding: w.embedding(), Exact: exact, Candidates: 100}
					}
					if _, err := s.Neighbours(b.Context(), queries); err != nil {
						b.Fatal(err)
					}
				}
				m.report()
			})
		}
	}
}

// BenchmarkLabelling is the label worker's life of a batch.
func BenchmarkLabelling(b *testing.B) {
	s := openStore(b, Options{})
	if err := s.SaveDesired(b.Context(), []store.Desired{}); err != nil {
		b.Fatal(err)
	}
	spent := make(map[string]time.Duration)
	timed := func(name string, call func() error) {
		began := time.Now()
		if err := call(); err != nil {
			b.Fatal(err)
		}
		spent[name] += time.Since(began)
	}
	ctx, number := b.Context(), 0
	m := measured(b, batch)
	for b.Loop() {
		rows := make([]store.Desired, batch)
		var intended, written []triage.LedgerEntry
		var keys []triage.IssueKey
		var results []store.DesiredResult
		now := time.Unix(1_700_000_000+int64(number), 0)
		for i := range rows {
			number++
			key := triage.IssueKey{RepositoryID: int64(1 + number%1000), Number: number}
			rows[i] = store.Desired{Issue: key, InstallationID: key.RepositoryID, Revision: 1, EventID: "e", ReceivedAt: now}
			keys, results = append(keys, key), append(results, store.DesiredResult{Issue: key, Revision: 1, Done: true})
			for _, name := range []string{"kind/bug", "priority/high", "area/parser"} {
				label := triage.DesiredLabel{Name: name, Field: triage.FieldCategory, Value: "bug", Source: triage.SourcePlugin, Plugin: "rules", Version: "1.0.0", Confidence: 0.9, EventID: "e"}
				rows[i].Labels = append(rows[i].Labels, label)
				intended = append(intended, triage.LedgerEntry{Issue: key, DesiredLabel: label, State: triage.LedgerIntended, CreatedAt: now, UpdatedAt: now})
				written = append(written, triage.LedgerEntry{Issue: key, DesiredLabel: label, State: triage.LedgerWritten, CreatedAt: now, UpdatedAt: now.Add(time.Second)})
			}
		}
		timed("save", func() error { return s.SaveDesired(ctx, rows) })
		var claimed []store.ClaimedInstallation
		timed("claim", func() (err error) {
			claimed, err = s.ClaimDesired(ctx, store.Claim{Owner: "a", Now: now, LeaseFor: time.Minute, MaxInstallations: 1000, MaxIssues: 100})
			return err
		})
		if len(claimed) != batch {
			b.Fatalf("%d installations claimed", len(claimed))
		}
		timed("ledger", func() error { _, err := s.Ledger(ctx, keys); return err })
		timed("intend", func() error { return s.RecordLedger(ctx, intended) })
		timed("write", func() error { return s.RecordLedger(ctx, written) })
		timed("finish", func() error { return s.FinishDesired(ctx, results) })
	}
	m.report()
	for name, d := range spent {
		b.ReportMetric(float64(d.Microseconds())/1000/float64(b.N), name+"-ms")
	}
}

// BenchmarkClaimDesired claims for a few while a thousand installations wait.
func BenchmarkClaimDesired(b *testing.B) {
	s := openStore(b, Options{})
	var rows []store.Desired
	for i := range 50_000 {
		key := triage.IssueKey{RepositoryID: int64(1 + i%1000), Number: i + 1}
		rows = append(rows, store.Desired{Issue: key, InstallationID: key.RepositoryID, Revision: 1, ReceivedAt: time.Unix(int64(i), 0)})
	}
	if err := s.SaveDesired(b.Context(), rows); err != nil {
		b.Fatal(err)
	}
	now := time.Unix(100_000, 0)
	m := measured(b, 1)
	for b.Loop() {
		claimed, err := s.ClaimDesired(b.Context(), store.Claim{Owner: "a", Now: now, LeaseFor: time.Minute, MaxInstallations: 16, MaxIssues: 10})
		if err != nil {
			b.Fatal(err)
		}
		for _, c := range claimed {
			if err := s.ReleaseInstallation(b.Context(), store.Release{InstallationID: c.InstallationID, Owner: "a"}); err != nil {
				b.Fatal(err)
			}
		}
	}
	m.report()
}

func BenchmarkReader(b *testing.B) {
	s, w := openStore(b, Options{}), newWorkload(50)
	fill(b, s, w, 50_000)
	repositories := []int64{1, 5, 9, 20, 33}
	for name, filter := range map[string]store.IssueFilter{
		"list": {}, "list-category": {Category: "bug"}, "list-repositories": {RepositoryIDs: repositories},
		"search-common": {Search: w.words[0]}, "search-rare": {Search: w.words[7999]}, "search-three": {Search: w.words[10] + " " + w.words[20] + " " + w.words[30]},
	} {
		b.Run(name, func(b *testing.B) {
			m := measured(b, 1)
			for b.Loop() {
				if _, err := s.ListIssues(b.Context(), filter); err != nil {
					b.Fatal(err)
				}
			}
			m.report()
		})
	}
	b.Run("stats", func(b *testing.B) {
		m := measured(b, 1)
		for b.Loop() {
			if _, err := s.Stats(b.Context(), nil); err != nil {
				b.Fatal(err)
			}
		}
		m.report()
	})
	b.Run("find", func(b *testing.B) {
		m := measured(b, 1)
		for b.Loop() {
			if _, err := s.FindIssue(b.Context(), 777); err != nil {
				b.Fatal(err)
			}
		}
		m.report()
	})
}
