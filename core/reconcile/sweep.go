package reconcile

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dispatchai/dispatchai/core/eventlog"
	"github.com/dispatchai/dispatchai/core/failpoint"
	"github.com/dispatchai/dispatchai/core/github"
	"github.com/dispatchai/dispatchai/core/store"
)

const (
	// overlap is how much of GitHub's log is read a second time: what is entered
	// late is found all the same.
	overlap = 5 * time.Minute
	// readingKept is after how long a reading that was interrupted begins anew.
	readingKept = 30 * time.Minute
	// logKept is how long GitHub keeps deliveries.
	logKept = 72 * time.Hour
	// followUp is how soon the log is looked at again after GitHub was asked for
	// something; the pause doubles up to followUpMost while anything is open.
	followUp     = time.Second
	followUpMost = time.Minute
	// askingTime bounds the asking between two readings.
	askingTime = 30 * time.Second
	askedBatch = 50
	askedTimes = 6
	// unprovenLimit bounds the deliveries whose trace is looked for elsewhere at a time.
	unprovenLimit = 1000
)

// backOff is the pause after having asked that many times.
func backOff(asked int) time.Duration {
	pauses := []time.Duration{time.Minute, 10 * time.Minute, time.Hour, 4 * time.Hour, 12 * time.Hour}
	return pauses[min(max(asked, 1), len(pauses))-1]
}

// sweepOn sweeps at once and from then on, until ctx ends.
func (r *Reconciler) sweepOn(ctx context.Context) {
	soon := followUp
	for {
		open, err := r.sweep(ctx)
		wait := jitter(r.SweepEvery)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			r.metrics.sweeps.WithLabelValues("failed").Inc()
			wait = min(wait, retryAfter(err, 30*time.Second))
			r.Logger.WarnContext(ctx, "GitHub's log of deliveries could not be read to the end; it goes on from there", "again_in", wait, "error", err)
		case open:
			wait = min(wait, soon)
			soon = min(2*soon, followUpMost)
		default:
			soon = followUp
		}
		if !pause(ctx, wait, nil) {
			return
		}
	}
}

// sweep reads what is new in GitHub's log, looks for the trace of what was
// accepted, and asks for what is missing. It is open as long as an answer to
// that may be expected soon.
func (r *Reconciler) sweep(ctx context.Context) (open bool, err error) {
	finished, err := r.drained(ctx)
	if err != nil {
		return false, err
	}
	if err := r.read(ctx); err != nil {
		return false, err
	}
	if err := r.prove(ctx, finished); err != nil {
		return false, err
	}
	if err := r.ask(ctx); err != nil {
		return false, err
	}
	r.metrics.sweeps.WithLabelValues("done").Inc()
	due, missing, waiting, err := r.Store.NextDelivery(ctx)
	return waiting > 0 || missing && due.Before(r.Now().Add(2*time.Minute)), err
}

// read goes through GitHub's log from its newest entry back to where the last
// reading began. Each page is noted before the next one is asked for.
//
// No request is conditional: the log's tags belong to the App's tokens, of which
// each lives for minutes, and a page costs one of 5,000 requests an hour.
func (r *Reconciler) read(ctx context.Context) error {
	sweep, err := r.Store.LoadSweep(ctx)
	if err != nil {
		return err
	}
	now := r.Now()
	resumed := sweep.Page != "" && now.Sub(sweep.StartedAt) < readingKept
	if !resumed {
		sweep.Page, sweep.Head, sweep.StartedAt = "", time.Time{}, now
	}
	if r.reading == nil || !resumed {
		r.reading = make(map[string]bool)
	}
	for {
		page, err := r.GitHub.ListDeliveries(github.Background(ctx), sweep.Page)
		if sweep.Page != "" && errors.Is(err, github.ErrInvalid) {
			// The page is no more: from the start, which notes nothing twice.
			sweep.Page, sweep.Head = "", time.Time{}
			continue
		}
		if err != nil {
			return err
		}
		var floor time.Time
		if !sweep.Until.IsZero() {
			floor = sweep.Until.Add(-overlap)
		}
		noted, oldest := r.group(page.Deliveries, floor, sweep.FinishedAt.IsZero())
		if sweep.Head.IsZero() {
			if sweep.Head = page.At; sweep.Head.IsZero() && len(page.Deliveries) > 0 {
				sweep.Head = page.Deliveries[0].DeliveredAt
			}
		}
		sweep.Page = page.Next
		if reached := oldest.Before(floor) && len(page.Deliveries) > 0; page.Next == "" || reached {
			if !reached && !floor.IsZero() && sweep.Head.Sub(floor) > logKept {
				if err := r.outgrown(ctx, sweep); err != nil {
					return err
				}
			}
			sweep.Page, sweep.FinishedAt = "", r.Now()
			if sweep.Head.After(sweep.Until) {
				sweep.Until = sweep.Head
			}
		}
		failpoint.Hit("reconcile/before-sweep")
		if err := r.Store.SaveSweep(ctx, sweep, noted, r.Now(), sweep.Until.Add(-2*overlap)); err != nil {
			return fmt.Errorf("store: %w", err)
		}
		failpoint.Hit("reconcile/after-sweep")
		if sweep.Page == "" {
			r.reading = nil
			nudge(r.hastened)
			return nil
		}
	}
}

