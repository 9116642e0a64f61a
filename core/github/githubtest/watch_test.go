package githubtest

import (
	"errors"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
)

func installedDescription(t testing.TB) *description {
	t.Helper()
	d, err := published()
	if errors.Is(err, fs.ErrNotExist) && os.Getenv("CI") != "true" {
		t.Skipf("SKIPPED: %v", installed(err))
	}
	if err != nil {
		t.Fatal(installed(err))
	}
	return d
}

const label = `{"id":1,"node_id":"LA_1","url":"https://api.github.com/repos/a/b/labels/bug","name":"bug","color":"d73a4a","default":true,"description":null}`

// exchange is one that conforms; change makes another of it.
func exchange(change func(*Exchange)) Exchange {
	e := Exchange{
		Method: "POST", Path: "/repos/acme/widgets/issues/3/labels",
		Header: http.Header{
			"Accept": {"application/vnd.github+json"}, "X-Github-Api-Version": {"2022-11-28"}, "User-Agent": {"DispatchAI"}, "Content-Type": {"application/json"},
		},
		Body: []byte(`{"labels":["bug"]}`), Status: 200,
		AnswerHeader: http.Header{"Content-Type": {"application/json; charset=utf-8"}}, Answer: []byte("[" + label + "]"),
	}
	change(&e)
	return e
}

func TestWhatIsNotAsDescribedIsFound(t *testing.T) {
	d := installedDescription(t)
	get := func(path string, query url.Values, answer string) func(*Exchange) {
		return func(e *Exchange) {
			e.Method, e.Path, e.Query, e.Body, e.Answer = "GET", path, query, nil, []byte(answer)
			e.Header.Del("Content-Type")
		}
	}
	body := func(text string) func(*Exchange) { return func(e *Exchange) { e.Body = []byte(text) } }
	answer := func(status int, text string) func(*Exchange) {
		return func(e *Exchange) { e.Status, e.Answer = status, []byte(text) }
	}
	header := func(name, value string) func(*Exchange) { return func(e *Exchange) { e.Header.Set(name, value) } }
	issueLabels := "/repos/acme/widgets/issues/3/labels"
	for name, c := range map[string]struct {
		change func(*Exchange)
		want   string // of a fault; none when empty
	}{
		"all is well":              {func(*Exchange) {}, ""},
		"a label with a reason":    {body(`{"labels":[{"name":"bug","rationale":"it crashes","confidence":"high","suggest":true},"P1"]}`), ""},
		"no such path":             {get("/repos/acme/widgets/labelz", nil, "[]"), "GitHub has no such path"},
		"no such method":           {func(e *Exchange) { e.Method = "PATCH" }, "no such method there, but GET, POST, PUT, DELETE"},
		"a path's number":          {get("/repos/acme/widgets/issues/three/labels", nil, "[]"), `path parameter "issue_number"`},
		"an escaped slash":         {func(e *Exchange) { e.Method, e.Path, e.Body = "DELETE", issueLabels+"/kind%2Fbug", nil }, ""},
		"a path in a path":         {get("/repos/acme/widgets/contents/.github/dispatchai.yml", url.Values{"ref": {"main"}}, "{"), "is not JSON"},
		"an unknown parameter":     {get(issueLabels, url.Values{"perpage": {"100"}}, "[]"), `query parameter "perpage", which is not described; these are: page, per_page`},
		"a parameter's type":       {get(issueLabels, url.Values{"page": {"first"}}, "[]"), `query parameter "page"`},
		"a parameter's value":      {get("/repos/acme/widgets/issues", url.Values{"state": {"opened"}}, "[]"), `query parameter "state"`},
		"a parameter's time":       {get("/repos/acme/widgets/issues", url.Values{"since": {"yesterday"}}, "[]"), `query parameter "since"`},
		"good parameters":          {get("/repos/acme/widgets/issues", url.Values{"since": {"2026-11-02T09:00:00Z"}, "state": {"all"}, "per_page": {"100"}}, "[]"), ""},
		"an array of labels":       {body(`["bug"]`), "at body: value must be an object"},
		"an unknown member":        {body(`{"labels":["bug"],"labelz":[]}`), "at body /labelz: there is no such member"},
		"an unknown member within": {body(`{"labels":[{"name":"bug","reason":"it crashes"}]}`), "at body /labels/*/reason: there is no such member"},
		"a member's type":          {body(`{"labels":"bug"}`), "at body /labels: value must be an array"},
		"a member's value":         {body(`{"labels":[{"name":"bug","confidence":"High"}]}`), "at body /labels/*/confidence: value is not one of the allowed values"},
		"a member that is missing": {body(`{"labels":[{"suggest":true}]}`), "at body /labels/*/name: it is missing"},
		"no labels":                {body(`{"labels":[]}`), "at body /labels: minimum number of items is 1"},
		"a body of null":           {body(`null`), "not nullable"},
		"a body where none is":     {func(e *Exchange) { e.Method = "GET" }, "at body: "},
		"the type of the body":     {header("Content-Type", "text/plain"), "at body: "},
		"no version":               {header("X-GitHub-Api-Version", ""), "X-GitHub-Api-Version"},
		"a media type of old":      {header("Accept", "application/vnd.github.v3+json"), "header Accept"},
		"an agent of no name":      {header("User-Agent", "Go-http-client/1.1"), "header User-Agent"},
		"an undescribed status":    {answer(202, "[]"), "the answer 202 is not described; these are: 200, 301, 404, 410, 422"},
		"an answer of no label":    {answer(200, `[{"id":1}]`), "the answer 200 is wrong at /*/color: it is missing"},
		"a null":                   {answer(200, strings.Replace("["+label+"]", `"bug"`, `null`, 1)), "/*/name"},
		"an undescribed member":    {answer(200, strings.Replace("["+label+"]", `{`, `{"colour":"red",`, 1)), "at /*/colour: there is no such member"},
		"an answer of nothing":     {answer(200, ""), "has no body"},
		"an error of another form": {answer(403, `{"error":"no"}`), "the answer 403 is wrong at /error"},
		"an error":                 {answer(403, `{"message":"no","documentation_url":"https://docs.github.com/rest","status":"403"}`), ""},
		"GitHub is down":           {answer(502, `{"message":"Bad Gateway"}`), ""},
		"a broken connection":      {answer(0, ""), ""},
		"nothing new":              {func(e *Exchange) { get(issueLabels, nil, "")(e); e.Status = 304 }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			faults := d.check(exchange(c.change), Everything)
			if c.want == "" && len(faults) > 0 {
				t.Errorf("found %q", faults)
			}
			if c.want != "" && !slices.ContainsFunc(faults, func(f string) bool { return strings.Contains(f, c.want) }) {
				t.Errorf("found %q, want %q", faults, c.want)
			}
			if again := d.check(exchange(c.change), Everything); !slices.Equal(again, faults) {
				t.Errorf("the second time found %q", again)
			}
		})
	}
}

