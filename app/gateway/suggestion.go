package gateway

import (
	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

// openSuggestions are the suggestions for the issue that people may still answer. What a
// person has said of the field, here or on GitHub, is an answer already, though
// the label worker may not have heard of it yet.
func openSuggestions(s store.IssueState, suggestions []store.Suggestion) []store.Suggestion {
	left := []store.Suggestion{}
	said := s.Effective()
	for _, g := range suggestions {
		answered := said != nil && said.Fields[g.Field].Source == triage.SourceHuman
		if g.State.Open() && !answered && !s.Issue.HasLabel(g.Name) {
			left = append(left, g)
		}
	}
	return left
}
