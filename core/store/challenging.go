package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/dispatchai/dispatchai/core/triage"
)

// Challenging keeps what a challenger, a classifier that is asked beside the ones that
// decide, would have said. Repositories are given as to Reader, and as there neither
// deleted issues nor removed repositories are in any result.
type Challenging interface {
	// RecordComparisons keeps one comparison for each issue and challenger, the newest
	// by its time. Those of issues that are unknown or deleted, and of removed
	// repositories, are left out.
	RecordComparisons(ctx context.Context, comparisons []Comparison) error
	// Disagreements returns fields that the two would label differently and that nobody
	// has corrected, the greatest divergence first.
	Disagreements(ctx context.Context, repositoryIDs []int64, limit int) ([]Disagreement, error)
	// ChallengeScores counts by repository's name, challenger, version (the one last compared first) and field.
	ChallengeScores(ctx context.Context, repositoryIDs []int64) ([]ChallengeScore, error)
}

// Comparison is what was decided about one issue beside what a challenger says.
type Comparison struct {
	Issue      triage.IssueKey
	Challenger string
	Version    string // of the challenger
	At         time.Time
	Fields     map[triage.Field]Contrast
}

// Contrast is what both say of one field.
type Contrast struct {
	Champion   triage.Opinion `json:"champion"`
	Challenger triage.Opinion `json:"challenger"`
}

// Disagreement is a field of an issue that two would label differently.
type Disagreement struct {
	RepositoryID int64  `json:"repository_id"`
	Repository   string `json:"repository"` // its full name
	Number       int    `json:"number"`
	IssueID      int64  `json:"issue_id"` // GitHub's
	Title        string `json:"title"`
	URL          string `json:"url"`
	Opponents
	Says       Contrast  `json:"says"`
	Divergence float64   `json:"divergence"` // see triage.Opinion
	At         time.Time `json:"compared_at"`
}

// Opponents are a challenger and the field in which it is compared with the chain.
type Opponents struct {
	Challenger string       `json:"challenger"`
	Version    string       `json:"version"` // of the challenger
	Field      triage.Field `json:"field"`
}

// ChallengeScore counts the comparisons with one version of a challenger about a field.
type ChallengeScore struct {
	RepositoryID int64  `json:"repository_id"`
	Repository   string `json:"repository"` // its full name
	Opponents
	Compared int `json:"compared"`
	Agreed   int `json:"agreed"`
	// Judged are those that a person has said something of, and the other two those
	// in which what would be labelled is just what the person said.
	Judged          int       `json:"judged"`
	ChampionRight   int       `json:"champion_right"`
	ChallengerRight int       `json:"challenger_right"`
	LastAt          time.Time `json:"compared_at"`
}

// MarshalJSON adds the 95 % intervals of how often each is right.
func (c ChallengeScore) MarshalJSON() ([]byte, error) {
	type plain ChallengeScore
	interval := func(right int) [2]float64 {
		low, high := triage.WilsonInterval(right, c.Judged)
		return [2]float64{low, high}
	}
	return json.Marshal(struct {
		plain
		ChampionInterval   [2]float64 `json:"champion_interval"`
		ChallengerInterval [2]float64 `json:"challenger_interval"`
	}{plain(c), interval(c.ChampionRight), interval(c.ChallengerRight)})
}

// Normalize returns the comparison as every store keeps it.
func (c Comparison) Normalize() (Comparison, error) {
	c.Challenger, c.Version, c.At = CleanText(c.Challenger), CleanText(c.Version), CleanTime(c.At)
	if c.Issue.RepositoryID <= 0 || c.Issue.Number <= 0 || c.At.IsZero() {
		return c, fmt.Errorf("comparison about %s at %s: not an issue at a time", c.Issue, c.At)
	}
	if c.Challenger == "" {
		return c, errors.New("comparison: the challenger is not named")
	}
	fields := make(map[triage.Field]Contrast, len(c.Fields))
	for f, pair := range c.Fields {
		if !f.Labelled() {
			return c, fmt.Errorf("comparison about %s: %q is not a field that has labels", c.Issue, f)
		}
		fields[f] = Contrast{cleanOpinion(pair.Champion), cleanOpinion(pair.Challenger)}
	}
	c.Fields = fields
	return c, nil
}

func cleanOpinion(o triage.Opinion) triage.Opinion {
	o.Plugin = CleanText(o.Plugin)
	values := make([]string, len(o.Values))
	for i, v := range o.Values {
		values[i] = CleanText(v)
	}
	o.Values = values
	if math.IsNaN(o.Confidence) {
		o.Confidence = 0
	}
	o.Confidence = min(max(o.Confidence, 0), 1)
	return o
}
