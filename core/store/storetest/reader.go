package storetest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

func list(t *testing.T, s store.Store, filter store.IssueFilter) store.IssuePage {
	t.Helper()
	page, err := s.ListIssues(testContext(t), filter)
	check(t, err)
	return page
}

// pageKeys names the issues of a page, in order.
func pageKeys(page store.IssuePage) []string {
	keys := []string{}
	for _, i := range page.Issues {
		keys = append(keys, i.Issue.Key().String())
	}
	return keys
}

func wantList(t *testing.T, s store.Store, filter store.IssueFilter, want ...string) {
	t.Helper()
	equal(t, fmt.Sprintf("list by %+v", filter), pageKeys(list(t, s, filter)), append([]string{}, want...))
}

// shelf stores a handful of issues that differ in what can be asked for.
func shelf(t *testing.T, s store.Store) {
	t.Helper()
	closed := newIssue(1, 2, 20)
	closed.State = "closed"
	other := newIssue(2, 4, 40)
	other.Repository.FullName = "acme/other"
	component := classified("e4", other, 4, "feature", "high")
	component.Classification.Fields[triage.FieldComponent] = triage.Answer{Values: []string{"lexer"}}
	apply(t, s,
		classified("e1", newIssue(1, 1, 10), 1, "bug", "high"),
		classified("e2", closed, 2, "bug", "low"),
		received("e3", newIssue(1, 3, 30), 3),
		component,
		classified("e5", newIssue(1, 5, 50), 5, "bug", "low"))
	apply(t, s, correct("c5", triage.IssueKey{RepositoryID: 1, Number: 5}, 60, triage.FieldCategory, "feature"))
}

