package store

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/dispatchai/dispatchai/core/triage"
)

// MaxDimensions is the longest vector an Embedding may have.
const MaxDimensions = 1536

// Normalize returns the change as every store keeps it: texts clean, times
// in UTC and cut to microseconds, lists never nil, the vector without trailing zeros, and
// corrections complete (issue, event and time taken from the change where they are missing). The
// argument is not changed. An error means that the caller built the
// change wrong, not that an outsider wrote something odd.
func (c IssueChange) Normalize() (IssueChange, error) {
	key := c.Issue.Key()
	if c.EventID == "" {
		return c, fmt.Errorf("change of issue %s: EventID is empty", key)
	}
	if key.RepositoryID <= 0 || key.Number <= 0 {
		return c, fmt.Errorf("change %q: %s is not an issue", c.EventID, key)
	}
	c.EventID = CleanText(c.EventID)
	c.EventType = triage.EventType(CleanText(string(c.EventType)))
	c.ReceivedAt = CleanTime(c.ReceivedAt)
	c.TextHash = CleanText(c.TextHash)
	switch {
	case !c.Deleted:
		c.Because, c.MovedTo = "", triage.IssueKey{}
	case c.Because == "":
		c.Because = IssueDeleted
	}
	c.Issue = cleanIssue(c.Issue)
	if c.Classification != nil {
		classification := cleanClassification(*c.Classification)
		c.Classification = &classification
		c.Similar = cleanNeighbours(c.Similar)
		if c.Embedding != nil {
			embedding, err := c.Embedding.Normalize()
			if err != nil {
				return c, fmt.Errorf("change %q: %w", c.EventID, err)
			}
			c.Embedding = &embedding
		}
	} else {
		c.TextHash, c.Embedding, c.Similar = "", nil, nil
	}
	c.Corrections = slices.Clone(c.Corrections)
	for i, k := range c.Corrections {
		if k.EventID == "" {
			k.EventID = c.EventID
		}
		if k.At.IsZero() {
			k.At = c.ReceivedAt
		}
		k.EventID, k.Field = CleanText(k.EventID), triage.Field(CleanText(string(k.Field)))
		k.Issue, k.At = key, CleanTime(k.At)
		if k.Old != nil {
			k.Old = cleanTexts(k.Old)
		}
		k.New, k.Actor, k.Reason = cleanTexts(k.New), CleanText(k.Actor), CleanText(k.Reason)
		k.Source = triage.CorrectionSource(CleanText(string(k.Source)))
		c.Corrections[i] = k
	}
	c.Ledger = slices.Clone(c.Ledger)
	for i, o := range c.Ledger {
		switch o.State {
		case triage.LedgerConfirmed, triage.LedgerRemoved, triage.LedgerVetoed:
		default:
			return c, fmt.Errorf("change %q: %q is not a state that can be observed of a label", c.EventID, o.State)
		}
		if o.At.IsZero() {
			o.At = c.ReceivedAt
		}
		if o.Label == "" {
			return c, fmt.Errorf("change %q: an observation without a label", c.EventID)
		}
		o.Label, o.Actor, o.At = CleanText(o.Label), CleanText(o.Actor), CleanTime(o.At)
		c.Ledger[i] = o
	}
	c.Directives = cleanDirectives(c.Directives)
	return c, nil
}

// Normalize returns the embedding as every store keeps it; see IssueChange.Normalize.
func (e Embedding) Normalize() (Embedding, error) {
	if len(e.Vector) > MaxDimensions {
		return e, fmt.Errorf("an embedding of %d dimensions, at most %d are kept", len(e.Vector), MaxDimensions)
	}
	if !e.Terms.valid() {
		return e, fmt.Errorf("an embedding of %d bytes of terms that are not packed right, or of more than %d terms", len(e.Terms), MaxTerms)
	}
	e.Model, e.Vector = CleanText(e.Model), TrimVector(e.Vector)
	return e, nil
}

// Outcome is what a change makes of an issue.
type Outcome struct {
	State IssueState
	// Columns tells that the issue's own columns were replaced.
	Columns bool
	// Corrections are those that were added, their Old filled in.
	Corrections []triage.Correction
}

