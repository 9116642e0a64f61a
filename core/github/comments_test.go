package github

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/dispatchai/dispatchai/core/triage"
)

func TestComments(t *testing.T) {
	s := newServer(t)
	var calls []string
	s.serve = func(w http.ResponseWriter, r *http.Request) {
		var sent map[string]string
		_ = json.NewDecoder(r.Body).Decode(&sent)
		calls = append(calls, r.Method+" "+r.URL.Path+" "+sent["body"]+sent["content"])
		switch {
		case r.Method == http.MethodGet && r.URL.Path == "/repos/octo/repo/issues/7/comments":
			if r.URL.Query().Get("page") == "1" {
				w.Header().Set("Link", fmt.Sprintf(`<%s%s?page=2>; rel="next"`, s.URL, r.URL.Path))
				fmt.Fprint(w, `[{"id":1,"user":null,"body":"mark"},{"id":2,"user":{"login":"mallory","type":"User"},"body":"mark"}]`)
				return
			}
			fmt.Fprint(w, `[{"id":3,"user":{"login":"app[bot]","type":"Bot"},"body":"mark"}]`)
		case r.Method == http.MethodGet:
			fmt.Fprint(w, `{"state":"open"}`)
		case r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/9/reactions"):
			answer(w, 404, "Not Found")
		case r.Method == http.MethodPost:
			w.WriteHeader(http.StatusCreated)
			fmt.Fprint(w, `{"id":12}`)
		case r.Method == http.MethodPatch && strings.HasSuffix(r.URL.Path, "/9"):
			answer(w, 404, "Not Found")
		default:
			fmt.Fprint(w, `{"id":12}`)
		}
	}
	c := s.client()
	ctx := context.Background()
	repository := triage.Repository{ID: 1, FullName: "octo/repo"}
	bots := func(c Comment) bool { return c.Author.Type == triage.ActorBot && c.Body == "mark" }
	if found, err := c.FindComment(ctx, 3, repository, 7, bots); err != nil || found != (Comment{ID: 3, Author: triage.Actor{Login: "app[bot]", Type: triage.ActorBot}, Body: "mark"}) {
		t.Errorf("found %+v, %v", found, err)
	}
	if found, err := c.FindComment(ctx, 3, repository, 7, func(Comment) bool { return false }); err != nil || found.ID != 0 {
		t.Errorf("found %+v, %v", found, err)
	}
	calls = nil
	if id, err := c.CreateComment(ctx, 3, repository, 7, "hello"); err != nil || id != 12 {
		t.Errorf("created %d, %v", id, err)
	}
	if err := c.UpdateComment(ctx, 3, repository, 12, "bye"); err != nil {
		t.Error(err)
	}
	if err := c.UpdateComment(ctx, 3, repository, 9, "bye"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a comment that is gone: %v", err)
	}
	if err := c.AddReaction(ctx, 3, repository, 12, "+1"); err != nil {
		t.Error(err)
	}
	if err := c.AddReaction(ctx, 3, repository, 9, "+1"); err != nil {
		t.Errorf("a comment that is gone: %v", err)
	}
	if open, err := c.IssueOpen(ctx, 3, repository, 7); err != nil || !open {
		t.Errorf("open: %t, %v", open, err)
	}
	want := []string{
		"POST /repos/octo/repo/issues/7/comments hello", "PATCH /repos/octo/repo/issues/comments/12 bye", "PATCH /repos/octo/repo/issues/comments/9 bye",
		"POST /repos/octo/repo/issues/comments/12/reactions +1", "POST /repos/octo/repo/issues/comments/9/reactions +1", "GET /repos/octo/repo/issues/7 ",
	}
	if strings.Join(calls, "\n") != strings.Join(want, "\n") {
		t.Errorf("the calls were\n%s", strings.Join(calls, "\n"))
	}
	calls = nil
	for name, err := range map[string]error{
		"no comment":         c.UpdateComment(ctx, 3, repository, 0, "x"),
		"no repository":      c.AddReaction(ctx, 3, triage.Repository{FullName: "../x"}, 1, "+1"),
		"no installation":    c.AddReaction(ctx, 0, repository, 1, "+1"),
		"no issue":           second(c.CreateComment(ctx, 3, repository, 0, "x")),
		"no issue to read":   second(c.IssueOpen(ctx, 3, repository, 0)),
		"no issue to search": second(c.FindComment(ctx, 3, repository, -1, bots)),
	} {
		if !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(calls) > 0 {
		t.Errorf("GitHub was asked %q", calls)
	}
}

func second[T any](_ T, err error) error { return err }
