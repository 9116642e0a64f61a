package triage

import (
	"slices"
	"strings"
)

// closedFields lists the fields whose values are fixed, with their values in
// the order they are shown. It is never written to.
var closedFields = [...]struct {
	field  Field
	values []string
}{
	{FieldCategory, []string{"bug", "feature", "question", "documentation", "security", "performance", "maintenance"}},
	{FieldPriority, []string{"critical", "high", "medium", "low"}},
	{FieldSeverity, []string{"critical", "major", "minor", "trivial"}},
	{FieldEffort, []string{"small", "medium", "large"}},
}

// ClosedValues lists the values of a field whose values are fixed, nil for any
// other field.
func ClosedValues(f Field) []string {
	for _, closed := range closedFields {
		if closed.field == f {
			return slices.Clone(closed.values)
		}
	}
	return nil
}

func (f Field) closed() bool {
	switch f {
	case FieldCategory, FieldPriority, FieldSeverity, FieldEffort:
		return true
	}
	return false
}

// CanonicalValue is the value in the form that taxonomies give it: one of
// ClosedValues, or the words of a component or tag joined by dashes. It is false
// for what the field cannot be.
func CanonicalValue(f Field, value string) (string, bool) {
	words := normaliseWords(value)
	switch {
	case f.closed():
		return words, slices.Contains(ClosedValues(f), words)
	case f.Labelled():
		return slug(words), words != ""
	}
	return "", false
}

// The functions below know the words that repositories use, as normaliseWords
// gives them; they answer "" for a word they do not know.

func categoryOf(words string) (string, fit) {
	switch words {
	case "bug", "bugs":
		return "bug", exact
	case "bug report", "bug reports", "defect", "defects":
		return "bug", synonym
	case "error", "fault", "possible bug", "potential bug":
		return "bug", looser
	case "crash", "crashes", "fatal crash", "bug crash", "confirmed bug", "bugfix", "bug fix", "bug fixes":
		return "bug", narrower

	case "feature", "features":
		return "feature", exact
	case "feature request", "feature requests", "enhancement", "enhancements", "new feature", "feature enhancement", "enhancement request", "improvement", "improvements", "feat":
		return "feature", synonym
	case "idea", "suggestion", "wish", "wishlist", "wish list":
		return "feature", looser
	case "proposal", "feature proposal":
		return "feature", narrower

	case "question", "questions":
		return "question", exact
	case "support", "support question", "support request", "usage question", "user question":
		return "question", synonym
	case "help", "usage", "how to", "howto", "q a":
		return "question", looser

	case "documentation":
		return "documentation", exact
	case "docs", "doc", "documentation issue", "docs issue":
		return "documentation", synonym
	case "docs bug", "documentation bug":
		return "documentation", looser
	case "docs feature":
		return "documentation", narrower

	case "security":
		return "security", exact
	case "security issue", "vulnerability":
		return "security", synonym
	case "cve":
		return "security", narrower

	case "performance":
		return "performance", exact
	case "perf", "performance issue":
		return "performance", synonym
	case "optimization", "optimisation", "speed":
		return "performance", looser
	case "slow":
		return "performance", narrower

	case "maintenance":
		return "maintenance", exact
	case "chore", "chores", "cleanup", "clean up", "housekeeping":
		return "maintenance", synonym
	case "task", "tech debt", "technical debt", "debt", "internal":
		return "maintenance", looser
	case "refactor", "refactoring", "build", "infrastructure":
		return "maintenance", narrower
	}
	return "", exact
}

// categoryOfSentence knows the descriptions that GitHub gives to the labels of a
// new repository, and others like them.
func categoryOfSentence(words string) string {
	switch words {
	case "something isn t working", "something is not working", "something isn t working as expected", "something is not working as expected", "something doesn t work",
		"something does not work", "something is broken", "something is wrong", "something isn t right", "something isn t working correctly", "unexpected problem or unintended behavior", "unexpected behavior", "unexpected behaviour":
		return "bug"
	case "new feature or request", "new feature or enhancement", "new feature request", "new functionality", "request for a new feature", "request for new functionality", "request for new feature",
		"new feature or improvement", "suggest an idea for this project", "improvement of existing functionality", "adds new functionality":
		return "feature"
	case "further information is requested", "asks a question", "someone needs help", "questions about usage", "question about usage", "how do i", "how to use":
		return "question"
	case "improvements or additions to documentation", "improvements or additions to the documentation", "additions or improvements to documentation", "documentation needs work",
		"improvements to documentation", "documentation improvements", "changes to documentation":
		return "documentation"
	case "a security vulnerability":
		return "security"
	}
	return ""
}

