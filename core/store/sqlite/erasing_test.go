package sqlite

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

// notErased are the tables that an erased repository leaves rows in, and why.
func notErased() map[string]string {
	return map[string]string{
		"repositories":        "a row of numbers and times stays, so that late events bring nothing back",
		"installations":       "the same; erased as a subject of their own",
		"installation_leases": "of the installation, and erased with it",
		"owner_files":         "the same",
		"deliveries":          "GitHub's own log of what it sent: numbers, names of events and times; forgotten by age",
		"delivery_hours":      "counts",
		"delivery_sweep":      "how far GitHub's log was read",
		"leases":              "names of processes",
		"erasures":            "the log itself: numbers, times and counts",
		"plugin_usage":        "sums of tokens and money by day, which must add up to what was paid",
		"plugin_forgets":      "a note until the plugin was told",
		"goose_db_version":    "the schema's version",
		"sqlite_sequence":     "SQLite's own",
		"issue_search":        "counted through its companions",
		"issue_search_data":   "the search index: looked at by its bytes", "issue_search_idx": "the same",
		"issue_search_docsize": "the same", "issue_search_config": "the same",
	}
}

const secretWord = "zzyxquartzomancy"

// populate stores two issues of the repository with a row in every table, and
// deletes one of them.
func populate(t *testing.T, s *Store, repositoryID int64) {
	t.Helper()
	ctx := t.Context()
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	at := time.Now().UTC().Add(-time.Hour)
	name := fmt.Sprintf("acme/%s-%d", secretWord, repositoryID)
	ok(s.ApplyInstallation(ctx, store.InstallationChange{
		EventID: fmt.Sprintf("installed-%d", repositoryID), At: at,
		Installation: &triage.Installation{ID: repositoryID * 10, Account: secretWord, UpdatedAt: at},
		Upserted:     []triage.Repository{{ID: repositoryID, FullName: name}},
	}))
	ok(s.SaveRepositoryLabels(ctx, repositoryID, []triage.RepositoryLabel{{Name: "bug", Description: secretWord}}, at))
	ok(s.SaveVocabulary(ctx, store.Vocabulary{RepositoryID: repositoryID, Model: "m", Version: 1, Issues: 2, Terms: []byte(secretWord)}))
	jobs, err := s.ClaimConfigurations(ctx, store.ConfigurationClaim{Owner: "test", Now: time.Now(), LeaseFor: time.Minute, Limit: 10})
	ok(err)
	for _, j := range jobs {
		ok(s.SaveConfiguration(ctx, store.ConfigurationResult{
			RepositoryID: j.Repository.ID, Owner: j.Owner, Marks: j.Marks, Configuration: &store.Configuration{Config: triage.DefaultRepositoryConfig(), Reacting: []string{secretWord}},
			Report: store.ConfigurationReport{CheckedAt: at}, NextDue: time.Now().Add(time.Hour), Because: store.DuePeriodic,
		}))
	}
	_, err = s.AdoptRepositories(ctx, at)
	ok(err)
	ok(s.StartBackfill(ctx, store.Backfill{Repository: triage.Repository{ID: repositoryID}, RequestID: "r", State: "open", AskedBy: secretWord, Status: store.BackfillRunning}))
	for number := 1; number <= 2; number++ {
		change := store.IssueChange{
			EventID: fmt.Sprintf("opened-%d-%d", repositoryID, number), EventType: triage.Classified, ReceivedAt: at,
			Issue: triage.Issue{
				ID: repositoryID*100 + int64(number), Repository: triage.Repository{ID: repositoryID, InstallationID: repositoryID * 10, FullName: name},
				Number: number, Title: "About " + secretWord, Body: strings.Repeat(secretWord+" and others ", 300), State: "open",
				Author: triage.Actor{Login: secretWord}, CreatedAt: at, UpdatedAt: at,
			},
			Classification: &triage.Classification{DeliveryID: "d", Fields: map[triage.Field]triage.Answer{triage.FieldCategory: {Values: []string{"bug"}}}, Reasoning: secretWord, ClassifiedAt: at},
			Embedding:      &store.Embedding{Model: "m", Vector: []float32{1, 2}},
		}
		again := change
		again.EventID += "-again"
		again.Directives = triage.Directives{Replies: secretWord}
		again.Corrections = []triage.Correction{{Field: triage.FieldCategory, New: []string{"feature"}, Actor: secretWord, Reason: secretWord, Source: triage.FromDashboard}}
		_, err := s.ApplyIssues(ctx, []store.IssueChange{change, again})
		ok(err)
		key := change.Issue.Key()
		ok(s.RecordLedger(ctx, []triage.LedgerEntry{{Issue: key, DesiredLabel: triage.DesiredLabel{Name: "bug", EventID: "d"}, State: triage.LedgerIntended, UpdatedAt: at}}))
		ok(s.RecordLedger(ctx, []triage.LedgerEntry{{Issue: key, DesiredLabel: triage.DesiredLabel{Name: "bug", EventID: "d"}, State: triage.LedgerVetoed, Actor: secretWord, UpdatedAt: at.Add(time.Second)}}))
		ok(s.RecordSuggestions(ctx, []store.Suggestion{{
			Issue: key, SuggestedLabel: store.SuggestedLabel{DesiredLabel: triage.DesiredLabel{Name: "bug", EventID: "d"}, Reason: secretWord},
			State: store.SuggestionShown, CreatedAt: at, UpdatedAt: at,
		}}))
		ok(s.RecordIssueType(ctx, store.TypedIssue{Issue: key, Type: secretWord, EventID: "d", State: store.TypingWritten, At: at}))
		ok(s.SaveInfoRequest(ctx, store.InfoRequest{Issue: key, State: store.RequestWritten, CommentID: 1, Text: secretWord, UpdatedAt: at}))
		ok(s.SaveDesired(ctx, []store.Desired{{Issue: key, InstallationID: repositoryID * 10, Revision: 2, ReceivedAt: at}}))
		says := triage.Opinion{Values: []string{secretWord}, Confidence: 1, Sure: true}
		ok(s.RecordComparisons(ctx, []store.Comparison{{Issue: key, Challenger: "other", At: at, Fields: map[triage.Field]store.Contrast{triage.FieldCategory: {Challenger: says}}}}))
		if number == 2 {
			gone := change
			gone.EventID, gone.Classification, gone.Deleted = change.EventID+"-deleted", nil, true
			_, err := s.ApplyIssues(ctx, []store.IssueChange{gone})
			ok(err)
		}
	}
}

