package github

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/dispatchai/dispatchai/core/triage"
)

func receivedAt() time.Time { return time.Date(2026, 11, 3, 8, 1, 13, 0, time.UTC) }

func readPayload(t testing.TB, name string) []byte {
	t.Helper()
	body, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func parsePayloadFile(t testing.TB, name string) triage.Event {
	t.Helper()
	event, _, _ := strings.Cut(name, ".")
	e, err := ParseWebhook(event, "guid-1", readPayload(t, name), receivedAt())
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return e
}

func TestParseIssueOpened(t *testing.T) {
	e := parsePayloadFile(t, "issues.opened")
	repository := triage.Repository{ID: 648213377, InstallationID: 48212066, FullName: "harbour-lights/tidewatch"}
	at := time.Date(2026, 11, 3, 8, 1, 12, 0, time.UTC)
	body := e.Issue.Body
	want := triage.Event{
		ID: "guid-1", Kind: triage.KindIssue, Action: "opened", ReceivedAt: receivedAt(),
		InstallationID: 48212066, Repository: repository, Number: 812,
		Sender: triage.Actor{Login: "mairi-campbell", Type: triage.ActorUser},
		Issue: &triage.Issue{
			ID: 2700000812, Repository: repository, Number: 812,
			Title: "Tide table is a day behind after midnight — Port Ellen",
			Body:  body, State: "open",
			Author: triage.Actor{Login: "mairi-campbell", Type: triage.ActorUser}, AuthorAssociation: "CONTRIBUTOR",
			Labels: []string{"bug"}, URL: "https://github.com/harbour-lights/tidewatch/issues/812",
			CreatedAt: at, UpdatedAt: at,
		},
	}
	if !reflect.DeepEqual(e, want) {
		t.Errorf("got  %+v\nissue %+v", e, *e.Issue)
	}
	for _, part := range []string{"🌊", "\r\n\t/src/table/day.go:118", `(Raspberry Pi "4")`, "Καλημέρα, שלום, \u202eRTL"} {
		if !strings.Contains(body, part) {
			t.Errorf("the body lacks %q", part)
		}
	}
}

func TestParseWebhookKinds(t *testing.T) {
	type check func(t *testing.T, e triage.Event)
	for name, tc := range map[string]struct {
		kind  triage.Kind
		check check
	}{
		"issues.opened.null_body_ghost": {triage.KindIssue, func(t *testing.T, e triage.Event) {
			if e.Issue.Body != "" || e.Issue.Author != (triage.Actor{}) || e.Sender != (triage.Actor{}) || e.Issue.Labels == nil {
				t.Errorf("issue %+v, sender %+v", e.Issue, e.Sender)
			}
		}},
		"issues.edited": {triage.KindIssue, nil},
		"issues.closed": {triage.KindIssue, func(t *testing.T, e triage.Event) {
			if e.Issue.State != "closed" || e.Issue.ClosedAt == nil || e.Issue.ClosedAt.Day() != 4 {
				t.Errorf("issue %+v", e.Issue)
			}
		}},
		"issues.labeled": {triage.KindLabelChange, func(t *testing.T, e triage.Event) {
			if *e.Label != (triage.RepositoryLabel{Name: "area: buoys", Color: "1d76db", Description: "Readings from buoys"}) ||
				!reflect.DeepEqual(e.Issue.Labels, []string{"bug", "area: buoys"}) || e.Sender.Login != "ewan-ross" {
				t.Errorf("label %+v, labels %q, sender %+v", e.Label, e.Issue.Labels, e.Sender)
			}
		}},
		"issues.unlabeled.bot": {triage.KindLabelChange, func(t *testing.T, e triage.Event) {
			if e.Action != "unlabeled" || e.Sender.Type != triage.ActorBot {
				t.Errorf("event %+v", e)
			}
		}},
		"issues.unlabeled.gone": {triage.KindIssue, func(t *testing.T, e triage.Event) {
			if e.Label != nil || e.Action != "unlabeled" {
				t.Errorf("event %+v", e)
			}
		}},
		"issues.transferred": {triage.KindIssue, func(t *testing.T, e triage.Event) {
			if e.MovedTo.RepositoryID == 0 || e.MovedTo.Number == 0 {
				t.Errorf("it moved to %v", e.MovedTo)
			}
			if e.Number != 812 || e.Repository.ID != 648213377 {
				t.Errorf("the event is about %v, want the issue that left", e.IssueKey())
			}
		}},
		"issue_comment.created": {triage.KindComment, func(t *testing.T, e triage.Event) {
			if e.Comment.ID != 3310021 || e.Comment.Author.Login != "ewan-ross" || !strings.HasPrefix(e.Comment.Body, "Same here") || e.Issue == nil {
				t.Errorf("comment %+v", e.Comment)
			}
		}},
		"issue_comment.created.pull_request": {triage.KindPullRequest, func(t *testing.T, e triage.Event) {
			if e.Issue != nil || e.Number != 820 {
				t.Errorf("event %+v", e)
			}
		}},
		"installation.created": {triage.KindInstallation, func(t *testing.T, e triage.Event) {
			want := triage.Installation{ID: 48212066, Account: "harbour-lights", UpdatedAt: time.Date(2026, 11, 1, 10, 0, 0, 0, time.UTC)}
			if g := e.Installation.Grant; g == nil || g.Permissions["issues"] == "" {
				t.Errorf("grant %+v", g)
			}
			e.Installation.Grant = nil
			if *e.Installation != want || len(e.Added) != 2 || len(e.Removed) != 0 || !e.Added[1].Private || e.Added[1].FullName != "harbour-lights/almanac" {
				t.Errorf("installation %+v, added %+v", e.Installation, e.Added)
			}
		}},
		"installation.deleted": {triage.KindInstallation, func(t *testing.T, e triage.Event) {
			if !e.Installation.Removed || len(e.Added) != 0 || len(e.Removed) != 2 || !e.Removed[0].Removed {
				t.Errorf("installation %+v, removed %+v", e.Installation, e.Removed)
			}
		}},
		"installation.suspend": {triage.KindInstallation, func(t *testing.T, e triage.Event) {
			if !e.Installation.Suspended {
				t.Errorf("installation %+v", e.Installation)
			}
		}},
		"installation.new_permissions_accepted": {triage.KindInstallation, func(t *testing.T, e triage.Event) {
			if e.Installation.Suspended || e.Installation.UpdatedAt.Unix() != 1793613600 {
				t.Errorf("installation %+v", e.Installation)
			}
		}},
		"installation_repositories.added": {triage.KindInstallationRepositories, func(t *testing.T, e triage.Event) {
			if len(e.Added) != 1 || len(e.Removed) != 1 || e.Added[0].ID != 648213999 || e.Added[0].InstallationID != 48212066 {
				t.Errorf("added %+v, removed %+v", e.Added, e.Removed)
			}
		}},
		"label.edited": {triage.KindRepositoryLabel, func(t *testing.T, e triage.Event) {
			if e.Label.Name != "area: buoys" || e.PreviousLabel != "buoys" || e.Repository.ID != 648213377 {
				t.Errorf("label %+v, before %q", e.Label, e.PreviousLabel)
			}
		}},
		"label.deleted":      {triage.KindRepositoryLabel, nil},
		"repository.renamed": {triage.KindRepository, nil},
		"repository.deleted": {triage.KindRepository, func(t *testing.T, e triage.Event) {
			if !e.Repository.Removed || !e.Repository.Private {
				t.Errorf("repository %+v", e.Repository)
			}
		}},
		"ping": {triage.KindPing, nil},
	} {
		t.Run(name, func(t *testing.T) {
			e := parsePayloadFile(t, name)
			if e.Kind != tc.kind {
				t.Fatalf("kind %q, want %q", e.Kind, tc.kind)
			}
			if tc.check != nil {
				tc.check(t, e)
			}
		})
	}
}

func TestKey(t *testing.T) {
	for name, want := range map[string]struct {
		route Route
		key   string
	}{
		"issues.opened":                      {RouteIssues, "648213377#812"},
		"issue_comment.created.pull_request": {RouteIssues, "648213377#820"},
		"installation.created":               {RouteInstallations, "48212066"},
		"installation_repositories.added":    {RouteInstallations, "48212066"},
		"label.edited":                       {RouteInstallations, "48212066"},
		"repository.renamed":                 {RouteInstallations, "48212066"},
		"ping":                               {RouteInstallations, "0"},
	} {
		event, _, _ := strings.Cut(name, ".")
		route, key, err := Key(event, readPayload(t, name))
		if err != nil || route != want.route || key != want.key {
			t.Errorf("%s: %v, %q, %v; want %+v", name, route, key, err, want)
		}
	}
}

func TestParseWebhookRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		event, body string
		want        error
		says        string
	}{
		"unknown event":     {"star", `{}`, ErrUnknownEvent, "star"},
		"not JSON":          {EventIssues, `{"action":`, ErrNotJSON, "byte 10"},
		"empty":             {EventIssues, ``, ErrNotJSON, "byte 0"},
		"array":             {EventIssues, `[]`, ErrNotJSON, "another JSON value"},
		"trailing":          {EventIssues, `{} {}`, ErrNotJSON, "nothing more"},
		"bomb":              {EventIssues, strings.Repeat(`{"issue":`, 100_000), ErrNotJSON, "nesting"},
		"no repository":     {EventIssues, `{"issue":{"number":1}}`, ErrIncomplete, "repository.id"},
		"no number":         {EventIssues, `{"repository":{"id":1}}`, ErrIncomplete, "issue.number"},
		"number as text":    {EventIssues, `{"repository":{"id":1},"issue":{"number":"1"}}`, ErrIncomplete, "issue.number"},
		"number not whole":  {EventIssues, `{"repository":{"id":1},"issue":{"number":1.5}}`, ErrIncomplete, "issue.number"},
		"number too large":  {EventIssues, `{"repository":{"id":1},"issue":{"number":99999999999999999999}}`, ErrIncomplete, "issue.number"},
		"negative number":   {EventIssues, `{"repository":{"id":1},"issue":{"number":-1}}`, ErrIncomplete, "issue.number"},
		"issue is a list":   {EventIssues, `{"repository":{"id":1},"issue":[{"number":1}]}`, ErrIncomplete, "issue.number"},
		"no issue ID":       {EventIssues, `{"repository":{"id":1,"full_name":"a/b"},"issue":{"number":1}}`, ErrIncomplete, "issue.id"},
		"no full name":      {EventIssues, `{"repository":{"id":1},"issue":{"number":1,"id":2}}`, ErrIncomplete, "full_name"},
		"no comment":        {EventIssueComment, `{"repository":{"id":1,"full_name":"a/b"},"issue":{"number":1,"id":2}}`, ErrIncomplete, "comment.id"},
		"no installation":   {EventInstallationRepositories, `{"repositories_added":[]}`, ErrIncomplete, "GitHub App"},
		"strange label":     {EventLabel, `{"installation":7,"repository":{"id":1,"full_name":"a/b"},"label":{"name":"x"}}`, ErrIncomplete, "installation.id"},
		"no label":          {EventLabel, `{"installation":{"id":3},"repository":{"id":1,"full_name":"a/b"}}`, ErrIncomplete, "label.name"},
		"strange ping":      {EventPing, `{"installation":{"id":"x"}}`, ErrIncomplete, "installation.id"},
		"nameless in list":  {EventInstallation, `{"installation":{"id":3},"repositories":[{"id":1}]}`, ErrIncomplete, "full_name"},
		"correction, other": {EventCorrection, `{"kind":"reclassify","id":"x"}`, ErrIncomplete, "kind"},
		"correction, empty": {EventCorrection, `{"kind":"correction","id":"x","repository":{"id":1},"number":2}`, ErrIncomplete, "correction"},
		"reclassify, bad":   {EventReclassify, `{"kind":7}`, ErrNotJSON, "reclassify"},
		"reclassify, keyless": {EventReclassify, `{"kind":"reclassify","id":"x","number":2}`,
			ErrIncomplete, "repository.id"},
		"undo of nothing": {EventUndo, `{"kind":"undo","id":"x","repository":{"id":1},"number":2,"undo":{"answers":[],"actor":"m"}}`, ErrIncomplete, "undo.answers"},
		"undo by nobody":  {EventUndo, `{"kind":"undo","id":"x","repository":{"id":1},"number":2,"undo":{"answers":[{"plugin":"p","field":"tags"}]}}`, ErrIncomplete, "undo.actor"},
		"undo of no label": {EventUndo, `{"kind":"undo","id":"x","repository":{"id":1},"number":2,"undo":{"answers":[{"plugin":"p","field":"summary"}],"actor":"m"}}`,
			ErrIncomplete, "summary"},
		"undo of too much": {EventUndo, `{"kind":"undo","id":"x","repository":{"id":1},"number":2,"undo":{"actor":"m","answers":[` + strings.Repeat("{},", 100) + `{}]}}`, ErrIncomplete, "101 answers"},
	} {
		_, err := ParseWebhook(tc.event, "guid", []byte(tc.body), receivedAt())
		if !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: %v; want %v that says %q", name, err, tc.want, tc.says)
		}
	}
}

