package triage

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// labelSet is a well-known project's labels, or those that matter for triage,
// with what its maintainers would have each of them mean.
type labelSet struct {
	Repository string `json:"repository"`
	Labels     []struct {
		Name        string `json:"name"`
		Description string `json:"description"`
		Means       string `json:"means"` // field=value; "" for nothing a classifier may say
	} `json:"labels"`
	// Written are the labels for the values of fields whose values are fixed; a
	// value that is not here is never written.
	Written map[string]string `json:"written"`
}

func readLabelSets(t testing.TB) []labelSet {
	t.Helper()
	paths, err := filepath.Glob("testdata/labelsets/*.json")
	if err != nil || len(paths) < 30 {
		t.Fatalf("found %d label sets, want at least 30 (%v)", len(paths), err)
	}
	sets := make([]labelSet, len(paths))
	for i, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(data, &sets[i]); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
	}
	return sets
}

func (s labelSet) labels() []RepositoryLabel {
	labels := make([]RepositoryLabel, len(s.Labels))
	for i, l := range s.Labels {
		labels[i] = RepositoryLabel{Name: l.Name, Description: l.Description}
	}
	return labels
}

func TestTaxonomyOfWellKnownProjects(t *testing.T) {
	for _, set := range readLabelSets(t) {
		t.Run(set.Repository, func(t *testing.T) {
			taxonomy := NewTaxonomy(set.labels())
			seen := make(map[string]bool)
			for _, l := range set.Labels {
				if seen[LabelKey(l.Name)] {
					t.Errorf("%q stands twice in the set", l.Name)
				}
				seen[LabelKey(l.Name)] = true
				got := ""
				if m, ok := taxonomy.Means(l.Name); ok {
					got = string(m.Field) + "=" + m.Value
				}
				if got != l.Means {
					t.Errorf("%q means %q, want %q", l.Name, got, l.Means)
				}
				field, value, _ := strings.Cut(l.Means, "=")
				if f := Field(field); f == FieldComponent || f == FieldTags {
					if !taxonomy.Allows(f, value) {
						t.Errorf("%s=%s is not offered", f, value)
					}
				}
			}
			written := make(map[string]string)
			for _, closed := range closedFields {
				for _, v := range closed.values {
					if label, ok := taxonomy.Label(closed.field, v); ok {
						written[string(closed.field)+"="+v] = label
					}
				}
			}
			for _, what := range slices.Sorted(maps.Keys(set.Written)) {
				if !seen[LabelKey(set.Written[what])] {
					t.Errorf("the label %q for %s is not in the set", set.Written[what], what)
				}
				if written[what] != set.Written[what] {
					t.Errorf("%s is written as %q, want %q", what, written[what], set.Written[what])
				}
				delete(written, what)
			}
			for what, label := range written {
				t.Errorf("%s is written as %q, want nothing", what, label)
			}
			checkTaxonomy(t, set.labels())
		})
	}
}
