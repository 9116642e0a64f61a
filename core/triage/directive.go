package triage

import (
	"slices"
	"strings"
	"time"
)

// Withdrawal takes back one value that a plugin gave a field of an issue. It
// binds that version of that plugin alone, until a person asks for the issue to
// be classified anew: what was undone comes back neither by a replay nor
// because the same plugin says the same again of an edited text.
type Withdrawal struct {
	EventID string    `json:"event_id"`
	Plugin  string    `json:"plugin"`
	Version string    `json:"version"`
	Field   Field     `json:"field"`
	Value   string    `json:"value"`
	Actor   string    `json:"actor"`
	At      time.Time `json:"at"`
}

func (w Withdrawal) same(other Withdrawal) bool {
	return w.Plugin == other.Plugin && w.Version == other.Version && w.Field == other.Field && w.Value == other.Value
}

// Directives is what was said about one issue that no field of its
// classification holds: by people, and by its author in answer to a request.
type Directives struct {
	// Withdrawals are at most MaxWithdrawals, each answer once.
	Withdrawals []Withdrawal `json:"withdrawals,omitempty"`
	// AskedAnew is when a person last asked for a new classification. It lifts
	// the withdrawals up to then, in whatever order the events come.
	AskedAnew time.Time `json:"asked_anew,omitzero"`
	// Ignored tells that the issue is left alone, as IgnoredBy said at IgnoredAt;
	// the later word counts.
	Ignored   bool      `json:"ignored,omitempty"`
	IgnoredBy string    `json:"ignored_by,omitempty"`
	IgnoredAt time.Time `json:"ignored_at,omitzero"`
	// Replies is what the author wrote in comments while answers were missing,
	// the newest last, at most MaxReplies bytes.
	Replies string `json:"replies,omitempty"`
}

// The bounds of Directives; of more the oldest go.
const (
	MaxWithdrawals = 100
	MaxReplies     = 16 << 10
)

// IsZero tells whether nothing was said.
func (d Directives) IsZero() bool {
	return len(d.Withdrawals) == 0 && d.AskedAnew.IsZero() && d.IgnoredAt.IsZero() && d.Replies == ""
}

// With is what holds once next was said as well. The arguments are not changed.
func (d Directives) With(next Directives) Directives {
	if next.AskedAnew.After(d.AskedAnew) {
		d.AskedAnew = next.AskedAnew
	}
	if next.IgnoredAt.After(d.IgnoredAt) {
		d.Ignored, d.IgnoredBy, d.IgnoredAt = next.Ignored, next.IgnoredBy, next.IgnoredAt
	}
	var kept []Withdrawal
	for _, w := range slices.Concat(d.Withdrawals, next.Withdrawals) {
		if !w.At.After(d.AskedAnew) {
			continue
		}
		if at := slices.IndexFunc(kept, w.same); at < 0 {
			kept = append(kept, w)
		} else if w.At.After(kept[at].At) {
			kept[at] = w
		}
	}
	slices.SortStableFunc(kept, func(a, b Withdrawal) int { return a.At.Compare(b.At) })
	d.Withdrawals = kept[max(0, len(kept)-MaxWithdrawals):]
	if next.Replies != "" {
		if d.Replies != "" {
			d.Replies += "\n\n"
		}
		d.Replies = lastBytes(d.Replies+next.Replies, MaxReplies)
	}
	return d
}

// lastBytes is the end of s, cut between two characters.
func lastBytes(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[len(s)-most:], "")
}

// Withhold takes the withdrawn values out of a plugin's answer; false means
// that nothing is left of it. A person's answer is never touched.
func (d Directives) Withhold(f Field, a Answer) (Answer, bool) {
	if len(d.Withdrawals) == 0 || a.Source == SourceHuman {
		return a, true
	}
	left := make([]string, 0, len(a.Values))
	for _, v := range a.Values {
		if !slices.ContainsFunc(d.Withdrawals, Withdrawal{Plugin: a.Plugin, Version: a.Version, Field: f, Value: v}.same) {
			left = append(left, v)
		}
	}
	a.Values = left
	return a, len(left) > 0
}

// Without is the classification less what was withdrawn of it. The argument is
// not changed.
func (d Directives) Without(c Classification) Classification {
	if len(d.Withdrawals) == 0 {
		return c
	}
	fields := make(map[Field]Answer, len(c.Fields))
	for f, a := range c.Fields {
		if left, any := d.Withhold(f, a); any {
			fields[f] = left
		}
	}
	c.Fields = fields
	return c
}

// WithdrawAll lists what withdraws every answer of a plugin that may stand as a label.
func WithdrawAll(c Classification) []UndoneAnswer {
	var all []UndoneAnswer
	for _, f := range c.SortedFields() {
		a := c.Fields[f]
		if !f.Labelled() || a.Source == SourceHuman {
			continue
		}
		for _, v := range a.Values {
			all = append(all, UndoneAnswer{Plugin: a.Plugin, Version: a.Version, Field: f, Value: v})
		}
	}
	return all
}

// UndoneAnswer names one value that a version of a plugin gave.
type UndoneAnswer struct {
	Plugin  string `json:"plugin"`
	Version string `json:"version"`
	Field   Field  `json:"field"`
	Value   string `json:"value"`
}

// UndoInput asks for answers of one issue to be withdrawn.
type UndoInput struct {
	Answers []UndoneAnswer `json:"answers"`
	Actor   string         `json:"actor"`
}

// Withdrawals is the request as it is remembered.
func (in UndoInput) Withdrawals(eventID string, at time.Time) []Withdrawal {
	all := make([]Withdrawal, len(in.Answers))
	for i, a := range in.Answers {
		all[i] = Withdrawal{EventID: eventID, Plugin: a.Plugin, Version: a.Version, Field: a.Field, Value: a.Value, Actor: in.Actor, At: at}
	}
	return all
}