func TestParseWebhookTolerates(t *testing.T) {
	title := strings.Repeat("🌊", 250)
	long := strings.Repeat("x", 65_536)
	body, err := json.Marshal(map[string]any{
		"action": "some_new_action", "unknown": map[string]any{"deep": []any{1, map[string]any{"x": nil}}},
		"issue":      map[string]any{"id": 2, "number": 1, "title": title, "body": long, "labels": []any{nil, "plain", map[string]any{"name": "obj"}, 7}},
		"repository": map[string]any{"id": 1, "full_name": "a/b"},
	})
	if err != nil {
		t.Fatal(err)
	}
	e, err := ParseWebhook(EventIssues, "g", body, receivedAt())
	if err != nil {
		t.Fatal(err)
	}
	if e.Kind != triage.KindIssue || e.Action != "some_new_action" || e.Issue.Title != title || e.Issue.Body != long ||
		!reflect.DeepEqual(e.Issue.Labels, []string{"plain", "obj"}) || e.Issue.State != "open" || !e.Issue.UpdatedAt.Equal(receivedAt()) || e.InstallationID != 0 {
		t.Errorf("event %+v", e)
	}

	e, err = ParseWebhook(EventIssues, "g", []byte("{\"issue\":{\"id\":2,\"number\":1,\"title\":\"a\xffb\\u0000c\",\"title\":\"second\"},"+
		"\"issue\":{\"id\":9,\"number\":9},\"repository\":{\"id\":1,\"full_name\":\"a/b\"}}"), receivedAt())
	if err != nil {
		t.Fatal(err)
	}
	if e.Issue.Title != "a\uFFFDb\uFFFDc" || e.Number != 1 {
		t.Errorf("title %q of issue %d", e.Issue.Title, e.Number)
	}
}

