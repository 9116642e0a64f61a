// Package store states what DispatchAI remembers and what every database
// behind it must promise. Implementations stand beside it (sqlite, postgres);
// storetest holds them all to this text.
//
// Rules for every implementation: methods are safe for concurrent use; a
// method that changes something is one transaction, durable when it returns;
// a method given several items applies all of them or none; a cancelled context
// leaves nothing half done, and a write that is under way when the context ends
// is waited for, so that its answer is never a guess. Times are stored in UTC
// with microseconds.
//
// Text comes from strangers. In every text that is written, invalid UTF-8 and
// NUL become U+FFFD (CleanText); callers need not see to it, and may ask by the
// text as it was. What a change makes of what is stored is decided here
// (IssueState.Apply, JudgeEntry, Observe, IndexWords, Cursor), once for all implementations.
package store

import (
	"context"
	"errors"
	"time"

	"github.com/dispatchai/dispatchai/core/triage"
)

// Errors that callers tell apart with errors.Is.
var (
	ErrNotFound = errors.New("not found")
	// ErrConflict is returned when the row has moved on since it was read.
	ErrConflict = errors.New("changed meanwhile")
	// ErrSuspended is returned where nothing may be written on GitHub: the
	// installation is suspended, or the App is no longer installed there.
	ErrSuspended = errors.New("the App may not write there now")
	// ErrClosed is returned by every method once Close was called.
	ErrClosed = errors.New("the store is closed")
)

// Store is everything the workers and the gateway need.
type Store interface {
	Issues
	Embeddings
	Directory
	Configuring
	Suggesting
	Typing
	Labelling
	Reconciling
	Erasing
	Usage
	Challenging
	Reader

	// Ping proves that the database answers, to reads and to writes.
	Ping(ctx context.Context) error
	// Prune forgets which events were applied before the given time. Events
	// older than GitHub's three days of redelivery need not be known any more.
	Prune(ctx context.Context, before time.Time) (events int64, err error)
	Close() error
}

// Issues is what the classify worker reads and writes.
type Issues interface {
	// LoadIssues returns the state of each issue that is known; unknown keys
	// are absent from the map.
	LoadIssues(ctx context.Context, keys []triage.IssueKey) (map[triage.IssueKey]IssueState, error)
	// AppliedEvents tells which of the events were applied already, and as what.
	// Events about installations are among them, with a zero Issue.
	AppliedEvents(ctx context.Context, eventIDs []string) (map[string]AppliedEvent, error)
	// ApplyIssues writes the changes in one transaction and returns the new
	// state of each issue, in the order given. A change whose EventID was
	// applied before changes nothing (its result is the present state). An
	// issue's own columns are replaced only when the change is not older:
	// Issue.UpdatedAt first, then Position; everything else of the change
	// (corrections, ledger, classification) applies regardless of age.
	// Revision grows by one for each applied change. The repository row is
	// created when missing; a stale FullName never replaces a newer one (what an
	// issue's event says of its repository is as old as Issue.UpdatedAt, what
	// ApplyInstallation says as old as its At).
	//
	// Offsets of different partitions cannot be compared (the topic was
	// repartitioned): there ReceivedAt decides. Deleted is final, whatever comes
	// after and however old it is, because GitHub never reuses a number. A Partial
	// change of an issue that is not known changes nothing, does not count as
	// applied, and its result has Revision 0: the caller decides what becomes of it.
	// The same goes for every change of an issue whose repository was erased.
	//
	// Corrections of a transferred issue (MovedTo) belong to what it has become:
	// they go there when both issues are known, in whichever order they become so,
	// and the Revision of the issue that gets them grows.
	// A change without EventID, with a vector longer than MaxDimensions or with Terms
	// that PackTerms did not make is an error.
	ApplyIssues(ctx context.Context, changes []IssueChange) ([]IssueState, error)
	// NoteEvents notes events that had nothing to change (a pull request's comment)
	// as applied, so that each accepted delivery leaves its trace.
	NoteEvents(ctx context.Context, eventIDs []string) error
	// Neighbours finds, for each query, the nearest issues by cosine within
	// the query's repository and model, nearest first, the issue itself left
	// out, deleted issues too. Of equally near ones the lower number comes first.
	// All that was applied before the call is found. A query with Exact has the
	// nearest Candidates ranked by it instead.
	Neighbours(ctx context.Context, queries []NeighbourQuery) ([][]triage.Neighbour, error)
}

