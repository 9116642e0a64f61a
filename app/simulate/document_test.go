package simulate

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "plain", "\"\\/\b\f\n\r\t\x00\x1f\x7f", "héllo 🎨 \u2028", "\xff\xfe broken", strings.Repeat("a", 100)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var back string
		if err := json.Unmarshal(appendString(nil, s), &back); err != nil {
			t.Fatalf("%q is not JSON: %v", appendString(nil, s), err)
		}
		if want := strings.ToValidUTF8(replaceEach(s), "\ufffd"); back != want {
			t.Fatalf("%q came back as %q, want %q", s, back, want)
		}
	})
}

// replaceEach replaces every broken byte on its own, as JSON encoders do, where ToValidUTF8 replaces runs.
func replaceEach(s string) string {
	var b strings.Builder
	for _, r := range s {
		b.WriteRune(r)
	}
	return b.String()
}

func TestDocumentsAreJSON(t *testing.T) {
	var d document
	d.begin('{')
	d.num("id", 1)
	d.array("empty")
	d.end(']')
	d.object("nested")
	d.flag("yes", true)
	d.null("nothing")
	d.end('}')
	d.strings("list", []string{"a", "b"})
	d.raw("raw", nil)
	d.text("text", "")
	d.members([]byte(`"m":1`))
	d.instant("at", time.Date(2026, 11, 2, 9, 0, 0, 5, time.FixedZone("", 3600)))
	d.instant("never", time.Time{})
	d.end('}')
	const want = `{"id":1,"empty":[],"nested":{"yes":true,"nothing":null},"list":["a","b"],"raw":null,"text":null,"m":1,"at":"2026-11-02T08:00:00Z","never":null}`
	if string(d) != want {
		t.Errorf("got  %s\nwant %s", d, want)
	}
}

func TestEveryPathHasItsRoute(t *testing.T) {
	g := start(t, Options{})
	id := install(t, g, InstallOptions{})
	ctx := testContext(t)
	n := open(t, g, "acme/widget", "x")
	comment, err := g.Comment(ctx, "acme/widget", n, "reporter", "hi")
	must(t, err)
	token, _, err := appClient(t, g).Apps.CreateInstallationToken(ctx, id, nil)
	must(t, err)
	for path, want := range map[string]int{
		"/repos/acme/widget/issues/comments/" + itoa(int(comment)): 200,
		"/repos/acme/widget/issues/1/comments":                     200,
		"/repos/acme/widget/issues/1/timeline":                     200,
		"/repos/acme/widget/labels/kind/feature%20request":         200,
		"/repos/acme/widget/labels/kind%2Ffeature%20request":       200,
		"/api/v3/repos/acme/widget/labels/BUG":                     200,
		"/repos/acme/widget/issues/x":                              404,
		"/repos/acme/widget/nonsense":                              404,
		"/api/v3/meta":                                             200,
		"/users/Reporter":                                          200,
		"/users/nobody-of-that-name":                               404,
		"/rate_limit":                                              200,
		"/installation/repositories":                               200,
	} {
		res, body := get(t, g.URL()+path, "token "+token.GetToken())
		if res.StatusCode != want || !json.Valid(body) || res.Header.Get("X-GitHub-Request-Id") == "" {
			t.Errorf("%s: %d %s, want %d", path, res.StatusCode, body, want)
		}
	}
}