// outgrown has everything compared with GitHub's lists: its log does not reach back
// any more to where it was read last.
func (r *Reconciler) outgrown(ctx context.Context, sweep store.Sweep) error {
	r.Logger.WarnContext(ctx, "GitHub's log of deliveries does not reach back to where it was last read; every repository is compared with GitHub's lists instead",
		"read_until", sweep.Until, "log_kept", logKept)
	now := r.Now()
	if err := r.Store.HastenReconciliations(ctx, now, now); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	nudge(r.directory)
	return nil
}

// group makes one of all attempts of a delivery on a page. What is older than
// the floor was seen, and may be forgotten by now.
func (r *Reconciler) group(deliveries []github.Delivery, floor time.Time, baseline bool) (noted []store.NotedDelivery, oldest time.Time) {
	at := make(map[string]int, len(deliveries))
	for _, d := range deliveries {
		oldest = d.DeliveredAt
		if oldest.Before(floor) {
			break
		}
		i, known := at[d.GUID]
		if !known {
			i = len(noted)
			at[d.GUID] = i
			_, heard := github.RouteOf(d.Event)
			noted = append(noted, store.NotedDelivery{
				GUID: d.GUID, Event: d.Event, Action: d.Action, InstallationID: d.InstallationID, RepositoryID: d.RepositoryID,
				AttemptID: d.ID, Status: d.Status, OK: r.reading[d.GUID], Ignored: !heard, Again: true, Baseline: baseline,
			})
		}
		n := &noted[i]
		n.DeliveredAt = d.DeliveredAt // the older ones come later
		n.OK = n.OK || d.OK()
		n.Failed = n.Failed || !d.OK()
		n.Again = n.Again && d.Redelivery
		if d.OK() {
			r.reading[d.GUID] = true
		}
	}
	return noted, oldest
}

// mark is how long the raw topics were at a time.
type mark struct {
	at   time.Time
	ends map[place]int64
}

type place struct {
	topic     string
	partition int32
}

const maxMarks = 64

// drained tells up to when all that was accepted has been handled by the
// workers; zero when that is not known. A delivery that was accepted before and
// left no trace is lost.
func (r *Reconciler) drained(ctx context.Context) (time.Time, error) {
	now := r.Now()
	lags, err := r.Lag(ctx)
	if err != nil {
		return time.Time{}, err
	}
	fresh := mark{at: now, ends: make(map[place]int64, len(lags))}
	committed := make(map[place]int64, len(lags))
	for _, l := range lags {
		at := place{l.Topic, l.Partition}
		fresh.ends[at] = l.End
		committed[at] = l.Committed
		if l.Lag == 0 {
			committed[at] = l.End // nothing to read was ever there, or all was read
		}
	}
	r.marks = append(r.marks, fresh)
	if len(r.marks) > maxMarks {
		r.marks = r.marks[len(r.marks)-maxMarks:]
	}
	reached := -1
	for i, m := range r.marks {
		passed := true
		for at, end := range m.ends {
			passed = passed && committed[at] >= end
		}
		if passed {
			reached = i
		}
	}
	if reached < 0 {
		return time.Time{}, nil
	}
	r.marks = r.marks[reached:]
	return r.marks[0].at, nil
}

