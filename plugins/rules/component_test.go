package rules

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/dispatchai/dispatchai/plugins/sdk"
)

func TestComponent(t *testing.T) {
	c := New()
	for _, x := range []struct{ title, body, want, reason string }{
		{"parser: loops forever", "", "parser", "marked"},
		{"fix(storage): wrong order", "", "storage", "marked"},
		{"Something", "### Component\n\nParser\n", "parser", "form asks"},
		{"Something", "**Affected area:** `cli`", "cli", "form asks"},
		{"Query planner picks the wrong index", "", "query planner", "title mentions"},
		{"queryplanner loops", "", "query planner", "title mentions"},
		{"Crash", "```\nTraceback (most recent call last):\n  File \"/app/storage/db.py\", line 3, in get\n```", "storage", "stack trace"},
		{"Crash", "It happens in `internal/parser/read.go`.", "parser", "path"},
		{"Tokenizer and grammar disagree", "", "parser", "description"},
		{"parser or storage?", "The parser and the storage.", "", ""},
		{"Something", "### Component\n\n_No response_", "", ""},
		{"Something else", "Nothing to see.", "", ""},
		{"See https://example.com/parser/parser/parser", "", "", ""},
	} {
		r := classify(t, c, acme(), sdk.Issue{Title: x.title, Body: x.body})
		a := r.Fields[sdk.Component]
		if value(r, sdk.Component) != x.want || !strings.Contains(a.Reason, x.reason) {
			t.Errorf("%q: got %q (%s), want %q (%s)", x.title, a.Values, a.Reason, x.want, x.reason)
		}
		sound(t, acme(), r)
	}
}

func TestSimilarIssues(t *testing.T) {
	request := sdk.Request{Repository: acme(), Issue: sdk.Issue{Title: "Behaviour in the office", Body: "It is as it is, somehow."}}
	request.Similar = []sdk.SimilarIssue{{Number: 12, Similarity: 0.93, Fields: map[sdk.Field][]string{sdk.Category: {"performance"}, sdk.Component: {"http"}}}}
	c := New()
	alone := classify(t, c, acme(), request.Issue)
	if alone.Fields[sdk.Component].Values != nil {
		t.Fatalf("got %v without neighbours", alone)
	}
	r, err := c.Classify(context.Background(), request)
	if err != nil {
		t.Fatal(err)
	}
	if value(r, sdk.Component) != "http" || r.Fields[sdk.Component].Reason != "The similar issue #12 belongs to it." {
		t.Errorf("got %v", r.Fields[sdk.Component])
	}
	// A neighbour does not outweigh what the issue itself says.
	request.Issue.Title = "[Bug] Crash when the parser is stopped"
	if r, err = c.Classify(context.Background(), request); err != nil || value(r, sdk.Category) != "bug" || value(r, sdk.Component) != "parser" {
		t.Errorf("got %v, %v", r, err)
	}
}

func TestTags(t *testing.T) {
	c := New()
	for _, x := range []struct {
		title, body string
		want, never []string
	}{
		{"Crash when saving", "It worked before 2.0, now it panics every time.", []string{"crash", "regression"}, nil},
		{"Broken", "It fails.", []string{"needs-info"}, nil},
		{"Broken", "It fails with 1.2:\n\n```\nerror: x\n```", nil, []string{"needs-info"}},
		{"Save button does nothing on Windows", "It fails every time.", []string{"windows"}, nil},
		{"Export fails", "I saw no regression in the tests, it always failed.", nil, []string{"regression"}},
		{"This is a duplicate of nothing", "I found no duplicate. Is this a good idea?", nil, []string{"duplicate", "good first issue"}},
		{"Fix the sign", "This would be a good first issue.", []string{"good first issue"}, nil},
		{"Webhooks arrive twice", "", []string{"webhooks"}, nil},
		{"Add crash reporting", "It would be nice to have reports of crashes.", nil, []string{"crash"}},
	} {
		r := classify(t, c, acme(), sdk.Issue{Title: x.title, Body: x.body})
		got := r.Fields[sdk.Tags].Values
		for _, tag := range x.want {
			if !slices.Contains(got, tag) {
				t.Errorf("%q: got %q, want %q", x.title, got, tag)
			}
		}
		for _, tag := range x.never {
			if slices.Contains(got, tag) {
				t.Errorf("%q: got %q: %s", x.title, got, r.Fields[sdk.Tags].Reason)
			}
		}
		sound(t, acme(), r)
	}
}

func TestUrgency(t *testing.T) {
	c := New()
	for _, x := range []struct{ title, body, priority, severity string }{
		{"Upgrade causes data loss", "All customers are affected.", "critical", "critical"},
		{"Export fails", "There is no data loss.", "medium", "medium"},
		{"App crashes on start", "Every time.", "high", "high"},
		{"Typo on the start page", "", "low", ""},
		{"Something", "### Severity\n\nHigh\n\n### Priority\n\nP3", "low", "high"},
		{"Something is wrong", "### Priority\n\nlow / medium / high", "medium", "medium"},
		{"How do I sort?", "", "", ""},
		{"PLEASE FIX!!!!!!", "NOW!!!!", "", ""},
	} {
		r := classify(t, c, acme(), sdk.Issue{Title: x.title, Body: x.body})
		if value(r, sdk.Priority) != x.priority || value(r, sdk.Severity) != x.severity {
			t.Errorf("%q: got %q, %q; want %q, %q (%s)", x.title, value(r, sdk.Priority), value(r, sdk.Severity), x.priority, x.severity, r.Reasoning)
		}
	}
}
