package store

import (
	"context"
	"time"

	"github.com/dispatchai/dispatchai/core/triage"
)

// Reconciling is what is remembered of the search for gaps: which deliveries
// GitHub made and which of them are held, how far each repository was compared
// with GitHub, and the backfills that people asked for.
type Reconciling interface {
	// AcquireLease takes the named lease, or extends it for its owner, until the
	// given time; false when another owner holds it at now. Owner names one running
	// process; after a restart it must be another name.
	AcquireLease(ctx context.Context, name, owner string, now, until time.Time) (bool, error)
	// ReleaseLease gives the lease back if the owner still holds it.
	ReleaseLease(ctx context.Context, name, owner string) error

	// LoadSweep returns how far GitHub's log was read; zero before the first time.
	LoadSweep(ctx context.Context) (Sweep, error)
	// SaveSweep notes a page of GitHub's log and how far the reading has come. Each
	// delivery is counted once, in the hour when GitHub first tried it. One that is
	// applied, or ignored, is held; another that was accepted waits for its proof; the rest is
	// missing and due to be asked for. Repositories of which something is newly
	// missing are due to be reconciled at once. A finished sweep forgets the
	// deliveries that are held and were made before forgetBefore.
	SaveSweep(ctx context.Context, sweep Sweep, noted []NotedDelivery, now, forgetBefore time.Time) error
	// ProveDeliveries finds the accepted deliveries among the applied events, holds
	// them, and returns the GUIDs of those that were accepted before the given
	// time and still left no trace, the oldest first.
	ProveDeliveries(ctx context.Context, acceptedBefore, now time.Time, limit int) (unproven []string, err error)
	// SettleDeliveries says of accepted deliveries without a trace that they are
	// held after all (as dead letters), or missing.
	SettleDeliveries(ctx context.Context, guids []string, held bool, now time.Time) error
	// MissingDeliveries returns the missing ones that may be asked for now, oldest first.
	MissingDeliveries(ctx context.Context, now time.Time, limit int) ([]MissingDelivery, error)
	// NoteAsked notes that deliveries were asked for again, or are given up;
	// the repositories of the latter are due to be reconciled.
	NoteAsked(ctx context.Context, asked []AskedDelivery, now time.Time) error
	// NextDelivery tells when a missing delivery may be asked for next, and whether
	// there is one, and how many accepted ones wait for their proof.
	NextDelivery(ctx context.Context) (due time.Time, missing bool, waiting int, err error)
	// SaveDirectory notes that the installations and repositories that GitHub lists
	// were compared at the given time; lost deliveries about them are covered thereby.
	SaveDirectory(ctx context.Context, at time.Time) error

	// AdoptRepositories begins to reconcile repositories that are new, since they are
	// known, and returns them.
	AdoptRepositories(ctx context.Context, now time.Time) ([]triage.Repository, error)
	// ExpectRepositories begins to reconcile, since the given time, repositories that may not be
	// known yet; it changes nothing for those that are reconciled already.
	ExpectRepositories(ctx context.Context, repositories []triage.Repository, since, now time.Time) error
	// DueReconciliations returns those that are due, the one with the oldest Since first,
	// of repositories that are neither removed nor suspended.
	DueReconciliations(ctx context.Context, now time.Time, limit int) ([]Reconciliation, error)
	// SaveReconciliation replaces the row. Due is that of the store where the comparing
	// goes on (neither Completed nor Error), and where something missing hastened it since StartedAt.
	// One that is Completed covers the lost deliveries of its repository that were given up
	// before its StartedAt.
	SaveReconciliation(ctx context.Context, r Reconciliation) error
	// HastenReconciliations makes all due that were not completed since the given time,
	// with their labels.
	HastenReconciliations(ctx context.Context, completedBefore, now time.Time) error

	// StartBackfill begins a backfill, in place of an earlier one of the repository. It
	// changes nothing when that has the same RequestID.
	StartBackfill(ctx context.Context, b Backfill) error
	// SaveBackfill notes the progress of the backfill with that RequestID; ErrConflict when
	// another has taken its place.
	SaveBackfill(ctx context.Context, b Backfill) error
	// Backfills returns the backfills, those under way first, then the newest.
	Backfills(ctx context.Context) ([]Backfill, error)

	// Gaps tells what is known of deliveries made since the given time, and of
	// repositories (nil: all, as in Reader).
	Gaps(ctx context.Context, since time.Time, repositoryIDs []int64) (GapReport, error)
}

