package app_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/dispatchai/dispatchai/app/simulate"
)

// webhookAnswer is how a delivery was answered.
type webhookAnswer struct {
	code   int
	header http.Header
	Status string `json:"status"`
	Event  string `json:"event"`
	Error  string `json:"error"`
}

// sign is GitHub's signature of a body.
func (s *system) sign(body []byte) string {
	mac := hmac.New(sha256.New, []byte(s.github.WebhookSecret()))
	mac.Write(body)
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}

// deliver sends a signed webhook straight at the service, as GitHub would.
// Further headers are names and values by turns.
func (s *system) deliver(event, guid string, body []byte, headers ...string) webhookAnswer {
	s.t.Helper()
	request, err := http.NewRequestWithContext(testContext(s.t), http.MethodPost, "http://"+s.addr+"/webhook/github", bytes.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-GitHub-Event", event)
	request.Header.Set("X-GitHub-Delivery", guid)
	request.Header.Set("X-Hub-Signature-256", s.sign(body))
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		s.t.Fatalf("deliver %s: %v", guid, err)
	}
	defer response.Body.Close()
	answer := webhookAnswer{code: response.StatusCode, header: response.Header}
	content, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := json.Unmarshal(content, &answer); err != nil {
		s.t.Errorf("delivery %s was answered with %q: %v", guid, content, err)
	}
	return answer
}

// object is a JSON object in the making.
type object = map[string]any

// opened is the payload of an issue that was just opened in the test repository.
func (s *system) opened(number int) object {
	s.t.Helper()
	repository, err := s.github.RepositoryID(testRepo)
	if err != nil {
		s.t.Fatal(err)
	}
	installation, err := s.github.InstallationOf(testRepo)
	if err != nil {
		s.t.Fatal(err)
	}
	now := time.Now().UTC().Format(time.RFC3339)
	report := bugReport(number)
	return object{
		"action": "opened",
		"issue": object{
			"id": 7_000_000 + number, "number": number, "title": report.Title, "body": report.Body, "state": "open", "labels": []any{},
			"user": object{"login": "octocat", "type": "User"}, "created_at": now, "updated_at": now, "html_url": "https://github.example/issues",
		},
		"repository":   object{"id": repository, "full_name": testRepo, "private": false},
		"installation": object{"id": installation},
		"sender":       object{"login": "octocat", "type": "User"},
	}
}

func encode(t testing.TB, v any) []byte {
	t.Helper()
	encoded, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return encoded
}

// deadLetter is what the tests look at of "dead list --json".
type deadLetter struct {
	ID, Topic, Key, Delivery, Event, Error, Resolved string
	Attempts, Size                                   int
}

func (s *system) deadLetters(flags ...string) []deadLetter {
	s.t.Helper()
	out, err := s.run(append([]string{"dead", "list", "--json"}, flags...)...)
	if err != nil {
		s.t.Fatal(err)
	}
	var letters []deadLetter
	if err := json.Unmarshal([]byte(out), &letters); err != nil {
		s.t.Fatalf("%v in %s", err, out)
	}
	return letters
}

// badInput is one delivery that nobody sends in their right mind.
type badInput struct {
	name  string
	event string // "issues" when empty
	// change changes a payload that is in order; body replaces it altogether.
	change func(payload, issue object)
	body   func(valid []byte) []byte
	code   int    // 200 when 0
	status string // "accepted" when empty
	reason string // the answer's "error"
	// dead tells that the workers can never use it, stored that they can.
	dead, stored bool
}

