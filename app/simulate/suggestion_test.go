package simulate

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-github/v62/github"
)

const suggestBug = `{"labels":[{"name":"bug","suggest":true,"rationale":"It crashes.","confidence":"high"},"P1"]}`

// suggestions lists an issue's suggestions as the App does.
func suggestions(t testing.TB, g *GitHub, token string, n int, query string) (int, []map[string]any) {
	t.Helper()
	res, body := ask(t, g, token, "GET", "/repos/acme/widget/issues/"+itoa(n)+"/suggestions"+query, "")
	var list []map[string]any
	if res.StatusCode == 200 {
		must(t, json.Unmarshal(body, &list))
	}
	return res.StatusCode, list
}

func TestSuggestedLabelsAreForPeopleToDecideOn(t *testing.T) {
	hook := newReceiver(t)
	g := start(t, Options{Suggestions: true, WebhookURL: hook.URL, Senders: 1})
	ctx := testContext(t)
	id := install(t, g, InstallOptions{})
	token := newToken(t, g, id, nil)
	n := open(t, g, "acme/widget", "x")
	must(t, g.WaitIdle(ctx))
	hook.take()
	path := "/repos/acme/widget/issues/" + itoa(n) + "/labels"
	res, body := ask(t, g, token, "POST", path, suggestBug)
	var labels []struct{ Name string }
	must(t, json.Unmarshal(body, &labels))
	if res.StatusCode != 200 || len(labels) != 1 || labels[0].Name != "P1" {
		t.Fatalf("adding one label and suggesting another: %d %s; want the first alone on the issue", res.StatusCode, body)
	}
	must(t, g.WaitIdle(ctx))
	if got := hook.actions(); !slices.Equal(got, []string{"issues.labeled P1"}) {
		t.Errorf("webhooks %q; a suggestion sends none", got)
	}
	hook.take()
	code, list := suggestions(t, g, token, n, "")
	if code != 200 || len(list) != 1 || list[0]["action"] != "add_label" || list[0]["state"] != "pending" || list[0]["confidence"] != "HIGH" || list[0]["rationale"] != "It crashes." ||
		list[0]["target_value"] != nil || list[0]["resolved_by"] != nil {
		t.Fatalf("suggestions: %d %v", code, list)
	}
	first, err := g.Suggestions("acme/widget", n)
	must(t, err)
	if err := g.ApproveSuggestion(ctx, "acme/widget", n, "reporter", first[0].ID); !errors.Is(err, ErrForbidden) {
		t.Errorf("a reader approves: %v, want ErrForbidden", err)
	}

	// Once more for the same: the former is replaced. Then it is dismissed, of which there is no event.
	ask(t, g, token, "POST", path, suggestBug)
	pending, err := g.Suggestions("acme/widget", n)
	must(t, err)
	if len(pending) != 2 || pending[0].State != "replaced" || pending[1].State != "pending" || pending[1].Label != "bug" || pending[1].Actor != g.BotLogin() {
		t.Fatalf("suggested twice: %+v", pending)
	}
	must(t, g.DismissSuggestion(ctx, "acme/widget", n, "tri", pending[1].ID))
	if err := g.ApproveSuggestion(ctx, "acme/widget", n, "tri", pending[1].ID); !errors.Is(err, ErrInvalid) {
		t.Errorf("approving what was dismissed: %v, want ErrInvalid", err)
	}
	must(t, g.WaitIdle(ctx))
	if got := hook.actions(); len(got) != 0 {
		t.Errorf("dismissing sends %q; GitHub documents no event", got)
	}
	if _, list := suggestions(t, g, token, n, "?state=dismissed&action=add_label"); len(list) != 1 || list[0]["resolved_by"] == nil {
		t.Errorf("dismissed: %v", list)
	}

	// A third one is approved: the label comes in the name of who approved.
	ask(t, g, token, "POST", path, suggestBug)
	_, list = suggestions(t, g, token, n, "")
	must(t, g.ApproveSuggestion(ctx, "acme/widget", n, "tri", int64(list[0]["id"].(float64))))
	must(t, g.WaitIdle(ctx))
	got := hook.take()
	if len(got) != 1 || got[0].action() != "issues.labeled bug" || !strings.Contains(string(got[0].payload), `"sender":{"login":"tri"`) {
		t.Errorf("approving sends %d webhooks, want issues.labeled by tri", len(got))
	}
	_, events := ask(t, g, token, "GET", "/repos/acme/widget/issues/"+itoa(n)+"/events", "")
	var history []struct {
		ID     float64
		Event  string
		Intent *struct{ Rationale, Confidence string }
	}
	must(t, json.Unmarshal(events, &history))
	_, list = suggestions(t, g, token, n, "?state=approved")
	if len(history) != 2 || history[0].Intent != nil || history[1].Intent == nil || history[1].Intent.Confidence != "HIGH" || len(list) != 1 || list[0]["issue_event_id"] != history[1].ID {
		t.Errorf("history %s, approved %v", events, list)
	}

	// What somebody does by hand settles what is pending for it.
	ask(t, g, token, "POST", path, `{"labels":[{"name":"kind/feature request","suggest":true}]}`)
	must(t, g.AddLabel(ctx, "acme/widget", n, "tri", "kind/feature request"))
	if _, list := suggestions(t, g, token, n, "?state=invalidated"); len(list) != 1 {
		t.Errorf("invalidated: %v", list)
	}
	for name, body := range map[string]string{
		"an unknown label":     `{"labels":[{"name":"nowhere","suggest":true}]}`,
		"an odd confidence":    `{"labels":[{"name":"bug","suggest":true,"confidence":"HIGH"}]}`,
		"a rationale too long": `{"labels":[{"name":"bug","suggest":true,"rationale":"` + strings.Repeat("x", 281) + `"}]}`,
	} {
		if res, answer := ask(t, g, token, "POST", path, body); res.StatusCode != 422 {
			t.Errorf("suggesting with %s: %d %s, want 422", name, res.StatusCode, answer)
		}
	}
}