func priorityOf(words string) (string, fit) {
	switch words {
	case "critical", "high", "medium", "low":
		return words, exact
	case "urgent", "highest", "critical urgent", "blocker", "immediate", "now", "top", "emergency", "showstopper":
		return "critical", synonym
	case "important", "important soon", "major", "soon":
		return "high", synonym
	case "normal", "moderate", "mid", "middle", "default", "important longterm", "important long term":
		return "medium", synonym
	case "minor", "lowest", "trivial", "backlog", "nice to have", "someday":
		return "low", synonym
	case "awaiting more evidence":
		return "low", narrower
	}
	return "", exact
}

func severityOf(words string) (string, fit) {
	switch words {
	case "critical", "major", "minor", "trivial":
		return words, exact
	case "blocker", "fatal", "s0", "s1", "sev0", "sev1", "0", "1":
		return "critical", synonym
	case "high", "severe", "s2", "sev2", "2":
		return "major", synonym
	case "medium", "moderate", "normal", "s3", "sev3", "3":
		return "minor", synonym
	case "low", "cosmetic", "s4", "sev4", "4":
		return "trivial", synonym
	}
	return "", exact
}

func effortOf(words string) (string, fit) {
	switch words {
	case "small", "medium", "large":
		return words, exact
	case "s", "xs", "easy", "low", "trivial", "quick", "beginner", "starter":
		return "small", synonym
	case "straightforward":
		return "small", looser
	case "m", "moderate", "mid", "intermediate", "modest":
		return "medium", synonym
	case "l", "xl", "xxl", "hard", "high", "difficult", "challenging", "complex", "big", "epic":
		return "large", synonym
	}
	return "", exact
}

// fieldOfPrefix tells which field the part of a label before its separator
// announces: "kind/bug", "Type: Bug", "area/cli", "P-high". It is "" for a word
// that announces none.
func fieldOfPrefix(prefix string) Field {
	if word := strings.TrimRight(prefix, "0123456789"); len(word) > 2 {
		prefix = word // "severity3: broken"
	}
	switch prefix {
	case "kind", "type", "category", "issue", "issue type", "issue kind", "t", "c":
		return FieldCategory
	case "priority", "prio", "p", "importance", "urgency":
		return FieldPriority
	case "severity", "sev", "impact", "s":
		return FieldSeverity
	case "area", "component", "components", "comp", "module", "package", "pkg", "crate", "scope", "subsystem", "a", "topic", "feature", "plugin", "service", "provider", "integration", "sig":
		return FieldComponent
	case "effort", "size", "difficulty", "complexity", "estimate", "e", "d":
		return FieldEffort
	}
	return ""
}

// longestPhrase is how many words the longest phrase of workflowPhrase has.
const longestPhrase = 4

// isWorkflow tells whether a label records a maintainer's decision or drives
// automation: whether it holds such a phrase as whole words.
func isWorkflow(words string) bool { return holdsPhrase(words, workflowPhrase) }

func holdsPhrase(words string, is func(phrase string) bool) bool {
	for start := 0; start < len(words); {
		end := start
		for range longestPhrase {
			step := strings.IndexByte(words[end:], ' ')
			if step < 0 {
				if is(words[start:]) {
					return true
				}
				break
			}
			if is(words[start : end+step]) {
				return true
			}
			end += step + 1
		}
		next := strings.IndexByte(words[start:], ' ')
		if next < 0 {
			return false
		}
		start += next + 1
	}
	return false
}

func workflowPhrase(phrase string) bool {
	switch phrase {
	// What was decided.
	case "wontfix", "won t fix", "wont fix", "invalid", "duplicate", "not planned", "not a bug", "by design", "as designed", "works as intended", "working as intended",
		"cannot reproduce", "can t reproduce", "accepted", "rejected", "declined", "verified", "confirmed", "resolution", "resolved",
		"fixed", "closed", "answered", "solved", "spam", "abuse", "frozen", "locked", "pinned", "merged", "outdated", "archived":
		return true
	// Where the work stands.
	case "status", "stat", "triage", "triaging", "triaged", "stale", "blocked", "hold", "on hold", "in progress", "wip", "ready", "waiting", "awaiting", "pending", "stalled", "review", "verification", "lifecycle", "tracking", "tracking issue",
		"version", "milestone", "release", "released", "needs rebase", "sponsor", "bounty", "hacktoberfest":
		return true
	}
	return automationPhrase(phrase)
}

// drivesAutomation tells whether a label's name is one that machines act upon,
// so that it is not written even where somebody gives it a meaning.
func drivesAutomation(words string) bool { return holdsPhrase(words, automationPhrase) }

func automationPhrase(phrase string) bool {
	switch phrase {
	case "do not merge", "merge", "automerge", "auto merge", "autorelease", "backport", "cherry pick", "cla", "dependencies", "deploy", "publish", "skip", "ci", "bot",
		"ok to test", "safe to test", "test this please", "run tests", "lgtm", "approved", "autofix", "auto fix", "agent", "copilot",
		"ciflow", "force run", "commit queue", "fast track", "semver", "cherrypick", "shipit":
		return true
	}
	return false
}
