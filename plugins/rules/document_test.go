package rules

import (
	"slices"
	"strings"
	"testing"
)

func TestTraces(t *testing.T) {
	for line, want := range map[string]language{
		`goroutine 1 [running]:`:                                       goTrace,
		`panic: runtime error: invalid memory address`:                 goTrace,
		`Traceback (most recent call last):`:                           pythonTrace,
		`File "/usr/lib/x.py", line 12, in main`:                       pythonTrace,
		`at Object.<anonymous> (/srv/app/index.js:10:15)`:              javaScriptTrace,
		`at node:internal/main/run_main_module:23:47`:                  javaScriptTrace,
		`at render (https://example.com/assets/app:1:2)`:               javaScriptTrace,
		`at com.acme.Parser.parse(Parser.java:12)`:                     javaTrace,
		`Caused by: java.io.IOException: closed`:                       javaTrace,
		`thread 'main' panicked at src/main.rs:4:5:`:                   rustTrace,
		`stack backtrace:`:                                             rustTrace,
		`at Acme.Parser.Parse(String s) in C:\src\Parser.cs:line 12`:   csharpTrace,
		`Unhandled exception. System.NullReferenceException: Object`:   csharpTrace,
		`PHP Fatal error:  Uncaught Error: Call to undefined function`: phpTrace,
		`#0 /var/www/app/index.php(12): run()`:                         phpTrace,
		"app/models/user.rb:12:in `name'":                              rubyTrace,
		"from /usr/lib/ruby/irb.rb:3:in 'start'":                       rubyTrace,
		`#1  0x00007ffff7a52 in raise () from /lib/libc.so.6`:          nativeTrace,
		`Segmentation fault (core dumped)`:                             nativeTrace,
		`at Acme.Parser.Parse(String)`:                                 otherTrace,
		`at work (at home too)`:                                        noTrace,
		`at first it worked`:                                           noTrace,
		`File a bug`:                                                   noTrace,
		`from here on`:                                                 noTrace,
		`# 0 heading`:                                                  noTrace,
		``:                                                             noTrace,
	} {
		if got := traceOf([]byte(line)); got != want {
			t.Errorf("%q: got %q, want %q", line, got, want)
		}
	}
}

func wordsIn(d *document, in zone) string {
	var out []string
	for _, t := range d.tokens {
		if t.zone == in {
			out = append(out, string(d.lower[t.start:t.end]))
		}
	}
	return strings.Join(out, " ")
}

// TestZones checks where each word of a page of Markdown is taken to stand.
func TestZones(t *testing.T) {
	d := &document{lex: New().lexicon}
	d.read("[parser] Can't read v1.2.3", `<!-- Please read the guide -->
### Expected behavior

A clear and concise description of what you expected to happen.

Works with [the guide](https://example.com/crash), see https://example.com/error.

## Nothing here

_No response_

**Version:** 1.2.3
- [ ] feature
- [X] bug report

> quoted crash

`+"```go\npanic(1)\n```\nUse `inline code` <b>bold</b> ![crash](x.png)\n\n    indented code\n")
	for in, want := range map[zone]string{
		inTitle:   "parser can't read v1.2.3",
		inHeading: "expected behavior version",
		inChecked: "bug report",
		inCode:    "panic 1 inline code indented code",
		inProse:   "works with the guide see 1.2.3 use bold",
	} {
		got := wordsIn(d, in)
		if in == inProse {
			got = strings.ReplaceAll(got, "no response ", "")
		}
		if got != want {
			t.Errorf("zone %d: got %q, want %q", in, got, want)
		}
	}
	if d.images != 1 || d.facts != 1 || d.fences != 1 {
		t.Errorf("images %d, facts %d, fences %d", d.images, d.facts, d.fences)
	}
}

func TestTitlePrefixes(t *testing.T) {
	d := &document{lex: New().lexicon}
	for title, want := range map[string][]string{
		"[Bug] broken":              {"Bug"},
		"[Bug]: [parser] broken":    {"Bug", "parser"},
		"feat(cli): add":            {"feat", "cli"},
		"docs: typo":                {"docs"},
		"core/http: crash":          {"core/http"},
		"When I do this: it breaks": nil,
		"What now?: it breaks":      nil,
		"std::vector is slow":       nil,
		"12:30 is wrong":            nil,
		"(question) why":            {"question"},
		"[]":                        nil,
	} {
		d.read(title, "")
		var got []string
		for _, p := range d.prefixes {
			got = append(got, string(d.text[p.start:p.end]))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", title, got, want)
		}
	}
}

func TestAnsweredKind(t *testing.T) {
	d := &document{lex: New().lexicon}
	for body, want := range map[string]string{
		"### Issue type\n\nBug\n\n### More\n\nfeature":                             "bug",
		"Type: <b>Feature Request</b>":                                             "feature",
		"**Do you want to request a *feature* or report a *bug*?** Feature":        "feature",
		"**Do you want to request a *feature* or report a *bug*?**\n\nbug":         "bug",
		"**Do you want to request a feature or report a bug?**\nfeature / bug":     "",
		"### What kind of issue is this?\n\nDocumentation":                         "documentation",
		"### Issue type\n\n_No response_":                                          "",
		"### Steps\n\nbug":                                                         "",
		"- **Type**: Question":                                                     "question",
		"### Issue type\n\n- [ ] bug\n- [x] performance\n- [ ] feature":            "performance",
		"### What kind of type does it return when there is a problem here\n\nbug": "",
	} {
		d.read("", body)
		got := ""
		if k, ok := d.answeredKind(); ok {
			got = k.category.String()
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", body, got, want)
		}
	}
}

func TestNextWord(t *testing.T) {
	for text, want := range map[string]struct {
		word string
		kind wordKind
	}{
		"don't stop": {"don't", plainWord}, "1.2.3-beta": {"1.2.3", versionWord}, "v2 x": {"v2", versionWord}, "v2.0.1": {"v2.0.1", versionWord}, "42": {"42", numberWord},
		"3.": {"3", numberWord}, "utf8": {"utf8", plainWord}, "über uns": {"über", plainWord}, "'a": {"", plainWord}, "it'": {"it", plainWord}, "1.2rc1": {"1.2rc1", versionWord},
	} {
		end, kind := nextWord([]byte(text), 0)
		if text[:end] != want.word || kind != want.kind {
			t.Errorf("%q: got %q, %d; want %q, %d", text, text[:end], kind, want.word, want.kind)
		}
	}
}

func TestQuotable(t *testing.T) {
	for in, want := range map[string]string{
		"a\x00b\u202e <script>":   "a b script",
		"src/parse.go:12":         "src/parse.go:12",
		"  “quote”\n\n[x](y) ":    "quote x y",
		strings.Repeat("ab ", 40): strings.Repeat("ab ", 24) + "…",
	} {
		if got := quotable(in); got != want && !strings.HasSuffix(want, "…") {
			t.Errorf("%q: got %q, want %q", in, got, want)
		} else if n := len([]rune(got)); n > 74 {
			t.Errorf("%q is %d characters long", got, n)
		}
	}
}
