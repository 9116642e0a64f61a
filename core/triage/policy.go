package triage

import "time"

// LabelEvent is one line of an issue's history on GitHub.
type LabelEvent struct {
	Label   string
	Added   bool // false: taken off
	Actor   Actor
	Ours    bool // the actor is the App itself
	Created time.Time
}

// LabelView is all that a decision about an issue's labels rests on. It is read
// in this order: Ledger, OnIssue, History; what changes in between is then seen
// or harmless.
type LabelView struct {
	Desired  []DesiredLabel
	OnIssue  []string
	Ledger   []LedgerEntry // the newest row of each label
	Taxonomy Taxonomy
	// History is the issue's label events, oldest first. It is only needed
	// where PlanLabels says so; HistoryKnown tells that it was read. Read before
	// the first plan (for issues that were there before the app was), it also
	// shows what people took off before the ledger knew the label.
	History      []LabelEvent
	HistoryKnown bool
}

// LabelPlan is what to do about one issue's labels: Settle first, then Add, then Remove.
type LabelPlan struct {
	// NeedHistory tells that the plan would rest on a guess: read the issue's
	// label history and plan again. Nothing else is set then.
	NeedHistory bool
	Add         []DesiredLabel
	Remove      []LedgerEntry
	// Settle are ledger rows whose state turned out to be another (written by
	// us before a crash, vetoed by somebody, removed by ourselves), and rows
	// for labels that others put there or took off before we would have added them.
	Settle []LedgerEntry
	// Skipped says why a desired label is not added.
	Skipped []SkippedLabel
	// Unclear tells that the issue and its history contradict each other about
	// a label (GitHub's history lags, or somebody changed it between the two
	// readings), so that it was left as it is: carry the rest of the plan out
	// and plan again later, a bounded number of times.
	Unclear bool
}

// SkippedLabel is a desired label that the policy holds back.
type SkippedLabel struct {
	Label  string
	Reason SkipReason
}

// SkipReason is why a label is not added.
type SkipReason string

// The reasons to hold a label back.
const (
	SkipPresent SkipReason = "present"       // already on the issue
	SkipVetoed  SkipReason = "vetoed"        // somebody took it off
	SkipUnknown SkipReason = "unknown_label" // the repository has no such label, or none a classifier may write
	SkipTaken   SkipReason = "field_taken"   // somebody else's label already decides the field
	SkipUnclear SkipReason = "unclear"       // see LabelPlan.Unclear
)

// PlanLabels decides which labels to add and take off. Its rules:
//
//   - Only labels of the taxonomy are written, and none that is on the issue.
//   - A label that somebody else took off is not added again, unless a person
//     asks for it afterwards.
//   - A label is taken off only when the history proves that the app put it
//     there, and nobody else after it.
//   - A plugin's answer is not added beside somebody else's label for the same
//     single-valued field; nobody's is added beside somebody else's label that
//     says the very same.
//
// The ledger only tells where to look: wherever it and the issue disagree, and
// before anything is added that the ledger knows or a person asks for, the
// issue's history decides. So a lost, late, doubled or reordered webhook, or a
// crash between a call and its record, changes no outcome. Without HistoryKnown one thing
// rests on webhooks alone: that a label, never in the ledger, was put on and
// taken off by people before the app first wanted it.
func PlanLabels(v LabelView) LabelPlan {
	labels, order := labelCases(v)
	for _, key := range order {
		c := labels[key]
		if !v.HistoryKnown && c.needsHistory() {
			return LabelPlan{NeedHistory: true}
		}
	}

	var p LabelPlan
	for _, key := range order {
		c := labels[key]
		if v.HistoryKnown {
			c.settle()
		}
	}
	for _, key := range order {
		c := labels[key]
		add := false
		if c.want != nil {
			why := c.skip(v, labels)
			if add = why == ""; add {
				p.Add = append(p.Add, *c.want)
			} else {
				p.Skipped = append(p.Skipped, SkippedLabel{Label: c.want.Name, Reason: why})
			}
			p.Unclear = p.Unclear || why == SkipUnclear
		}
		// The intent of an addition takes the row's place at once; a veto that
		// it lifts, recorded before it, would outlive a crash in between.
		if c.changed && (!add || c.row.State != LedgerVetoed) {
			p.Settle = append(p.Settle, *c.row)
		}
		if c.want == nil && c.on && c.row != nil {
			switch {
			case c.proven && c.row.State.Holds():
				p.Remove = append(p.Remove, *c.row)
			case c.unclear && (c.row.State.Holds() || c.row.State == LedgerIntended):
				p.Unclear = true
			}
		}
	}
	return p
}

// labelCase is everything known about one label of the issue.
type labelCase struct {
	row  *LedgerEntry  // nil: the ledger does not know the label
	want *DesiredLabel // nil: not desired
	on   bool
	last *LabelEvent // the newest in the history, nil: none

	exists  bool // the taxonomy has it and lets it be written
	changed bool // row is not what the ledger holds
	proven  bool // on, and the app put it there
	unclear bool // the history does not explain what is on the issue
}

