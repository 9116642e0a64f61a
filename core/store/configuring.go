package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dispatchai/dispatchai/core/triage"
)

// Configuring keeps what repositories say of themselves in files, and when the
// files are to be read again. Every repository that becomes known is due at
// once; after that, whoever reads its files says when it is due next, and
// events (InstallationChange.Configuration) make it due before.
type Configuring interface {
	// ClaimConfigurations hands out repositories that are due, the longest due
	// first, each to one owner at a time until its claim is settled or ends.
	// Repositories that are removed, belong to no installation, or to one that is
	// suspended or removed, wait.
	ClaimConfigurations(ctx context.Context, claim ConfigurationClaim) ([]ConfigurationJob, error)
	// SaveConfiguration writes down what was read, or that reading failed. It is
	// ErrConflict, and changes nothing, when the claim has ended meanwhile or the
	// repository is gone. A repository that was marked since the claim stays due.
	SaveConfiguration(ctx context.Context, result ConfigurationResult) error
	// LoadConfigurationReport returns what is known of a repository's files, the
	// zero report of one whose files nobody has read. ErrNotFound for an unknown
	// repository.
	LoadConfigurationReport(ctx context.Context, repositoryID int64) (ConfigurationReport, error)
	// LoadOwnerFile returns the file that the owner's repositories inherit, as
	// SaveOwnerFile kept it last for the installation, and when that was checked.
	// ErrNotFound when it never was. Logins are compared without regard to case.
	LoadOwnerFile(ctx context.Context, installationID int64, owner string) (ConfigurationFile, time.Time, error)
	// SaveOwnerFile keeps it; what was checked before the stored one changes nothing.
	SaveOwnerFile(ctx context.Context, installationID int64, owner string, file ConfigurationFile, checkedAt time.Time) error
}

// Configuration is what a repository's own files say, as it is in force. It is
// shared and must not be changed.
type Configuration struct {
	// Version tells one state from every other of the same repository, and
	// grows; 0 is that of a repository whose files nobody has read yet. The store
	// sets it.
	Version int64 `json:"-"`
	// Config is the merged configuration.
	Config triage.RepositoryConfig `json:"config"`
	// Reacting are globs of the labels that the repository's workflows react to.
	Reacting []string `json:"reacting,omitempty"`
	// IssueTypes are the names of the issue types that its issues may have; they
	// are known only where Config sets types.
	IssueTypes []string `json:"issue_types,omitempty"`
}

// Taxonomy is the meaning of the repository's labels under the configuration.
func (c *Configuration) Taxonomy(labels []triage.RepositoryLabel) triage.Taxonomy {
	return c.Config.Taxonomy(labels, c.Reacting)
}

// unread is the configuration of a repository whose files nobody has read yet.
func unread() *Configuration { return &Configuration{Config: triage.DefaultRepositoryConfig()} }

// InForce is the repository's configuration; while nobody has read its files
// (Version 0), the defaults. Nothing may be written on GitHub then: the files may forbid it.
func (s RepositoryState) InForce() *Configuration {
	if s.Configuration == nil {
		return unread()
	}
	return s.Configuration
}

// ConfigurationClaim asks for repositories whose files are due to be read.
type ConfigurationClaim struct {
	Owner    string
	Now      time.Time
	LeaseFor time.Duration
	Limit    int
}

// The reasons for which a repository's files are read.
const (
	DueNew         = "new"         // it became known
	DuePush        = "push"        // a push changed them
	DueOwner       = "owner"       // a push changed what it inherits
	DueRepository  = "repository"  // it was renamed, transferred, or got another default branch
	DuePermissions = "permissions" // what the App may do was changed
	DueCheck       = "check"       // a check run is still to be made
	DuePeriodic    = "periodic"
)

// ConfigurationJob is a repository whose files are to be read.
type ConfigurationJob struct {
	Repository triage.Repository
	Owner      string // of the claim
	// Because is the reason of the newest mark, or DuePeriodic.
	Because string
	// Since is when it became due, or was last marked if that was later: what was
	// read before may be out of date.
	Since time.Time
	// Marks tells the claim from later marks; see ConfigurationResult.
	Marks int64
	// Attempts counts the readings that failed since the last that did not.
	Attempts int
	// Configuration is what is in force; nil when the files were never read.
	Configuration *Configuration
	Report        ConfigurationReport
}

// ConfigurationResult settles a job.
type ConfigurationResult struct {
	RepositoryID int64
	Owner        string
	Marks        int64
	// Configuration, when it is not nil, is put in force; its Version is the
	// store's to give. One that says what is in force already keeps its version.
	Configuration *Configuration
	// Report takes the place of the one before.
	Report ConfigurationReport
	// Failed tells that the files could not be read; it counts as an attempt.
	Failed bool
	// NextDue is when the files are to be read next; Because says why. Zero: the
	// claim goes on, and the repository stays due.
	NextDue time.Time
	Because string
}

