package app_test

import (
	"testing"

	"github.com/dispatchai/dispatchai/app/simulate"
)

func (s *system) waitType(number int, name string) {
	s.t.Helper()
	is, err := s.github.WaitFor(testContext(s.t), testRepo, number, func(i simulate.Issue) bool { return i.Type == name })
	if err != nil {
		s.t.Fatalf("issue %d never got the type %q, it has %q: %v", number, name, is.Type, err)
	}
}

// TestIssueTypes: the category sets the type where there is none, and a person's
// word on it is final.
func TestIssueTypes(t *testing.T) {
	t.Parallel()
	s := configurable(t, simulate.Options{Seed: 73})
	ctx := testContext(t)
	if err := s.github.SetIssueTypes(testOwner, simulate.IssueType{Name: "Bug"}, simulate.IssueType{Name: "Story"}, simulate.IssueType{Name: "Task"}); err != nil {
		t.Fatal(err)
	}
	s.configFile("issue-types: {set: true, map: {feature: Story}}\n")
	s.start()
	bug, err := s.github.OpenIssue(ctx, testRepo, bugReport(1))
	if err != nil {
		t.Fatal(err)
	}
	s.waitType(bug, "Bug")
	feature, err := s.github.OpenIssue(ctx, testRepo, featureRequest(2))
	if err != nil {
		t.Fatal(err)
	}
	s.waitType(feature, "Story")
	s.settled()
	// Taken off by a person, and given another by one: both stay so.
	for number, name := range map[int]string{bug: "", feature: "Task"} {
		if err := s.github.SetIssueType(ctx, testRepo, number, "maia", name); err != nil {
			t.Fatal(err)
		}
	}
	for i, number := range []int{bug, feature} {
		body := bugReport(20+i).Body + "\n\nIt crashed again.\n"
		if err := s.github.EditIssue(ctx, testRepo, number, "maia", nil, &body); err != nil {
			t.Fatal(err)
		}
	}
	s.settled()
	for number, want := range map[int]string{bug: "", feature: "Task"} {
		if is, err := s.github.Issue(testRepo, number); err != nil || is.Type != want {
			t.Errorf("issue %d has the type %q, a person said %q; %v", number, is.Type, want, err)
		}
	}
}

// TestIssueTypesWithoutTheRight: GitHub drops the wish in silence; the labels are
// written all the same, and nothing is tried again and again.
func TestIssueTypesWithoutTheRight(t *testing.T) {
	t.Parallel()
	s := configurable(t, simulate.Options{Seed: 74, IssueTypePermission: "contents"})
	if err := s.github.SetIssueTypes(testOwner, simulate.IssueType{Name: "Bug"}); err != nil {
		t.Fatal(err)
	}
	s.configFile("issue-types: {set: true}\n")
	s.start()
	number, labels := s.openAndSettle(bugReport(1))
	is, err := s.github.Issue(testRepo, number)
	if err != nil || is.Type != "" || len(labels) == 0 {
		t.Fatalf("the issue has the type %q and the labels %v; %v", is.Type, labels, err)
	}
	if n := s.github.Requests()["PATCH /repos/{owner}/{repo}/issues/{number}"]; n != 1 {
		t.Errorf("the type was set %d times, want once", n)
	}
}