// Position is a place in the log; a later record of the same issue has a higher offset
// in the same partition.
type Position struct {
	Partition int32
	Offset    int64
}

// IssueState is an issue with all that is held to be true of it.
type IssueState struct {
	// Issue.Labels is never nil; Issue.Repository is what is known of it now.
	Issue    triage.Issue
	Revision int64
	// ReceivedAt and Position are of the change that the issue's columns come from.
	ReceivedAt time.Time
	Position   Position
	// TextHash is what the last classification was made from; see IssueChange.
	TextHash string
	// Classification is the newest one that plugins made, nil before the
	// first; Corrections are all of the issue's, oldest (by At) first.
	Classification *triage.Classification
	Corrections    []triage.Correction
	Similar        []triage.Neighbour
	Directives     triage.Directives
	Deleted        bool
	// MovedTo is what a transferred issue has become; zero otherwise and where GitHub did not tell.
	MovedTo triage.IssueKey
}

// Effective is the classification without what was withdrawn of it and with the
// corrections laid over it; nil before the first classification.
func (s IssueState) Effective() *triage.Classification {
	if s.Classification == nil {
		return nil
	}
	c := triage.Effective(s.Directives.Without(*s.Classification), s.Corrections)
	return &c
}

// AppliedEvent is the trace an applied event leaves.
type AppliedEvent struct {
	EventID   string
	Issue     triage.IssueKey
	EventType triage.EventType // "" when the event had nothing to emit
	AppliedAt time.Time
}

// IssueChange is the effect of one event on one issue.
type IssueChange struct {
	EventID    string
	EventType  triage.EventType
	ReceivedAt time.Time
	Position   Position
	// Issue is the issue's state as the event gives it. When Partial, only its
	// key counts, and the stored columns stay (a correction made on the dashboard).
	Issue   triage.Issue
	Partial bool
	Deleted bool
	// Because and MovedTo count when Deleted: "" is IssueDeleted.
	Because Cause
	MovedTo triage.IssueKey
	// Classification, TextHash, Embedding and Similar are written when
	// Classification is not nil.
	Classification *triage.Classification
	TextHash       string
	Embedding      *Embedding
	Similar        []triage.Neighbour
	// Corrections are appended to the audit. Old is filled in by the store
	// from the effective value at that moment, before the change's own
	// Classification, when it is nil; EventID and At are the change's when they
	// are not set. A correction whose EventID and Field are known already changes nothing.
	Corrections []triage.Correction
	// Ledger holds what the event tells about labels the app wrote.
	Ledger []LedgerObservation
	// Directives are added to the issue's own; see triage.Directives.With.
	Directives triage.Directives
}

// LedgerObservation is news of a label of ours that came from GitHub. An
// observation about a label without a ledger row changes nothing, except a
// human's removal, which is always kept as a veto.
type LedgerObservation struct {
	Label string
	// State is LedgerConfirmed (our own write came back), LedgerRemoved (our
	// own removal came back) or LedgerVetoed (somebody took it off).
	// A confirmation never lifts a veto made after it: At decides, and within
	// one of GitHub's seconds the veto wins. A veto stands over what a plugin
	// wanted however late it comes, and over what a human wanted when it is not older.
	State triage.LedgerState
	Actor string
	At    time.Time
}

// Embedding is a vector in the space of one model. Vectors are kept without
// trailing zeros; the host's full width is 1536 (MaxDimensions). An issue has one embedding:
// that of the newest model replaces that of another. A vector without
// direction (all zeros, or not finite) is not kept and has no neighbours.
type Embedding struct {
	Model  string
	Vector []float32
	// Terms are what Vector was made of, by weighting them with the repository's
	// Vocabulary of that version; both are empty for a vector made otherwise.
	// Vectors of different vocabularies of one model may be compared.
	Terms      Terms
	Vocabulary int64
}

