package gateway

import (
	"fmt"
	"io/fs"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dispatchai/dispatchai/core/eventlog"
	"github.com/dispatchai/dispatchai/web"
)

// benchRecords are pairs of a 15 KB webhook and its result, in batches as the
// tail hands them out.
func benchRecords(n int) []*eventlog.Record {
	filler := strings.Repeat("The tide table is a day behind. ", 450)
	records := make([]*eventlog.Record, 0, 2*n)
	for i := range n {
		raw := webhook("opened", i+1, map[string]any{"filler": filler})
		done := result(i+1, 1)
		raw.Offset, done.Offset = int64(i), int64(i)
		records = append(records, &raw, &done)
	}
	return records
}

// BenchmarkPublish is the cost of one record on its way to the clients, without
// the network: nobody listens, one, or a hundred.
func BenchmarkPublish(b *testing.B) {
	for _, clients := range []int{0, 1, 100} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			m, err := newMetrics(nil)
			if err != nil {
				b.Fatal(err)
			}
			h := newHub(nil, m, time.Now)
			h.goLive(eventlog.Cursor{})
			var draining sync.WaitGroup
			shown := make(chan struct{}, clients)
			for range clients {
				s, err := h.subscribe(eventlog.Cursor{}, func() {})
				if err != nil {
					b.Fatal(err)
				}
				draining.Go(func() {
					for {
						select {
						case f := <-s.client.frames:
							if f.message(nil) == nil {
								b.Error("nothing to show")
							}
							shown <- struct{}{}
						case <-s.client.gone:
							return
						}
					}
				})
			}
			const batch = 64
			template := benchRecords(batch / 2)
			var at eventlog.Cursor
			b.ReportAllocs()
			for n := 0; n < b.N; n += batch {
				records := make([]*eventlog.Record, batch)
				for i, r := range template {
					next := *r
					next.Offset = int64(n/2 + i/2)
					records[i] = &next
				}
				at = at.Advance(records...)
				h.publish(records, at)
				for range clients * batch {
					<-shown
				}
			}
			b.StopTimer()
			h.mu.Lock()
			for c := range h.clients {
				close(c.gone)
			}
			h.mu.Unlock()
			draining.Wait()
		})
	}
}

// BenchmarkAsset is the cost of the dashboard's largest script, which a browser
// asks for once per release.
func BenchmarkAsset(b *testing.B) {
	names, err := fs.Glob(web.Dist(), "assets/index-*.js")
	if err != nil || len(names) != 1 {
		b.Fatal(names, err)
	}
	g, err := New(Config{Store: struct{ storage }{}, Publisher: refusing{}, Dashboard: web.Dist(), Open: true})
	if err != nil {
		b.Fatal(err)
	}
	for _, encoding := range []string{"identity", "gzip"} {
		b.Run(encoding, func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				r := httptest.NewRequest("GET", "/"+names[0], nil)
				r.Header.Set("Accept-Encoding", encoding)
				w := httptest.NewRecorder()
				g.ServeHTTP(w, r)
				if w.Code != 200 {
					b.Fatal(w.Code)
				}
				b.SetBytes(int64(w.Body.Len()))
			}
		})
	}
}
