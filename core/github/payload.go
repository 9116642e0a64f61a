package github

import (
	"fmt"
	"math"
	"time"

	"github.com/dispatchai/dispatchai/core/triage"
)

// payload holds the top-level members of a delivery.
type payload struct {
	action, issue, comment, label, changes document
	repository, installation, sender       document
	repositories, added, removed           document
	push                                   pushPayload
}

func parsePayload(body []byte) (*payload, error) {
	p := &payload{}
	root, err := parseDocument(body, p.take)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotJSON, err)
	}
	if !root.object() {
		return nil, fmt.Errorf("%w: it is another JSON value", ErrNotJSON)
	}
	return p, nil
}

func (p *payload) take(name []byte, value document) {
	switch string(name) {
	case "action":
		first(&p.action, value)
	case "issue":
		first(&p.issue, value)
	case "comment":
		first(&p.comment, value)
	case "label":
		first(&p.label, value)
	case "changes":
		first(&p.changes, value)
	case "repository":
		first(&p.repository, value)
	case "installation":
		first(&p.installation, value)
	case "sender":
		first(&p.sender, value)
	case "repositories":
		first(&p.repositories, value)
	case "repositories_added":
		first(&p.added, value)
	case "repositories_removed":
		first(&p.removed, value)
	default:
		p.push.take(name, value)
	}
}

func first(slot *document, value document) {
	if *slot == nil {
		*slot = value
	}
}

// identifier is a positive whole number, as all of GitHub's identifiers are.
func (d document) identifier(name string) (int64, bool) {
	n, ok := d.member(name).integer()
	return n, ok && n > 0
}

func (p *payload) issueKey(event string) (triage.IssueKey, error) {
	repository, ok := p.repository.identifier("id")
	if !ok {
		return triage.IssueKey{}, incomplete(event, "repository.id (a positive whole number)")
	}
	number, ok := p.issue.identifier("number")
	if !ok || number > math.MaxInt32 {
		return triage.IssueKey{}, incomplete(event, "issue.number (a positive whole number)")
	}
	return triage.IssueKey{RepositoryID: repository, Number: int(number)}, nil
}

func (p *payload) installationID(event string) (int64, error) {
	id, ok := p.installation.identifier("id")
	if ok {
		return id, nil
	}
	switch event {
	case EventPing, EventLabel, EventRepository, EventPush:
		if !p.installation.set() {
			return 0, nil
		}
	}
	return 0, incomplete(event, "installation.id (a positive whole number); it stands in deliveries of a GitHub App's webhook, "+
		"not in those of a webhook of a repository or an organization")
}

func (p *payload) issueEvent(event string, e *triage.Event) error {
	key, err := p.issueKey(event)
	if err != nil {
		return err
	}
	e.Number = key.Number
	e.InstallationID, _ = p.installation.identifier("id")
	if e.Repository, err = repository(p.repository, e.InstallationID); err != nil {
		return fmt.Errorf("the %s event: %w", event, err)
	}
	issue, isPullRequest, err := parseIssue(p.issue, e.Repository, key.Number, e.ReceivedAt)
	if isPullRequest {
		e.Kind = triage.KindPullRequest
		return nil
	}
	if err != nil {
		return fmt.Errorf("the %s event: %w", event, err)
	}
	e.Issue = &issue
	e.Kind = triage.KindIssue
	switch {
	case event == EventIssueComment:
		id, ok := p.comment.identifier("id")
		if !ok {
			return incomplete(event, "comment.id (a positive whole number)")
		}
		e.Kind = triage.KindComment
		e.Comment = &triage.Comment{
			ID: id, Author: actor(p.comment.member("user")), Body: p.comment.member("body").text(),
			CreatedAt: p.comment.member("created_at").time(), ViaApp: p.comment.member("performed_via_github_app").set(),
		}
	case e.Action == "transferred":
		e.MovedTo = p.movedTo()
	case e.Action == "labeled", e.Action == "unlabeled":
		if label := repositoryLabel(p.label); label.Name != "" {
			e.Kind = triage.KindLabelChange
			e.Label = &label
		}
	}
	return nil
}

// movedTo is the issue that a transfer made in another repository, zero when
// the payload does not say: GitHub leaves it out where it may not be seen.
func (p *payload) movedTo() triage.IssueKey {
	repository, known := p.changes.member("new_repository").identifier("id")
	number, numbered := p.changes.member("new_issue").identifier("number")
	if !known || !numbered || number > math.MaxInt32 {
		return triage.IssueKey{}
	}
	return triage.IssueKey{RepositoryID: repository, Number: int(number)}
}

