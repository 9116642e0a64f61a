package store

import (
	"fmt"
	"strconv"
	"time"

	"github.com/dispatchai/dispatchai/core/triage"
)

// GapReport is the proof that nothing is missing, or what is.
type GapReport struct {
	Since time.Time `json:"since"`
	// SweptAt is when GitHub's log of deliveries was last read to the end, nil before the
	// first time; SweptUntil is how far, by GitHub's clock.
	SweptAt    *time.Time `json:"swept_at"`
	SweptUntil *time.Time `json:"swept_until"`
	// DirectoryAt is when installations and repositories were last compared with GitHub's.
	DirectoryAt *time.Time     `json:"directory_at"`
	Deliveries  DeliveryCounts `json:"deliveries"`
	// Open are the oldest deliveries that are missing or given up, at most MaxOpenShown.
	Open         []MissingDelivery `json:"open"`
	Repositories []RepositoryGaps  `json:"repositories"`
}

// MaxOpenShown bounds GapReport.Open.
const MaxOpenShown = 50

// DeliveryCounts counts the deliveries that GitHub made since a time.
type DeliveryCounts struct {
	// Made are all of them, Ignored those of events that nobody is to hear of.
	Made    int64 `json:"made"`
	Ignored int64 `json:"ignored"`
	// Held left their trace; Waiting were accepted and wait in the event log.
	Held    int64 `json:"held"`
	Waiting int64 `json:"waiting"`
	// Failed did not arrive at first, or left no trace; Missing are those of them that are still missing.
	Failed  int64 `json:"failed"`
	Missing int64 `json:"missing"`
	// Redelivered counts how often GitHub was asked for another attempt, Healed the
	// failed ones that are held by now.
	Redelivered int64 `json:"redelivered"`
	Healed      int64 `json:"healed"`
	// GivenUp could not be had again; Covered are those of them whose news was read from GitHub since.
	GivenUp int64 `json:"given_up"`
	Covered int64 `json:"covered"`
}

// RepositoryGaps is what comparing a repository with GitHub has found.
type RepositoryGaps struct {
	ID       int64  `json:"id"`
	FullName string `json:"full_name"`
	// ReconciledAt is nil before the first time.
	ReconciledAt *time.Time `json:"reconciled_at"`
	ComparedTo   time.Time  `json:"compared_to"` // everything changed before was compared
	Listed       int64      `json:"listed"`
	Missing      int64      `json:"missing"` // issues that were not known
	Changed      int64      `json:"changed"` // issues of which a change was not known
	FoundAt      *time.Time `json:"found_at"`
	Error        string     `json:"error"`
	// Backfill is the last one, nil when nobody asked for any.
	Backfill *BackfillReport `json:"backfill"`
}

// BackfillReport is a Backfill as people see it.
type BackfillReport struct {
	State      string         `json:"state"`
	Status     BackfillStatus `json:"status"`
	AskedBy    string         `json:"asked_by"`
	AskedAt    time.Time      `json:"asked_at"`
	Total      int64          `json:"total"`
	Listed     int64          `json:"listed"`
	Enqueued   int64          `json:"enqueued"`
	Unchanged  int64          `json:"unchanged"`
	UpdatedAt  time.Time      `json:"updated_at"`
	FinishedAt *time.Time     `json:"finished_at"`
	Error      string         `json:"error"`
}

// Gapless tells that the log of deliveries was read and nothing it tells of is
// missing: what failed was had again, or its news was read from GitHub.
func (r GapReport) Gapless() bool {
	return r.SweptAt != nil && r.Deliveries.Missing == 0 && r.Deliveries.GivenUp == r.Deliveries.Covered
}