func badInputs() []badInput {
	replace := func(old, with string) func([]byte) []byte {
		return func(valid []byte) []byte { return bytes.Replace(valid, []byte(old), []byte(with), 1) }
	}
	return []badInput{
		{name: "null body", change: func(_, issue object) { issue["body"] = nil }, stored: true},
		{name: "no body", change: func(_, issue object) { delete(issue, "body") }, stored: true},
		{name: "deleted user", change: func(p, issue object) { issue["user"], p["sender"] = nil, nil }, stored: true},
		{name: "250 characters of title", change: func(_, issue object) { issue["title"] = strings.Repeat("ü", 250) }, stored: true},
		{name: "empty title", change: func(_, issue object) { issue["title"] = "" }, stored: true},
		{name: "65,536 characters of body", change: func(_, issue object) { issue["body"] = strings.Repeat("𝕏", 65_536) }, stored: true},
		{name: "emoji", change: func(_, issue object) { issue["title"] = "👩‍👩‍👧‍👦 crashes 🏳️‍🌈 on 🇨🇭" }, stored: true},
		{name: "right-to-left override", change: func(_, issue object) { issue["title"] = "crash \u202egnp.exe\u202c \u2066x" }, stored: true},
		{name: "terminal escapes", change: func(_, issue object) { issue["title"] = "\x1b[2J\x1b]0;owned\x07 crash" }, stored: true},
		{name: "invalid UTF-8", body: replace("[BUG]", "[\xff\xfe\xc3(\xed\xa0\x80]"), stored: true},
		{name: "NUL escapes", body: replace("[BUG]", `[\u0000\u0000]`), stored: true},
		{name: "half surrogates", body: replace("[BUG]", `[\ud800 \udc00\ud83d]`), stored: true},
		{name: "unknown members", change: func(p, issue object) {
			p["brand_new"], issue["type"], issue["sub_issues"] = []any{object{"a": nil}}, object{"id": 1}, []any{[]any{}}
		}, stored: true},
		{name: "unknown action", change: func(p, _ object) { p["action"] = "teleported" }, stored: true},
		{name: "no action", change: func(p, _ object) { delete(p, "action") }, stored: true},
		{name: "members of wrong types", change: func(p, issue object) {
			issue["labels"], issue["user"], issue["title"], p["action"] = []any{nil, 1, object{}, "x", []any{}}, 7, object{}, []any{}
		}, stored: true},
		{name: "empty arrays", change: func(p, issue object) { issue["labels"], issue["assignees"], p["sender"] = []any{}, []any{}, []any{} }, stored: true},
		{name: "duplicate members", body: func(valid []byte) []byte {
			return append(bytes.TrimSuffix(valid, []byte("}")), `,"repository":{"id":1,"full_name":"evil/other"},"installation":{"id":2},"issue":{"id":9,"number":9,"title":"other"}}`...)
		}, stored: true},
		{name: "huge numbers where none matter", body: replace(`"state":"open"`, `"state":"open","votes":1e999999,"more":-`+strings.Repeat("9", 5000)), stored: true},
		{name: "times from another world", change: func(_, issue object) { issue["created_at"], issue["updated_at"] = "yesterday", 1e300 }, stored: true},
		{name: "999 levels", body: replace(`"state":"open"`, `"state":"open","deep":`+strings.Repeat("[", 990)+strings.Repeat("]", 990)), stored: true},
		{name: "24 MiB", change: func(p, _ object) { p["padding"] = strings.Repeat("x", 24<<20) }, stored: true},
		// Each of these becomes U+FFFD, three bytes: more than the log takes, so what is passed on is cut.
		{name: "9 MiB that become 27", body: replace("### Steps to reproduce", strings.Repeat("\xff", 9<<20)), stored: true},
		{name: "no installation", change: func(p, _ object) { delete(p, "installation") }, stored: true},
		{name: "no installation and nobody's repository", change: func(p, _ object) {
			delete(p, "installation")
			p["repository"] = object{"id": 424242, "full_name": "nobody/knows"}
		}},
		{name: "pull request", change: func(_, issue object) { issue["pull_request"] = object{"url": "https://github.example"} }},

		{name: "10,000 levels", body: replace(`"state":"open"`, `"state":"open","deep":`+strings.Repeat(`{"a":[`, 5000)+strings.Repeat("]}", 5000)),
			code: 400, status: "rejected", reason: "not_json"},
		{name: "10,000 levels that never end", body: func([]byte) []byte { return bytes.Repeat([]byte("["), 10_000) }, code: 400, status: "rejected", reason: "not_json"},
		{name: "empty", body: func([]byte) []byte { return nil }, code: 400, status: "rejected", reason: "not_json"},
		{name: "null", body: func([]byte) []byte { return []byte("null") }, code: 400, status: "rejected", reason: "not_json"},
		{name: "an array", body: func(valid []byte) []byte { return []byte("[" + string(valid) + "]") }, code: 400, status: "rejected", reason: "not_json"},
		{name: "two values", body: func(valid []byte) []byte { return append(valid, "{}"...) }, code: 400, status: "rejected", reason: "not_json"},
		{name: "cut short", body: func(valid []byte) []byte { return valid[:len(valid)-1] }, code: 400, status: "rejected", reason: "not_json"},
		{name: "binary", body: func([]byte) []byte { return []byte{0, 1, 2, 0xff} }, code: 400, status: "rejected", reason: "not_json"},
		{name: "raw control character", body: replace("[BUG]", "[\x00]"), code: 400, status: "rejected", reason: "not_json"},
		{name: "no repository", change: func(p, _ object) { delete(p, "repository") }, code: 400, status: "rejected", reason: "incomplete"},
		{name: "null repository", change: func(p, _ object) { p["repository"] = nil }, code: 400, status: "rejected", reason: "incomplete"},
		{name: "no issue", change: func(p, _ object) { delete(p, "issue") }, code: 400, status: "rejected", reason: "incomplete"},
		{name: "number as text", change: func(_, issue object) { issue["number"] = "7" }, code: 400, status: "rejected", reason: "incomplete"},
		{name: "negative number", change: func(_, issue object) { issue["number"] = -7 }, code: 400, status: "rejected", reason: "incomplete"},
		{name: "huge number", change: func(_, issue object) { issue["number"] = json.Number("1e30") }, code: 400, status: "rejected", reason: "incomplete"},
		{name: "neither label nor installation", event: "label", change: func(p, _ object) { delete(p, "installation") }, dead: true},

		{name: "unknown event", event: "galaxy_created", status: "ignored"},
		{name: "event of no use", event: "star", status: "ignored"},
		{name: "event of our own", event: "dispatchai.correction", status: "ignored"},

		{name: "issue without identity", change: func(_, issue object) { delete(issue, "id") }, dead: true},
		{name: "issue with a huge identity", change: func(_, issue object) { issue["id"] = json.Number(strings.Repeat("9", 40)) }, dead: true},
		{name: "repository without a name", change: func(p, _ object) { delete(p["repository"].(object), "full_name") }, dead: true},
		{name: "poison of invalid UTF-8", body: func(valid []byte) []byte {
			return bytes.Replace(bytes.Replace(valid, []byte(`"id"`), []byte("\"\xff\xfe\" : 1, \"id\""), 1), []byte(`"full_name"`), []byte(`"<name>"`), 1)
		}, dead: true},
		{name: "comment without identity", event: "issue_comment", change: func(p, _ object) { p["action"], p["comment"] = "created", object{"body": "hm"} }, dead: true},
		{name: "label without a name", event: "label", change: func(p, _ object) { p["action"], p["label"] = "created", object{"name": ""} }, dead: true},
		{name: "repository event without repository", event: "repository", change: func(p, _ object) { p["repository"] = []any{} }, dead: true},
		{name: "installation of nonsense", event: "installation", change: func(p, _ object) { p["action"], p["repositories"] = "created", []any{nil, 1, object{}} }, dead: true},
	}
}

