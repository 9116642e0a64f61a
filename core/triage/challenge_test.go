package triage

import (
	"math"
	"testing"
)

func TestDivergence(t *testing.T) {
	says := func(confidence float64, values ...string) Opinion {
		return Opinion{Values: values, Confidence: confidence}
	}
	tests := []struct {
		name string
		a, b Opinion
		want float64
	}{
		{"the same", says(0.8, "bug"), says(0.8, "bug"), 0},
		{"both certain of different things", says(1, "bug"), says(1, "feature"), 1},
		{"nobody says anything", says(0), says(0), 0},
		{"one is certain, the other silent", says(1, "bug"), says(0), 1},
		{"no values are silence", says(0), says(0.9), 0},
		// By hand: ½·0.9·log2(2) + ½·0.8·log2(2) + ½·0.1·log2(0.1/0.15) + ½·0.2·log2(0.2/0.15)
		{"different things", says(0.9, "bug"), says(0.8, "feature"), 0.45 + 0.4 + 0.05*math.Log2(2.0/3) + 0.1*math.Log2(4.0/3)},
		{"more than all", says(7, "bug"), says(math.NaN(), "feature"), 1},
	}
	for _, test := range tests {
		got, back := test.a.Divergence(test.b), test.b.Divergence(test.a)
		if math.Abs(got-test.want) > 1e-12 || math.Abs(got-back) > 1e-12 {
			t.Errorf("%s: %v, the other way round %v, not %v", test.name, got, back, test.want)
		}
	}
	// The surer both are of different things, the more there is to learn.
	if low, high := says(0.6, "bug").Divergence(says(0.6, "feature")), says(0.9, "bug").Divergence(says(0.9, "feature")); low >= high {
		t.Errorf("%v is not less than %v", low, high)
	}
	if same, other := says(0.5, "bug").Divergence(says(0.9, "bug")), says(0.5, "bug").Divergence(says(0.9, "feature")); same >= other {
		t.Errorf("%v is not less than %v", same, other)
	}
}

func TestOpinions(t *testing.T) {
	config := DefaultRepositoryConfig()
	config.Classifiers = []ClassifierChoice{{Name: "rules", Thresholds: Thresholds{FieldTags: 0.9}}}
	made := Classification{Fields: map[Field]Answer{
		FieldTags:     {Values: []string{"ui", "api", "ui"}, Confidence: 0.8, Plugin: "rules"},
		FieldCategory: {Values: []string{"bug"}, Confidence: 0.45, Plugin: "rules"},
	}}
	tags, category, silent := OpinionOf(made, FieldTags, config), OpinionOf(made, FieldCategory, config), OpinionOf(made, FieldPriority, config)
	if tags.Sure || len(tags.Values) != 2 || tags.Values[0] != "api" || tags.Decides() != nil {
		t.Errorf("tags: %+v", tags)
	}
	if !category.Sure || !category.Agrees(Opinion{Values: []string{"bug"}, Sure: true}) || category.Agrees(silent) {
		t.Errorf("category: %+v", category)
	}
	if !tags.Agrees(silent) || silent.Values == nil {
		t.Errorf("who is not sure writes nothing, as one who is silent: %+v", silent)
	}
}

// TestWilsonInterval holds it to the figures of Newcombe, Two-sided confidence intervals
// for the single proportion (1998), table I.
func TestWilsonInterval(t *testing.T) {
	for _, test := range []struct {
		k, n      int
		low, high float64
	}{{81, 263, 0.2553, 0.3662}, {15, 148, 0.0624, 0.1605}, {0, 20, 0, 0.1611}, {1, 29, 0.0061, 0.1718}, {0, 0, 0, 1}} {
		if low, high := WilsonInterval(test.k, test.n); math.Abs(low-test.low) > 5e-5 || math.Abs(high-test.high) > 5e-5 {
			t.Errorf("%d of %d: %.4f to %.4f", test.k, test.n, low, high)
		}
	}
}
