package triage

import (
	"math"
	"slices"
)

// Opinion is what a classifier, or a chain of them, says of one field of an issue.
type Opinion struct {
	// Plugin is who said so; empty where nobody said anything.
	Plugin     string   `json:"plugin,omitempty"`
	Values     []string `json:"values"`
	Confidence float64  `json:"confidence"`
	// Sure tells whether the confidence reaches the threshold in force, so that the
	// values may become labels.
	Sure bool `json:"sure"`
}

// OpinionOf is what a classification says of the field; answers under the threshold
// of their plugin are not sure.
func OpinionOf(c Classification, f Field, config RepositoryConfig) Opinion {
	a, ok := c.Fields[f]
	if !ok {
		return Opinion{Values: []string{}}
	}
	values := slices.Clone(a.Values)
	slices.Sort(values)
	return Opinion{
		Plugin: a.Plugin, Values: append([]string{}, slices.Compact(values)...), Confidence: a.Confidence,
		Sure: a.Confidence >= config.Threshold(a.Plugin, f),
	}
}

// Decides are the values that may become labels, sorted: none where it is not sure.
func (o Opinion) Decides() []string {
	if !o.Sure {
		return nil
	}
	return o.Values
}

// Agrees tells whether both come to the same labels.
func (o Opinion) Agrees(other Opinion) bool { return slices.Equal(o.Decides(), other.Decides()) }

// Divergence is the Jensen-Shannon divergence, in bits, between what the two believe:
// each gives its confidence to its values taken together, and the rest to anything else.
// It is 0 where they believe the same and 1 where both are certain of different things,
// and so puts first what a person's word decides most about (Lin, Divergence measures
// based on the Shannon entropy, 1991; McCallum and Nigam, Employing EM and pool-based
// active learning, 1998).
func (o Opinion) Divergence(other Opinion) float64 {
	p, q := probability(o), probability(other)
	pairs := [][2]float64{{p, 0}, {0, q}, {1 - p, 1 - q}}
	if slices.Equal(o.Values, other.Values) {
		pairs = [][2]float64{{p, q}, {1 - p, 1 - q}}
	}
	var sum float64
	for _, pair := range pairs {
		mean := (pair[0] + pair[1]) / 2
		for _, x := range pair {
			if x > 0 {
				sum += x / 2 * math.Log2(x/mean)
			}
		}
	}
	return min(max(sum, 0), 1)
}

// probability is the confidence as one; what is none counts as 0.
func probability(o Opinion) float64 {
	if !(o.Confidence > 0) || len(o.Values) == 0 {
		return 0
	}
	return min(o.Confidence, 1)
}

// WilsonInterval is the 95 % interval of a share of which n draws showed k (Wilson,
// Probable inference, 1927); 0 to 1 without any.
func WilsonInterval(k, n int) (low, high float64) {
	if n <= 0 {
		return 0, 1
	}
	const z = 1.959964
	share, draws := float64(k)/float64(n), float64(n)
	middle := share + z*z/(2*draws)
	width := z * math.Sqrt(share*(1-share)/draws+z*z/(4*draws*draws))
	scale := 1 + z*z/draws
	return max(0, (middle-width)/scale), min(1, (middle+width)/scale)
}
