package github

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/bradleyfalzon/ghinstallation/v2"
	gh "github.com/google/go-github/v62/github"
)

// What went wrong with a call, to be told apart with errors.Is. Every error of
// Client's methods that came of a call is an *Error, which has the details.
var (
	// ErrNotFound: what was asked for is not there, or the App has no access to it.
	ErrNotFound = errors.New("not found, or out of the App's reach")
	// ErrGone: it was deleted, or the repository has its issues switched off.
	ErrGone = errors.New("gone")
	// ErrForbidden: the App lacks a permission.
	ErrForbidden = errors.New("forbidden")
	// ErrArchived: the repository was archived, so that it can only be read.
	ErrArchived = errors.New("the repository is archived")
	// ErrSuspended: the installation is suspended; nothing works until its owner lifts that.
	ErrSuspended = errors.New("the installation is suspended")
	// ErrUnauthorized: GitHub does not accept the App's own credentials.
	ErrUnauthorized = errors.New("not authorized")
	// ErrRateLimited: wait for Error.RetryAfter, for this installation alone.
	ErrRateLimited = errors.New("rate limited")
	// ErrUnavailable: no answer, none in time, a 5xx, or one that is not GitHub's. Try again later.
	ErrUnavailable = errors.New("unavailable")
	// ErrInvalid: GitHub, or this package before it, refuses the request as it is. Trying again does not help.
	ErrInvalid = errors.New("invalid request")
)

// Error is a call to GitHub that failed. It never holds a token or a key.
type Error struct {
	// Kind is one of the errors above; nil when the caller itself cancelled.
	Kind error
	// Operation is what was to be done, as "add labels to octo/repo#12".
	Operation      string
	InstallationID int64
	// Status is the HTTP status, 0 when there was no answer.
	Status int
	// Message is what GitHub said, shortened.
	Message string
	// RequestID helps GitHub's support find the request.
	RequestID string
	// RetryAfter is how long to wait before the installation's next call;
	// it is set (1 s to 1 h) for ErrRateLimited and ErrUnavailable.
	RetryAfter time.Duration
	// Background tells that only background calls have to wait, or these longer
	// than live ones.
	Background bool
	// Outage tells that GitHub's API as a whole is down, so that nothing of this
	// call is to blame; see Client.Outage.
	Outage bool
	// Secondary tells a secondary rate limit (too fast) from the primary one (too many in the hour).
	Secondary bool

	// forToken: it was the App's request for a token that failed.
	forToken   bool
	serverTime time.Time
	cause      error
}

// Error says what failed, what GitHub answered and what a person can do.
func (e *Error) Error() string {
	var s strings.Builder
	s.WriteString("github: ")
	s.WriteString(e.Operation)
	if e.InstallationID != 0 {
		fmt.Fprintf(&s, " (installation %d)", e.InstallationID)
	}
	if e.Kind != nil {
		s.WriteString(": " + e.Kind.Error())
	}
	if e.Status != 0 {
		fmt.Fprintf(&s, ": GitHub answered %d", e.Status)
		if e.Message != "" {
			fmt.Fprintf(&s, " %q", e.Message)
		}
	} else if e.cause != nil {
		s.WriteString(": " + e.cause.Error())
	}
	if advice := e.advice(); advice != "" {
		s.WriteString("; " + advice)
	}
	if e.RequestID != "" {
		s.WriteString(" [request " + e.RequestID + "]")
	}
	return s.String()
}

func (e *Error) advice() string {
	switch {
	case errors.Is(e.Kind, ErrForbidden):
		return "check that the App has the permission Issues: read and write, and that the installation's owner accepted it"
	case errors.Is(e.Kind, ErrSuspended):
		return "its owner can lift the suspension in GitHub's settings under Applications"
	case errors.Is(e.Kind, ErrUnauthorized):
		return "check GITHUB_APP_ID and the private key; `dispatchai doctor` tells which is wrong"
	case errors.Is(e.Kind, ErrRateLimited):
		return fmt.Sprintf("next call in %s", e.RetryAfter.Round(time.Second))
	}
	return ""
}

// Unwrap gives the kind and the cause.
func (e *Error) Unwrap() []error {
	var all []error
	for _, err := range []error{e.Kind, e.cause} {
		if err != nil {
			all = append(all, err)
		}
	}
	return all
}

// Temporary tells whether the same call may succeed later.
func (e *Error) Temporary() bool {
	return errors.Is(e.Kind, ErrRateLimited) || errors.Is(e.Kind, ErrUnavailable)
}

// RetryAfter tells whether the call that failed with err may succeed later, and after how long.
func RetryAfter(err error) (time.Duration, bool) {
	var e *Error
	if errors.As(err, &e) && e.Temporary() {
		return e.RetryAfter, true
	}
	return 0, false
}

const (
	unavailableWait    = 5 * time.Second
	secondaryLimitWait = time.Minute // GitHub asks for at least a minute where it names no time
	longestWait        = time.Hour
	longestMessage     = 300
)

