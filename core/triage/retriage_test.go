package triage

import (
	"strings"
	"testing"
	"time"
)

func askingPolicy() RetriagePolicy {
	p := DefaultRetriagePolicy()
	p.NeedsInfo = NeedsInfoConfig{Ask: true, Answers: []string{"Steps to reproduce", "Version"}, Categories: []string{"bug"}, Comment: "Please add:"}
	p.NeedsInfoLabel = "needs-info"
	return p
}

func TestRepliesAnswer(t *testing.T) {
	p := askingPolicy()
	bug := &Classification{Fields: map[Field]Answer{FieldCategory: {Values: []string{"bug"}}}}
	body := "### Steps to reproduce\n\n_No response_\n\n### Version\n\n_No response_\n"
	for replies, want := range map[string]string{
		"":                                     "Steps to reproduce,Version",
		"I do not know.":                       "Steps to reproduce,Version",
		"Version: 1.2":                         "Steps to reproduce",
		"**Version:** 1.2":                     "Steps to reproduce",
		"- version : 1.2":                      "Steps to reproduce",
		"Version:":                             "Steps to reproduce,Version",
		"Version: _No response_":               "Steps to reproduce,Version",
		"> Version: 1.2":                       "Steps to reproduce,Version",
		"The version: 1.2":                     "Steps to reproduce,Version",
		"Steps to reproduce:\n1. open it\n":    "Version",
		"### Version\n\n1.2":                   "Steps to reproduce",
		"Version: 1\n\nSteps to reproduce: 2.": "",
	} {
		if got := strings.Join(p.Missing(Issue{Body: body, State: "open"}, bug, replies), ","); got != want {
			t.Errorf("after %q %q is missing, want %q", replies, got, want)
		}
	}
}

func TestRequest(t *testing.T) {
	p := askingPolicy()
	bug := &Classification{Fields: map[Field]Answer{FieldCategory: {Values: []string{"bug"}}}}
	issue := Issue{State: "open", Author: Actor{Login: "ann", Type: ActorUser}, CreatedAt: start}
	now := start.Add(time.Hour)
	r := p.Request(issue, bug, "", now)
	if r == nil || !r.Open || !r.Create || r.Label != "needs-info" || !strings.Contains(r.Text, "- Version") || !strings.Contains(r.Text, "Steps") {
		t.Fatalf("asks %+v", r)
	}
	if r := p.Request(issue, bug, "Version: 1\nSteps to reproduce: 1", now); r == nil || r.Open || r.Create || r.Label != "" || strings.Contains(r.Text, "Version") {
		t.Errorf("once all is there it says %+v", r)
	}
	if r := p.Request(issue, bug, "", start.AddDate(0, 1, 0)); r == nil || r.Create {
		t.Errorf("an old issue is asked about: %+v", r)
	}
	closed, bot := issue, issue
	closed.State, bot.Author.Type = "closed", ActorBot
	if r := p.Request(bot, bug, "", now); r == nil || r.Create {
		t.Errorf("a bot is asked: %+v", r)
	}
	feature := &Classification{Fields: map[Field]Answer{FieldCategory: {Values: []string{"feature"}}}}
	off := DefaultRetriagePolicy()
	for name, got := range map[string]*InfoRequest{
		"closed": p.Request(closed, bug, "", now), "not classified": p.Request(issue, nil, "", now),
		"another category": p.Request(issue, feature, "", now), "by default": off.Request(issue, bug, "", now),
	} {
		if got != nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func FuzzReplies(f *testing.F) {
	f.Add("### Version\n\n_No response_", "Version: 1")
	f.Add("", "**Steps to reproduce:**\n```\nx\n```")
	p := askingPolicy()
	bug := &Classification{Fields: map[Field]Answer{FieldCategory: {Values: []string{"bug"}}}}
	f.Fuzz(func(t *testing.T, body, replies string) {
		without, with := p.Missing(Issue{Body: body, State: "open"}, bug, ""), p.Missing(Issue{Body: body, State: "open"}, bug, replies)
		if len(with) > len(without) {
			t.Fatalf("a reply makes more missing: %q, then %q", without, with)
		}
		if r := p.Request(Issue{Body: body, State: "open"}, bug, replies, time.Time{}); r == nil || r.Open != (len(with) > 0) {
			t.Fatalf("missing %q, asks %+v", with, r)
		}
	})
}
