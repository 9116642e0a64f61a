package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/dispatchai/dispatchai/core/eventlog"
	"github.com/dispatchai/dispatchai/core/github"
	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
)

// Undo takes back what a plugin applied: its answers are withdrawn, and with
// them the labels that nobody but the app has touched.
type Undo struct {
	Plugin       string
	Version      string // "" means every version
	Since        time.Time
	Repositories []string // full names; none means all
	Actor        string
	Now          func() time.Time
}

// UndoReport says, by repository, which labels an undo takes off and which it
// spares. What the store cannot know is settled when the labels' turn comes: a
// label that the issue's history on GitHub shows in other hands stays.
type UndoReport struct {
	Plugin       string           `json:"plugin"`
	Version      string           `json:"version,omitempty"`
	Since        time.Time        `json:"since"`
	Issues       int              `json:"issues"` // that lose a label
	Labels       int              `json:"labels"` // to take off
	Spared       int              `json:"spared"`
	Repositories []UndoRepository `json:"repositories"`
}

// UndoRepository is one repository's part of a report.
type UndoRepository struct {
	Repository string      `json:"repository"`
	Remove     []UndoLabel `json:"remove"`
	Spare      []UndoLabel `json:"spare"`
}

// UndoLabel is what an undo does to one label of a repository. Reason and By
// are of spared ones.
type UndoLabel struct {
	Label    string      `json:"label"`
	Reason   SpareReason `json:"reason,omitempty"`
	Count    int         `json:"count"`
	Examples []int       `json:"examples"` // numbers of issues, at most undoExamples
}

// SpareReason is why an undo leaves a label as it is.
type SpareReason string

// The reasons to spare a label.
const (
	SpareVetoed    SpareReason = "vetoed"       // somebody has taken it off already
	SpareOthers    SpareReason = "others"       // somebody else put it there
	SpareCorrected SpareReason = "corrected"    // a person says that it is right
	SpareAnother   SpareReason = "other_plugin" // another plugin, or version, says so too
	SpareIgnored   SpareReason = "ignored"      // a person told the app to leave the issue alone
	SpareHeld      SpareReason = "held"         // the repository's configuration leaves such labels as they are
	SpareGone      SpareReason = "gone"         // the issue or its repository is gone
)

const (
	undoExamples = 3
	// undoPage is how many issues are looked at, and handed over, at once.
	undoPage = 200
)

// Plan tells what the undo would do and changes nothing.
func (u Undo) Plan(ctx context.Context, s store.Store) (UndoReport, error) {
	return u.walk(ctx, s, func([]triage.Event) error { return nil })
}

// publisher appends to the log and returns when the records are durable.
type publisher interface {
	Append(ctx context.Context, records ...eventlog.Record) error
}

// Run hands one event per issue to the log and tells after each page how many
// issues are done. The same undo run again, after an interruption or for good
// measure, makes the same events, which take effect once.
func (u Undo) Run(ctx context.Context, s store.Store, log publisher, done func(issues int)) (UndoReport, error) {
	return u.walk(ctx, s, func(events []triage.Event) error {
		records := make([]eventlog.Record, 0, len(events))
		for _, e := range events {
			name, key, value, err := github.EncodeEvent(e)
			if err != nil {
				return err
			}
			r := eventlog.Record{Topic: eventlog.TopicIssuesRaw, Key: key, Value: value}
			r.SetHeader(eventlog.HeaderDelivery, e.ID)
			r.SetHeader(eventlog.HeaderEvent, name)
			r.SetHeader(eventlog.HeaderReceivedAt, e.ReceivedAt.Format(time.RFC3339Nano))
			records = append(records, r)
		}
		if len(records) > 0 {
			if err := log.Append(ctx, records...); err != nil {
				return fmt.Errorf("the event log does not take the undo; run the same command again to go on: %w", err)
			}
		}
		done(len(events))
		return nil
	})
}

