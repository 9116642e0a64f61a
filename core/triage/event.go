package triage

import "time"

// Kind says what an Event is about; its fields beside the common ones follow from it.
type Kind string

// The kinds of events that arrive on issues.raw and installations.raw.
const (
	// KindIssue: the issue was opened, edited, closed, reopened or otherwise
	// changed (Action is GitHub's); Issue holds its state after the change.
	KindIssue Kind = "issue"
	// KindLabelChange: one label was put on or taken off the issue; Label and Issue are set.
	KindLabelChange Kind = "label_change"
	// KindComment: somebody commented; Comment and Issue are set.
	KindComment Kind = "comment"
	// KindPullRequest: the "issue" is a pull request, which DispatchAI leaves alone.
	KindPullRequest Kind = "pull_request"
	// KindCorrection: a person corrected a field; Correction is set.
	KindCorrection Kind = "correction"
	// KindReclassify: a person asked for the issue to be classified anew.
	KindReclassify Kind = "reclassify"
	// KindUndo: an operator withdraws what plugins answered; Undo is set.
	KindUndo Kind = "undo"
	// KindDismissal: a person dismissed a suggestion on GitHub, of which no webhook
	// tells; Label is what was suggested.
	KindDismissal Kind = "dismissal"
	// KindInstallation: the App was installed, removed, suspended or unsuspended
	// (Action is GitHub's); Installation and Added are set.
	KindInstallation Kind = "installation"
	// KindInstallationRepositories: repositories were added to or removed from
	// an installation; Added and Removed are set.
	KindInstallationRepositories Kind = "installation_repositories"
	// KindRepository: a repository was renamed, transferred, made private, deleted ...
	KindRepository Kind = "repository"
	// KindRepositoryLabel: a repository's label was created, edited or deleted;
	// Label is set, PreviousLabel too when it was renamed.
	KindRepositoryLabel Kind = "repository_label"
	// KindPush: commits came to a branch; TouchesConfig tells whether the
	// repository's configuration has to be read again.
	KindPush Kind = "push"
	// KindPing is GitHub's hello; it changes nothing.
	KindPing Kind = "ping"
)

// Event is one thing that happened, whoever said so: a GitHub delivery or a
// request made on the dashboard.
type Event struct {
	// ID is the idempotency key: the delivery GUID, or the ID a correction or
	// command was given when it was accepted.
	ID             string           `json:"id"`
	Kind           Kind             `json:"kind"`
	Action         string           `json:"action,omitempty"`
	ReceivedAt     time.Time        `json:"received_at"`
	InstallationID int64            `json:"installation_id,omitempty"`
	Repository     Repository       `json:"repository"`
	Number         int              `json:"number,omitempty"`
	Sender         Actor            `json:"sender"`
	Issue          *Issue           `json:"issue,omitempty"`
	Label          *RepositoryLabel `json:"label,omitempty"`
	PreviousLabel  string           `json:"previous_label,omitempty"`
	Comment        *Comment         `json:"comment,omitempty"`
	Correction     *CorrectionInput `json:"correction,omitempty"`
	Undo           *UndoInput       `json:"undo,omitempty"`
	Installation   *Installation    `json:"installation,omitempty"`
	Added          []Repository     `json:"added,omitempty"`
	Removed        []Repository     `json:"removed,omitempty"`
	// MovedTo is, when an issue was transferred, what became of it; zero otherwise.
	MovedTo IssueKey `json:"moved_to,omitzero"`
	// TouchesConfig tells that a push may have changed what the repository's
	// default branch says to the app: its configuration file or its workflows.
	TouchesConfig bool `json:"touches_config,omitempty"`
}

// IssueKey is the key of the issue the event is about; it is zero for events
// about installations and repositories.
func (e Event) IssueKey() IssueKey {
	if e.Number == 0 {
		return IssueKey{}
	}
	return IssueKey{RepositoryID: e.Repository.ID, Number: e.Number}
}

// Superseded tells that a label change no longer stands: newest, a later state
// of the same issue, shows that it was undone. GitHub does not order deliveries
// and redelivers them days later, so a change may arrive after what undid it.
func (e Event) Superseded(newest Issue) bool {
	if e.Kind != KindLabelChange || e.Label == nil || e.Issue == nil || !newest.UpdatedAt.After(e.Issue.UpdatedAt) {
		return false
	}
	return newest.HasLabel(e.Label.Name) != (e.Action == "labeled")
}

// changedAt is when the event happened as far as can be told: GitHub gives
// whole seconds, so the end of that second, but never after it was heard of.
func (e Event) changedAt() time.Time {
	if e.Issue == nil || e.Issue.UpdatedAt.IsZero() {
		return e.ReceivedAt
	}
	return endOfSecond(e.Issue.UpdatedAt, e.ReceivedAt)
}

// Comment is a comment on an issue.
type Comment struct {
	ID        int64     `json:"id"`
	Author    Actor     `json:"author"`
	Body      string    `json:"body"`
	CreatedAt time.Time `json:"created_at,omitzero"`
	// ViaApp tells that an App wrote it, be it in a person's name.
	ViaApp bool `json:"via_app,omitempty"`
}

// SaidAt is when the comment was made as far as can be told: GitHub gives whole
// seconds, so the end of that second, but never after it was heard of.
func (e Event) SaidAt() time.Time {
	if e.Comment == nil || e.Comment.CreatedAt.IsZero() {
		return e.ReceivedAt
	}
	return endOfSecond(e.Comment.CreatedAt, e.ReceivedAt)
}

func endOfSecond(at, latest time.Time) time.Time {
	if end := at.Add(time.Second - time.Microsecond); end.Before(latest) {
		return end
	}
	return latest
}

// CorrectionInput is what a person asks for: the field, the values it should
// have (none: the field does not apply) and why.
type CorrectionInput struct {
	Field  Field    `json:"field"`
	Values []string `json:"values"`
	Reason string   `json:"reason,omitempty"`
	Actor  string   `json:"actor"`
}