func (p *payload) installationEvent(event string, e *triage.Event) error {
	id, err := p.installationID(event)
	if err != nil {
		return err
	}
	e.InstallationID = id
	switch event {
	case EventPing:
		e.Kind = triage.KindPing
	case EventInstallation:
		e.Kind = triage.KindInstallation
		e.Installation = p.installationState(id, e)
		listed, err := repositories(p.repositories, id, e.Action == "deleted")
		if err != nil {
			return fmt.Errorf("the %s event: %w", event, err)
		}
		if e.Action == "deleted" {
			e.Removed = listed
		} else {
			e.Added = listed
		}
	case EventInstallationRepositories:
		e.Kind = triage.KindInstallationRepositories
		e.Installation = p.installationState(id, e)
		if e.Added, err = repositories(p.added, id, false); err != nil {
			return fmt.Errorf("the %s event: %w", event, err)
		}
		if e.Removed, err = repositories(p.removed, id, true); err != nil {
			return fmt.Errorf("the %s event: %w", event, err)
		}
	case EventPush:
		if e.Repository, err = repository(p.repository, id); err != nil {
			return fmt.Errorf("the %s event: %w", event, err)
		}
		e.Kind = triage.KindPush
		e.TouchesConfig = p.push.touches(p.repository.member("default_branch").text())
	case EventRepository, EventLabel:
		if e.Repository, err = repository(p.repository, id); err != nil {
			return fmt.Errorf("the %s event: %w", event, err)
		}
		if event == EventRepository {
			e.Kind = triage.KindRepository
			e.Repository.Removed = e.Action == "deleted"
			return nil
		}
		label := repositoryLabel(p.label)
		if label.Name == "" {
			return incomplete(event, "label.name")
		}
		e.Kind = triage.KindRepositoryLabel
		e.Label = &label
		e.PreviousLabel = p.changes.member("name").member("from").text()
	}
	return nil
}

func (p *payload) installationState(id int64, e *triage.Event) *triage.Installation {
	account := p.installation.member("account")
	state := &triage.Installation{
		ID:        id,
		Account:   actor(account).Login,
		Suspended: p.installation.member("suspended_at").set(),
		Removed:   e.Action == "deleted",
		UpdatedAt: p.installation.member("updated_at").time(),
		Grant:     grant(p.installation),
	}
	if state.Account == "" { // an enterprise has a slug and no login
		state.Account = account.member("slug").text()
	}
	if state.UpdatedAt.IsZero() {
		state.UpdatedAt = e.ReceivedAt
	}
	switch e.Action {
	case "suspend":
		state.Suspended = true
	case "unsuspend":
		state.Suspended = false
	}
	return state
}

const (
	// maxGranted bounds each list of a grant, maxGrantedText each text in it:
	// GitHub has far fewer permissions and events than that.
	maxGranted     = 200
	maxGrantedText = 200
)

// grant reads what an installation's owner has accepted, nil where the payload does not tell.
func grant(installation document) *triage.Grant {
	permissions := installation.member("permissions")
	if !permissions.object() {
		return nil
	}
	g := &triage.Grant{
		Permissions:         make(map[string]string),
		Events:              grantedTexts(installation.member("events")),
		RepositorySelection: clip(installation.member("repository_selection").text()),
		SingleFiles:         grantedTexts(installation.member("single_file_paths")),
	}
	for m := permissions.members(); m.next() && len(g.Permissions) < maxGranted; {
		name := cleanText(string(m.name))
		if _, repeated := g.Permissions[name]; !repeated && len(name) <= maxGrantedText {
			g.Permissions[name] = clip(m.value.text())
		}
	}
	// Older servers name the only file there may be.
	if file := clip(installation.member("single_file_name").text()); file != "" && len(g.SingleFiles) == 0 {
		g.SingleFiles = append(g.SingleFiles, file)
	}
	return g
}

func grantedTexts(list document) []string {
	texts := []string{}
	for e := list.elements(); e.next() && len(texts) < maxGranted; {
		if text := clip(e.value.text()); text != "" {
			texts = append(texts, text)
		}
	}
	return texts
}

// clip is the text when it is not longer than GitHub's own ever are, and "" otherwise.
func clip(text string) string {
	if len(text) > maxGrantedText {
		return ""
	}
	return text
}