func TestAnOlderServerAppliesWhatIsSuggested(t *testing.T) {
	g := start(t, Options{})
	token := newToken(t, g, install(t, g, InstallOptions{}), nil)
	n := open(t, g, "acme/widget", "x")
	if code, _ := suggestions(t, g, token, n, ""); code != 404 {
		t.Errorf("the suggestions of a server that has none: %d, want 404", code)
	}
	ask(t, g, token, "POST", "/repos/acme/widget/issues/1/labels", suggestBug)
	is, err := g.Issue("acme/widget", n)
	if err != nil || !slices.Equal(is.Labels, []string{"bug", "P1"}) {
		t.Errorf("labels = %q, %v; such a server ignores what it does not know", is.Labels, err)
	}
}

func TestIssueTypes(t *testing.T) {
	hook := newReceiver(t)
	g := start(t, Options{Suggestions: true, WebhookURL: hook.URL, Senders: 1})
	ctx := testContext(t)
	must(t, g.SetIssueTypes("acme", IssueType{Name: "Bug", Color: "red", Description: "A defect"}, IssueType{Name: "Feature"}, IssueType{Name: "Old", Disabled: true}))
	id := install(t, g, InstallOptions{})
	gh, token := client(t, g, id), newToken(t, g, id, nil)
	n := open(t, g, "acme/widget", "x")
	must(t, g.WaitIdle(ctx))
	hook.take()
	res, body := ask(t, g, token, "GET", "/repos/acme/widget/issue-types", "")
	var types []struct {
		Name    string
		Color   string
		Enabled bool `json:"is_enabled"`
	}
	must(t, json.Unmarshal(body, &types))
	if res.StatusCode != 200 || len(types) != 3 || types[0].Name != "Bug" || types[0].Color != "red" || !types[0].Enabled || types[2].Enabled {
		t.Errorf("types: %d %s", res.StatusCode, body)
	}
	if res, _ := ask(t, g, token, "GET", "/orgs/acme/issue-types", ""); res.StatusCode != 403 || res.Header.Get("X-Accepted-GitHub-Permissions") != "issue_types=read" {
		t.Errorf("the organisation's types without the permission: %d", res.StatusCode)
	}
	patch := func(token, body string) (int, string) {
		res, answer := ask(t, g, token, "PATCH", "/repos/acme/widget/issues/"+itoa(n), body)
		var is struct{ Type *struct{ Name string } }
		must(t, json.Unmarshal(answer, &is))
		if is.Type == nil {
			return res.StatusCode, ""
		}
		return res.StatusCode, is.Type.Name
	}
	for _, c := range []struct {
		body   string
		status int
		name   string
	}{
		{`{"type":"bug"}`, 200, "Bug"}, {`{"type":"Bug"}`, 200, "Bug"}, {`{"type":{"value":"Feature","rationale":"asks for more","confidence":"low"}}`, 200, "Feature"},
		{`{"type":"Nonsense","title":"changed"}`, 422, ""}, {`{"type":"Old"}`, 422, ""}, {`{"state":"open"}`, 200, "Feature"},
		{`{"type":{"value":"Bug","suggest":true}}`, 200, "Feature"}, {`{"type":null}`, 200, ""},
	} {
		if status, name := patch(token, c.body); status != c.status || name != c.name {
			t.Errorf("PATCH %s: %d %q, want %d %q", c.body, status, name, c.status, c.name)
		}
	}
	pending, err := g.Suggestions("acme/widget", n)
	if err != nil || len(pending) != 1 || pending[0].Type != "Bug" {
		t.Fatalf("suggestions %+v, %v", pending, err)
	}
	must(t, g.ApproveSuggestion(ctx, "acme/widget", n, "tri", pending[0].ID))
	must(t, g.SetIssueType(ctx, "acme/widget", n, "tri", "Feature"))
	must(t, g.WaitIdle(ctx))
	var got []string
	for _, one := range hook.take() {
		var e struct {
			Action string
			Type   struct{ Name string }
			Sender struct{ Login string }
		}
		must(t, json.Unmarshal(one.payload, &e))
		got = append(got, e.Action+" "+e.Type.Name+" "+e.Sender.Login)
	}
	if want := []string{"typed Bug dispatchai[bot]", "typed Feature dispatchai[bot]", "untyped Feature dispatchai[bot]", "typed Bug tri", "typed Feature tri"}; !slices.Equal(got, want) {
		t.Errorf("webhooks %q, want %q", got, want)
	}
	events, _, err := gh.Issues.ListIssueEvents(ctx, "acme", "widget", n, nil)
	must(t, err)
	var kinds []string
	for _, e := range events {
		kinds = append(kinds, e.GetEvent())
	}
	if want := []string{"issue_type_added", "issue_type_changed", "issue_type_removed", "issue_type_added", "issue_type_changed"}; !slices.Equal(kinds, want) {
		t.Errorf("history %q, want %q", kinds, want)
	}
	is, err := g.Issue("acme/widget", n)
	if err != nil || is.Type != "Feature" || is.Title != "x" {
		t.Errorf("issue = %+v, %v", is, err)
	}
	for query, want := range map[string]int{"feature": 1, "Bug": 0, "*": 1, "none": 0} {
		_, body := ask(t, g, token, "GET", "/repos/acme/widget/issues?type="+query, "")
		var list []any
		must(t, json.Unmarshal(body, &list))
		if len(list) != want {
			t.Errorf("type=%s lists %d issues, want %d", query, len(list), want)
		}
	}
}

func TestATypeIsDroppedSilentlyWithoutPushAccess(t *testing.T) {
	g := start(t, Options{IssueTypePermission: "contents"})
	must(t, g.SetIssueTypes("acme", IssueType{Name: "Bug"}))
	id := install(t, g, InstallOptions{Permissions: map[string]string{"issues": "write", "contents": "write"}})
	n := open(t, g, "acme/widget", "x")
	weak := newToken(t, g, id, &github.InstallationTokenOptions{Permissions: &github.InstallationPermissions{Issues: github.String("write"), Contents: github.String("read")}})
	for token, want := range map[string]string{weak: "", newToken(t, g, id, nil): "Bug"} {
		res, _ := ask(t, g, token, "PATCH", "/repos/acme/widget/issues/"+itoa(n), `{"type":"Bug"}`)
		is, err := g.Issue("acme/widget", n)
		if res.StatusCode != 200 || err != nil || is.Type != want {
			t.Errorf("%d, type %q, %v; want 200 and %q", res.StatusCode, is.Type, err, want)
		}
		must(t, g.SetIssueType(testContext(t), "acme/widget", n, "tri", ""))
	}
}
