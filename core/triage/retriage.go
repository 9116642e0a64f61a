package triage

import (
	"strings"
	"time"
)

// RetriagePolicy says what has an issue looked at again, and whether its author
// is asked for what is missing. Where nothing may be written to GitHub, Commands
// and NeedsInfo.Ask must be off.
type RetriagePolicy struct {
	// Edit and Reopen have an issue classified again when its text changes, and
	// when it is opened again.
	Edit, Reopen bool
	// Comment has it classified again when its author answers a request.
	Comment bool
	// Commands has /dispatch commands in comments obeyed.
	Commands  bool
	NeedsInfo NeedsInfoConfig
	// NeedsInfoLabel stands on the issue while answers are missing, if the
	// repository has it; "" for none.
	NeedsInfoLabel string
}

// DefaultRetriagePolicy is that of a repository that says nothing: no author is asked.
func DefaultRetriagePolicy() RetriagePolicy {
	return RetriagePolicy{Edit: true, Reopen: true, Comment: true, Commands: true}
}

// RetriagePolicy is what the repository's configuration says of it. Where labels
// are only suggested, or nothing is written, nobody is asked or answered.
func (c RepositoryConfig) RetriagePolicy() RetriagePolicy {
	p := RetriagePolicy{Edit: c.Retriage.Edit, Reopen: c.Retriage.Reopen, Comment: c.Retriage.Comment}
	if c.Mode == ModeApply {
		p.Commands, p.NeedsInfo = c.Commands, c.NeedsInfo
	}
	return p
}

// InfoRequest is what the one comment that asks an issue's author for answers
// should say by now.
type InfoRequest struct {
	// Text is the comment without the marker by which it is found again.
	Text string `json:"text"`
	// Open tells that answers are missing.
	Open bool `json:"open"`
	// Create has the comment made where there is none.
	Create bool `json:"create,omitempty"`
	// Label stands on the issue while the request is open.
	Label string `json:"label,omitempty"`
}

const (
	// askWithin is how old an issue may be for its author to be asked: nobody
	// wants to be asked about what they wrote long before the app was there.
	askWithin = 7 * 24 * time.Hour

	replyHint = "\n\nIn a comment, begin a line with the name and a colon for each, as in `Version: 1.2.3`."
	thanks    = "Thank you, that is all we asked for."
)

// Missing lists the answers that the policy needs of the issue and that neither
// its body nor its author's replies give; none when it needs nothing of it.
func (p RetriagePolicy) Missing(issue Issue, c *Classification, replies string) []string {
	if c == nil || issue.State == "closed" || !p.NeedsInfo.Wants(c.Value(FieldCategory)) {
		return nil
	}
	missing := p.NeedsInfo.Missing(issue.Body)
	if len(missing) == 0 || replies == "" {
		return missing
	}
	named := NeedsInfoConfig{Answers: missing}
	return named.Missing(named.asHeadings(replies))
}

// Request is what to ask of the issue's author now, nil for nothing.
func (p RetriagePolicy) Request(issue Issue, c *Classification, replies string, now time.Time) *InfoRequest {
	if c == nil || issue.State == "closed" || !p.NeedsInfo.Wants(c.Value(FieldCategory)) {
		return nil
	}
	missing := p.Missing(issue, c, replies)
	if len(missing) == 0 {
		return &InfoRequest{Text: thanks}
	}
	return &InfoRequest{
		Text: p.NeedsInfo.Text(missing) + replyHint, Open: true, Label: p.NeedsInfoLabel,
		Create: issue.Author.Type != ActorBot && now.Sub(issue.CreatedAt) <= askWithin,
	}
}

// asHeadings turns the lines of a comment that begin with the name of a needed
// answer and a colon into headings with what follows below them. What is quoted
// answers nothing.
func (n NeedsInfoConfig) asHeadings(comment string) string {
	named := make(map[string]bool, len(n.Answers))
	for _, a := range n.Answers {
		named[normaliseWords(a)] = true
	}
	var b strings.Builder
	for line := range strings.Lines(comment) {
		text := strings.TrimSpace(line)
		if strings.HasPrefix(text, ">") {
			continue
		}
		name, value, found := strings.Cut(line, ":")
		if found && !strings.HasPrefix(text, "#") && named[normaliseWords(name)] {
			b.WriteString("### " + normaliseWords(name) + "\n\n" + strings.TrimLeft(value, "* "))
			continue
		}
		b.WriteString(line)
	}
	return b.String()
}

// Reaction is a reaction that a comment is to be given.
type Reaction struct {
	CommentID int64  `json:"comment_id"`
	Content   string `json:"content"`
}

// The reactions by which commands are acknowledged.
const (
	ReactionDone    = "+1"
	ReactionUnclear = "confused"
)