// repository reads a repository; its ID and its full name are what nothing can be done without.
func repository(d document, installationID int64) (triage.Repository, error) {
	id, ok := d.identifier("id")
	if !ok {
		return triage.Repository{}, fmt.Errorf("%w: no repository.id (a positive whole number)", ErrIncomplete)
	}
	r := triage.Repository{
		ID:             id,
		InstallationID: installationID,
		FullName:       d.member("full_name").text(),
		Private:        d.member("private").isTrue(),
		Archived:       d.member("archived").isTrue(),
	}
	if r.Owner() == "" || r.Name() == "" {
		return triage.Repository{}, fmt.Errorf("%w: no repository.full_name (owner/name)", ErrIncomplete)
	}
	return r, nil
}

func repositories(d document, installationID int64, removed bool) ([]triage.Repository, error) {
	var all []triage.Repository
	for e := d.elements(); e.next(); {
		r, err := repository(e.value, installationID)
		if err != nil {
			return nil, err
		}
		r.Removed = removed
		all = append(all, r)
	}
	return all, nil
}

func repositoryLabel(d document) triage.RepositoryLabel {
	return triage.RepositoryLabel{
		Name:        d.member("name").text(),
		Color:       d.member("color").text(),
		Description: d.member("description").text(),
	}
}

// parseIssue reads an issue; of a pull request it tells only that it is one.
func parseIssue(d document, r triage.Repository, number int, receivedAt time.Time) (_ triage.Issue, isPullRequest bool, _ error) {
	issue := triage.Issue{Repository: r, Number: number, Labels: []string{}}
	var seen struct {
		id, title, body, state, user, association, labels, url, created, updated, closed, pullRequest document
	}
	for m := d.members(); m.next(); {
		switch string(m.name) {
		case "id":
			first(&seen.id, m.value)
		case "title":
			first(&seen.title, m.value)
		case "body":
			first(&seen.body, m.value)
		case "state":
			first(&seen.state, m.value)
		case "user":
			first(&seen.user, m.value)
		case "author_association":
			first(&seen.association, m.value)
		case "labels":
			first(&seen.labels, m.value)
		case "html_url":
			first(&seen.url, m.value)
		case "created_at":
			first(&seen.created, m.value)
		case "updated_at":
			first(&seen.updated, m.value)
		case "closed_at":
			first(&seen.closed, m.value)
		case "pull_request":
			first(&seen.pullRequest, m.value)
		}
	}
	if seen.pullRequest.set() {
		return triage.Issue{}, true, nil
	}
	id, ok := seen.id.integer()
	if !ok || id <= 0 {
		return triage.Issue{}, false, fmt.Errorf("%w: no issue.id (a positive whole number)", ErrIncomplete)
	}
	issue.ID = id
	issue.Title = seen.title.text()
	issue.Body = seen.body.text()
	issue.Author = actor(seen.user)
	issue.AuthorAssociation = seen.association.text()
	issue.URL = seen.url.text()
	if issue.State = seen.state.text(); issue.State == "" {
		issue.State = "open"
	}
	for e := seen.labels.elements(); e.next(); {
		name := e.value.text()
		if e.value.object() {
			name = e.value.member("name").text()
		}
		if name != "" {
			issue.Labels = append(issue.Labels, name)
		}
	}
	issue.CreatedAt = seen.created.time()
	issue.UpdatedAt = seen.updated.time()
	if issue.CreatedAt.IsZero() {
		issue.CreatedAt = receivedAt
	}
	if issue.UpdatedAt.IsZero() {
		issue.UpdatedAt = receivedAt
	}
	if closed := seen.closed.time(); !closed.IsZero() {
		issue.ClosedAt = &closed
	}
	return issue, false, nil
}

// actor reads a user; null is a deleted account, the zero Actor.
func actor(d document) triage.Actor {
	var login, kind document
	for m := d.members(); m.next(); {
		switch string(m.name) {
		case "login":
			first(&login, m.value)
		case "type":
			first(&kind, m.value)
		}
	}
	return triage.Actor{Login: login.text(), Type: triage.ActorType(kind.text())}
}

// time reads a time as GitHub writes it: RFC 3339, in a few old payloads
// seconds since 1970. Anything else is the zero time.
func (d document) time() time.Time {
	if seconds, ok := d.integer(); ok {
		const year10000 = 253402300800
		if seconds <= 0 || seconds >= year10000 {
			return time.Time{}
		}
		return time.Unix(seconds, 0).UTC()
	}
	at, err := time.Parse(time.RFC3339, d.text())
	if err != nil {
		return time.Time{}
	}
	return at.UTC()
}
