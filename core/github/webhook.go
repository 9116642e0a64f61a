package github

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/dispatchai/dispatchai/core/triage"
)

// The webhook events that DispatchAI takes from GitHub, by their X-GitHub-Event name.
const (
	EventIssues                   = "issues"
	EventIssueComment             = "issue_comment"
	EventInstallation             = "installation"
	EventInstallationRepositories = "installation_repositories"
	EventLabel                    = "label"
	EventRepository               = "repository"
	EventPush                     = "push"
	EventPing                     = "ping"
)

// Errors that tell why a payload can never be used; trying again does not help.
var (
	// ErrNotJSON is returned for a body that is not exactly one JSON object.
	ErrNotJSON = errors.New("the payload is not a JSON object")
	// ErrIncomplete is returned for a payload that lacks what its event must have.
	ErrIncomplete = errors.New("the payload is incomplete")
	// ErrUnknownEvent is returned for an event that DispatchAI does not handle.
	ErrUnknownEvent = errors.New("not an event that DispatchAI handles")
)

// Route says which of the two raw topics an event belongs to.
type Route int

// Events about one issue are kept apart from those about an installation, its
// repositories and their labels, because the former are ordered per issue and
// the latter per installation.
const (
	RouteIssues Route = iota + 1
	RouteInstallations
)

// RouteOf tells where deliveries of the event go; false for events that are
// ignored. Only GitHub's own events have a route: nothing from outside may
// carry the name of one of DispatchAI's (EventCorrection and the like).
func RouteOf(event string) (Route, bool) {
	switch event {
	case EventIssues, EventIssueComment:
		return RouteIssues, true
	case EventInstallation, EventInstallationRepositories, EventLabel, EventRepository, EventPush, EventPing:
		return RouteInstallations, true
	}
	return 0, false
}

// Key finds what a delivery is about and reads nothing else of it: its route,
// and the record key there. On RouteIssues that is triage.IssueKey.String, on
// RouteInstallations the installation's ID in decimal, "0" for what belongs to no
// installation: a ping of the App's own webhook, and an event about a label or a
// repository from an ordinary webhook.
//
// The whole body's syntax is checked. A body that Key refuses, ParseWebhook
// refuses too, and where both accept one they agree on the key. Errors match
// ErrNotJSON, ErrIncomplete or ErrUnknownEvent.
func Key(event string, body []byte) (Route, string, error) {
	route, ok := RouteOf(event)
	if !ok {
		return 0, "", fmt.Errorf("%w: %.100q", ErrUnknownEvent, event)
	}
	payload, err := parsePayload(body)
	if err != nil {
		return 0, "", err
	}
	if route == RouteInstallations {
		id, err := payload.installationID(event)
		return route, strconv.FormatInt(id, 10), err
	}
	key, err := payload.issueKey(event)
	return route, key.String(), err
}

// ParseWebhook turns a delivery, or an event of DispatchAI's own as EncodeEvent
// wrote it, into a triage.Event. The event's name comes from the record's
// header; receivedAt stands in for the times a payload leaves out.
//
// It is tolerant: unknown members and actions, null bodies, labels and users
// (deleted accounts) are fine, invalid UTF-8 and NUL become U+FFFD. What an
// event cannot do without is named in the error, which matches ErrNotJSON,
// ErrIncomplete or ErrUnknownEvent and is permanent.
//
// What follows from the payload, beyond the comments in package triage:
//   - An issues or issue_comment event about a pull request is a
//     KindPullRequest with its key and sender, and no Issue.
//   - "unlabeled" of a label that was deleted meanwhile names no label: it is a
//     KindIssue, whose Issue.Labels tell what is left.
//   - InstallationID is 0 for the events of an ordinary repository webhook about
//     issues, labels and the repository.
//   - "transferred" has MovedTo where the payload tells it.
//   - "installation deleted" lists its repositories in Removed, none in Added.
//   - KindRepository with Action "deleted" has Repository.Removed set.
//   - A push TouchesConfig when it came to the default branch and changed a file
//     that is read there, or when the payload does not list all that it changed.
func ParseWebhook(event, deliveryID string, body []byte, receivedAt time.Time) (triage.Event, error) {
	switch event {
	case EventCorrection, EventReclassify, EventUndo, EventDismissal:
		return parseOwnEvent(event, deliveryID, body, receivedAt)
	}
	if _, ok := RouteOf(event); !ok && event != EventSnapshot {
		return triage.Event{}, fmt.Errorf("%w: %.100q", ErrUnknownEvent, event)
	}
	payload, err := parsePayload(body)
	if err != nil {
		return triage.Event{}, err
	}
	e := triage.Event{
		ID:         deliveryID,
		Action:     payload.action.text(),
		ReceivedAt: receivedAt,
		Sender:     actor(payload.sender),
	}
	switch event {
	case EventIssues, EventIssueComment, EventSnapshot:
		err = payload.issueEvent(event, &e)
	default:
		err = payload.installationEvent(event, &e)
	}
	if err != nil {
		return triage.Event{}, err
	}
	return e, nil
}

func incomplete(event, missing string) error {
	return fmt.Errorf("%w: the %s event has no %s", ErrIncomplete, event, missing)
}