// explain makes an *Error of whatever the layers below returned.
func explain(ctx context.Context, operation string, installationID int64, err error) *Error {
	e := &Error{Operation: operation, InstallationID: installationID}
	var (
		answer    *gh.ErrorResponse
		primary   *gh.RateLimitError
		secondary *gh.AbuseRateLimitError
		token     *ghinstallation.HTTPError
		accepted  *gh.AcceptedError
		held      *heldBack
	)
	switch {
	case errors.As(err, &held):
		e.Kind, e.cause, e.RetryAfter = ErrRateLimited, held, bounded(held.wait)
		e.Secondary, e.Background = held.reason != heldPrimary, held.background
		if held.outage {
			e.Kind, e.Secondary, e.Outage = ErrUnavailable, false, true
		}
	case errors.As(err, &primary):
		e.answered(primary.Response, primary.Message)
		e.limited(primary.Response, primary.Rate.Reset.Time, false)
	case errors.As(err, &secondary):
		e.answered(secondary.Response, secondary.Message)
		e.limited(secondary.Response, time.Time{}, true)
		if secondary.RetryAfter != nil {
			e.RetryAfter = bounded(*secondary.RetryAfter)
		}
	case errors.As(err, &answer):
		e.answered(answer.Response, answer.Message)
		e.judge(answer.Response)
	case errors.As(err, &token) && token.Response != nil:
		e = explain(ctx, operation+": get an installation token", installationID, gh.CheckResponse(token.Response))
		e.forToken = true
		if e.Status == http.StatusUnprocessableEntity {
			e.Kind = ErrNotFound // the repository is not, or no longer, the installation's
			if strings.Contains(strings.ToLower(e.Message), "permission") {
				e.Kind = ErrForbidden
			}
		}
	case errors.As(err, &accepted):
		e.Kind, e.RetryAfter = ErrUnavailable, unavailableWait
		e.Status, e.Message = http.StatusAccepted, "the answer is not ready yet"
	case errors.Is(ctx.Err(), context.Canceled):
		e.cause = context.Canceled
	default:
		e.Kind, e.cause, e.RetryAfter = ErrUnavailable, err, unavailableWait
	}
	return e
}

func (e *Error) answered(r *http.Response, message string) {
	if r == nil {
		return
	}
	e.Status = r.StatusCode
	e.Message = shorten(message)
	e.RequestID = r.Header.Get("X-GitHub-Request-Id")
	if at, err := http.ParseTime(r.Header.Get("Date")); err == nil {
		e.serverTime = at
	}
}

func (e *Error) judge(r *http.Response) {
	message := strings.ToLower(e.Message)
	limited := strings.Contains(message, "rate limit") || r.Header.Get("Retry-After") != ""
	switch {
	case r.StatusCode == http.StatusTooManyRequests, r.StatusCode == http.StatusForbidden && limited:
		exhausted := r.Header.Get("X-RateLimit-Remaining") == "0"
		e.limited(r, unixTime(r.Header.Get("X-RateLimit-Reset")), !exhausted)
	case r.StatusCode == http.StatusNotFound:
		e.Kind = ErrNotFound
	case r.StatusCode == http.StatusGone:
		e.Kind = ErrGone
	case r.StatusCode == http.StatusForbidden && strings.Contains(message, "suspended"):
		e.Kind = ErrSuspended
	case r.StatusCode == http.StatusForbidden && strings.Contains(message, "archived"):
		e.Kind = ErrArchived
	case r.StatusCode == http.StatusForbidden, r.StatusCode == http.StatusUnavailableForLegalReasons:
		e.Kind = ErrForbidden
	case r.StatusCode == http.StatusUnauthorized:
		e.Kind = ErrUnauthorized
	case r.StatusCode >= 500, r.StatusCode == http.StatusRequestTimeout:
		e.Kind, e.RetryAfter = ErrUnavailable, unavailableWait
		if wait, ok := retryAfterHeader(r); ok {
			e.RetryAfter = bounded(wait)
		}
	default:
		e.Kind = ErrInvalid
	}
}

// limited works out the wait. The reset is a time on GitHub's clock, so it is
// read against the answer's own date rather than this machine's.
func (e *Error) limited(r *http.Response, reset time.Time, secondary bool) {
	e.Kind, e.Secondary = ErrRateLimited, secondary
	wait, ok := retryAfterHeader(r)
	switch {
	case ok:
	case !reset.IsZero() && !e.serverTime.IsZero():
		wait = reset.Sub(e.serverTime) + time.Second
	case !reset.IsZero():
		wait = time.Until(reset) + time.Second
	default:
		wait = secondaryLimitWait
	}
	e.RetryAfter = bounded(wait)
}

func bounded(wait time.Duration) time.Duration { return min(max(wait, time.Second), longestWait) }

func retryAfterHeader(r *http.Response) (time.Duration, bool) {
	if r == nil {
		return 0, false
	}
	text := r.Header.Get("Retry-After")
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second, true
	}
	if at, err := http.ParseTime(text); err == nil {
		return time.Until(at), true
	}
	return 0, false
}

func unixTime(text string) time.Time {
	if seconds, err := strconv.ParseInt(text, 10, 64); err == nil && seconds > 0 {
		return time.Unix(seconds, 0)
	}
	return time.Time{}
}

// shorten keeps an answer's words fit for a log line.
func shorten(message string) string {
	message = strings.Join(strings.Fields(cleanText(message)), " ")
	if len(message) > longestMessage {
		message = strings.ToValidUTF8(message[:longestMessage], "") + "..."
	}
	return message
}
