package sqlite

import (
	"container/list"
	"slices"
	"sync"
	"sync/atomic"
)

// vectorCache keeps the vectors of the repositories that were searched last,
// in bounded memory. It is coherent with the database: the writer tells it of each
// commit before the commit is acknowledged, and a repository that is
// being read meanwhile is told afterwards.
type vectorCache struct {
	hits, misses atomic.Int64

	mu    sync.Mutex
	bound int64
	bytes int64
	sets  map[vectorSpace]*list.Element // of *vectorSet
	used  *list.List                    // the latest used first
	loads map[vectorSpace]*vectorLoad
}

// vectorSpace is what a search is confined to.
type vectorSpace struct {
	repositoryID int64
	model        string
}

// vectorSet is all vectors of one space.
type vectorSet struct {
	space vectorSpace
	bytes int64
	// vectors is shared with searches that are under way: it is appended to or
	// replaced, and what is in it is never changed.
	vectors []*vector
	places  map[int]int // number -> index in vectors
}

// vectorUpdate is one issue's embedding after a commit: under the model, or
// gone from every model when vector is nil.
type vectorUpdate struct {
	space  vectorSpace
	number int
	vector *vector
}

// vectorLoad is a space that is being read from the database, with the commits
// that happened since.
type vectorLoad struct {
	cache   *vectorCache
	set     *vectorSet // nil once it has grown too large to be kept
	updates []vectorUpdate
}

// maxLoads bounds the memory of sets that are being read.
const maxLoads = 2

func newVectorCache(bound int64) *vectorCache {
	return &vectorCache{
		bound: bound,
		sets:  make(map[vectorSpace]*list.Element),
		used:  list.New(),
		loads: make(map[vectorSpace]*vectorLoad),
	}
}

// get returns the vectors of the space, not to be changed. When they are not at
// hand, the caller reads them from the database; load then takes what it reads
// and must be ended. It is nil when another caller is loading the space.
func (c *vectorCache) get(space vectorSpace) (vectors []*vector, load *vectorLoad, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.sets[space]; ok {
		c.used.MoveToFront(e)
		c.hits.Add(1)
		return e.Value.(*vectorSet).vectors, nil, true
	}
	c.misses.Add(1)
	if c.loads[space] != nil || len(c.loads) >= maxLoads {
		return nil, nil, false
	}
	load = &vectorLoad{cache: c, set: newVectorSet(space)}
	c.loads[space] = load
	return nil, load, false
}

// add takes one vector that was read.
func (l *vectorLoad) add(v *vector) {
	if l == nil || l.set == nil {
		return
	}
	l.set.put(v)
	if l.set.bytes > l.cache.bound/2 {
		l.set = nil
	}
}

// end keeps the set when all of it was read and it is not too large.
func (l *vectorLoad) end(space vectorSpace, complete bool) {
	if l == nil {
		return
	}
	c := l.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.loads[space] != l {
		return // what was read is stale: purge came in between
	}
	delete(c.loads, space)
	if !complete || l.set == nil {
		return
	}
	for _, u := range l.updates {
		l.set.update(u)
	}
	c.sets[space] = c.used.PushFront(l.set)
	c.bytes += l.set.bytes
	c.evict()
}

// apply is told of a commit, in the order of commits.
func (c *vectorCache) apply(updates []vectorUpdate) {
	if len(updates) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	touched := make(map[int64][]vectorUpdate)
	for _, u := range updates {
		touched[u.space.repositoryID] = append(touched[u.space.repositoryID], u)
	}
	for space, load := range c.loads {
		load.updates = append(load.updates, touched[space.repositoryID]...)
	}
	for space, e := range c.sets {
		for _, u := range touched[space.repositoryID] {
			set := e.Value.(*vectorSet)
			c.bytes -= set.bytes
			set.update(u)
			c.bytes += set.bytes
		}
	}
	c.evict()
}

func (c *vectorCache) evict() {
	for c.bytes > c.bound && c.used.Len() > 0 {
		set := c.used.Remove(c.used.Back()).(*vectorSet)
		delete(c.sets, set.space)
		c.bytes -= set.bytes
	}
}

// purge forgets everything, also what is being read.
func (c *vectorCache) purge() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.sets)
	c.used.Init()
	c.bytes = 0
	clear(c.loads)
}

func (c *vectorCache) size() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bytes
}

func newVectorSet(space vectorSpace) *vectorSet {
	return &vectorSet{space: space, places: make(map[int]int)}
}

// put adds or replaces a vector.
func (s *vectorSet) put(v *vector) {
	if at, known := s.places[v.number]; known {
		s.bytes += v.bytes() - s.vectors[at].bytes()
		s.vectors = slices.Clone(s.vectors)
		s.vectors[at] = v
		return
	}
	s.places[v.number] = len(s.vectors)
	s.vectors = append(s.vectors, v)
	s.bytes += v.bytes()
}

func (s *vectorSet) remove(number int) {
	at, known := s.places[number]
	if !known {
		return
	}
	s.bytes -= s.vectors[at].bytes()
	last := len(s.vectors) - 1
	// A copy, because the next append would write where a search still reads.
	shorter := slices.Clone(s.vectors[:last])
	if at != last {
		shorter[at] = s.vectors[last]
		s.places[shorter[at].number] = at
	}
	s.vectors = shorter
	delete(s.places, number)
}

func (s *vectorSet) update(u vectorUpdate) {
	if u.vector != nil && u.space == s.space {
		s.put(u.vector)
	} else {
		s.remove(u.number)
	}
}