// walk goes through the ledger page by page and gives each page's events to use.
func (u Undo) walk(ctx context.Context, s store.Store, use func([]triage.Event) error) (UndoReport, error) {
	report := UndoReport{Plugin: u.Plugin, Version: u.Version, Since: u.Since}
	filter := store.LedgerFilter{Plugin: u.Plugin, Version: u.Version, Since: u.Since, Issues: undoPage}
	var err error
	if filter.RepositoryIDs, err = u.repositoryIDs(ctx, s); err != nil {
		return report, err
	}
	walk := undoWalk{undo: u, repositories: make(map[int64]*undoRepository)}
	for {
		page, err := s.ListLedger(ctx, filter)
		if err != nil {
			return report, err
		}
		if len(page) == 0 {
			break
		}
		filter.After = page[len(page)-1].Issue
		events, err := walk.page(ctx, s, page)
		if err != nil {
			return report, err
		}
		report.Issues += len(events)
		if err := use(events); err != nil {
			return report, err
		}
	}
	walk.report(&report)
	return report, nil
}

// repositoryIDs finds the repositories that were named, or nil for all.
func (u Undo) repositoryIDs(ctx context.Context, s store.Store) ([]int64, error) {
	if len(u.Repositories) == 0 {
		return nil, nil
	}
	known, err := s.ListRepositories(ctx)
	if err != nil {
		return nil, err
	}
	var ids []int64
	var unknown []error
	for _, name := range u.Repositories {
		at := slices.IndexFunc(known, func(r store.RepositoryState) bool { return strings.EqualFold(r.Repository.FullName, name) })
		if at < 0 {
			unknown = append(unknown, fmt.Errorf("--repo: the App is not installed on a repository %q; write it as owner/name", name))
			continue
		}
		ids = append(ids, known[at].Repository.ID)
	}
	return ids, errors.Join(unknown...)
}

// undoWalk gathers what an undo finds.
type undoWalk struct {
	undo         Undo
	repositories map[int64]*undoRepository
}

type undoRepository struct {
	name     string
	gone     bool
	config   triage.RepositoryConfig
	taxonomy triage.Taxonomy
	labels   map[undoOutcome]*UndoLabel
}

type undoOutcome struct {
	label  string
	reason SpareReason
}

// page judges one page of the ledger and returns the events that undo it.
func (w *undoWalk) page(ctx context.Context, s store.Store, page []triage.LedgerEntry) ([]triage.Event, error) {
	var keys []triage.IssueKey
	var unread []int64
	for _, e := range page {
		if len(keys) == 0 || keys[len(keys)-1] != e.Issue {
			keys = append(keys, e.Issue)
		}
		if id := e.Issue.RepositoryID; w.repositories[id] == nil {
			w.repositories[id] = &undoRepository{name: strconv.FormatInt(id, 10), gone: true, labels: make(map[undoOutcome]*UndoLabel)}
			unread = append(unread, id)
		}
	}
	states, err := s.LoadIssues(ctx, keys)
	if err != nil {
		return nil, err
	}
	found, err := s.LoadRepositories(ctx, unread)
	if err != nil {
		return nil, err
	}
	for id, r := range found {
		at := w.repositories[id]
		at.name, at.gone = r.Repository.FullName, r.Repository.Removed
		at.config, at.taxonomy = r.InForce().Config, r.InForce().Taxonomy(r.Labels)
	}
	var events []triage.Event
	for len(page) > 0 {
		n := 1
		for n < len(page) && page[n].Issue == page[0].Issue {
			n++
		}
		if e, any := w.issue(states[page[0].Issue], page[:n]); any {
			events = append(events, e)
		}
		page = page[n:]
	}
	return events, nil
}

// issue judges the rows of one issue and makes the event that undoes them.
func (w *undoWalk) issue(state store.IssueState, rows []triage.LedgerEntry) (triage.Event, bool) {
	at := w.repositories[rows[0].Issue.RepositoryID]
	now := w.undo.Now().UTC()
	all := triage.UndoInput{}
	for _, row := range rows {
		if row.Field.Labelled() {
			all.Answers = append(all.Answers, w.answers(state, row)...)
		}
	}
	desired, held := at.stillDesired(state, all, now)
	undone := triage.UndoInput{Actor: w.undo.Actor}
	var identity strings.Builder // of the labels as they stand now
	fmt.Fprintf(&identity, "undo\x00%s\x00%d", rows[0].Issue, state.Directives.AskedAnew.UnixMicro())
	for _, row := range rows {
		reason, off := spared(state, at.gone, row, desired, held)
		if off && len(undone.Answers) >= triage.MaxWithdrawals-1 {
			break // the next run takes the rest
		}
		if off {
			undone.Answers = append(undone.Answers, w.answers(state, row)...)
			fmt.Fprintf(&identity, "\x00%s\x00%d", row.Name, row.CreatedAt.UnixMicro())
		}
		if off || reason != "" {
			w.count(at, undoOutcome{row.Name, reason}, row.Issue.Number)
		}
	}
	if len(undone.Answers) == 0 {
		return triage.Event{}, false
	}
	return triage.Event{
		ID: uuid.NewSHA1(uuid.NameSpaceURL, []byte(identity.String())).String(), Kind: triage.KindUndo, ReceivedAt: now,
		Repository: state.Issue.Repository, InstallationID: state.Issue.Repository.InstallationID, Number: state.Issue.Number, Undo: &undone,
	}, true
}