// Apply gives what follows from a normalized change: the rules of ApplyIssues,
// in one place for every store. The zero state stands for an issue that is not
// known; a Partial change of it leaves it unknown (Revision stays 0). The
// receiver's slices are not changed. Of the repository only the ID is the
// state's to keep; the store lays the repository's own row over it.
func (s IssueState) Apply(c IssueChange) Outcome {
	created := s.Revision == 0
	if created {
		s.Issue = triage.Issue{Repository: triage.Repository{ID: c.Issue.Repository.ID}, Number: c.Issue.Number}
		if c.Partial {
			return Outcome{State: s}
		}
	}
	var out Outcome
	for _, k := range c.Corrections {
		if slices.ContainsFunc(s.Corrections, sameCorrection(k)) {
			continue
		}
		if k.Old == nil {
			k.Old = s.present(k.Field)
		}
		s.Corrections = insertCorrection(s.Corrections, k)
		out.Corrections = append(out.Corrections, k)
	}
	if !c.Partial && (created || !c.olderThan(s)) {
		repository := s.Issue.Repository
		s.Issue, s.ReceivedAt, s.Position = c.Issue, c.ReceivedAt, c.Position
		s.Issue.Repository = repository
		out.Columns = true
	}
	if c.Classification != nil {
		s.Classification, s.TextHash, s.Similar = c.Classification, c.TextHash, c.Similar
	}
	if !c.Directives.IsZero() {
		s.Directives = s.Directives.With(c.Directives)
	}
	s.Deleted = s.Deleted || c.Deleted
	if c.MovedTo != (triage.IssueKey{}) {
		s.MovedTo = c.MovedTo
	}
	s.Revision++
	out.State = s
	return out
}

// olderThan tells whether the change describes the issue as it was before s.
func (c IssueChange) olderThan(s IssueState) bool {
	if order := c.Issue.UpdatedAt.Compare(s.Issue.UpdatedAt); order != 0 {
		return order < 0
	}
	if c.Position.Partition == s.Position.Partition {
		return c.Position.Offset < s.Position.Offset
	}
	return c.ReceivedAt.Before(s.ReceivedAt)
}

// present is what is held to be the field's value now, corrections included
// even where nothing was classified yet; never nil.
func (s IssueState) present(f triage.Field) []string {
	var c triage.Classification
	if s.Classification != nil {
		c = *s.Classification
	}
	return append([]string{}, triage.Effective(s.Directives.Without(c), s.Corrections).Fields[f].Values...)
}

// Status tells how far the issue has come.
func (s IssueState) Status() Status {
	switch {
	case s.Classification == nil:
		return StatusReceived
	case len(s.Corrections) > 0:
		return StatusCorrected
	}
	return StatusClassified
}

func sameCorrection(k triage.Correction) func(triage.Correction) bool {
	return func(other triage.Correction) bool { return other.EventID == k.EventID && other.Field == k.Field }
}

// insertCorrection keeps corrections in the order they were made, whenever
// they arrive; of two made at one time the later arrival is the later one.
func insertCorrection(list []triage.Correction, k triage.Correction) []triage.Correction {
	at := len(list)
	for at > 0 && list[at-1].At.After(k.At) {
		at--
	}
	return slices.Insert(slices.Clone(list), at, k)
}

// TrimVector returns a copy of the vector without its trailing zeros.
func TrimVector(v []float32) []float32 {
	n := len(v)
	for n > 0 && v[n-1] == 0 {
		n--
	}
	return slices.Clone(v[:n])
}

// VectorNorm is the length of the vector; 0 when it has no direction to compare
// (all zeros, or a number in it that is not finite): such a vector is not
// stored, and nothing is near it.
func VectorNorm(v []float32) float64 {
	var sum float64
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	if math.IsNaN(sum) || math.IsInf(sum, 0) {
		return 0
	}
	return math.Sqrt(sum)
}

