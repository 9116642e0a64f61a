package triage

import "strings"

// ofProcess tells whether a description, normalised, says of its label that it is
// put on pull requests, sets something in motion or stands for a label that is
// missing: "Denotes a PR that changes 10-29 lines", "Add this label to start a CI
// run", "Indicates an issue lacks a `sig/foo` label".
func ofProcess(description string) bool {
	n, pulls, issues := 0, false, false
	for w := range strings.FieldsSeq(description) {
		n++
		switch w {
		case "pr", "prs", "pull":
			pulls = pulls || n <= 6
		case "issue", "issues":
			issues = true
		case "trigger", "triggers", "lacks":
			return true
		}
	}
	return pulls && !issues || strings.HasPrefix(description, "add this label to")
}

// asksForMore tells whether a label says that something is needed, which a
// description like "Further information is requested" only repeats.
func asksForMore(name string) bool {
	words := normaliseWords(name)
	return hasWord(words, "need") || hasWord(words, "needs") || hasWord(words, "needed") || hasWord(words, "more")
}

// maxDescription is how many words a description has that may say what its
// label means; longer ones tell of much more.
const maxDescription = 12

// readDescription reads a sentence, normalised, that says of a label what it is for.
func readDescription(words string) reading {
	if strings.Count(words, " ") >= maxDescription || isWorkflow(words) {
		return reading{}
	}
	if v := categoryOfSentence(words); v != "" {
		return reading{Meaning: Meaning{FieldCategory, v}, fit: looser}
	}
	// "This is a bug report", "Related to documentation", "For high priority issues".
	for again := true; again; {
		again = false
		for _, start := range [...]string{"this ", "issue ", "issues ", "is ", "are ", "for ", "a ", "an ", "related to ", "relates to ", "indicates ", "identified as ", "reports ", "report of "} {
			if rest, ok := strings.CutPrefix(words, start); ok {
				words, again = rest, true
			}
		}
	}
	for _, end := range [...]string{" issue", " issues"} {
		words = strings.TrimSuffix(words, end)
	}
	if words == "" || strings.Count(words, " ") > 2 {
		return reading{}
	}
	r := readPlain(words)
	if !r.Field.closed() || r.fit == narrower {
		return reading{}
	}
	r.fit, r.prefixed = looser, false
	return r
}
