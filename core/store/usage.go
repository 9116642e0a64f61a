package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/dispatchai/dispatchai/core/triage"
)

// Usage is the account of what classifiers' answers cost.
type Usage interface {
	// AddUsage adds each entry to the sums of its day, repository and plugin. An
	// entry without a plugin, or with a negative number, is an error.
	AddUsage(ctx context.Context, entries []UsageEntry) error
	// Spent sums the cost of a UTC day.
	Spent(ctx context.Context, day time.Time, repositoryIDs []int64) (Spending, error)
	// UsageBetween returns the sums of the days from and to and all between them, by day,
	// repository and plugin in this order; repositoryID 0 stands for all repositories.
	UsageBetween(ctx context.Context, from, to time.Time, repositoryID int64) ([]UsageEntry, error)
}

// Spending is what answers cost on one day, in US dollars.
type Spending struct {
	Total float64
	// ByRepository has those of the repositories asked about, and ByPlugin those
	// of all plugins, that cost anything.
	ByRepository map[int64]float64
	ByPlugin     map[string]float64
}

// UsageEntry is what one plugin's answers for one repository cost on one day.
type UsageEntry struct {
	// Day is any moment of a UTC day when it is added, and its beginning when it is read.
	Day          time.Time `json:"day"`
	RepositoryID int64     `json:"repository_id"`
	Plugin       string    `json:"plugin"`
	// Answers counts the issues that were answered for, Cached those of them that were known.
	Answers int64 `json:"answers"`
	Cached  int64 `json:"cached"`
	triage.Usage
}

// Day is the beginning of the UTC day that t is in.
func Day(t time.Time) time.Time { return t.UTC().Truncate(24 * time.Hour) }

// Normalize returns the entry as it is stored.
func (e UsageEntry) Normalize() (UsageEntry, error) {
	e.Plugin = CleanText(e.Plugin)
	if e.Plugin == "" {
		return e, errors.New("usage: the plugin is not named")
	}
	if e.Answers < 0 || e.Cached < 0 || e.InputTokens < 0 || e.OutputTokens < 0 || !(e.CostUSD >= 0 && e.CostUSD <= math.MaxInt32) {
		return e, fmt.Errorf("usage of %s: %+v is not an amount", e.Plugin, e)
	}
	e.Day = Day(e.Day)
	return e, nil
}

// NanoDollars is the cost in billionths of a dollar, in which it is kept: the
// least price of a token that anybody asks is a hundred of them.
func (e UsageEntry) NanoDollars() int64 { return int64(math.Round(e.CostUSD * 1e9)) }

// Dollars is the reverse of NanoDollars.
func Dollars(nano int64) float64 { return float64(nano) / 1e9 }