// prove looks for the trace of what was accepted. What left none though the
// workers are past it, neither as an event nor as a dead letter, is missing.
func (r *Reconciler) prove(ctx context.Context, finished time.Time) error {
	unproven, err := r.Store.ProveDeliveries(ctx, finished, r.Now(), unprovenLimit)
	if err != nil || len(unproven) == 0 {
		return err
	}
	dead, err := r.DeadLetters(ctx)
	if err != nil {
		return err
	}
	var buried, lost []string
	for _, guid := range unproven {
		if dead[guid] {
			buried = append(buried, guid)
		} else {
			lost = append(lost, guid)
		}
	}
	if err := r.Store.SettleDeliveries(ctx, buried, true, r.Now()); err != nil {
		return err
	}
	if len(lost) > 0 {
		r.metrics.lost.Add(float64(len(lost)))
		r.Logger.ErrorContext(ctx, "deliveries that were accepted left no trace; GitHub is asked for them again. Was the data directory put back to an earlier state?",
			"deliveries", len(lost), "first", lost[0])
	}
	return r.Store.SettleDeliveries(ctx, lost, false, r.Now())
}

// ask has GitHub try again what is missing, the oldest first, as fast as the
// pace allows and no longer than askingTime.
func (r *Reconciler) ask(ctx context.Context) error {
	until := r.Now().Add(askingTime)
	for r.Now().Before(until) {
		missing, err := r.Store.MissingDeliveries(ctx, r.Now(), askedBatch)
		if err != nil || len(missing) == 0 {
			return err
		}
		failpoint.Hit("reconcile/before-ask")
		asked, err := r.askFor(ctx, missing)
		failpoint.Hit("reconcile/after-ask")
		if noted := r.Store.NoteAsked(context.WithoutCancel(ctx), asked, r.Now()); noted != nil || err != nil {
			return errors.Join(err, noted)
		}
	}
	return nil
}

// askersAtOnce is how many requests for another attempt are under way at a time.
const askersAtOnce = 8

// askFor asks for each, and stops at the first sign that GitHub wants to be left alone.
func (r *Reconciler) askFor(ctx context.Context, missing []store.MissingDelivery) ([]store.AskedDelivery, error) {
	var mu sync.Mutex
	var asked []store.AskedDelivery
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(askersAtOnce)
	for _, d := range missing {
		group.Go(func() error {
			a, err := r.askForOne(ctx, d)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			asked = append(asked, a)
			return nil
		})
	}
	err := group.Wait()
	return asked, err
}

func (r *Reconciler) askForOne(ctx context.Context, d store.MissingDelivery) (store.AskedDelivery, error) {
	a := store.AskedDelivery{GUID: d.GUID}
	giveUp := func(why string) store.AskedDelivery {
		a.GivenUp, a.Status = true, why
		r.metrics.redelivery.WithLabelValues("given_up").Inc()
		if d.RepositoryID == 0 || d.Event == github.EventInstallation || d.Event == github.EventInstallationRepositories || d.Event == github.EventRepository {
			nudge(r.directory)
		}
		r.Logger.WarnContext(ctx, "a delivery cannot be had again; what it told is read from GitHub's lists instead", "delivery", d.GUID,
			"event", d.Event, "action", d.Action, "delivered_at", d.DeliveredAt, "why", why)
		return a
	}
	switch {
	case d.Asked >= askedTimes:
		return giveUp(fmt.Sprintf("asked for %d times, last: %s", d.Asked, d.Status)), nil
	case r.Now().Sub(d.DeliveredAt) > logKept:
		return giveUp("older than the three days that GitHub keeps deliveries"), nil
	}
	if err := r.pace.Wait(ctx); err != nil {
		return a, err
	}
	err := r.GitHub.RedeliverDelivery(github.Background(ctx), d.AttemptID)
	a.Asked = true
	switch {
	case err == nil:
		r.metrics.redelivery.WithLabelValues("asked").Inc()
		a.Next = r.Now().Add(backOff(d.Asked + 1))
		return a, nil
	case errors.Is(err, github.ErrNotFound), errors.Is(err, github.ErrGone):
		a.Asked = false
		return giveUp("GitHub keeps it no longer"), nil
	}
	r.metrics.redelivery.WithLabelValues("failed").Inc()
	if _, temporary := github.RetryAfter(err); temporary || ctx.Err() != nil {
		return a, err
	}
	// GitHub does not want to send this one now; the others may be had.
	a.Next, a.Status = r.Now().Add(backOff(d.Asked+1)), err.Error()
	return a, nil
}

// RawTopics are the topics whose workers leave the traces that a sweep looks for.
func RawTopics() []string { return []string{eventlog.TopicIssuesRaw, eventlog.TopicInstallationsRaw} }
