package github

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// Budget is what is left to an installation now.
type Budget struct {
	// Unlimited tells that this GitHub has its limits off; the rest is zero then.
	Unlimited bool
	// Live is what is left to live calls, Background to the others.
	Live, Background Left
	// WaitUntil is when the live calls that were held back may go on; zero when none are.
	WaitUntil time.Time
	// Rate is the hour's requests as GitHub last told them; zero before its first answer.
	Rate Rate
}

// Left counts what is left of each limit.
type Left struct {
	// Writes in the present minute and hour, points in the present minute.
	ContentMinute, ContentHour, Points int
	// Requests in the present hour; -1 before GitHub's first answer.
	Requests int
}

// Budget tells what is left to an installation; false for one that this process
// has not called lately.
func (c *Client) Budget(installationID int64) (Budget, bool) {
	i := c.cache.find(installationID)
	if i == nil {
		return Budget{}, false
	}
	return i.budget.left(), true
}

func (b *budget) left() Budget {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	state := Budget{Unlimited: b.off, Rate: b.rate}
	wait := func(until time.Time) {
		if until.After(now) {
			state.WaitUntil = latest(state.WaitUntil, until)
		}
	}
	wait(b.blockedUntil)
	if b.off {
		return state
	}
	var live, background [len(b.limits)]int
	for i := range b.limits {
		l := &b.limits[i]
		l.forget(now)
		spent := l.spent()
		wait(l.liveWaits)
		live[i] = max(0, l.ceiling(now)-spent.all)
		background[i] = min(max(0, l.most/backgroundPart-spent.all, l.most/backgroundShare-spent.background), max(0, l.most-spent.all))
	}
	state.Live = Left{live[0], live[1], live[2], -1}
	state.Background = Left{background[0], background[1], background[2], -1}
	if b.rate.Limit > 0 {
		remaining := b.rate.Limit
		if now.Before(b.resetAt) {
			if remaining = max(0, b.rate.Remaining-b.flying); remaining == 0 {
				wait(b.resetAt)
			}
		}
		state.Live.Requests = remaining
		state.Background.Requests = max(0, remaining-b.rate.Limit/primaryReserve)
	}
	return state
}

// Ready returns the error that a write as the installation would meet now, so
// that work which ends in one need not be begun; nil when it would go out.
func (c *Client) Ready(ctx context.Context, installationID int64) error {
	background := isBackground(ctx)
	held := c.outage.held()
	if held == nil {
		held = c.cache.get(installationID).budget.held(background, cost{points: readPoints + writePoints, content: 1})
	}
	if held == nil {
		return nil
	}
	return explain(ctx, "write as the installation", installationID, held)
}

// spending is a budget as it is kept in the store between leases.
type spending struct {
	Content      [][3]int64 `json:"content,omitempty"` // end of the slot, all, background
	ContentHour  [][3]int64 `json:"content_hour,omitempty"`
	Points       [][3]int64 `json:"points,omitempty"`
	Limit        int        `json:"limit,omitempty"`
	Remaining    int        `json:"remaining,omitempty"`
	Reset        int64      `json:"reset,omitempty"`
	ResetAt      int64      `json:"reset_at,omitempty"`
	BlockedUntil int64      `json:"blocked_until,omitempty"`
}

func (s *spending) windows() [3]*[][3]int64 {
	return [3]*[][3]int64{&s.Content, &s.ContentHour, &s.Points}
}

// lostRow is what is taken as spent for an issue that was in hand when its
// process died: a look at the issue and its history, labels put on in one
// request, and a few taken off.
var lostRow = cost{points: 3*readPoints + 4*writePoints, content: 4}

// SaveBudget returns what the installation has spent, for RestoreBudget, here or
// in another process. It is empty where there are no limits.
func (c *Client) SaveBudget(installationID int64) []byte {
	if i := c.cache.find(installationID); i != nil {
		return i.budget.save()
	}
	return []byte{}
}

func (b *budget) save() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.off {
		return []byte{}
	}
	now := b.now()
	var s spending
	for i, into := range s.windows() {
		l := &b.limits[i]
		l.forget(now)
		for _, slot := range l.slots {
			*into = append(*into, [3]int64{slot.end, int64(slot.all), int64(slot.background)})
		}
		if l.flying.all > 0 { // may have reached GitHub already
			*into = append(*into, [3]int64{l.slotEnd(now), int64(l.flying.all), int64(l.flying.background)})
		}
	}
	if b.rate.Limit > 0 && now.Before(b.resetAt) {
		s.Limit, s.Remaining, s.Reset, s.ResetAt = b.rate.Limit, b.rate.Remaining-b.flying, b.rate.Reset.Unix(), b.resetAt.Unix()
	}
	if now.Before(b.blockedUntil) {
		s.BlockedUntil = b.blockedUntil.Unix() + 1
	}
	saved, err := json.Marshal(s)
	if err != nil {
		panic(err) // numbers alone
	}
	return saved
}

// RestoreBudget takes over what SaveBudget returned at the end of the lease
// before. lost is how many issues were in hand under leases since then whose
// holders died before they could save: what those may have spent until lostAt
// counts as spent. An error means that saved is not a budget; the installation
// then starts with what this process itself knows.
func (c *Client) RestoreBudget(installationID int64, saved []byte, lost int, lostAt time.Time) error {
	if len(saved) == 0 && lost == 0 {
		return nil
	}
	var s spending
	var err error
	if len(saved) > 0 {
		if err = json.Unmarshal(saved, &s); err != nil {
			s, err = spending{}, fmt.Errorf("github: the saved budget of installation %d: %w", installationID, err)
		}
	}
	c.cache.get(installationID).budget.restore(s, lost, lostAt)
	return err
}

func (b *budget) restore(s spending, lost int, lostAt time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	for i, from := range s.windows() {
		l := &b.limits[i]
		saved := make([]slot, 0, min(len(*from), grains+2))
		for _, f := range *from {
			if f[1] > 0 && f[2] >= 0 && len(saved) < cap(saved) {
				saved = append(saved, slot{min(f[0], l.slotEnd(now)), amount{int(min(f[1], int64(l.most))), int(min(f[2], f[1], int64(l.most)))}})
			}
		}
		l.merge(saved)
		if lost > 0 {
			at := now
			if lostAt.Before(now) {
				at = lostAt
			}
			l.put(l.slotEnd(at), amount{all: min(lost*lostRow.of(l), l.most)})
		}
		l.forget(now)
	}
	if s.Limit > 0 {
		b.learn(Rate{Limit: s.Limit, Remaining: max(0, s.Remaining), Reset: time.Unix(s.Reset, 0)}, latest(now, time.Unix(s.ResetAt, 0)))
		b.resetAt = earliest(b.resetAt, now.Add(longestWait))
	}
	if s.BlockedUntil > 0 {
		b.blockedUntil = latest(b.blockedUntil, earliest(time.Unix(s.BlockedUntil, 0), now.Add(longestWait)))
	}
}

func earliest(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
