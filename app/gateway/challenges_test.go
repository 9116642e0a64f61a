package gateway

import (
	"testing"
	"time"

	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

// TestChallenges: what challengers would have said is shown until a person has said
// what is true, and then counts for who was right.
func TestChallenges(t *testing.T) {
	s := open(t)
	s.work()
	says := func(value string, confidence float64) triage.Opinion {
		return triage.Opinion{Plugin: "rules", Values: []string{value}, Confidence: confidence, Sure: true}
	}
	if err := s.store.RecordComparisons(t.Context(), []store.Comparison{{
		Issue: triage.IssueKey{RepositoryID: 77, Number: 101}, Challenger: "openai", Version: "1.0.0", At: time.Now(),
		Fields: map[triage.Field]store.Contrast{triage.FieldCategory: {Champion: says("bug", 0.9), Challenger: says("feature", 0.8)}},
	}}); err != nil {
		t.Fatal(err)
	}
	type answered struct {
		Scores []struct {
			Repository       string     `json:"repository"`
			Judged           int        `json:"judged"`
			ChallengerRight  int        `json:"challenger_right"`
			ChampionInterval [2]float64 `json:"champion_interval"`
		} `json:"scores"`
		Disagreements []store.Disagreement `json:"disagreements"`
	}
	get := func(query string) (got answered) {
		t.Helper()
		s.expect(200, "GET", "/api/challenges"+query, "").decode(&got)
		return got
	}
	got := get("")
	if len(got.Scores) != 1 || got.Scores[0].Judged != 0 || got.Scores[0].ChampionInterval != [2]float64{0, 1} || len(got.Disagreements) != 1 {
		t.Fatalf("got %+v", got)
	}
	d := got.Disagreements[0]
	if d.IssueID != 1101 || d.Number != 101 || d.Repository != got.Scores[0].Repository || d.Says.Challenger.Values[0] != "feature" || d.Divergence < 0.5 {
		t.Errorf("the disagreement is %+v", d)
	}
	if one := get("?repository=" + d.Repository + "&limit=1"); len(one.Disagreements) != 1 || len(one.Scores) != 1 {
		t.Errorf("of its repository: %+v", one)
	}
	s.expect(200, "POST", "/api/issues/1101/correct", `{"field":"category","values":["feature"]}`)
	got = get("")
	if len(got.Disagreements) != 0 || len(got.Scores) != 1 || got.Scores[0].Judged != 1 || got.Scores[0].ChallengerRight != 1 {
		t.Errorf("after a person's word: %+v", got)
	}
}