// Sweep is how far GitHub's log of deliveries was read. Times of deliveries are
// by GitHub's clock.
type Sweep struct {
	// Until is up to when everything was seen; zero before the first sweep ended.
	Until time.Time
	// Head and Page belong to a reading under way: when it began, and where it goes
	// on. Page is "" when none is.
	Head time.Time
	Page string
	// StartedAt is of the last reading, FinishedAt of the last that came to its end.
	StartedAt  time.Time
	FinishedAt time.Time
	// DirectoryAt is when installations were compared last.
	DirectoryAt time.Time
}

// NotedDelivery is what a page of GitHub's log says of one delivery.
type NotedDelivery struct {
	GUID, Event, Action string
	InstallationID      int64
	RepositoryID        int64
	AttemptID           int64 // of the newest attempt
	DeliveredAt         time.Time
	Status              string
	// OK tells that an attempt was accepted, Failed that one was not.
	OK, Failed bool
	// Ignored tells that nobody is to hear of such an event.
	Ignored bool
	// Again tells that only later attempts are on the page: the delivery itself was
	// counted before, or will be when the reading comes to it.
	Again bool
	// Baseline tells that an accepted delivery needs no proof, being older than the store.
	Baseline bool
}

// DeliveryState is what became of a delivery.
type DeliveryState string

// The states of a delivery. A held one left its trace among the applied events,
// or is ignored; an accepted one waits in the event log, so far as is known.
const (
	DeliveryAccepted DeliveryState = "accepted"
	DeliveryHeld     DeliveryState = "held"
	DeliveryMissing  DeliveryState = "missing"
	DeliveryGivenUp  DeliveryState = "given_up"
	// DeliveryCovered: given up, and what it told was read from GitHub since.
	DeliveryCovered DeliveryState = "covered"
)

// MissingDelivery is one that is to be asked for again.
type MissingDelivery struct {
	GUID         string        `json:"guid"`
	Event        string        `json:"event"`
	Action       string        `json:"action"`
	RepositoryID int64         `json:"repository_id"`
	AttemptID    int64         `json:"attempt_id"`
	DeliveredAt  time.Time     `json:"delivered_at"`
	State        DeliveryState `json:"state"`
	// Status is GitHub's word for the newest attempt ("failed to connect to host").
	Status string `json:"status"`
	// Asked is how often it was asked for.
	Asked int `json:"asked"`
}

// AskedDelivery is one that was asked for (Next tells when it may be again), or
// is given up.
type AskedDelivery struct {
	GUID    string
	Next    time.Time
	Asked   bool
	GivenUp bool
	Status  string // why it is given up
}

// Reconciliation is how far a repository was compared with what is stored.
type Reconciliation struct {
	Repository triage.Repository
	// Since is up to when all changes of issues were compared, by GitHub's clock.
	Since time.Time
	// ETag is of GitHub's list of changes since then, "" unless it was empty of news.
	ETag string
	// StartedAt is when the present comparing began, or the last one did.
	StartedAt   time.Time
	CompletedAt time.Time
	Due         time.Time
	// Completed tells, when saving, that the comparing came to its end now.
	Completed bool
	// LabelsDue tells that an event about the repository's labels was missed.
	LabelsDue bool
	// Listed counts the issues that were compared, Missing those that were not known,
	// Changed those of which a change was not known.
	Listed, Missing, Changed int64
	FoundAt                  time.Time // when any was last found
	Error                    string    // of the last attempt, "" when it went well
}

// BackfillStatus is how far a backfill has come.
type BackfillStatus string

// The states of a backfill.
const (
	BackfillRunning   BackfillStatus = "running"
	BackfillDone      BackfillStatus = "done"
	BackfillCancelled BackfillStatus = "cancelled"
	BackfillFailed    BackfillStatus = "failed"
)

// Backfill is the reading of a repository's issues that were there before, as
// somebody asked for it.
type Backfill struct {
	Repository triage.Repository
	RequestID  string
	// State is which issues: "open" or "all". Since, unless zero, leaves out those
	// not changed after it.
	State   string
	Since   time.Time
	AskedBy string
	AskedAt time.Time
	Status  BackfillStatus
	// Begun is when it began, by GitHub's clock.
	Begun time.Time
	// Position is up to when all issues were looked at, in the order of their last change.
	Position time.Time
	// Total is how many there were at the start, pull requests included; 0 when unknown.
	Total int64
	// Listed are those that were looked at, Enqueued those that are new or changed,
	// Unchanged those that were classified before.
	Listed, Enqueued, Unchanged int64
	UpdatedAt                   time.Time
	FinishedAt                  time.Time
	NotBefore                   time.Time // it waits until then
	Error                       string
}