// TestOnlyAnswers: a test that asks wrongly on purpose is told of answers alone.
func TestOnlyAnswers(t *testing.T) {
	d := installedDescription(t)
	wrong := func(e *Exchange) { e.Header.Del("Accept"); e.Body = []byte("{") }
	if faults := d.check(exchange(wrong), Answers); len(faults) > 0 {
		t.Errorf("the request counts: %q", faults)
	}
	if faults := d.check(exchange(func(e *Exchange) { wrong(e); e.Answer = []byte(`[{}]`) }), Answers); len(faults) == 0 {
		t.Error("the answer does not count")
	}
}

func TestShapes(t *testing.T) {
	for _, same := range [][2]string{
		{`[` + label + `]`, `[` + label + `,` + label + `]`},
		{`{"a": 1, "b": "One thing"}`, `{"b":"Another \" thing","a":22}`},
		{`{"at":"2026-11-02T09:00:00Z"}`, `{"at":"2026-11-03T10:00:00Z"}`},
	} {
		if shapeOf([]byte(same[0])) != shapeOf([]byte(same[1])) {
			t.Errorf("%s and %s differ", same[0], same[1])
		}
	}
	for _, different := range [][2]string{
		{`{"a":1}`, `{"a":"1"}`}, {`{"a":1}`, `{"b":1}`}, {`{"a":1}`, `{"a":-1}`}, {`{"a":null}`, `{"a":false}`}, {`{"a":true}`, `{"a":false}`},
		{`{"state":"open"}`, `{"state":"closed"}`}, {`[]`, `{}`}, {`[1]`, `[[1]]`}, {`{"a":1,"b":"X"}`, `{"a":"X","b":1}`}, {`{"+1":0}`, `{"-1":0}`},
		{`[{"a":1},{"b":1}]`, `[{"a":1,"b":1}]`}, {``, `{}`}, {`{"a":{"b":1}}`, `{"a":{},"b":1}`},
	} {
		if shapeOf([]byte(different[0])) == shapeOf([]byte(different[1])) {
			t.Errorf("%s and %s are the same", different[0], different[1])
		}
	}
}

func FuzzShape(f *testing.F) {
	for _, text := range []string{"[" + label + "]", `{`, `["`, `"\`, `[1,{"a":[`, "}]"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if shapeOf(text) != shapeOf(slices.Clone(text)) {
			t.Error("a text has two shapes")
		}
	})
}