func TestOwnEvents(t *testing.T) {
	for _, e := range []triage.Event{
		{ID: "c-1", Kind: triage.KindCorrection, ReceivedAt: receivedAt(), InstallationID: 3, Repository: triage.Repository{ID: 1, FullName: "a/b"}, Number: 2,
			Sender:     triage.Actor{Login: "mairi", Type: triage.ActorUser},
			Correction: &triage.CorrectionInput{Field: triage.FieldTags, Values: []string{"x", "y"}, Reason: "because", Actor: "mairi"}},
		{ID: "r-1", Kind: triage.KindReclassify, ReceivedAt: receivedAt(), Repository: triage.Repository{ID: 1}, Number: 2},
		{ID: "u-1", Kind: triage.KindUndo, ReceivedAt: receivedAt(), Repository: triage.Repository{ID: 1}, Number: 2,
			Undo: &triage.UndoInput{Answers: []triage.UndoneAnswer{{Plugin: "rules", Version: "1.0.0", Field: triage.FieldCategory, Value: "bug"}}, Actor: "operator"}},
	} {
		event, key, value, err := EncodeEvent(e)
		if err != nil {
			t.Fatal(err)
		}
		if key != "1#2" {
			t.Errorf("key %q", key)
		}
		got, err := ParseWebhook(event, e.ID, value, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, e) {
			t.Errorf("came back as %+v, was %+v", got, e)
		}
		if _, ok := RouteOf(event); ok {
			t.Errorf("%s is let in from outside", event)
		}
	}

	dirty := triage.Event{ID: "c", Kind: triage.KindCorrection, Repository: triage.Repository{ID: 1}, Number: 2,
		Correction: &triage.CorrectionInput{Field: triage.FieldCategory, Values: []string{"bug\x00"}, Reason: "\xff", Actor: "m"}}
	_, _, value, err := EncodeEvent(dirty)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseWebhook(EventCorrection, "", value, receivedAt())
	if err != nil {
		t.Fatal(err)
	}
	if got.Correction.Values[0] != "bug\uFFFD" || got.Correction.Reason != "\uFFFD" || dirty.Correction.Values[0] != "bug\x00" {
		t.Errorf("cleaned to %+v, the argument is %+v", got.Correction, dirty.Correction)
	}
	if _, _, _, err := EncodeEvent(triage.Event{ID: "x", Kind: triage.KindIssue}); !errors.Is(err, ErrUnknownEvent) {
		t.Errorf("an issue event was encoded: %v", err)
	}
}