func tables(t *testing.T, s *Store) []string {
	t.Helper()
	rows, err := s.reader.query(t.Context(), `SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name`)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	if err := scanAll(rows, func() error {
		var name string
		err := rows.Scan(&name)
		names = append(names, name)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return names
}

// rowsOf counts a table's rows of a repository.
func rowsOf(t *testing.T, s *Store, table string, repositoryID int64) (n int) {
	t.Helper()
	condition := `repository_id = ?`
	switch {
	case table == "issue_search_docsize":
		condition = `id IN (SELECT id FROM issues WHERE repository_id = ?)`
	case slices.Contains(append(issueTables(), "deleted_issues"), table):
		condition = `issue_id IN (SELECT id FROM issues WHERE repository_id = ?)`
	}
	rows, err := s.reader.db.QueryContext(t.Context(), `SELECT count(*) FROM `+table+` WHERE `+condition, repositoryID)
	if err != nil {
		t.Fatalf("table %s: %v", table, err)
	}
	if err := scanOne(rows, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

func count(t *testing.T, s *Store, table string) (n int) {
	t.Helper()
	rows, err := s.reader.db.QueryContext(t.Context(), `SELECT count(*) FROM `+table)
	if err != nil {
		t.Fatal(err)
	}
	if err := scanOne(rows, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

func eraseAll(t *testing.T, s *Store, steps int) {
	t.Helper()
	ctx := t.Context()
	for {
		due, err := s.Removals(ctx, time.Now().Add(time.Hour), 10)
		if err != nil {
			t.Fatal(err)
		}
		if len(due) == 0 {
			return
		}
		for _, r := range due {
			e, err := s.BeginErasure(ctx, r, time.Now().Add(time.Hour), time.Now(), []string{"learner"})
			if err != nil {
				t.Fatal(err)
			}
			more := true
			for taken := 0; more; taken++ {
				if taken == steps {
					t.Fatalf("%+v is not erased after %d steps", r, steps)
				}
				if more, err = s.EraseSome(ctx, e.ID, 1); err != nil {
					t.Fatal(err)
				}
			}
			if e, err = s.FinishErasure(ctx, e.ID, time.Now()); err != nil || e.Outcome != store.Erased {
				t.Fatalf("%+v, %v", e, err)
			}
		}
	}
}

// TestEveryTableIsErased fails when a table is added whose rows an erasure
// leaves behind: it must be among those that are erased (issueTables,
// repositoryTables), filled by this test, or kept for a reason given here.
func TestEveryTableIsErased(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	s := openStore(t, Options{Path: path})
	populate(t, s, 1)
	populate(t, s, 2)
	erased := append(issueTables(), "issues", "deleted_issues", "applied_events")
	for _, table := range repositoryTables() {
		erased = append(erased, table.name)
	}
	before := make(map[string]int)
	for _, table := range tables(t, s) {
		switch _, kept := notErased()[table]; {
		case slices.Contains(erased, table):
			if before[table] = rowsOf(t, s, table, 1); before[table] == 0 && table != "issue_embeddings" {
				t.Errorf("table %s has no row of the repository: this test must fill it", table)
			}
		case !kept:
			t.Errorf("table %s is neither erased with a repository nor known to be kept", table)
		}
	}
	others := make(map[string]int)
	for table := range before {
		others[table] = rowsOf(t, s, table, 2)
	}
	if n := rowsOf(t, s, "issue_search_docsize", 1); n != 1 {
		t.Errorf("%d issues of the repository can be found by their words, want 1", n)
	}

	if err := s.ApplyInstallation(t.Context(), store.InstallationChange{EventID: "gone", At: time.Now(), Removed: []int64{1}}); err != nil {
		t.Fatal(err)
	}
	removals, err := s.Removals(t.Context(), time.Now().Add(time.Hour), 10)
	if err != nil || len(removals) != 2 || removals[1].Subject != store.SubjectRepository || removals[0].Subject != store.SubjectIssue {
		t.Fatalf("removals: %+v, %v; want the deleted issue of the other repository, and the repository", removals, err)
	}
	e, err := s.BeginErasure(t.Context(), removals[1], time.Now().Add(time.Hour), time.Now(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for more := true; more; {
		if more, err = s.EraseSome(t.Context(), e.ID, 1); err != nil {
			t.Fatal(err)
		}
	}
	for table, n := range before {
		if left := rowsOf(t, s, table, 1); left != 0 {
			t.Errorf("table %s: %d of %d rows are left", table, left, n)
		}
		if now := rowsOf(t, s, table, 2); now != others[table] {
			t.Errorf("table %s: another repository had %d rows and has %d", table, others[table], now)
		}
	}
	if n := count(t, s, "issue_search_docsize"); n != 1 {
		t.Errorf("%d issues can be found by their words, want the other repository's one", n)
	}
	if e, err = s.FinishErasure(t.Context(), e.ID, time.Now()); err != nil {
		t.Fatal(err)
	}
	for table, n := range before {
		if table != "issue_embeddings" && e.Rows[table] != int64(n) {
			t.Errorf("the log counts %d rows of %s, want %d", e.Rows[table], table, n)
		}
	}
}

// TestErasedTextIsOverwritten: when everything that holds a word is erased, the
// files hold it no more, neither in rows nor in the search index.
func TestErasedTextIsOverwritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	s := openStore(t, Options{Path: path})
	populate(t, s, 1)
	// An issue that stays, so that the index is not just empty.
	populate(t, s, 2)
	if _, err := s.ApplyIssues(t.Context(), []store.IssueChange{{
		EventID: "plain", ReceivedAt: time.Now(), Issue: triage.Issue{ID: 7, Number: 1, Title: "plainword", UpdatedAt: time.Now(), Repository: triage.Repository{ID: 3, FullName: "acme/plain"}},
	}}); err != nil {
		t.Fatal(err)
	}
	for id := int64(1); id <= 2; id++ {
		if err := s.ApplyInstallation(t.Context(), store.InstallationChange{
			EventID: fmt.Sprintf("gone-%d", id), At: time.Now(), Installation: &triage.Installation{ID: id * 10, Removed: true, UpdatedAt: time.Now()},
		}); err != nil {
			t.Fatal(err)
		}
	}
	eraseAll(t, s, 200)
	page, err := s.ListIssues(t.Context(), store.IssueFilter{Search: "plainword"})
	if err != nil || len(page.Issues) != 1 {
		t.Errorf("the issue that stays is not found: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// Words share their beginnings in the index, so the word's end is looked for.
	for _, text := range []string{secretWord, secretWord[4:]} {
		if n := bytes.Count(content, []byte(text)); n != 0 {
			t.Errorf("the file still holds %q %d times", text, n)
		}
	}
	if !bytes.Contains(content, []byte("plainword")) {
		t.Error("the file does not hold what stays: this search proves nothing")
	}
}

// TestErasingAndReturning: a repository that is added again within the grace
// period, at its end or in the middle of its erasure is never half erased unseen.
func TestErasingAndReturning(t *testing.T) {
	s := openStore(t, Options{})
	ctx := t.Context()
	populate(t, s, 1)
	removed := time.Now()
	remove := func(event string, at time.Time) {
		t.Helper()
		if err := s.ApplyInstallation(ctx, store.InstallationChange{EventID: event, At: at, Removed: []int64{1}}); err != nil {
			t.Fatal(err)
		}
	}
	add := func(event string, at time.Time) {
		t.Helper()
		if err := s.ApplyInstallation(ctx, store.InstallationChange{EventID: event, At: at, Upserted: []triage.Repository{{ID: 1, InstallationID: 11, FullName: "acme/back"}}}); err != nil {
			t.Fatal(err)
		}
	}
	repository := func(before time.Time) (store.Removal, bool) {
		t.Helper()
		list, err := s.Removals(ctx, before, 10)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range list {
			if r.Subject == store.SubjectRepository {
				return r, true
			}
		}
		return store.Removal{}, false
	}
	remove("r1", removed)
	if _, due := repository(removed.Add(-time.Second)); due {
		t.Error("it is due before the grace period is over")
	}
	r, due := repository(removed.Add(time.Second))
	if !due {
		t.Fatal("it is not due after the grace period")
	}
	remove("r1 again", removed.Add(time.Hour))
	if again, _ := repository(removed.Add(2 * time.Hour)); !again.RemovedAt.Equal(r.RemovedAt) {
		t.Errorf("a second removal moves its date from %s to %s", r.RemovedAt, again.RemovedAt)
	}
	// It comes back between the look and the erasure.
	add("a1", removed.Add(2*time.Hour))
	if _, err := s.BeginErasure(ctx, r, removed.Add(time.Minute), time.Now(), nil); !strings.Contains(fmt.Sprint(err), store.ErrConflict.Error()) {
		t.Fatalf("erasing what came back: %v", err)
	}
	if n := rowsOf(t, s, "issues", 1); n != 2 {
		t.Fatalf("%d issues, want 2", n)
	}
	// It comes back in the middle.
	remove("r2", removed.Add(3*time.Hour))
	r, _ = repository(removed.Add(4 * time.Hour))
	e, err := s.BeginErasure(ctx, r, removed.Add(4*time.Hour), time.Now(), []string{"learner"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.BeginErasure(ctx, r, removed.Add(4*time.Hour), time.Now(), nil); err == nil {
		t.Fatal("the same is erased twice at once")
	}
	if more, err := s.EraseSome(ctx, e.ID, 1); err != nil || !more {
		t.Fatalf("more %v, %v", more, err)
	}
	late := store.IssueChange{EventID: "late", ReceivedAt: time.Now(), Issue: triage.Issue{ID: 9, Number: 9, Title: "late", UpdatedAt: time.Now(), Repository: triage.Repository{ID: 1, FullName: "acme/old"}}}
	if states, err := s.ApplyIssues(ctx, []store.IssueChange{late}); err != nil || states[0].Revision != 0 {
		t.Fatalf("a late event of what is being erased: %+v, %v", states, err)
	}
	add("a2", removed.Add(5*time.Hour))
	if more, err := s.EraseSome(ctx, e.ID, 1); err != nil || more {
		t.Fatalf("erasing goes on though it came back: %v, %v", more, err)
	}
	if e, err = s.FinishErasure(ctx, e.ID, time.Now()); err != nil || e.Outcome != store.Returned || e.Rows["issues"] != 1 {
		t.Fatalf("%+v, %v", e, err)
	}
	if n := rowsOf(t, s, "issues", 1); n != 1 {
		t.Errorf("%d issues, want the one that was not erased yet", n)
	}
	if forgets, err := s.Forgets(ctx); err != nil || len(forgets) != 0 {
		t.Errorf("plugins are still to forget what came back: %v, %v", forgets, err)
	}
	states, err := s.LoadRepositories(ctx, []int64{1})
	if got := states[1]; err != nil || got.Erased || got.Repository.Removed || got.Repository.FullName != "acme/back" || got.Repository.InstallationID != 11 {
		t.Errorf("repository %+v, %v", got, err)
	}
	if states, err := s.ApplyIssues(ctx, []store.IssueChange{late}); err != nil || states[0].Revision != 1 {
		t.Errorf("an event of what came back: %+v, %v", states, err)
	}
}

// TestErasedIssueStaysDeleted: of a deleted issue nothing but its numbers is
// left, and no late event writes it again.
func TestErasedIssueStaysDeleted(t *testing.T) {
	s := openStore(t, Options{})
	ctx := t.Context()
	populate(t, s, 1)
	eraseAll(t, s, 10)
	key := triage.IssueKey{RepositoryID: 1, Number: 2}
	late := store.IssueChange{EventID: "late", ReceivedAt: time.Now(), Issue: triage.Issue{
		ID: 102, Number: 2, Title: "late", Body: "late", UpdatedAt: time.Now().Add(time.Hour), Repository: triage.Repository{ID: 1, FullName: "acme/one"},
	}}
	if states, err := s.ApplyIssues(ctx, []store.IssueChange{late}); err != nil || states[0].Revision != 0 {
		t.Fatalf("%+v, %v", states, err)
	}
	states, err := s.LoadIssues(ctx, []triage.IssueKey{key})
	got := states[key]
	if err != nil || !got.Deleted || got.Issue.Title+got.Issue.Body+got.Issue.Author.Login != "" || got.Classification != nil || len(got.Corrections) != 0 {
		t.Errorf("%+v, %v", got, err)
	}
	for _, table := range []string{"issue_classifications", "label_ledger", "label_ledger_history", "desired_labels"} {
		if n := rowsOf(t, s, table, 1); n != 1 && table != "label_ledger_history" {
			t.Errorf("table %s: %d rows, want those of the other issue", table, n)
		}
	}
}