// TestBadInput sends signed nonsense straight at the real binary. Whatever it
// is, it is answered as documented, what cannot be used ends among the dead
// letters, and the issues of everybody else are labelled as ever.
func TestBadInput(t *testing.T) {
	t.Parallel()
	s := newSystem(t, simulate.Options{Seed: 41})
	s.installTestRepository()
	s.start()
	t.Cleanup(s.dump)
	// Numbers below are those of nobody's issues; the first is an honest one.
	first, err := s.github.OpenIssue(testContext(t), testRepo, bugReport(1))
	if err != nil {
		t.Fatal(err)
	}
	s.waitLabel(first, "kind/bug")

	poison := make(map[string][]byte) // by delivery
	topics := make(map[string]string)
	stored := make(map[string]int)
	for i, in := range badInputs() {
		number := 1000 + i
		payload := s.opened(number)
		if in.change != nil {
			in.change(payload, payload["issue"].(object))
		}
		body := encode(t, payload)
		if in.body != nil {
			changed := in.body(slices.Clone(body))
			if bytes.Equal(changed, body) {
				t.Fatalf("%s: nothing was changed", in.name)
			}
			body = changed
		}
		event, status, code := in.event, in.status, in.code
		if event == "" {
			event = "issues"
		}
		if status == "" {
			status = "accepted"
		}
		if code == 0 {
			code = http.StatusOK
		}
		guid := fmt.Sprintf("bad-%03d", i)
		answer := s.deliver(event, guid, body)
		if answer.code != code || answer.Status != status || answer.Error != in.reason {
			t.Errorf("%s: it was answered with %d %q %q, want %d %q %q", in.name, answer.code, answer.Status, answer.Error, code, status, in.reason)
		}
		if in.dead {
			poison[guid], topics[guid] = body, "issues.raw"
			if event != "issues" && event != "issue_comment" {
				topics[guid] = "installations.raw"
			}
		}
		if in.stored {
			stored[in.name] = number
		}
	}

	// The partition moved on: an ordinary issue is labelled, and nothing is left behind.
	last, err := s.github.OpenIssue(testContext(t), testRepo, bugReport(2))
	if err != nil {
		t.Fatal(err)
	}
	s.waitLabel(last, "kind/bug")
	for name, number := range stored {
		var issue apiIssue
		eventually(t, name+" is stored and classified", func() bool {
			var ok bool
			issue, ok = s.issue(number)
			return ok && issue.Classification != nil
		})
		if strings.ContainsRune(issue.Title, 0) || issue.Number != number {
			t.Errorf("%s: the API shows number %d, title %q", name, issue.Number, issue.Title)
		}
	}
	eventually(t, "the consumers are through", func() bool {
		return s.metric(`dispatchai_eventlog_buffered_records{group="classify"}`) == 0 &&
			s.metric(`dispatchai_eventlog_lag_records{group="classify",partition="0",topic="issues.raw"}`) == 0 &&
			s.metric(`dispatchai_eventlog_buffered_records{group="label"}`) == 0 &&
			s.metric(`dispatchai_eventlog_lag_records{group="label",partition="0",topic="issues.enriched"}`) == 0
	})
	eventually(t, "nothing waits to be labelled", func() bool { return s.metric("dispatchai_label_pending") == 0 })
	if n := s.metric(`dispatchai_classify_events_total{kind="pull_request",outcome="ignored"}`); n != 1 {
		t.Errorf("%v pull requests were ignored, want 1", n)
	}
	var health struct{ Status string }
	if code := s.call("GET", "/health", nil, &health); code != http.StatusOK || health.Status != "ok" {
		t.Errorf("the service's health is %d %q", code, health.Status)
	}

	// The poison is among the dead letters, each with its bytes as they came.
	var letters []deadLetter
	for _, l := range s.deadLetters() {
		letters = append(letters, l)
		if l.Topic != topics[l.Delivery] || l.Error == "" || l.Attempts != 1 || l.Size != len(poison[l.Delivery]) {
			t.Errorf("the dead letter of %s is %+v", l.Delivery, l)
		}
	}
	if got := slices.Sorted(func(yield func(string) bool) {
		for _, l := range letters {
			if !yield(l.Delivery) {
				return
			}
		}
	}); !slices.Equal(got, slices.Sorted(maps.Keys(poison))) {
		t.Fatalf("the dead letters are of %v, want %v", got, slices.Sorted(maps.Keys(poison)))
	}
	for _, l := range letters {
		if l.Topic == "installations.raw" && l.Event != "label" {
			continue // these differ from the others in nothing that is looked at here
		}
		raw, err := s.run("dead", "show", "--raw", l.ID)
		if err != nil {
			t.Fatal(err)
		}
		if raw != string(poison[l.Delivery]) {
			t.Errorf("dead show --raw %s gives %d bytes that differ from the %d sent", l.ID, len(raw), len(poison[l.Delivery]))
		}
		if utf8.Valid(poison[l.Delivery]) && l.ID != letters[0].ID {
			continue // shown as the first one is
		}
		shown, err := s.run("dead", "show", l.ID)
		if err != nil {
			t.Fatal(err)
		}
		var view struct {
			ID, Error, Delivery string
			Headers             map[string]string
			Value               json.RawMessage
			Base64              []byte `json:"value_base64"`
		}
		if err := json.Unmarshal([]byte(shown), &view); err != nil {
			t.Fatalf("dead show %s: %v in %s", l.ID, err, shown)
		}
		if view.ID != l.ID || view.Error != l.Error || view.Headers["delivery"] != l.Delivery || view.Headers["traceparent"] == "" {
			t.Errorf("dead show %s says %+v", l.ID, view)
		}
		if view.Base64 != nil {
			if !bytes.Equal(view.Base64, poison[l.Delivery]) {
				t.Errorf("dead show %s: value_base64 differs from what was sent", l.ID)
			}
		} else if diff := cmp.Diff(decode(t, poison[l.Delivery]), decode(t, view.Value)); diff != "" {
			t.Errorf("dead show %s: the value differs (-sent +shown):\n%s", l.ID, diff)
		}
	}

	// Put back, it dies again, as a new letter; the old one is settled.
	for _, topic := range []string{"issues.raw", "installations.raw"} {
		i := slices.IndexFunc(letters, func(l deadLetter) bool { return l.Topic == topic })
		old := letters[i]
		if out, err := s.run("dead", "replay", "--json", old.ID); err != nil || strings.TrimSpace(out) != fmt.Sprintf(`{"replayed":["%s"]}`, old.ID) {
			t.Fatalf("dead replay %s: %v %s", old.ID, err, out)
		}
		var again deadLetter
		eventually(t, "the replayed letter dies again", func() bool {
			for _, l := range s.deadLetters() {
				if l.Delivery == old.Delivery && l.ID != old.ID {
					again = l
					return true
				}
			}
			return false
		})
		if again.Error != old.Error || again.Key != old.Key || again.Topic != old.Topic || again.Size != old.Size {
			t.Errorf("replayed, %+v became %+v", old, again)
		}
		all := s.deadLetters("--resolved")
		if j := slices.IndexFunc(all, func(l deadLetter) bool { return l.ID == old.ID }); j < 0 || all[j].Resolved != "replayed" {
			t.Errorf("the letter %s is not shown as replayed", old.ID)
		}
	}
	if _, err := s.run("dead", "show", "0-999999"); err == nil || !strings.Contains(err.Error(), "no such dead letter") {
		t.Errorf("showing a letter that is not there: %v", err)
	}

	// The same list without a running service.
	running := s.deadLetters()
	s.stop()
	if diff := cmp.Diff(running, s.deadLetters()); diff != "" {
		t.Errorf("the dead letters differ once the service has stopped (-running +stopped):\n%s", diff)
	}
}

func decode(t testing.TB, encoded []byte) any {
	t.Helper()
	var v any
	if err := json.Unmarshal(encoded, &v); err != nil {
		t.Fatalf("%v in %q", err, encoded)
	}
	return v
}
