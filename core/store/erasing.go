package store

import (
	"context"
	"time"

	"github.com/dispatchai/dispatchai/core/triage"
)

// Cause says why something is no longer kept.
type Cause string

// The causes of removals.
const (
	Uninstalled           Cause = "uninstalled"
	RepositoryRemoved     Cause = "repository_removed" // from the installation
	RepositoryDeleted     Cause = "repository_deleted"
	RepositoryTransferred Cause = "repository_transferred" // to an owner without the App
	IssueDeleted          Cause = "issue_deleted"
	IssueTransferred      Cause = "issue_transferred"
)

// Subject is what is erased as a whole.
type Subject string

// The subjects of erasures.
const (
	SubjectRepository   Subject = "repository"
	SubjectIssue        Subject = "issue"
	SubjectInstallation Subject = "installation"
)

// Erasing erases what was removed, and keeps the log of it. An erasure is begun,
// goes on step by step and is finished; each of these is one transaction that
// looks first whether what is to be erased has come back. Once an erasure is
// begun, nothing is stored about its subject any more, so that late events do
// not bring back what is gone; a repository that is Upserted meanwhile keeps what
// was not erased yet, and its erasure ends with the outcome Returned.
//
// What stays of a subject are numbers and times: those of the repository, the
// installation or the issue, and the log.
type Erasing interface {
	// Removals lists what was removed at or before the given time and whose erasure
	// was not begun, the longest gone first. Issues of removed repositories
	// are not listed: they go with their repository. A removed installation is
	// listed when none of its repositories is left.
	Removals(ctx context.Context, removedBefore time.Time, limit int) ([]Removal, error)
	// BeginErasure opens a row of the log and notes that each of the plugins is
	// to forget a repository. It is ErrConflict when the subject was not removed
	// at or before the given time (it came back), or is being erased already.
	BeginErasure(ctx context.Context, r Removal, removedBefore, now time.Time, plugins []string) (Erasure, error)
	// OpenErasures lists the erasures that are begun and not ended, oldest first.
	OpenErasures(ctx context.Context) ([]Erasure, error)
	// EraseSome erases a bounded part (of at most limit issues), counts it in the
	// log, and tells whether there is more. Of an erasure that has ended there is not.
	EraseSome(ctx context.Context, erasureID int64, limit int) (more bool, err error)
	// FinishErasure ends an erasure when nothing is left, and returns its row; one
	// that has ended stays as it is.
	FinishErasure(ctx context.Context, erasureID int64, now time.Time) (Erasure, error)
	// Erasures is the log, the newest first; those under way are in it.
	Erasures(ctx context.Context, limit int) ([]Erasure, error)
	// Forgets lists which plugins are still to forget which repositories.
	Forgets(ctx context.Context) ([]Forget, error)
	// FinishForget notes that the plugin has forgotten.
	FinishForget(ctx context.Context, f Forget) error
}

// Removal is something that was removed and will be erased.
type Removal struct {
	Subject        Subject `json:"subject"`
	InstallationID int64   `json:"installation_id,omitempty"`
	RepositoryID   int64   `json:"repository_id,omitempty"`
	Number         int     `json:"number,omitempty"`
	// Name is the repository's, or the installation's account.
	Name      string    `json:"name"`
	Because   Cause     `json:"because"`
	RemovedAt time.Time `json:"removed_at"`
}

// Outcome of an erasure.
const (
	Erased   = "erased"
	Returned = "returned" // it came back before all was erased
)

// Erasure is one row of the erasure log.
type Erasure struct {
	ID             int64     `json:"id"`
	Subject        Subject   `json:"subject"`
	InstallationID int64     `json:"installation_id,omitempty"`
	RepositoryID   int64     `json:"repository_id,omitempty"`
	Number         int       `json:"number,omitempty"`
	Because        Cause     `json:"because"`
	RemovedAt      time.Time `json:"removed_at"`
	BegunAt        time.Time `json:"begun_at"`
	// EndedAt is zero and Outcome "" while it is under way.
	EndedAt time.Time `json:"ended_at,omitzero"`
	Outcome string    `json:"outcome"`
	// Rows counts what was erased, by table.
	Rows map[string]int64 `json:"rows"`
}

// Issue is the key of the issue that was erased; zero for other subjects.
func (e Erasure) Issue() triage.IssueKey {
	if e.Subject != SubjectIssue {
		return triage.IssueKey{}
	}
	return triage.IssueKey{RepositoryID: e.RepositoryID, Number: e.Number}
}

// Forget is a plugin that is to forget a repository.
type Forget struct {
	RepositoryID int64     `json:"repository_id"`
	Plugin       string    `json:"plugin"`
	Since        time.Time `json:"since"`
}
