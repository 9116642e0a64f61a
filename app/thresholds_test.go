package app_test

import (
	"context"
	"testing"

	"github.com/dispatchai/dispatchai/app/simulate"
	"github.com/dispatchai/dispatchai/core/triage"
	"github.com/dispatchai/dispatchai/plugins/rules"
	"github.com/dispatchai/dispatchai/plugins/sdk"
)

// TestThresholds: with the default thresholds, what the rules classifier would
// have labelled on the demo's issues is mostly what a careful maintainer chose.
func TestThresholds(t *testing.T) {
	t.Parallel()
	corpus, err := simulate.Corpus()
	if err != nil {
		t.Fatal(err)
	}
	classifier := rules.New()
	type count struct{ labelled, right, expected int }
	counts := map[triage.Field]*count{triage.FieldCategory: {}, triage.FieldComponent: {}}
	for _, r := range corpus {
		labels := make([]triage.RepositoryLabel, len(r.Labels))
		for i, l := range r.Labels {
			labels[i] = triage.RepositoryLabel{Name: l.Name, Description: l.Description}
		}
		taxonomy := triage.NewTaxonomy(labels)
		repository := &sdk.Repository{ID: 1, FullName: r.FullName(), Options: map[sdk.Field][]sdk.Option{}}
		for f, options := range taxonomy.AllOptions() {
			for _, o := range options {
				repository.Options[sdk.Field(f)] = append(repository.Options[sdk.Field(f)], sdk.Option{Value: o.Value, Label: o.Label, Description: o.Description})
			}
		}
		for n, issue := range r.Issues {
			result, err := classifier.Classify(context.Background(), sdk.Request{Repository: repository, Issue: sdk.Issue{Title: issue.Title, Body: issue.Body}})
			if err != nil {
				t.Fatal(err)
			}
			for field, want := range map[triage.Field]string{triage.FieldCategory: issue.Expected.Category, triage.FieldComponent: issue.Expected.Component} {
				if want == "" {
					continue
				}
				c := counts[field]
				c.expected++
				answer, ok := result.Fields[sdk.Field(field)]
				if n == 0 && field == triage.FieldCategory && answer.Confidence < triage.DefaultThresholds()[field] {
					t.Errorf("%s: the issue that opens the demo would not be labelled: %+v", r.FullName(), answer)
				}
				if !ok || len(answer.Values) == 0 || answer.Confidence < triage.DefaultThresholds()[field] {
					continue
				}
				c.labelled++
				if answer.Values[0] == want {
					c.right++
				}
			}
		}
	}
	least := map[triage.Field]struct{ precision, coverage float64 }{
		triage.FieldCategory:  {0.88, 0.6},
		triage.FieldComponent: {0.78, 0.35},
	}
	for field, c := range counts {
		precision, coverage := float64(c.right)/float64(c.labelled), float64(c.labelled)/float64(c.expected)
		t.Logf("%s: %d of %d labelled, %.0f%% right", field, c.labelled, c.expected, 100*precision)
		if precision < least[field].precision || coverage < least[field].coverage {
			t.Errorf("%s: precision %.2f and coverage %.2f are below %.2f and %.2f", field, precision, coverage, least[field].precision, least[field].coverage)
		}
	}
}
