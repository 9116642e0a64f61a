package sqlite

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math"
	"slices"

	"github.com/dispatchai/dispatchai/core/store"
)

// vector is an issue's embedding as it is kept in memory: scaled to length 1; all places, or, when
// more are zero than not as in hashed embeddings, only those that are not, in half the precision.
type vector struct {
	issueID int64 // issues.id
	number  int
	values  []float32 // every place; nil when index is set
	index   []uint16
	small   []int16 // what stands at the places of index, in units of 1/smallScale
	terms   store.Terms
}

const smallScale = math.MaxInt16

// storedVector is the form in which the database keeps a vector.
type storedVector struct {
	norm   float64
	values []byte // float32, little-endian
	places []byte // of values, 16 bits each; nil when values holds every place
	terms  []byte
}

// encodeVector leaves out zeros where that makes it shorter. It is nil for a
// vector without direction.
func encodeVector(e store.Embedding) *storedVector {
	s := &storedVector{norm: store.VectorNorm(e.Vector), terms: e.Terms}
	if s.norm == 0 {
		return nil
	}
	set := 0
	for _, x := range e.Vector {
		if x != 0 {
			set++
		}
	}
	sparse := 6*set < 4*len(e.Vector)
	s.values = make([]byte, 0, 4*len(e.Vector))
	if sparse {
		s.values, s.places = make([]byte, 0, 4*set), make([]byte, 0, 2*set)
	}
	for i, x := range e.Vector {
		if sparse && x == 0 {
			continue
		}
		s.values = binary.LittleEndian.AppendUint32(s.values, math.Float32bits(x))
		if sparse {
			s.places = binary.LittleEndian.AppendUint16(s.places, uint16(i))
		}
	}
	return s
}

// decode fills in v, into fresh memory. Of a damaged form it keeps what makes sense.
func (s *storedVector) decode(v *vector) {
	n := min(len(s.values)/4, store.MaxDimensions)
	scaled := func(i int) float64 {
		return float64(math.Float32frombits(binary.LittleEndian.Uint32(s.values[4*i:]))) / s.norm
	}
	v.terms = bytes.Clone(s.terms)
	if s.places == nil {
		set := 0
		for i := range n {
			if binary.LittleEndian.Uint32(s.values[4*i:])<<1 != 0 { // neither 0 nor -0
				set++
			}
		}
		if 2*set >= n {
			v.values = make([]float32, n)
			for i := range v.values {
				v.values[i] = float32(scaled(i))
			}
			return
		}
		v.index, v.small = make([]uint16, 0, set), make([]int16, 0, set)
		for i := range n {
			v.put(i, scaled(i))
		}
		return
	}
	n = min(n, len(s.places)/2)
	v.index, v.small = make([]uint16, 0, n), make([]int16, 0, n)
	for i := range n {
		if at := int(binary.LittleEndian.Uint16(s.places[2*i:])); at < store.MaxDimensions {
			v.put(at, scaled(i))
		}
	}
}

func (v *vector) put(place int, x float64) {
	if x = math.Round(max(-1, min(1, x)) * smallScale); x != 0 { // NaN is
		v.index, v.small = append(v.index, uint16(place)), append(v.small, int16(x))
	}
}

// bytes estimates the memory that v takes, its slot in a set included.
func (v *vector) bytes() int64 {
	return 160 + 2*int64(cap(v.index)) + 2*int64(cap(v.small)) + 4*int64(cap(v.values)) + int64(cap(v.terms))
}

// wide is a query's vector, scaled to length 1, at the full width, so that any
// place can be looked up.
type wide [store.MaxDimensions]float32

// dot is the inner product. It is computed in the same order for the same stored vector,
// so that equal vectors always come out equal.
func (v *vector) dot(q *wide) float64 {
	var a, b, c, d float32
	if values := v.values; v.index == nil {
		places := q[:len(values)]
		for len(values) >= 4 && len(places) >= 4 {
			a += values[0] * places[0]
			b += values[1] * places[1]
			c += values[2] * places[2]
			d += values[3] * places[3]
			values, places = values[4:], places[4:]
		}
		for i, x := range values {
			a += x * places[i]
		}
		return float64(a+b) + float64(c+d)
	}
	index := v.index[:len(v.small)]
	for i, x := range v.small {
		a += float32(x) * q[index[i]]
	}
	return float64(a) / smallScale
}

// nearest collects the best matches of one query, best first; of equals the
// lower number comes first.
type nearest struct {
	query   *wide // nil when the query's vector has no direction
	exclude int
	limit   int // of what is collected
	kept    int // of what is found
	exact   func(store.Terms) float64
	found   []match
}

type match struct {
	*vector
	similarity float64
}

func newNearest(q store.NeighbourQuery) *nearest {
	n := &nearest{exclude: q.Number, kept: min(q.Limit, store.MaxNeighbours), exact: q.Exact}
	if n.limit = n.kept; n.exact != nil && n.kept > 0 {
		n.limit = min(max(q.Candidates, n.kept), store.MaxNeighbours)
	}
	values := q.Embedding.Vector[:min(len(q.Embedding.Vector), store.MaxDimensions)]
	if norm := store.VectorNorm(values); norm > 0 {
		n.query = new(wide)
		for i, x := range values {
			n.query[i] = float32(float64(x) / norm)
		}
	}
	return n
}

// idle tells that nothing can be found.
func (n *nearest) idle() bool { return n.limit <= 0 || n.query == nil }

func (n *nearest) offer(v *vector) {
	if v.number == n.exclude {
		return
	}
	m := match{v, max(-1, min(1, v.dot(n.query)))}
	at := len(n.found)
	if at == n.limit {
		if !m.before(n.found[at-1]) {
			return
		}
		at--
	} else {
		n.found = append(n.found, match{})
	}
	for at > 0 && m.before(n.found[at-1]) {
		n.found[at] = n.found[at-1]
		at--
	}
	n.found[at] = m
}

func (m match) before(other match) bool {
	return m.similarity > other.similarity || m.similarity == other.similarity && m.number < other.number
}

// rank brings what was collected into its exact order and cuts it.
func (n *nearest) rank() {
	if n.exact == nil || n.idle() {
		return
	}
	for i := range n.found {
		n.found[i].similarity = n.exact(n.found[i].terms)
	}
	slices.SortFunc(n.found, func(a, b match) int {
		return cmp.Or(-cmp.Compare(a.similarity, b.similarity), cmp.Compare(a.number, b.number))
	})
	n.found = n.found[:min(len(n.found), n.kept)]
}