// Normalize returns the change as every store keeps it; see IssueChange.Normalize.
func (c InstallationChange) Normalize() (InstallationChange, error) {
	if c.EventID == "" {
		return c, errors.New("installation change: EventID is empty")
	}
	if c.At.IsZero() {
		return c, fmt.Errorf("installation change %q: At is not set", c.EventID)
	}
	c.EventID, c.At = CleanText(c.EventID), CleanTime(c.At)
	if c.Installation != nil {
		n := *c.Installation
		if n.ID <= 0 {
			return c, fmt.Errorf("installation change %q: %d is not an installation", c.EventID, n.ID)
		}
		n.Account, n.UpdatedAt = CleanText(n.Account), CleanTime(n.UpdatedAt)
		if n.UpdatedAt.IsZero() {
			n.UpdatedAt = c.At
		}
		if n.Grant != nil {
			grant := cleanGrant(*n.Grant)
			n.Grant = &grant
		}
		c.Installation = &n
	}
	if c.Because == "" {
		c.Because = RepositoryRemoved
	}
	for _, list := range []*[]triage.Repository{&c.Upserted, &c.Described} {
		*list = slices.Clone(*list)
		for i, r := range *list {
			if r.ID <= 0 {
				return c, fmt.Errorf("installation change %q: %d is not a repository", c.EventID, r.ID)
			}
			if r.InstallationID == 0 && c.Installation != nil {
				r.InstallationID = c.Installation.ID
			}
			r.FullName = CleanText(r.FullName)
			(*list)[i] = r
		}
	}
	if c.Label != nil {
		l := cleanLabel(*c.Label)
		c.Label = &l
	}
	if (c.Label != nil || c.DeletedLabel != "" || c.PreviousLabel != "") && c.LabelRepositoryID <= 0 {
		return c, fmt.Errorf("installation change %q: a label without LabelRepositoryID", c.EventID)
	}
	c.PreviousLabel, c.DeletedLabel = CleanText(c.PreviousLabel), CleanText(c.DeletedLabel)
	return c, nil
}

// Normalize returns the row as every store keeps it; see IssueChange.Normalize.
func (d Desired) Normalize() (Desired, error) {
	if d.Issue.RepositoryID <= 0 || d.Issue.Number <= 0 {
		return d, fmt.Errorf("desired labels: %s is not an issue", d.Issue)
	}
	d.EventID, d.Traceparent = CleanText(d.EventID), CleanText(d.Traceparent)
	d.ReceivedAt = CleanTime(d.ReceivedAt)
	labels := make([]triage.DesiredLabel, len(d.Labels))
	for i, l := range d.Labels {
		labels[i] = cleanDesiredLabel(l)
	}
	d.Labels = labels
	if d.Request != nil {
		r := *d.Request
		r.Text, r.Label = CleanText(r.Text), CleanText(r.Label)
		d.Request = &r
	}
	reactions := make([]triage.Reaction, len(d.Reactions))
	for i, r := range d.Reactions {
		reactions[i] = triage.Reaction{CommentID: r.CommentID, Content: CleanText(r.Content)}
	}
	d.Reactions = reactions
	d.Held = slices.Clone(d.Held)
	d.Suggested = slices.Clone(d.Suggested)
	for i, l := range d.Suggested {
		d.Suggested[i] = cleanSuggested(l)
	}
	d.IssueType = CleanText(d.IssueType)
	return d, nil
}

// NormalizeLabels returns the labels as every store keeps them: texts clean, one
// for each LabelKey (the last one given), in the order of their keys.
func NormalizeLabels(labels []triage.RepositoryLabel) []triage.RepositoryLabel {
	byKey := make(map[string]triage.RepositoryLabel, len(labels))
	keys := make([]string, 0, len(labels))
	for _, l := range labels {
		l = cleanLabel(l)
		key := LabelKey(l.Name)
		if _, known := byKey[key]; !known {
			keys = append(keys, key)
		}
		byKey[key] = l
	}
	slices.Sort(keys)
	unique := make([]triage.RepositoryLabel, len(keys))
	for i, key := range keys {
		unique[i] = byKey[key]
	}
	return unique
}

func cleanGrant(g triage.Grant) triage.Grant {
	permissions := make(map[string]string, len(g.Permissions))
	for name, level := range g.Permissions {
		permissions[CleanText(name)] = CleanText(level)
	}
	return triage.Grant{
		Permissions: permissions, Events: cleanTexts(g.Events),
		RepositorySelection: CleanText(g.RepositorySelection), SingleFiles: cleanTexts(g.SingleFiles),
	}
}

func cleanLabel(l triage.RepositoryLabel) triage.RepositoryLabel {
	return triage.RepositoryLabel{Name: CleanText(l.Name), Color: CleanText(l.Color), Description: CleanText(l.Description)}
}

