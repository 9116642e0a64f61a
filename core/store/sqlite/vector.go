package sqlite

import (
	"encoding/binary"
	"math"

	"github.com/dispatchai/dispatchai/core/store"
)

// vector is an issue's embedding as it is kept in memory: scaled to length 1; only the places that
// are not zero when most are, as in hashed embeddings, and all of them otherwise.
type vector struct {
	issueID int64 // issues.id
	number  int
	index   []uint16 // nil when values holds every place
	values  []float32
}

// encodeVector gives the form in which the database keeps a vector.
func encodeVector(values []float32) []byte {
	blob := make([]byte, 4*len(values))
	for i, x := range values {
		binary.LittleEndian.PutUint32(blob[4*i:], math.Float32bits(x))
	}
	return blob
}

// decodeVector fills in v from the database's form, into fresh memory.
func decodeVector(blob []byte, norm float64, v *vector) {
	n := min(len(blob)/4, store.MaxDimensions)
	set := 0
	for i := range n {
		if binary.LittleEndian.Uint32(blob[4*i:])<<1 != 0 { // neither 0 nor -0
			set++
		}
	}
	scaled := func(bits uint32) float32 { return float32(float64(math.Float32frombits(bits)) / norm) }
	if 6*set >= 4*n {
		v.index, v.values = nil, make([]float32, n)
		for i := range v.values {
			v.values[i] = scaled(binary.LittleEndian.Uint32(blob[4*i:]))
		}
		return
	}
	v.index, v.values = make([]uint16, 0, set), make([]float32, 0, set)
	for i := range n {
		if bits := binary.LittleEndian.Uint32(blob[4*i:]); bits<<1 != 0 {
			v.index = append(v.index, uint16(i))
			v.values = append(v.values, scaled(bits))
		}
	}
}

// bytes estimates the memory that v takes, its slot in a set included.
func (v *vector) bytes() int64 {
	return 128 + 2*int64(cap(v.index)) + 4*int64(cap(v.values))
}

// wide is a query's vector, scaled to length 1, at the full width, so that any
// place can be looked up.
type wide [store.MaxDimensions]float32

// dot is the inner product. It is computed in the same order for the same stored vector,
// so that equal vectors always come out equal.
func (v *vector) dot(q *wide) float64 {
	var a, b, c, d float32
	values := v.values
	if v.index == nil {
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
	index := v.index[:len(values)]
	for i, x := range values {
		a += x * q[index[i]]
	}
	return float64(a)
}

// nearest collects the best matches of one query, best first; of equals the
// lower number comes first.
type nearest struct {
	query   *wide // nil when the query's vector has no direction
	exclude int
	limit   int
	found   []match
}

type match struct {
	issueID    int64
	number     int
	similarity float64
}

func newNearest(q store.NeighbourQuery) *nearest {
	n := &nearest{exclude: q.Number, limit: min(q.Limit, store.MaxNeighbours)}
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
	similarity := max(-1, min(1, v.dot(n.query)))
	at := len(n.found)
	if at == n.limit {
		if last := &n.found[at-1]; similarity < last.similarity || similarity == last.similarity && v.number > last.number {
			return
		}
		at--
	} else {
		n.found = append(n.found, match{})
	}
	for at > 0 && (n.found[at-1].similarity < similarity || n.found[at-1].similarity == similarity && n.found[at-1].number > v.number) {
		n.found[at] = n.found[at-1]
		at--
	}
	n.found[at] = match{issueID: v.issueID, number: v.number, similarity: similarity}
}
