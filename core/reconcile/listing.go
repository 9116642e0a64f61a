package reconcile

import (
	"time"

	"github.com/dispatchai/dispatchai/core/github"
)

// listing walks through a repository's issues in the order of their last change.
// It asks for what changed since the last one it saw rather than for the next
// page, because an issue that changes moves to the end and everything behind it
// to an earlier page, where it would be skipped.
//
// Only more than a page of issues that changed within one second need pages. Those
// are gone through until a whole round shows nothing new.
type listing struct {
	from time.Time
	page int
	seen map[int]time.Time // since from, by number; when they changed
	news bool              // in the round under way
}

func newListing(from time.Time) *listing {
	return &listing{from: from, page: 1, seen: make(map[int]time.Time)}
}

// take gives those of the page that were not on an earlier one as they are.
func (l *listing) take(list github.IssueList) []github.ListedIssue {
	var fresh []github.ListedIssue
	for _, listed := range list.Issues {
		i := listed.Issue
		if at, ok := l.seen[i.Number]; !ok || !at.Equal(i.UpdatedAt) {
			fresh = append(fresh, listed)
			l.seen[i.Number] = i.UpdatedAt
			l.news = true
		}
	}
	return fresh
}

// next goes on from the page, and tells whether there is more.
func (l *listing) next(list github.IssueList) bool {
	last := l.from
	if n := len(list.Issues); n > 0 {
		last = list.Issues[n-1].Issue.UpdatedAt
	}
	passed := !list.Full || last.After(l.from)
	switch {
	case !passed:
		l.page++
		return true
	case l.page > 1 && l.news:
		l.page, l.news = 1, false
		return true
	case !list.Full:
		return false
	}
	for number, at := range l.seen {
		if at.Before(last) {
			delete(l.seen, number)
		}
	}
	l.from, l.page, l.news = last, 1, false
	return true
}
