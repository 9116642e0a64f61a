package storetest

import (
	"testing"

	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

var typingTests = map[string]func(*testing.T, store.Store){
	"replaced until it is settled": func(t *testing.T, s store.Store) {
		key := triage.IssueKey{RepositoryID: 1, Number: 1}
		row := func(name string, state store.TypingState) store.TypedIssue {
			return store.TypedIssue{Issue: key, Type: name, EventID: "e", State: state, At: at(1)}
		}
		record := func(given, want store.TypedIssue) {
			t.Helper()
			check(t, s.RecordIssueType(testContext(t), given))
			found, err := s.IssueTypes(testContext(t), []triage.IssueKey{key, {RepositoryID: 1, Number: 2}})
			check(t, err)
			equal(t, "rows", found, map[triage.IssueKey]store.TypedIssue{key: want})
		}
		record(row("Bug", store.TypingIntended), row("Bug", store.TypingIntended))
		record(row("Task", store.TypingIntended), row("Task", store.TypingIntended))
		record(row("Task", store.TypingWritten), row("Task", store.TypingWritten))
		record(row("Bug", store.TypingIntended), row("Task", store.TypingWritten))
	},
	"nonsense is refused": func(t *testing.T, s store.Store) {
		for _, bad := range []store.TypedIssue{{}, {Issue: triage.IssueKey{RepositoryID: 1, Number: 1}, State: store.TypingWritten}, {Issue: triage.IssueKey{RepositoryID: 1, Number: 1}, Type: "Bug"}} {
			if err := s.RecordIssueType(testContext(t), bad); err == nil {
				t.Errorf("%+v was taken", bad)
			}
		}
	},
}