func FuzzParseWebhook(f *testing.F) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) == 0 {
		f.Fatalf("no payloads: %v", err)
	}
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		event, _, _ := strings.Cut(filepath.Base(file), ".")
		f.Add(event, body)
	}
	f.Add(EventIssues, []byte(`{"repository":{"id":1,"id":2,"full_name":"a/b"},"issue":{"number":1,"id":2},"issue":{"number":3}}`))
	f.Add(EventCorrection, []byte(`{"id":"c","kind":"correction","repository":{"id":1},"number":2,"correction":{"field":"category","values":["bug"],"actor":"m"}}`))
	f.Add(EventUndo, []byte(`{"id":"u","kind":"undo","repository":{"id":1},"number":2,"undo":{"answers":[{"plugin":"p","version":"1","field":"tags","value":"x"}],"actor":"m"}}`))
	f.Add(EventPing, []byte(`{"installation":null}`))
	f.Add(EventPush, []byte(`{"ref":"refs/heads/main","after":"b","commits":[{"id":"b","added":[".github/dispatchai.yml"]}],"repository":{"id":7,"full_name":"a/b","default_branch":"main"},"installation":{"id":3}}`))
	f.Fuzz(func(t *testing.T, event string, body []byte) {
		e, err := ParseWebhook(event, "guid", body, receivedAt())
		route, key, keyErr := Key(event, body)
		if err != nil {
			if !errors.Is(err, ErrNotJSON) && !errors.Is(err, ErrIncomplete) && !errors.Is(err, ErrUnknownEvent) {
				t.Fatalf("an error of no known kind: %v", err)
			}
			return
		}
		if event == EventCorrection || event == EventReclassify || event == EventUndo {
			if keyErr == nil {
				t.Fatalf("Key let %s in", event)
			}
			return
		}
		if keyErr != nil {
			t.Fatalf("ParseWebhook accepts what Key refuses: %v", keyErr)
		}
		switch route {
		case RouteIssues:
			if want := e.IssueKey().String(); key != want {
				t.Fatalf("Key says %q, ParseWebhook %q", key, want)
			}
			if e.Issue != nil && e.Issue.Key() != e.IssueKey() {
				t.Fatalf("the issue is %v, the event about %v", e.Issue.Key(), e.IssueKey())
			}
		case RouteInstallations:
			if e.InstallationID == 0 && event != EventPing && event != EventPush || e.Number != 0 {
				t.Fatalf("event %+v", e)
			}
		}
		written, err := json.Marshal(e)
		if err != nil {
			t.Fatalf("the event cannot be written: %v", err)
		}
		if !utf8.Valid(written) || strings.Contains(string(written), `\u0000`) && !strings.Contains(string(written), `\\u0000`) {
			t.Fatalf("text was not cleaned: %q", written)
		}
	})
}