// Summary says in a sentence or two what the report comes to, as of now.
func (r GapReport) Summary(now time.Time) string {
	if r.SweptAt == nil {
		return "GitHub's log of deliveries has not been read yet."
	}
	d := r.Deliveries
	span := spanText(now.Sub(r.Since))
	open := d.GivenUp - d.Covered
	var s string
	switch {
	case d.Missing == 0 && open == 0 && d.Made == 0:
		s = fmt.Sprintf("No gaps in the last %s: GitHub made no deliveries.", span)
	case d.Missing == 0 && open == 0:
		s = fmt.Sprintf("No gaps in the last %s: GitHub made %s.", span, countText(d.Made, "delivery", "deliveries"))
	case d.Missing > 0:
		s = fmt.Sprintf("%s of the last %s %s missing; GitHub is asked for %s again.", countText(d.Missing, "delivery", "deliveries"), span, one(d.Missing, "is", "are"), one(d.Missing, "it", "them"))
	default:
		s = fmt.Sprintf("%s of the last %s could not be had again, and %s not been compared with GitHub since.",
			countText(open, "delivery", "deliveries"), span, one(open, "its repository has", "their repositories have"))
	}
	if d.Healed > 0 {
		s += fmt.Sprintf(" %s failed at first and %s held now.", groupDigits(d.Healed), one(d.Healed, "is", "are"))
	}
	if d.Covered > 0 {
		s += fmt.Sprintf(" %s could not be had again; what %s told of issues was read from GitHub instead.", groupDigits(d.Covered), one(d.Covered, "it", "they"))
	}
	if d.Waiting > 0 {
		s += fmt.Sprintf(" %s in the event log.", one(d.Waiting, "1 waits", groupDigits(d.Waiting)+" wait"))
	}
	return s
}

func one(n int64, single, several string) string {
	if n == 1 {
		return single
	}
	return several
}

func countText(n int64, single, several string) string {
	return groupDigits(n) + " " + one(n, single, several)
}

func groupDigits(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// spanText names a span in whole days where it is of days, in hours otherwise.
func spanText(d time.Duration) string {
	hours := int64(d.Round(time.Hour) / time.Hour)
	if hours >= 48 && hours%24 == 0 {
		return fmt.Sprintf("%d days", hours/24)
	}
	return countText(max(1, hours), "hour", "hours")
}

// Report is the backfill as people see it.
func (b Backfill) Report() BackfillReport {
	return BackfillReport{
		State: b.State, Status: b.Status, AskedBy: b.AskedBy, AskedAt: b.AskedAt, Total: b.Total, Listed: b.Listed,
		Enqueued: b.Enqueued, Unchanged: b.Unchanged, UpdatedAt: b.UpdatedAt, FinishedAt: OptionalTime(b.FinishedAt), Error: b.Error,
	}
}

// OptionalTime is nil for the zero time, for JSON.
func OptionalTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// Listed is an issue as GitHub lists it, compared with what is stored.
type Listed int

// What comparing an issue finds. Touched: only its time of change is newer, as
// after a comment, or it differs though its time is the same: GitHub tells whole
// seconds and does not order deliveries, so of two changes within one the earlier may have been
// heard of last.
const (
	ListedSame Listed = iota
	ListedTouched
	ListedChanged
	ListedMissing
)

// Compare tells what GitHub's list says of an issue that the state does not
// hold. The zero state stands for an issue that is not known. What is older
// than the state says nothing.
func (s IssueState) Compare(listed triage.Issue) Listed {
	if s.Revision == 0 {
		return ListedMissing
	}
	if s.Deleted || listed.UpdatedAt.Before(s.Issue.UpdatedAt) {
		return ListedSame
	}
	held, listed := s.Issue, cleanIssue(listed)
	newer := listed.UpdatedAt.After(held.UpdatedAt)
	differs := held.Title != listed.Title || held.Body != listed.Body || held.State != listed.State || !sameLabels(held.Labels, listed.Labels)
	switch {
	case differs && newer:
		return ListedChanged
	case differs || newer:
		return ListedTouched
	}
	return ListedSame
}

func sameLabels(a, b []string) bool {
	return len(LabelsAdded(a, b)) == 0 && len(LabelsAdded(b, a)) == 0
}

// LabelsAdded lists the labels of the second list that the first one lacks, as
// GitHub compares them.
func LabelsAdded(before, after []string) []string {
	had := make(map[string]bool, len(before))
	for _, l := range before {
		had[LabelKey(l)] = true
	}
	var added []string
	for _, l := range after {
		if !had[LabelKey(l)] {
			added = append(added, l)
		}
	}
	return added
}
