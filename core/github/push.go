package github

import (
	"strings"

	"github.com/dispatchai/dispatchai/core/triage"
)

// pushPayload holds the members of a push event that tell what it changed.
type pushPayload struct {
	ref, after, deleted, forced, commits document
}

func (p *pushPayload) take(name []byte, value document) {
	switch string(name) {
	case "ref":
		first(&p.ref, value)
	case "after":
		first(&p.after, value)
	case "deleted":
		first(&p.deleted, value)
	case "forced":
		first(&p.forced, value)
	case "commits":
		first(&p.commits, value)
	}
}

// What a push event lists at most; of a larger push nobody can tell from the
// event what it changed.
const (
	maxPushedCommits = 2048
	maxPushedPaths   = 300 // of one commit
)

// touches tells whether the push may have changed what is read on the default branch.
func (p *pushPayload) touches(defaultBranch string) bool {
	branch, ok := strings.CutPrefix(p.ref.text(), "refs/heads/")
	if !ok || defaultBranch != "" && branch != defaultBranch || p.deleted.isTrue() {
		return false
	}
	if p.forced.isTrue() {
		return true // what was there before and is gone stands nowhere
	}
	listed, last := 0, ""
	for c := p.commits.elements(); c.next(); {
		if listed++; listed >= maxPushedCommits {
			return true
		}
		paths := 0
		for m := c.value.members(); m.next(); {
			switch string(m.name) {
			case "id":
				last = m.value.text()
			case "added", "modified", "removed":
				for path := m.value.elements(); path.next(); {
					if paths++; paths >= maxPushedPaths || readPath(path.value.text()) {
						return true
					}
				}
			}
		}
	}
	return last != p.after.text()
}

// readPath tells whether the file is one that is read of a repository.
func readPath(path string) bool {
	return path == triage.ConfigFileName || strings.HasPrefix(path, WorkflowDirectory+"/")
}