// NeighbourQuery asks for the issues nearest to Vector.
type NeighbourQuery struct {
	RepositoryID int64
	Number       int // the asking issue, left out of the answer
	Embedding    Embedding
	Limit        int // at most MaxNeighbours are found; 0 finds none
	// Exact, when set, gives the Similarity of an issue by its Terms. Of the
	// nearest Candidates (at most MaxNeighbours, no fewer than Limit) by cosine,
	// those are found that it ranks highest. It is called from one goroutine at a time.
	Exact      func(Terms) float64
	Candidates int
}

// Embeddings is what keeps the vectors up to date when the model changes, or how
// terms are weighted.
type Embeddings interface {
	// EmbeddedRepositories returns what is embedded of every repository that has
	// embeddings, in the order of IDs. Removed repositories and those of removed
	// or suspended installations are left out.
	EmbeddedRepositories(ctx context.Context) ([]EmbeddedRepository, error)
	// VisitTerms calls visit with the terms of each issue of the repository that is embedded by the
	// model, in any order. They are only lent: visit must not keep them, nor
	// call the store. An error of visit ends it and is returned.
	VisitTerms(ctx context.Context, repositoryID int64, model string, visit func(Terms) error) error
	// Vocabularies returns the vocabulary of each of the repositories that has
	// one of the model, unless it is of the version that known tells by the
	// repository's ID.
	Vocabularies(ctx context.Context, model string, known map[int64]int64) (map[int64]Vocabulary, error)
	// SaveVocabulary puts a vocabulary in the place of the repository's former
	// one, whose version, whatever its model, must be one less (0 when there is none):
	// otherwise another was saved meanwhile, and the error is ErrConflict. ErrNotFound for an unknown
	// repository.
	SaveVocabulary(ctx context.Context, v Vocabulary) error
	// EmbeddedIssues returns issues whose embedding is of the given space, those
	// with the lowest numbers above After first.
	EmbeddedIssues(ctx context.Context, query EmbeddedQuery) ([]EmbeddedIssue, error)
	// ReplaceEmbeddings gives issues another embedding, or none when it is nil or
	// without direction, and returns how many were replaced. An issue whose
	// embedding is not of From any more, or whose TextHash is another by now,
	// has been embedded anew meanwhile and is left as it is.
	ReplaceEmbeddings(ctx context.Context, replacements []EmbeddingReplacement) (replaced int, err error)
}

// EmbeddingSpace is what is comparable without loss: vectors of one model, their
// terms weighted by one vocabulary.
type EmbeddingSpace struct {
	Model      string
	Vocabulary int64
}

// EmbeddedRepository counts a repository's embeddings.
type EmbeddedRepository struct {
	RepositoryID int64
	Issues       map[EmbeddingSpace]int
	// Vocabulary is the repository's, without its Terms; its Version is 0 when there is none.
	Vocabulary Vocabulary
}

// Vocabulary is in how many of a repository's issues each term of a model stands.
type Vocabulary struct {
	RepositoryID int64
	Model        string
	Version      int64 // from 1
	Issues       int   // that it was counted in
	Terms        []byte
}

// EmbeddedQuery asks for issues whose embedding is of one space.
type EmbeddedQuery struct {
	RepositoryID int64
	Space        EmbeddingSpace
	After        int // a number
	Limit        int
	Texts        bool // whether Title and Body are wanted
}

// EmbeddedIssue is an issue with what its embedding can be made from again.
type EmbeddedIssue struct {
	Number int
	// TextHash is the issue's; see IssueChange.
	TextHash string
	Terms    Terms
	Title    string
	Body     string
}

// EmbeddingReplacement is another embedding of one issue.
type EmbeddingReplacement struct {
	Issue     triage.IssueKey
	From      EmbeddingSpace
	TextHash  string
	Embedding *Embedding
}

// MaxNeighbours bounds NeighbourQuery.Limit and Candidates.
const MaxNeighbours = 200

// Directory is what is known of installations and repositories.
type Directory interface {
	// ApplyInstallation writes what an event of installations.raw says, once
	// per EventID.
	ApplyInstallation(ctx context.Context, change InstallationChange) error
	// LoadRepositories returns the repositories that are known, removed ones too.
	LoadRepositories(ctx context.Context, ids []int64) (map[int64]RepositoryState, error)
	// SaveRepositoryLabels replaces the repository's label set as of the given
	// time; an older set than the stored one changes nothing, and what single
	// events said of labels after it stands. ErrNotFound for an unknown repository.
	SaveRepositoryLabels(ctx context.Context, repositoryID int64, labels []triage.RepositoryLabel, at time.Time) error
	// LoadInstallation returns one installation or ErrNotFound.
	LoadInstallation(ctx context.Context, id int64) (triage.Installation, error)
}