// labelCases collects the labels that matter, by key: those in the ledger, then
// those desired, in their order.
func labelCases(v LabelView) (map[string]*labelCase, []string) {
	labels := make(map[string]*labelCase, len(v.Ledger)+len(v.Desired))
	order := make([]string, 0, len(v.Ledger)+len(v.Desired))
	of := func(name string) *labelCase {
		key := LabelKey(name)
		c, ok := labels[key]
		if !ok {
			c = &labelCase{}
			labels[key] = c
			order = append(order, key)
		}
		return c
	}
	for _, e := range v.Ledger {
		of(e.Name).row = &e
	}
	for _, d := range v.Desired {
		c := of(d.Name)
		if c.want != nil {
			continue
		}
		c.exists = v.Taxonomy.Writable(d.Name)
		if d.byRequest() {
			_, c.exists = v.Taxonomy.Has(d.Name) // no answer of a classifier
		}
		if c.exists {
			d.Name, _ = v.Taxonomy.Has(d.Name)
		}
		c.want = &d
	}
	for _, name := range v.OnIssue {
		if c, ok := labels[LabelKey(name)]; ok {
			c.on = true
		}
	}
	for i := range v.History {
		if c, ok := labels[LabelKey(v.History[i].Label)]; ok {
			c.last = &v.History[i]
		}
	}
	return labels, order
}

// needsHistory tells whether the ledger alone cannot decide the label's fate.
func (c *labelCase) needsHistory() bool {
	wanted := c.want != nil && c.exists
	asked := wanted && c.asked()
	switch {
	case c.row == nil:
		return asked && !c.on
	case c.row.State == LedgerIntended, c.row.State == LedgerRemoving && !c.on:
		return true // a crash left it open
	case c.on:
		return c.want == nil && c.row.State != LedgerForeign
	case c.row.State == LedgerVetoed:
		return asked
	case c.row.State == LedgerRemoved:
		return wanted
	}
	return true // believed to be there, but gone
}

// settle finds from the history in which state the label really is.
func (c *labelCase) settle() {
	if c.row == nil {
		switch {
		case c.on || c.last == nil || !c.last.Added && c.last.Ours:
		case !c.last.Added && c.exists:
			c.row = &LedgerEntry{DesiredLabel: *c.want}
			c.become(LedgerVetoed, c.last.Actor)
		case c.last.Added:
			c.unclear = true
		}
		return
	}
	last, state := c.last, c.row.State
	switch {
	case last != nil && last.Added && c.on && last.Ours:
		c.proven = true
		if !state.Holds() {
			c.become(LedgerWritten, Actor{})
		}
	case last != nil && last.Added && c.on:
		c.become(LedgerForeign, last.Actor)
	case last != nil && !last.Added && !c.on && last.Ours:
		c.become(LedgerRemoved, Actor{})
	case last != nil && !last.Added && !c.on:
		c.become(LedgerVetoed, last.Actor)
	// From here on the history is silent, or says other than the issue.
	case c.on:
		c.unclear = true
	case state == LedgerWritten, state == LedgerConfirmed, state == LedgerForeign,
		state == LedgerIntended && last != nil && last.Ours:
		c.become(LedgerVetoed, Actor{}) // it was there and is gone
	case state == LedgerRemoving, state != LedgerVetoed && last != nil && !last.Ours:
		c.unclear = true
	}
}

func (c *labelCase) become(state LedgerState, by Actor) {
	if c.row.State != state {
		c.row.State, c.row.Actor, c.changed = state, by.Login, true
	}
}

// skip tells why the desired label is not added; "" means that it is.
func (c *labelCase) skip(v LabelView, labels map[string]*labelCase) SkipReason {
	switch {
	case c.on:
		if c.row == nil {
			c.row, c.changed = &LedgerEntry{DesiredLabel: *c.want, State: LedgerForeign}, true
		}
		return SkipPresent
	case !c.exists:
		return SkipUnknown
	case c.unclear:
		return SkipUnclear
	case c.row != nil && c.row.State == LedgerVetoed && !c.askedAfresh():
		return SkipVetoed
	case c.taken(v, labels):
		return SkipTaken
	}
	return ""
}

// asked tells whether a person, at a known time, asked for the label.
func (c *labelCase) asked() bool {
	return c.want.Source == SourceHuman && !c.want.AskedAt.IsZero()
}

// askedAfresh tells whether a person asked for the label after it was vetoed.
// GitHub's times are whole seconds: a request within the second of the removal counts.
func (c *labelCase) askedAfresh() bool {
	vetoed := c.row.UpdatedAt
	if c.last != nil && !c.last.Added {
		vetoed = c.last.Created
	}
	return c.asked() && c.want.AskedAt.After(vetoed)
}

// ours tells whether the label, which is on the issue, is held to be the app's:
// the ledger says so, and the history, which may lag, does not end in another's hand.
func (c *labelCase) ours() bool {
	return c.row != nil && c.row.State.Holds() && (!c.unclear || c.last == nil || c.last.Ours)
}

// taken tells whether a label that is not ours already decides the field.
func (c *labelCase) taken(v LabelView, labels map[string]*labelCase) bool {
	for _, name := range v.OnIssue {
		m, ok := v.Taxonomy.Means(name)
		if !ok || m.Field != c.want.Field {
			continue
		}
		if other, known := labels[LabelKey(name)]; known && other.ours() {
			continue
		}
		if m.Value == c.want.Value || c.want.Source != SourceHuman && !c.want.Field.Multiple() {
			return true
		}
	}
	return false
}