func cleanIssue(i triage.Issue) triage.Issue {
	i.Repository.FullName = CleanText(i.Repository.FullName)
	i.Repository.Removed = false
	i.Title, i.Body, i.State = CleanText(i.Title), CleanText(i.Body), CleanText(i.State)
	i.Author = triage.Actor{Login: CleanText(i.Author.Login), Type: triage.ActorType(CleanText(string(i.Author.Type)))}
	i.AuthorAssociation, i.URL = CleanText(i.AuthorAssociation), CleanText(i.URL)
	i.Labels = cleanTexts(i.Labels)
	i.CreatedAt, i.UpdatedAt = CleanTime(i.CreatedAt), CleanTime(i.UpdatedAt)
	if i.ClosedAt != nil {
		closed := CleanTime(*i.ClosedAt)
		i.ClosedAt = &closed
	}
	return i
}

func cleanClassification(c triage.Classification) triage.Classification {
	fields := make(map[triage.Field]triage.Answer, len(c.Fields))
	for f, a := range c.Fields {
		a.Values, a.Reason = cleanTexts(a.Values), CleanText(a.Reason)
		a.Source, a.Actor = triage.Source(CleanText(string(a.Source))), CleanText(a.Actor)
		a.Plugin, a.Version, a.FallbackFor = CleanText(a.Plugin), CleanText(a.Version), CleanText(a.FallbackFor)
		a.Confidence = finite(a.Confidence)
		fields[triage.Field(CleanText(string(f)))] = a
	}
	c.Fields = fields
	c.DeliveryID, c.Reasoning, c.Hold = CleanText(c.DeliveryID), CleanText(c.Reasoning), CleanText(c.Hold)
	c.PassedOver = slices.Clone(c.PassedOver)
	for i, p := range c.PassedOver {
		c.PassedOver[i] = triage.PassedOver{Plugin: CleanText(p.Plugin), Reason: triage.PassOverReason(CleanText(string(p.Reason))), Detail: CleanText(p.Detail)}
	}
	c.Usage.CostUSD = finite(c.Usage.CostUSD)
	c.ClassifiedAt = CleanTime(c.ClassifiedAt)
	return c
}

func cleanDirectives(d triage.Directives) triage.Directives {
	d.AskedAnew, d.IgnoredAt = CleanTime(d.AskedAnew), CleanTime(d.IgnoredAt)
	d.IgnoredBy, d.Replies = CleanText(d.IgnoredBy), CleanText(d.Replies)
	withdrawals := make([]triage.Withdrawal, 0, len(d.Withdrawals))
	for _, w := range d.Withdrawals {
		withdrawals = append(withdrawals, triage.Withdrawal{
			EventID: CleanText(w.EventID), Plugin: CleanText(w.Plugin), Version: CleanText(w.Version), Field: triage.Field(CleanText(string(w.Field))),
			Value: CleanText(w.Value), Actor: CleanText(w.Actor), At: CleanTime(w.At),
		})
	}
	d.Withdrawals = withdrawals
	return d
}

func cleanNeighbours(list []triage.Neighbour) []triage.Neighbour {
	if len(list) == 0 {
		return nil
	}
	clean := make([]triage.Neighbour, len(list))
	for i, n := range list {
		n.Title, n.State, n.URL, n.Similarity = CleanText(n.Title), CleanText(n.State), CleanText(n.URL), finite(n.Similarity)
		clean[i] = n
	}
	return clean
}

func cleanDesiredLabel(l triage.DesiredLabel) triage.DesiredLabel {
	return triage.DesiredLabel{
		Name: CleanText(l.Name), Field: triage.Field(CleanText(string(l.Field))), Value: CleanText(l.Value),
		Source: triage.Source(CleanText(string(l.Source))), Plugin: CleanText(l.Plugin), Version: CleanText(l.Version),
		Confidence: finite(l.Confidence), EventID: CleanText(l.EventID), AskedAt: CleanTime(l.AskedAt),
	}
}

// finite replaces what neither JSON nor a database keeps with 0.
func finite(x float64) float64 {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return 0
	}
	return x
}

// freshest is the later of two times.
func freshest(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}