// RepositoryState is a repository with its label set.
type RepositoryState struct {
	Repository triage.Repository
	Labels     []triage.RepositoryLabel
	// LabelsAt is when the whole set was read; zero when it never was, and then
	// Labels may be incomplete. In the order of their LabelKey, one per key.
	LabelsAt time.Time
	// Erased tells that the repository's data was erased, or is being erased:
	// nothing about it is kept until it is Upserted again.
	Erased bool
	// Configuration is what its files say; nil while nobody has read them. See InForce.
	Configuration *Configuration
	// ConfigurationFaults counts what is wrong in the files as they were read last.
	ConfigurationFaults int
}

// InstallationChange is the effect of one event about an installation or a
// repository. At guards it: what is older than the stored state of a repository
// or label changes nothing of it. Installation is guarded by its UpdatedAt
// (At when that is zero); its Removed is final and takes its repositories along.
// What it leaves out (Account, Grant) stays.
type InstallationChange struct {
	EventID      string
	At           time.Time
	Installation *triage.Installation
	// Upserted repositories belong to the installation from At on. Whether they are
	// archived is left as it is: GitHub's lists do not tell. Removed ones are marked,
	// their data stays until it is erased (Erasing). Only a later Upserted one
	// brings them back; events about their issues do not. A repository is in one
	// installation at a time, so that its removal from another one changes nothing.
	Upserted []triage.Repository
	Removed  []int64
	// Because says why those in Removed were; "" is RepositoryRemoved.
	Because Cause
	// Described repositories have this name and visibility, and are archived or
	// not; whether they are removed, and whose they are, stays as it is. One that is
	// not known is created.
	Described []triage.Repository
	// Transferred tells that the Described ones have another owner. They belong to
	// the installation they name if that is the new owner's; otherwise they are
	// removed, unless their own installation is.
	Transferred bool
	// Label and the fields around it change one label of LabelRepositoryID's
	// set; of an unknown repository they change nothing.
	LabelRepositoryID int64
	Label             *triage.RepositoryLabel // created or edited; nil when DeletedLabel is set
	PreviousLabel     string                  // the name before a rename
	DeletedLabel      string
	// Configuration says whose files are to be read again, at At.
	Configuration ConfigurationMark
}

