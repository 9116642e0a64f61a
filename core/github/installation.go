package github

import (
	"container/list"
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Rate is an installation's hourly budget as GitHub last told it.
type Rate struct {
	Limit     int
	Remaining int
	Reset     time.Time
}

// installation is what is kept of one installation between calls: its budget
// and the bound on calls at once.
type installation struct {
	id     int64
	budget *budget
	slots  chan struct{}
	// backgroundSlots keep background calls to half of the slots, so that a live
	// call never waits for them alone.
	backgroundSlots chan struct{}
	// singleFile tells that the App may read only the files named in its settings.
	singleFile atomic.Bool
}

// acquire waits for a place among the calls at once; release gives it back.
func (i *installation) acquire(ctx context.Context) (release func(), _ error) {
	needs := []chan struct{}{i.slots}
	if isBackground(ctx) {
		needs = []chan struct{}{i.backgroundSlots, i.slots}
	}
	release = func() {
		for _, slots := range needs {
			<-slots
		}
	}
	for n, slots := range needs {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			needs = needs[:n]
			release()
			return nil, ctx.Err()
		}
	}
	return release, nil
}

// installations keeps the most recently used ones. What an evicted one has spent
// is known from the store when it is next leased.
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

// all returns those kept now.
func (s *installations) all() []*installation {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*installation, 0, s.order.Len())
	for e := s.order.Front(); e != nil; e = e.Next() {
		all = append(all, e.Value.(*installation))
	}
	return all
}
