package github

import (
	"container/list"
	"context"
	"net/http"
	"sync"
	"time"

	gh "github.com/google/go-github/v62/github"
)

// Rate is an installation's hourly budget as GitHub last told it.
type Rate struct {
	Limit     int
	Remaining int
	Reset     time.Time
}

// installation is what is kept of one installation between calls: its token
// (inside api), its budget, and the bound on calls at once.
type installation struct {
	id    int64
	api   *gh.Client
	slots chan struct{}

	mu   sync.Mutex
	rate Rate
}

func (i *installation) acquire(ctx context.Context) error {
	select {
	case i.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (i *installation) release() { <-i.slots }

func (i *installation) note(r *gh.Response) {
	if r == nil || r.Response == nil || r.Rate.Limit == 0 {
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.rate = Rate{Limit: r.Rate.Limit, Remaining: r.Rate.Remaining, Reset: r.Rate.Reset.Time}
}

func (i *installation) budget() (Rate, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.rate, i.rate.Limit > 0
}

// installations keeps the most recently used ones. An evicted one costs its
// next caller a new token, nothing else.
type installations struct {
	make  func(id int64) *installation
	bound int

	mu    sync.Mutex
	order *list.List // of *installation, the newest in front
	byID  map[int64]*list.Element
}

func newInstallations(bound int) *installations {
	return &installations{bound: bound, order: list.New(), byID: make(map[int64]*list.Element)}
}

func (s *installations) get(id int64) *installation {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.byID[id]; ok {
		s.order.MoveToFront(e)
		return e.Value.(*installation)
	}
	for s.order.Len() >= s.bound {
		oldest := s.order.Back()
		delete(s.byID, oldest.Value.(*installation).id)
		s.order.Remove(oldest)
	}
	i := s.make(id)
	s.byID[id] = s.order.PushFront(i)
	return i
}

// drop forgets the installation, and with it a token that GitHub no longer
// accepts, unless somebody has replaced it meanwhile.
func (s *installations) drop(i *installation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.byID[i.id]; ok && e.Value == i {
		s.order.Remove(e)
		delete(s.byID, i.id)
	}
}

func (s *installations) find(id int64) *installation {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.byID[id]; ok {
		return e.Value.(*installation)
	}
	return nil
}

func (s *installations) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.order.Len()
}

func (s *installations) lowestRemaining() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	lowest := -1
	for e := s.order.Front(); e != nil; e = e.Next() {
		if rate, ok := e.Value.(*installation).budget(); ok && (lowest < 0 || rate.Remaining < lowest) {
			lowest = rate.Remaining
		}
	}
	return lowest
}

func newAPI(roundTripper http.RoundTripper, base, userAgent string) (*gh.Client, error) {
	api := gh.NewClient(&http.Client{Transport: roundTripper, CheckRedirect: sameOrigin})
	root, err := api.BaseURL.Parse(base)
	if err != nil {
		return nil, err
	}
	api.BaseURL, api.UserAgent = root, userAgent
	return api, nil
}