var readerTests = map[string]func(*testing.T, store.Store){
	"newest change first, without bodies": func(t *testing.T, s store.Store) {
		shelf(t, s)
		page := list(t, s, store.IssueFilter{})
		equal(t, "order", pageKeys(page), []string{"1#5", "2#4", "1#3", "1#2", "1#1"})
		equal(t, "next", page.Next, "")
		for _, got := range page.Issues {
			want := load(t, s, got.Issue.Key())
			want.Issue.Body = ""
			equal(t, "issue", got, want)
		}
	},
	"filters": func(t *testing.T, s store.Store) {
		shelf(t, s)
		wantList(t, s, store.IssueFilter{RepositoryIDs: []int64{1}}, "1#5", "1#3", "1#2", "1#1")
		wantList(t, s, store.IssueFilter{RepositoryIDs: []int64{1, 2, 3}}, "1#5", "2#4", "1#3", "1#2", "1#1")
		wantList(t, s, store.IssueFilter{RepositoryIDs: []int64{3}})
		wantList(t, s, store.IssueFilter{RepositoryIDs: []int64{}})
		wantList(t, s, store.IssueFilter{State: "open"}, "1#5", "2#4", "1#3", "1#1")
		wantList(t, s, store.IssueFilter{State: "closed"}, "1#2")
		wantList(t, s, store.IssueFilter{Category: "bug"}, "1#2", "1#1")
		wantList(t, s, store.IssueFilter{Category: "feature"}, "1#5", "2#4") // one by correction
		wantList(t, s, store.IssueFilter{Priority: "high"}, "2#4", "1#1")
		wantList(t, s, store.IssueFilter{Component: "lexer"}, "2#4")
		wantList(t, s, store.IssueFilter{Status: store.StatusReceived}, "1#3")
		wantList(t, s, store.IssueFilter{Status: store.StatusClassified}, "2#4", "1#2", "1#1")
		wantList(t, s, store.IssueFilter{Status: store.StatusCorrected}, "1#5")
		wantList(t, s, store.IssueFilter{RepositoryIDs: []int64{1}, State: "open", Category: "bug", Priority: "high", Component: "parser", Status: store.StatusClassified, Search: "body"}, "1#1")
		wantList(t, s, store.IssueFilter{Category: "Bug"})
		wantList(t, s, store.IssueFilter{Category: "bug", Priority: "urgent"})
	},
	"filters follow what changes": func(t *testing.T, s store.Store) {
		shelf(t, s)
		apply(t, s, correct("c1", triage.IssueKey{RepositoryID: 1, Number: 1}, 70, triage.FieldCategory))
		wantList(t, s, store.IssueFilter{Category: "bug"}, "1#2")
		next := classified("e6", newIssue(1, 3, 80), 6, "bug", "low")
		next.Issue.State = "closed"
		apply(t, s, next)
		wantList(t, s, store.IssueFilter{Category: "bug"}, "1#3", "1#2")
		wantList(t, s, store.IssueFilter{State: "closed"}, "1#3", "1#2")
		wantList(t, s, store.IssueFilter{Status: store.StatusReceived})
	},
	"deleted and removed are not shown": func(t *testing.T, s store.Store) {
		shelf(t, s)
		gone := partial("d1", triage.IssueKey{RepositoryID: 1, Number: 5})
		gone.Deleted = true
		apply(t, s, gone)
		wantList(t, s, store.IssueFilter{}, "2#4", "1#3", "1#2", "1#1")
		wantList(t, s, store.IssueFilter{Search: "5"})
		_, err := s.FindIssue(testContext(t), 1_000_005)
		wantError(t, err, store.ErrNotFound)
		install(t, s, store.InstallationChange{EventID: "r1", At: at(100), Removed: []int64{2}})
		wantList(t, s, store.IssueFilter{}, "1#3", "1#2", "1#1")
		wantList(t, s, store.IssueFilter{RepositoryIDs: []int64{2}})
		_, err = s.FindIssue(testContext(t), 2_000_004)
		wantError(t, err, store.ErrNotFound)
		stats, err := s.Stats(testContext(t), nil)
		check(t, err)
		equal(t, "issues", stats.Issues, int64(3))
		equal(t, "repositories", stats.Repositories, int64(1))
	},
	"one issue by GitHub's ID": func(t *testing.T, s store.Store) {
		shelf(t, s)
		state, err := s.FindIssue(testContext(t), 1_000_005)
		check(t, err)
		equal(t, "issue", state, load(t, s, triage.IssueKey{RepositoryID: 1, Number: 5}))
		_, err = s.FindIssue(testContext(t), 5)
		wantError(t, err, store.ErrNotFound)
	},
	"words in title or body": func(t *testing.T, s store.Store) {
		for number, text := range []struct{ title, body string }{
			{"Crash when parsing YAML", "It crashed in `yaml.Unmarshal` (v1.2.3), see net/http."},
			{"Größe der Fenster", "ΑΒΓ Ежедневный отчёт"},
			{"日本語のタイトル", "クラッシュする"},
			{"NEAR the OR operator", `"quoted" AND title:foo*`},
			{"Nothing", strings.Repeat("filler ", store.SearchableBytes/7+1) + "beyond"},
		} {
			issue := newIssue(1, number+1, float64(number))
			issue.Title, issue.Body = text.title, text.body
			apply(t, s, received(fmt.Sprint("e", number), issue, 1))
		}
		for search, want := range map[string][]string{
			"crash":              {"1#1"},
			"CRASH yaml":         {"1#1"},
			"crash größe":        {},
			"unmarsh":            {"1#1"}, // the beginning of a word
			"marshal":            {},      // but not its middle
			"net/http":           {"1#1"},
			"yaml.Unmarshal":     {"1#1"},
			"größe":              {"1#2"},
			"GRÖSSE":             {},
			"αβγ":                {"1#2"},
			"ежедневный":         {"1#2"},
			"日本":                 {"1#3"},
			"本語":                 {"1#3"},
			"ル":                  {"1#3"},
			"クラッシュ":              {"1#3"},
			"語本":                 {},
			"or":                 {"1#4"},
			"near":               {"1#4"},
			"NEAR OR":            {"1#4"},
			`"quoted"`:           {"1#4"},
			`"`:                  {},
			`" OR "`:             {"1#4"},
			"title:foo*":         {"1#4"},
			"foo* NOT quoted":    {}, // NOT is a word that no issue holds
			"crash\x00yaml":      {"1#1"},
			"cra\xffsh":          {},
			"'; DROP TABLE x":    {},
			"*":                  {},
			"^crash":             {"1#1"},
			"{title body}: near": {},
			"filler":             {"1#5"},
			"beyond":             {}, // past what is indexed of a body
			" \t\n":              {},
		} {
			wantList(t, s, store.IssueFilter{Search: search}, want...)
		}
	},
	"search follows the text": func(t *testing.T, s store.Store) {
		issue := newIssue(1, 1, 0)
		issue.Title = "before"
		apply(t, s, received("e1", issue, 1))
		wantList(t, s, store.IssueFilter{Search: "before"}, "1#1")
		issue = newIssue(1, 1, 10)
		issue.Title = "after"
		apply(t, s, received("e2", issue, 2))
		wantList(t, s, store.IssueFilter{Search: "before"})
		wantList(t, s, store.IssueFilter{Search: "after"}, "1#1")
		apply(t, s, correct("c", issue.Key(), 20, triage.FieldCategory, "x"))
		stale := newIssue(1, 1, 5)
		stale.Title = "stale"
		apply(t, s, received("e3", stale, 3))
		wantList(t, s, store.IssueFilter{Search: "stale"})
		wantList(t, s, store.IssueFilter{Search: "after"}, "1#1")
	},
	"pages": func(t *testing.T, s store.Store) {
		var changes []store.IssueChange
		for number := 1; number <= 45; number++ {
			// Groups of five share their time.
			changes = append(changes, classified(fmt.Sprint("e", number), newIssue(int64(1+number%2), number, float64(number/5)), int64(number), "bug", "high"))
		}
		apply(t, s, changes...)
		everything := pageKeys(list(t, s, store.IssueFilter{Limit: 200}))
		equal(t, "all", len(everything), 45)
		for _, filter := range []store.IssueFilter{{Limit: 1}, {Limit: 7}, {Limit: 44}, {Limit: 45}, {Limit: 46}, {Limit: 10, Category: "bug"}, {Limit: 10, Search: "title"}, {Limit: 9, RepositoryIDs: []int64{1, 2}}} {
			var seen []string
			pages := 0
			for {
				page := list(t, s, filter)
				seen = append(seen, pageKeys(page)...)
				if pages++; page.Next == "" {
					break
				}
				equal(t, "length", len(page.Issues), filter.Limit)
				filter.Cursor = page.Next
			}
			equal(t, fmt.Sprintf("pages of %d", filter.Limit), seen, everything)
			equal(t, "pages", pages, (45+filter.Limit-1)/filter.Limit)
		}
	},
	"pages stand still under new issues": func(t *testing.T, s store.Store) {
		var changes []store.IssueChange
		for number := 1; number <= 20; number++ {
			changes = append(changes, received(fmt.Sprint("e", number), newIssue(1, number, float64(number)), int64(number)))
		}
		apply(t, s, changes...)
		want := pageKeys(list(t, s, store.IssueFilter{}))
		filter := store.IssueFilter{Limit: 5}
		var seen []string
		for extra := 100; ; extra++ {
			page := list(t, s, filter)
			seen = append(seen, pageKeys(page)...)
			if filter.Cursor = page.Next; page.Next == "" {
				break
			}
			apply(t, s, received(fmt.Sprint("e", extra), newIssue(1, extra, float64(extra)), 1))
		}
		equal(t, "seen", seen, want)
	},
	"page sizes": func(t *testing.T, s store.Store) {
		var changes []store.IssueChange
		for number := 1; number <= 210; number++ {
			changes = append(changes, received(fmt.Sprint("e", number), newIssue(1, number, 0), int64(number)))
		}
		apply(t, s, changes...)
		for limit, want := range map[int]int{0: 50, -1: 50, 1: 1, 200: 200, 1000: 200} {
			equal(t, fmt.Sprint(limit), len(list(t, s, store.IssueFilter{Limit: limit}).Issues), want)
		}
	},
	"invalid cursors": func(t *testing.T, s store.Store) {
		shelf(t, s)
		next := list(t, s, store.IssueFilter{Limit: 1}).Next
		for _, cursor := range []string{"x", "0", next[:len(next)-1], next + "A", "Z" + next[1:], " " + next, "' OR 1=1", "\x00", strings.Repeat("A", len(next)), strings.Repeat("A", 1<<16)} {
			_, err := s.ListIssues(testContext(t), store.IssueFilter{Cursor: cursor})
			wantError(t, err, store.ErrInvalidCursor)
		}
	},
	"statistics": func(t *testing.T, s store.Store) {
		empty, err := s.Stats(testContext(t), nil)
		check(t, err)
		equal(t, "of nothing", empty, store.Stats{ByCategory: map[string]int64{}, ByPriority: map[string]int64{}})
		shelf(t, s)
		apply(t, s, correct("c6", triage.IssueKey{RepositoryID: 1, Number: 5}, 61, triage.FieldPriority, "high"))
		rows := []triage.LedgerEntry{entry(triage.LedgerWritten, 1), entry(triage.LedgerConfirmed, 1), entry(triage.LedgerRemoving, 1), entry(triage.LedgerVetoed, 1), entry(triage.LedgerIntended, 1), entry(triage.LedgerRemoved, 1)}
		for i := range rows {
			rows[i].Name = fmt.Sprint("label ", i)
		}
		other := entry(triage.LedgerWritten, 1)
		other.Issue = triage.IssueKey{RepositoryID: 2, Number: 4}
		record(t, s, append(rows, other)...)
		all, err := s.Stats(testContext(t), nil)
		check(t, err)
		equal(t, "of all", all, store.Stats{
			Issues: 5, Open: 4, Classified: 4, Corrected: 1, Corrections: 2, LabelsOnIssues: 4, Vetoes: 1, Repositories: 2,
			ByCategory: map[string]int64{"bug": 2, "feature": 2}, ByPriority: map[string]int64{"high": 3, "low": 1},
		})
		one, err := s.Stats(testContext(t), []int64{2, 9})
		check(t, err)
		equal(t, "of one", one, store.Stats{
			Issues: 1, Open: 1, Classified: 1, LabelsOnIssues: 1, Repositories: 1,
			ByCategory: map[string]int64{"feature": 1}, ByPriority: map[string]int64{"high": 1},
		})
		none, err := s.Stats(testContext(t), []int64{})
		check(t, err)
		equal(t, "of none", none, empty)
	},
}