func BenchmarkParseWebhook(b *testing.B) {
	body := readPayload(b, "issues.opened")
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseWebhook(EventIssues, "guid", body, receivedAt()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkKey(b *testing.B) {
	body := readPayload(b, "issues.opened")
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := Key(EventIssues, body); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkUnmarshal is what encoding/json takes for the same payload, to compare with.
func BenchmarkUnmarshal(b *testing.B) {
	body := readPayload(b, "issues.opened")
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		var into struct {
			Action string
			Issue  struct {
				ID     int64
				Number int
				Title  string
				Body   string
				Labels []struct{ Name string }
			}
			Repository   struct{ ID int64 }
			Installation struct{ ID int64 }
		}
		if err := json.Unmarshal(body, &into); err != nil {
			b.Fatal(err)
		}
	}
}

// TestParseWebhookReadsGrants within bounds, whatever stands where they should.
func TestParseWebhookReadsGrants(t *testing.T) {
	parse := func(installation string) *triage.Grant {
		t.Helper()
		e, err := ParseWebhook(EventInstallation, "guid", []byte(`{"action":"created","installation":{"id":3,`+installation+`}}`), receivedAt())
		if err != nil {
			t.Fatal(err)
		}
		return e.Installation.Grant
	}
	want := &triage.Grant{
		Permissions: map[string]string{"issues": "write", "single_file": "read"}, Events: []string{"issues", "push"},
		RepositorySelection: "selected", SingleFiles: []string{"a.yml", "b.yml"},
	}
	got := parse(`"permissions":{"issues":"write","single_file":"read","issues":"admin"},"events":["issues",7,"push"],"repository_selection":"selected","single_file_name":"c.yml","single_file_paths":["a.yml","b.yml"]`)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := parse(`"permissions":{},"single_file_name":"c.yml","single_file_paths":null`); len(got.SingleFiles) != 1 || got.SingleFiles[0] != "c.yml" {
		t.Errorf("the one file of an older server: %+v", got)
	}
	for _, none := range []string{`"events":["issues"]`, `"permissions":null`, `"permissions":["issues"]`} {
		if got := parse(none); got != nil {
			t.Errorf("%s: %+v", none, got)
		}
	}
	var many, long strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&many, `"permission_%d":"read",`, i)
		fmt.Fprintf(&long, `"event_%d",`, i)
	}
	got = parse(`"permissions":{` + many.String() + `"x":"` + strings.Repeat("y", 10_000) + `"},"events":[` + long.String() + `"` + strings.Repeat("z", 10_000) + `"]`)
	if len(got.Permissions) > maxGranted || len(got.Events) > maxGranted {
		t.Errorf("%d permissions and %d events are kept", len(got.Permissions), len(got.Events))
	}
}