// answers are what the label stands for: the answer that it was put on for, and,
// where that is meant too, what another version of the plugin says by now.
func (w *undoWalk) answers(state store.IssueState, row triage.LedgerEntry) []triage.UndoneAnswer {
	answers := []triage.UndoneAnswer{{Plugin: row.Plugin, Version: row.Version, Field: row.Field, Value: row.Value}}
	if w.undo.Version != "" || state.Classification == nil {
		return answers
	}
	if a := state.Classification.Fields[row.Field]; a.Plugin == row.Plugin && a.Version != row.Version && slices.Contains(a.Values, row.Value) {
		answers = append(answers, triage.UndoneAnswer{Plugin: a.Plugin, Version: a.Version, Field: row.Field, Value: row.Value})
	}
	return answers
}

// stillDesired lists the labels that are wanted even without the answers, and the
// fields whose labels stay as they are.
func (r *undoRepository) stillDesired(state store.IssueState, undone triage.UndoInput, now time.Time) (desired []triage.DesiredLabel, held []triage.Field) {
	if state.Classification == nil {
		return nil, nil
	}
	directives := state.Directives.With(triage.Directives{Withdrawals: undone.Withdrawals("", now)})
	effective := triage.Effective(directives.Without(*state.Classification), state.Corrections)
	desired, _ = r.config.DesiredLabels(effective, r.taxonomy)
	return desired, r.config.HeldFields(state.Issue, effective)
}

// spared tells why a label stays, or that it is undone; neither of a label that
// is off already.
func spared(state store.IssueState, gone bool, row triage.LedgerEntry, desired []triage.DesiredLabel, held []triage.Field) (_ SpareReason, undone bool) {
	wanted := slices.IndexFunc(desired, func(d triage.DesiredLabel) bool { return triage.LabelKey(d.Name) == triage.LabelKey(row.Name) })
	switch {
	case row.State == triage.LedgerRemoved || !row.Field.Labelled():
		return "", false
	case gone || state.Revision == 0 || state.Deleted:
		return SpareGone, false
	case wanted >= 0 && desired[wanted].Source == triage.SourceHuman:
		return SpareCorrected, false
	case row.State == triage.LedgerVetoed:
		return SpareVetoed, false
	case row.State == triage.LedgerForeign:
		return SpareOthers, false
	case wanted >= 0:
		return SpareAnother, false
	case state.Directives.Ignored:
		return SpareIgnored, false
	case slices.Contains(held, row.Field):
		return SpareHeld, false
	}
	return "", true
}

func (w *undoWalk) count(at *undoRepository, o undoOutcome, number int) {
	l := at.labels[o]
	if l == nil {
		l = &UndoLabel{Label: o.label, Reason: o.reason, Examples: []int{}}
		at.labels[o] = l
	}
	if l.Count++; len(l.Examples) < undoExamples {
		l.Examples = append(l.Examples, number)
	}
}

// report puts what was found in the order of names, the most frequent label first.
func (w *undoWalk) report(r *UndoReport) {
	r.Repositories = []UndoRepository{}
	for _, at := range slices.SortedFunc(maps.Values(w.repositories), func(a, b *undoRepository) int { return cmp.Compare(a.name, b.name) }) {
		one := UndoRepository{Repository: at.name, Remove: []UndoLabel{}, Spare: []UndoLabel{}}
		for _, l := range slices.SortedFunc(maps.Values(at.labels), func(a, b *UndoLabel) int {
			return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Label, b.Label), cmp.Compare(a.Reason, b.Reason))
		}) {
			if l.Reason == "" {
				one.Remove = append(one.Remove, *l)
				r.Labels += l.Count
			} else {
				one.Spare = append(one.Spare, *l)
				r.Spared += l.Count
			}
		}
		if len(one.Remove)+len(one.Spare) > 0 {
			r.Repositories = append(r.Repositories, one)
		}
	}
}