// Access is what the App may read of a repository.
type Access string

// The extents of access.
const (
	AccessContents Access = "contents" // every file, and pushes are told of
	AccessFile     Access = "file"     // the configuration file alone
	AccessNone     Access = "none"
)

// ConfigurationReport is what is known of a repository's files.
type ConfigurationReport struct {
	Access Access `json:"access,omitempty"`
	// Files are the configuration files as they were read last, the inherited
	// one first; those that do not exist are among them, without Present.
	Files []ConfigurationFile `json:"files,omitempty"`
	// InForce names the files that the configuration in force was made of.
	InForce []ConfigurationSource `json:"in_force,omitempty"`
	// InForceSince is since when it is.
	InForceSince time.Time `json:"in_force_since,omitzero"`
	// Guarded tells that nothing is written because the files were at fault
	// whenever they were read: what they want nobody knows.
	Guarded bool `json:"guarded,omitempty"`
	// Faults are those of the files as they were read last; empty: they are in force.
	Faults []triage.ConfigFault `json:"faults,omitempty"`
	// Workflows are the files that were looked through for labels they react to.
	Workflows WorkflowFiles `json:"workflows"`
	// Notes say what could not be found out, one sentence each.
	Notes []string `json:"notes,omitempty"`
	// Check is the newest check run that shows faults, or that they are mended.
	Check *ConfigurationCheck `json:"check,omitempty"`
	// CheckedAt is when the files were read or found unchanged; Error why that
	// failed since, "" when it did not.
	CheckedAt time.Time `json:"checked_at,omitzero"`
	Error     string    `json:"error,omitempty"`
}

// ConfigurationSource is one version of a file.
type ConfigurationSource struct {
	// Name is that of the file in faults, as "acme/shop/.github/dispatchai.yml".
	Name string `json:"name"`
	// Blob is git's name of its content, Commit the newest that changed it; ""
	// where the App may not know.
	Blob   string `json:"blob"`
	Commit string `json:"commit,omitempty"`
}

// ConfigurationFile is a configuration file as it was read.
type ConfigurationFile struct {
	ConfigurationSource
	Present bool   `json:"present"`
	ETag    string `json:"etag,omitempty"`
	Content []byte `json:"content,omitempty"`
	// Fault tells why a file that is there has no content.
	Fault string `json:"fault,omitempty"`
}

// WorkflowFiles is what was read of a repository's workflows.
type WorkflowFiles struct {
	ETag  string         `json:"etag,omitempty"` // of their directory
	Files []WorkflowFile `json:"files,omitempty"`
}

// WorkflowFile is one workflow.
type WorkflowFile struct {
	Path string `json:"path"`
	Blob string `json:"blob"`
	// Labels are globs of those it reacts to, Unclear what could not be told.
	Labels  []string `json:"labels,omitempty"`
	Unclear []string `json:"unclear,omitempty"`
}

// ConfigurationCheck is a check run on the commit that changed the file.
type ConfigurationCheck struct {
	Commit string `json:"commit"`
	Failed bool   `json:"failed"`
	// Done tells that GitHub has it; Refused why it never will.
	Done    bool   `json:"done"`
	Refused string `json:"refused,omitempty"`
}

// ConfigurationMark makes repositories due to have their files read again. The
// zero mark marks none. Only repositories of the change's installation are marked.
type ConfigurationMark struct {
	Because        string
	InstallationID int64
	RepositoryIDs  []int64
	// Owner marks all repositories of this login, All those of the installation.
	Owner string
	All   bool
	// Forget takes what is in force out of force until the files are read:
	// they may have changed while the App was not told.
	Forget bool
}

// IsZero tells whether nothing is marked.
func (m ConfigurationMark) IsZero() bool {
	return len(m.RepositoryIDs) == 0 && m.Owner == "" && !m.All
}

// Normalize returns the result as every store keeps it; see IssueChange.Normalize.
func (r ConfigurationResult) Normalize() (ConfigurationResult, error) {
	if r.RepositoryID <= 0 || r.Owner == "" {
		return r, fmt.Errorf("configuration of repository %d: no claimed repository", r.RepositoryID)
	}
	if r.Configuration != nil && r.Configuration.Config.Mode == "" {
		return r, errors.New("a configuration without a mode is none")
	}
	r.Owner, r.NextDue = CleanText(r.Owner), CleanTime(r.NextDue)
	r.Report.CheckedAt, r.Report.InForceSince = CleanTime(r.Report.CheckedAt), CleanTime(r.Report.InForceSince)
	return r, nil
}
