package triage

import (
	"slices"
	"strings"
)

// NeedsInfoConfig asks an issue's author, once and in one comment, for answers
// that the issue form was left without.
type NeedsInfoConfig struct {
	Ask bool `json:"ask"`
	// Answers are the headings of the form whose answers are needed.
	Answers []string `json:"answers,omitempty"`
	// Categories are those whose issues need them.
	Categories []string `json:"categories"`
	// Comment is what the comment says above the list of what is missing.
	Comment string `json:"comment"`
}

// Wants tells whether the authors of issues of the category are asked.
func (n NeedsInfoConfig) Wants(category string) bool {
	return n.Ask && slices.Contains(n.Categories, category)
}

// Missing lists the needed answers that the body does not give, in the
// order of Answers: the heading is not there, or nothing, a comment or
// "_No response_" stands below it.
func (n NeedsInfoConfig) Missing(body string) []string {
	answered := answeredHeadings(body)
	var missing []string
	for _, heading := range n.Answers {
		if !answered[normaliseWords(heading)] {
			missing = append(missing, heading)
		}
	}
	return missing
}

// Text is the comment that asks for what is missing. The marker by which the
// comment is found again is the caller's to add.
func (n NeedsInfoConfig) Text(missing []string) string {
	var b strings.Builder
	b.WriteString(strings.TrimSpace(n.Comment))
	b.WriteByte('\n')
	for _, heading := range missing {
		b.WriteString("\n- ")
		b.WriteString(strings.Join(strings.Fields(heading), " "))
	}
	return b.String()
}

// answeredHeadings reads a body in one pass: which headings, as normaliseWords
// gives them, have something to read below them.
func answeredHeadings(body string) map[string]bool {
	answered := make(map[string]bool)
	heading, fence, comment := "", "", false
	for line := range strings.Lines(body) {
		text := strings.TrimSpace(line)
		if fence == "" {
			text, comment = outsideComments(text, comment)
		}
		switch mark := fenceOf(text); {
		case fence != "" && strings.HasPrefix(mark, fence) && strings.Trim(text, fence[:1]) == "":
			fence = ""
			continue
		case fence == "" && mark != "":
			fence = mark
			continue
		}
		if title := strings.TrimLeft(text, "#"); fence == "" && title != text && len(text)-len(title) <= 6 && strings.HasPrefix(title, " ") {
			heading = normaliseWords(title)
			continue
		}
		switch normaliseWords(text) {
		case "", "no response":
		default:
			answered[heading] = true
		}
	}
	delete(answered, "")
	return answered
}

// outsideComments is the line without HTML comments, and whether one stays open.
func outsideComments(line string, open bool) (string, bool) {
	var b strings.Builder
	for {
		mark := "<!--"
		if open {
			mark = "-->"
		}
		before, after, found := strings.Cut(line, mark)
		if !open {
			b.WriteString(before)
		}
		if !found {
			return strings.TrimSpace(b.String()), open
		}
		line, open = after, !open
	}
}

// fenceOf is the run of backticks or tildes that a line opens or closes a code
// block with, or "".
func fenceOf(line string) string {
	for _, c := range [...]string{"`", "~"} {
		rest := strings.TrimLeft(line, c)
		if run := line[:len(line)-len(rest)]; len(run) >= 3 && !strings.Contains(rest, "`") {
			return run
		}
	}
	return ""
}