// Labelling is what the label worker reads and writes.
type Labelling interface {
	// SaveDesired upserts one desired-state row per issue and makes it due. A
	// row with a revision at or below the stored one changes nothing, settled
	// or not. A live row that still waits stays live under a later backfill.
	SaveDesired(ctx context.Context, rows []Desired) error
	// ClaimDesired leases installations that have due rows, are not suspended,
	// removed or blocked, and are not leased by another owner, and returns
	// their due rows, live before backfill, oldest first; the installations
	// in the order of their first rows. Rows of removed repositories wait, and
	// those of repositories whose files nobody has read yet. An installation or
	// repository that is not known is no obstacle.
	//
	// Where more rows are due than are handed out, a sixteenth of the places goes
	// to backfill rows, so that live ones do not starve them for ever. While
	// backfill is held back (Release.BackfillUntil) only live rows count.
	//
	// A row that was handed out is in its owner's hands, and not handed out
	// again, until FinishDesired settles it or the lease ends, by ReleaseInstallation or by time. A
	// claim extends all of the owner's leases under which rows are in hand, so
	// each row must be settled or its installation released. Owner
	// names one running scheduler; after a restart it must be another name.
	ClaimDesired(ctx context.Context, claim Claim) ([]ClaimedInstallation, error)
	// FinishDesired settles claimed rows. Done removes the row from the due
	// ones if its revision is still the claimed one; otherwise it stays due. A
	// row that is not Done is due again at NotBefore, or at once if its
	// revision moved on; its Attempts then start anew.
	FinishDesired(ctx context.Context, results []DesiredResult) error
	// ReleaseInstallation gives the lease back and keeps what Release says. The
	// installation's rows in hand are due again. ErrConflict when another owner
	// holds the lease by now; nothing is changed then.
	ReleaseInstallation(ctx context.Context, release Release) error
	// ReleaseLeases gives every lease back, whoever holds it, so that the rows in
	// hand are due at once, claims of configurations too; blocks and budgets stay. Only a process that knows that no other
	// labels may call it: after a crash it need not wait for its own old leases.
	// As with a lease that ends by time, the rows handed out under it count as lost.
	ReleaseLeases(ctx context.Context) error
	// Ledger returns the newest row of each label ever written or vetoed, by issue.
	Ledger(ctx context.Context, keys []triage.IssueKey) (map[triage.IssueKey][]triage.LedgerEntry, error)
	// RecordLedger writes rows in the given state, creating or replacing the
	// label's newest row and keeping the old ones as history. A Written row
	// never replaces a Confirmed or Vetoed one of the same or a later time, nor a
	// Confirmed one with the same EventID, nor, when its Source is a plugin, any
	// Vetoed one; it becomes history itself. An Intended row of a plugin over a
	// Vetoed one is ErrConflict, and nothing is recorded: somebody vetoed the
	// label since the ledger was read, so read it again. An Intended or Removing row of
	// an issue whose repository or installation is removed, or whose installation is
	// suspended, is ErrSuspended, and nothing is recorded: it would announce a write
	// that must not be made. A row recorded twice counts once.
	RecordLedger(ctx context.Context, entries []triage.LedgerEntry) error
	// LoadInfoRequest returns what is known of the comment that asks the issue's
	// author for answers; its State is "" when there never was one.
	LoadInfoRequest(ctx context.Context, issue triage.IssueKey) (InfoRequest, error)
	// SaveInfoRequest replaces what is known of it. An Intended one where the App may
	// not write is ErrSuspended, as in RecordLedger.
	SaveInfoRequest(ctx context.Context, request InfoRequest) error
	// ListLedger returns a page of the newest rows of a plugin's labels, in the
	// order of their issues and labels; all of an issue's stand on one page. An
	// empty page is the end.
	ListLedger(ctx context.Context, filter LedgerFilter) ([]triage.LedgerEntry, error)
	// DesiredPending counts the rows that wait, due or not.
	DesiredPending(ctx context.Context) (int64, error)
}

// RequestState is how far the one comment that asks for answers has come.
type RequestState string

// The comment is Intended before it is made, so that a crash in between is seen.
const (
	RequestIntended RequestState = "intended"
	RequestWritten  RequestState = "written"
	RequestGone     RequestState = "gone" // somebody deleted it: it is never made again
)

// InfoRequest is the comment by which an issue's author is asked for answers.
type InfoRequest struct {
	Issue     triage.IssueKey
	State     RequestState
	CommentID int64  // 0 before it is known
	Text      string // as the app last wrote it
	UpdatedAt time.Time
}

// LedgerFilter narrows ListLedger.
type LedgerFilter struct {
	Plugin  string
	Version string // "" means every version
	// Since leaves out labels that were meant to be added (CreatedAt) before.
	Since time.Time
	// RepositoryIDs: nil means all, an empty list none.
	RepositoryIDs []int64
	// After is the last issue of the page before.
	After triage.IssueKey
	// Issues is how many are on a page, at least 1.
	Issues int
}

// Desired is the labels that an issue should carry from the app.
type Desired struct {
	Issue          triage.IssueKey
	InstallationID int64
	Revision       int64
	EventID        string
	Traceparent    string
	Labels         []triage.DesiredLabel
	// Ignored issues are left as they are, whatever Labels holds.
	Ignored bool
	// Request is what the issue's author is to be asked, nil for nothing.
	Request *triage.InfoRequest
	// Reactions to comments are to be given once each. Those that were not yet
	// when a later revision comes are given with it.
	Reactions []triage.Reaction
	// ConfigVersion is that of the configuration by which Labels and what follows
	// were chosen; 0: none.
	ConfigVersion int64
	// Held are the fields whose labels are left as they are, ours too.
	Held []triage.Field
	// Suggested are labels to suggest rather than to write.
	Suggested []SuggestedLabel
	// IssueType is the issue type to set where the issue has none; "" is none.
	IssueType string
	// Backfill rows wait behind live ones.
	Backfill bool
	// ReceivedAt is when the delivery behind it was accepted, for latency.
	ReceivedAt time.Time
	// Attempts counts how often this revision was not Done; SaveDesired ignores it.
	Attempts int
}

// Claim asks for work.
type Claim struct {
	Owner            string
	Now              time.Time
	LeaseFor         time.Duration
	MaxInstallations int
	MaxIssues        int // per installation
}

// ClaimedInstallation is leased to the claimer until LeaseUntil.
type ClaimedInstallation struct {
	InstallationID int64
	LeaseUntil     time.Time
	Rows           []Desired
	// Budget is what the last release that had one said of the installation's
	// request budget; nil when none did.
	Budget []byte
	// Lost counts the rows handed out, since that release, under leases that their
	// holders never released: what those spent is not in Budget.
	// LostAt is when the last of these leases would have ended; zero when none did.
	Lost   int
	LostAt time.Time
}

// Release gives an installation's lease back.
type Release struct {
	InstallationID int64
	Owner          string
	// BlockedUntil is until when nobody may claim the installation, BackfillUntil
	// until when nobody may claim its backfill rows; zero is now.
	BlockedUntil, BackfillUntil time.Time
	// Budget is handed to whoever claims the installation next, and settles what
	// was lost before. Nil changes neither; one that is empty but not nil clears both.
	Budget []byte
}

// DesiredResult settles one claimed row.
type DesiredResult struct {
	Issue     triage.IssueKey
	Revision  int64
	Done      bool
	NotBefore time.Time
	Error     string
}

// Reader is what the gateway shows: neither deleted issues nor anything of
// removed repositories. Where repositories are given, nil means all of them, and a
// list that is empty but not nil means none, so that a person who may see no repository sees nothing.
type Reader interface {
	// ListIssues returns issues newest change (Issue.UpdatedAt) first.
	ListIssues(ctx context.Context, filter IssueFilter) (IssuePage, error)
	// FindIssue returns one issue by GitHub's ID, or ErrNotFound.
	FindIssue(ctx context.Context, id int64) (IssueState, error)
	// Stats counts what is stored, over all repositories or those given.
	Stats(ctx context.Context, repositoryIDs []int64) (Stats, error)
	// ListRepositories returns every repository that is not removed, by name.
	ListRepositories(ctx context.Context) ([]RepositoryState, error)
}

// IssueFilter narrows ListIssues; zero fields do not narrow.
type IssueFilter struct {
	RepositoryIDs []int64 // see Reader
	State         string  // open or closed
	Category      string  // of the effective classification
	Priority      string
	Component     string
	Status        Status
	Search        string // words in title or body, whole or their beginnings; see QueryWords
	Cursor        string // IssuePage.Next of the page before; ErrInvalidCursor if it is not one
	Limit         int    // 1 to 200; 0 means 50, larger is cut to 200
}

// PageSize is Limit within its bounds.
func (f IssueFilter) PageSize() int {
	if f.Limit <= 0 {
		return 50
	}
	return min(f.Limit, 200)
}

// ErrInvalidCursor is returned for a cursor that no page gave out.
var ErrInvalidCursor = errors.New("invalid cursor")

// Status is how far an issue has come.
type Status string

// An issue is received, then classified; corrected tells that a human
// changed a field of a classified one. Each issue has exactly one Status.
const (
	StatusReceived   Status = "received"
	StatusClassified Status = "classified"
	StatusCorrected  Status = "corrected"
)

// IssuePage is one page of a listing.
type IssuePage struct {
	Issues []IssueState // without bodies
	Next   string       // "" on the last page
}

// Stats counts issues and what became of them.
type Stats struct {
	Issues         int64            `json:"issues"`
	Open           int64            `json:"open"`
	Classified     int64            `json:"classified"`
	Corrected      int64            `json:"corrected"` // issues with at least one correction
	Corrections    int64            `json:"corrections"`
	LabelsOnIssues int64            `json:"labels_written"` // ledger rows that hold
	Vetoes         int64            `json:"vetoes"`
	Repositories   int64            `json:"repositories"`
	ByCategory     map[string]int64 `json:"by_category"`
	ByPriority     map[string]int64 `json:"by_priority"`
}
