package triage

import (
	"flag"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	modelSeed = flag.Uint64("model.seed", 0, "run only this seed of the label model, and tell its story")
	modelRuns = flag.Int("model.runs", 6000, "how many seeds of the label model to run")
)

// world is a model of one issue: what GitHub keeps, what the store keeps, the
// webhooks between them, and a bot that crashes. Everything random comes from
// one seed, and nothing in it runs at the same time as anything else.
type world struct {
	r     *rand.Rand
	t     Taxonomy
	now   time.Time
	story []string
	fault string

	// GitHub's side. happened is the true history, with exact times.
	on       []string
	happened []happening
	webhooks []webhook

	// The store's side.
	ledger      map[string]LedgerEntry
	plugins     Classification
	corrections []Correction
	directives  Directives
	applied     map[string]bool
	revision    int
	desired     desiredRow // what the label worker has been told
	settled     int        // the revision that it has carried out

	// How this world treats the app.
	sloppy  bool // the store believes every observation, whatever its age
	upfront bool // the bot reads the history before its first plan
	careful bool // classify drops label changes that were superseded
	lossy   bool
	// suspended: the owner has suspended the App, which hears and does nothing.
	suspended bool
	asked     map[string]time.Time // when each correction was truly made, by event
	undone    map[string]time.Time // plugins' labels, and when they were undone last
	anew      time.Time            // when a person last asked the plugins to think again
	forgiven  int                  // additions that only the history read first could have prevented
	additions, removals, crashes,
	vetoes, lifts, undos, suspensions, revivals int
}

type happening struct {
	label string
	added bool
	by    string
	at    time.Time
}

type webhook struct {
	id     string
	what   happening
	labels []string // on the issue right after
	at     time.Time
}

type desiredRow struct {
	labels   []DesiredLabel
	revision int
	at       time.Time
}

const ourBot, otherBot = "app[bot]", "other[bot]"

func newWorld(seed uint64) *world {
	w := &world{
		r: rand.New(rand.NewPCG(seed, 0x6c6162656c)), now: start,
		ledger: map[string]LedgerEntry{}, applied: map[string]bool{}, asked: map[string]time.Time{}, undone: map[string]time.Time{},
	}
	w.t = NewTaxonomy(named("kind/bug", "bug", "kind/feature", "ui", "sync", "wontfix"))
	w.sloppy, w.upfront, w.careful, w.lossy = w.chance(0.5), w.chance(0.5), w.chance(0.5), w.chance(0.5)
	for _, l := range w.labelNames() { // what an issue form or an author puts on
		if w.chance(0.1) {
			w.change(l, true, []string{"ann", otherBot}[w.r.IntN(2)])
		}
	}
	w.reclassify(false)
	return w
}

func (w *world) labelNames() []string {
	return []string{"kind/bug", "bug", "kind/feature", "ui", "sync", "wontfix"}
}
func (w *world) chance(p float64) bool { return w.r.Float64() < p }
func (w *world) tick(d time.Duration)  { w.now = w.now.Add(d) }

// later moves to another whole second, so that people's acts have an order in GitHub's times too.
func (w *world) later() {
	w.now = w.now.Truncate(time.Second).Add(time.Second + time.Duration(1+w.r.IntN(999))*time.Millisecond)
}

func (w *world) tell(format string, args ...any) {
	w.story = append(w.story, fmt.Sprintf("%8.3f ", w.now.Sub(start).Seconds())+fmt.Sprintf(format, args...))
}

func (w *world) fail(format string, args ...any) {
	w.tell("FAULT: "+format, args...)
	if w.fault == "" {
		w.fault = fmt.Sprintf(format, args...)
	}
}

// change does what GitHub does when a label is put on or taken off.
func (w *world) change(label string, add bool, by string) {
	at := slices.Index(w.on, label)
	if (at >= 0) == add {
		return
	}
	if add {
		w.on = append(w.on, label)
	} else {
		w.on = slices.Delete(w.on, at, at+1)
	}
	h := happening{label, add, by, w.now}
	w.happened = append(w.happened, h)
	w.tell("%s: %s %s; now on: %q", by, map[bool]string{true: "adds", false: "takes off"}[add], label, w.on)
	if !w.suspended && (!w.lossy || w.chance(0.7)) {
		w.webhooks = append(w.webhooks, webhook{fmt.Sprintf("delivery-%d", len(w.happened)), h, slices.Clone(w.on), w.now})
	}
}

// lastOf is the newest thing that happened to a label among the first n.
func (w *world) lastOf(label string, n int) *happening {
	for i := n - 1; i >= 0; i-- {
		if w.happened[i].label == label {
			return &w.happened[i]
		}
	}
	return nil
}

func (w *world) effective() Classification {
	return Effective(w.directives.Without(w.plugins), w.corrections)
}

func (w *world) want() []DesiredLabel { return desiredLabels(w.effective(), w.t, by(nil)) }

// undo withdraws what the ledger says that the plugins put there.
func (w *world) undo() {
	w.revision++
	var in UndoInput
	for _, e := range slices.SortedFunc(maps.Values(w.ledger), func(a, b LedgerEntry) int { return strings.Compare(a.Name, b.Name) }) {
		if e.Source == SourcePlugin && (e.State == LedgerIntended || e.State.Holds()) {
			in.Answers = append(in.Answers, UndoneAnswer{Plugin: e.Plugin, Version: e.Version, Field: e.Field, Value: e.Value})
			w.undone[e.Name] = w.now
			w.undos++
		}
	}
	w.directives = w.directives.With(Directives{Withdrawals: in.Withdrawals(fmt.Sprintf("undo-%d", w.revision), w.now)})
	w.tell("an operator undoes %v", in.Answers)
}

// reclassify lets the plugins think again, because the text was edited or
// because a person asked for it.
func (w *world) reclassify(asked bool) {
	w.revision++
	if asked {
		w.anew = w.now
		w.directives = w.directives.With(Directives{AskedAnew: w.now})
		w.tell("a person asks for it anew")
	}
	fields := map[Field]Answer{}
	values := map[Field][]string{FieldCategory: {"bug", "feature", "question"}, FieldTags: {"ui", "sync"}}
	for _, f := range []Field{FieldCategory, FieldTags} {
		picked := slices.Clone(values[f])
		w.r.Shuffle(len(picked), func(i, j int) { picked[i], picked[j] = picked[j], picked[i] })
		n := 1
		if f.Multiple() {
			n = w.r.IntN(3)
		}
		if n > 0 && w.chance(0.9) {
			a := Answer{Values: picked[:n], Confidence: 0.3 + 0.7*w.r.Float64(), Source: SourcePlugin, Plugin: "rules"}
			if left, any := w.directives.Withhold(f, a); any {
				fields[f] = left
			}
		}
	}
	w.plugins = Classification{DeliveryID: fmt.Sprintf("classified-%d", w.revision), Fields: fields}
	w.tell("plugins say %s %.2f, %s %.2f", fields[FieldCategory].Values, fields[FieldCategory].Confidence, fields[FieldTags].Values, fields[FieldTags].Confidence)
}

// correct is a person at the dashboard.
func (w *world) correct() {
	w.revision++
	c := Correction{EventID: fmt.Sprintf("correction-%d", w.revision), Field: FieldCategory, Actor: "cy", Source: FromDashboard, At: w.now}
	if w.chance(0.5) {
		c.New = [][]string{{"bug"}, {"feature"}, {"question"}, {}}[w.r.IntN(4)]
	} else {
		c.Field, c.New = FieldTags, [][]string{{"ui"}, {"sync"}, {"ui", "sync"}, {}}[w.r.IntN(4)]
	}
	w.corrections = append(w.corrections, c)
	w.asked[c.EventID] = w.now
	w.tell("cy corrects %s to %q (%s)", c.Field, c.New, c.EventID)
}

// deliver brings any of the webhooks under way, and may keep it to bring again.
func (w *world) deliver() {
	if len(w.webhooks) == 0 {
		return
	}
	i := w.r.IntN(len(w.webhooks))
	hook := w.webhooks[i]
	if !w.lossy || !w.chance(0.2) {
		w.webhooks = slices.Delete(w.webhooks, i, i+1)
	}
	w.receive(hook)
}

// receive does what the classify worker does with a label's webhook.
func (w *world) receive(hook webhook) {
	again := w.applied[hook.id]
	w.applied[hook.id] = true
	if again && !w.sloppy {
		return
	}
	at := hook.at.Truncate(time.Second)
	w.tell("webhook %s of %.3f arrives: %s added=%t by %s", hook.id, hook.at.Sub(start).Seconds(), hook.what.label, hook.what.added, hook.what.by)
	switch {
	case hook.what.by == ourBot && hook.what.added:
		w.observe(hook, LedgerConfirmed, at)
	case hook.what.by == ourBot:
		w.observe(hook, LedgerRemoved, at)
	case !hook.what.added:
		w.observe(hook, LedgerVetoed, at)
	}
	if again || hook.what.by == ourBot || hook.what.by == otherBot {
		return
	}
	e := Event{
		ID: hook.id, Kind: KindLabelChange, Action: "labeled", ReceivedAt: w.now, Sender: Actor{Login: hook.what.by, Type: ActorUser},
		Issue: &Issue{Labels: append([]string{}, hook.labels...), UpdatedAt: at}, Label: &RepositoryLabel{Name: hook.what.label},
	}
	if !hook.what.added {
		e.Action = "unlabeled"
	}
	if w.careful && e.Superseded(Issue{Labels: w.on, UpdatedAt: w.now.Truncate(time.Second)}) {
		return
	}
	held := w.effective()
	for _, c := range CorrectionsFromLabel(e, w.t, &held) {
		w.revision++
		w.corrections = append(w.corrections, c)
		w.asked[c.EventID] = hook.at
		w.tell("which corrects %s from %q to %q", c.Field, c.Old, c.New)
	}
}

// observe changes the ledger as store.LedgerObservation says, or, when the
// store is sloppy, without any regard for what is there.
func (w *world) observe(hook webhook, state LedgerState, at time.Time) {
	key := LabelKey(hook.what.label)
	row, known := w.ledger[key]
	switch {
	case !known && state != LedgerVetoed:
		return
	case !known:
		row = LedgerEntry{DesiredLabel: DesiredLabel{Name: hook.what.label, Source: SourceHuman, EventID: hook.id}, CreatedAt: at}
	case w.sloppy:
	case at.Before(row.UpdatedAt.Truncate(time.Second)):
		return
	case state == LedgerConfirmed && row.State != LedgerIntended && row.State != LedgerWritten,
		state == LedgerRemoved && (row.State == LedgerVetoed || row.State == LedgerForeign):
		return
	}
	row.State, row.Actor, row.UpdatedAt = state, hook.what.by, at
	w.ledger[key] = row
}

// record writes a row as the label worker does.
func (w *world) record(e LedgerEntry) {
	key := LabelKey(e.Name)
	if row := w.ledger[key]; !w.sloppy && e.State == LedgerWritten && (row.State == LedgerConfirmed || row.State == LedgerVetoed) && !row.UpdatedAt.Before(e.UpdatedAt) {
		return
	}
	e.UpdatedAt = w.now
	if e.CreatedAt.IsZero() || e.State == LedgerIntended {
		e.CreatedAt = w.now
	}
	w.ledger[key] = e
	w.tell("ledger: %s is %s", e.Name, e.State)
}

// bot brings the labels to the desired state as the label worker does. It stops
// wherever the caller stops asking for its next step, which is a crash there.
func (w *world) bot() iter.Seq[string] {
	return func(yield func(string) bool) {
		row := w.desired
		ledger := slices.SortedFunc(maps.Values(w.ledger), func(a, b LedgerEntry) int { return strings.Compare(a.Name, b.Name) })
		if !yield("ledger read") {
			return
		}
		view := LabelView{Desired: row.labels, OnIssue: slices.Clone(w.on), Ledger: ledger, Taxonomy: w.t}
		seen := len(w.happened)
		if !yield("issue read") {
			return
		}
		plan := LabelPlan{NeedHistory: true}
		if !w.upfront {
			plan = PlanLabels(view)
		}
		if plan.NeedHistory {
			for _, h := range w.happened {
				view.History = append(view.History, LabelEvent{h.label, h.added, Actor{Login: h.by}, h.by == ourBot, h.at.Truncate(time.Second)})
			}
			view.HistoryKnown, seen = true, len(w.happened)
			if !yield("history read") {
				return
			}
			plan = PlanLabels(view)
		}
		w.tell("plan: %s", show(plan))
		for _, e := range plan.Settle {
			w.record(e)
		}
		if !yield("settled") {
			return
		}
		for _, d := range plan.Add {
			w.record(LedgerEntry{DesiredLabel: d, State: LedgerIntended})
		}
		if !yield("intended") {
			return
		}
		for _, d := range plan.Add {
			w.judgeAddition(d, row, view, seen)
			w.change(d.Name, true, ourBot)
		}
		if !yield("added") {
			return
		}
		for _, d := range plan.Add {
			w.record(LedgerEntry{DesiredLabel: d, State: LedgerWritten, CreatedAt: w.ledger[LabelKey(d.Name)].CreatedAt, UpdatedAt: w.now})
		}
		for _, e := range plan.Remove {
			if !yield("removing next") {
				return
			}
			e.State = LedgerRemoving
			w.record(e)
			if !yield("removing") {
				return
			}
			w.judgeRemoval(e, seen)
			w.change(e.Name, false, ourBot)
			if !yield("taken off") {
				return
			}
			e.State = LedgerRemoved
			w.record(e)
		}
		if !plan.Unclear {
			w.settled = row.revision
		}
	}
}

// judgeAddition holds the bot to the rules as of when it read the issue.
func (w *world) judgeAddition(d DesiredLabel, row desiredRow, view LabelView, seen int) {
	w.additions++
	if w.suspended {
		w.fail("%s is added while the App is suspended", d.Name)
	}
	// A row from before an undo may still be under way; the next one takes off what it adds.
	if undone, any := w.undone[d.Name]; any && d.Source == SourcePlugin && row.at.After(undone) {
		if !w.anew.After(undone) {
			w.fail("%s is added, though it was undone at %.3f and nobody asked for it since", d.Name, undone.Sub(start).Seconds())
		}
		w.revivals++
	}
	if slices.Contains(view.OnIssue, d.Name) {
		w.fail("%s is added, though it was on the issue", d.Name)
	}
	if m, ok := w.t.Means(d.Name); !ok || m != (Meaning{d.Field, d.Value}) {
		w.fail("%s is added, which is outside the taxonomy", d.Name)
	}
	for _, l := range view.OnIssue {
		// The bot may take a label for its own that is so no longer, when it did
		// not read the history: only one that it never wrote is surely known.
		m, ok := w.t.Means(l)
		if !ok || m.Field != d.Field || slices.ContainsFunc(w.happened[:seen], func(h happening) bool { return h.label == l && h.by == ourBot }) {
			continue
		}
		if m.Value == d.Value || d.Source == SourcePlugin && !d.Field.Multiple() {
			w.fail("%s is added, though %s is there", d.Name, l)
		}
	}
	last := w.lastOf(d.Name, seen)
	if last == nil || last.added || last.by == ourBot {
		return
	}
	asked, byHuman := w.asked[d.EventID]
	known := slices.ContainsFunc(view.Ledger, func(e LedgerEntry) bool { return e.Name == d.Name })
	switch {
	case byHuman && asked.After(last.at):
		w.lifts++
	case !byHuman && !known && !view.HistoryKnown:
		w.forgiven++
	default:
		w.fail("%s is added for %s, though %s took it off at %.3f and nobody asked after that", d.Name, d.EventID, last.by, last.at.Sub(start).Seconds())
	}
}

func (w *world) judgeRemoval(e LedgerEntry, seen int) {
	w.removals++
	if w.suspended {
		w.fail("%s is taken off while the App is suspended", e.Name)
	}
	if last := w.lastOf(e.Name, seen); last == nil || !last.added || last.by != ourBot {
		w.fail("%s is taken off, though the app had not put it there: %+v", e.Name, last)
	}
}

// run plays the world for some steps, then lets it come to rest.
func (w *world) run() {
	next, stop := iter.Pull(w.bot())
	busy := false
	for range 60 {
		w.tick(time.Duration(1+w.r.IntN(200)) * time.Millisecond)
		switch n := w.r.IntN(100); {
		case n < 8:
			w.later()
			w.change(w.labelNames()[w.r.IntN(6)], w.chance(0.5), []string{"ann", "bob"}[w.r.IntN(2)])
		case n < 14: // on purpose: where the app has been
			w.later()
			if len(w.on) > 0 {
				w.change(w.on[w.r.IntN(len(w.on))], false, []string{"ann", "bob", otherBot}[w.r.IntN(3)])
			}
		case n < 15:
			w.later()
			w.change(w.labelNames()[w.r.IntN(6)], w.chance(0.5), otherBot)
		case n < 16: // a mistake, soon undone
			if l := w.labelNames()[w.r.IntN(6)]; !slices.Contains(w.on, l) {
				w.later()
				w.change(l, true, "ann")
				w.later()
				w.change(l, false, "ann")
			}
		case n < 22:
			w.later()
			w.correct()
		case n < 27:
			w.reclassify(w.chance(0.3))
		case n < 29:
			w.undo()
			if !w.suspended && !busy && w.chance(0.7) { // it comes off, and then somebody knows better
				w.desired = desiredRow{w.want(), w.revision, w.now}
				for range w.bot() {
				}
				w.later()
				w.reclassify(true)
			}
		case n < 30:
			if w.suspended = !w.suspended; w.suspended {
				w.suspensions++
				stop() // whatever it was about to do is refused
				busy = false
			}
			w.tell("suspended: %t", w.suspended)
		case n < 42:
			w.deliver()
		case n < 52:
			w.desired = desiredRow{w.want(), w.revision, w.now}
		case n < 55 && busy:
			stop()
			w.crashes++
			w.tell("the bot crashes")
			busy = false
		case w.suspended:
		default:
			if !busy && w.settled == w.desired.revision && !w.chance(0.2) {
				continue
			}
			if !busy {
				next, stop = iter.Pull(w.bot())
			}
			_, busy = next()
		}
	}
	stop()
	w.suspended = false
	w.tell("all comes to rest")
	for len(w.webhooks) > 0 {
		w.receive(w.webhooks[0])
		w.webhooks = w.webhooks[1:]
	}
	w.desired = desiredRow{w.want(), w.revision, w.now}
	w.rest()
}

// rest lets the bot finish, and looks at what it leaves.
func (w *world) rest() {
	w.later()
	for range w.bot() {
	}
	for len(w.webhooks) > 0 {
		w.receive(w.webhooks[0])
		w.webhooks = w.webhooks[1:]
	}
	if w.settled != w.revision {
		w.fail("the bot does not settle")
	}
	wanted := map[string]bool{}
	for _, d := range w.desired.labels {
		wanted[d.Name] = true
		if !slices.Contains(w.on, d.Name) && !w.excused(d) {
			w.fail("%s is desired for %s, and neither on the issue nor vetoed nor taken", d.Name, d.EventID)
		}
	}
	for _, l := range w.on {
		if last := w.lastOf(l, len(w.happened)); last.by == ourBot && !wanted[l] {
			w.fail("%s is the app's, unwanted, and still on the issue", l)
		}
	}
	for _, l := range w.labelNames() {
		if last := w.lastOf(l, len(w.happened)); last != nil && !last.added && last.by != ourBot {
			w.vetoes++
		}
	}
	before := len(w.happened)
	for range w.bot() {
	}
	if len(w.happened) != before {
		w.fail("the bot at rest does something more")
	}
}

// excused tells whether the rules forbid a desired label.
func (w *world) excused(d DesiredLabel) bool {
	if last := w.lastOf(d.Name, len(w.happened)); last != nil && last.by != ourBot {
		if asked, byHuman := w.asked[d.EventID]; !byHuman || !asked.After(last.at) {
			return true
		}
	}
	for _, l := range w.on {
		m, ok := w.t.Means(l)
		if last := w.lastOf(l, len(w.happened)); !ok || m.Field != d.Field || last.by == ourBot {
			continue
		}
		if m.Value == d.Value || d.Source == SourcePlugin && !d.Field.Multiple() {
			return true
		}
	}
	return false
}

func TestLabelModel(t *testing.T) {
	if *modelSeed != 0 {
		w := newWorld(*modelSeed)
		w.run()
		t.Logf("seed %d:\n%s", *modelSeed, strings.Join(w.story, "\n"))
		if w.fault != "" {
			t.Fatal(w.fault)
		}
		return
	}
	var sum world
	for seed := uint64(1); seed <= uint64(*modelRuns); seed++ {
		w := newWorld(seed)
		w.run()
		if w.fault != "" {
			t.Fatalf("seed %d (sloppy %t, history first %t, careful %t, lossy %t): %s\nalone: go test -run LabelModel$ ./core/triage -model.seed=%d\n%s",
				seed, w.sloppy, w.upfront, w.careful, w.lossy, w.fault, seed, strings.Join(w.story, "\n"))
		}
		if w.upfront && w.forgiven > 0 {
			t.Fatalf("seed %d: with the history read first, %d additions were forgiven", seed, w.forgiven)
		}
		sum.additions += w.additions
		sum.removals += w.removals
		sum.crashes += w.crashes
		sum.vetoes += w.vetoes
		sum.lifts += w.lifts
		sum.undos += w.undos
		sum.suspensions += w.suspensions
		sum.revivals += w.revivals
		sum.forgiven += w.forgiven
	}
	t.Logf("%d additions, %d removals, %d crashes, %d suspensions, %d vetoes at rest, %d lifted by a request, %d labels undone, %d of them back by a request, %d additions forgiven for want of the history",
		sum.additions, sum.removals, sum.crashes, sum.suspensions, sum.vetoes, sum.lifts, sum.undos, sum.revivals, sum.forgiven)
	for what, n := range map[string]int{
		"additions": sum.additions, "removals": sum.removals, "crashes": sum.crashes, "vetoes": sum.vetoes, "lifts": sum.lifts,
		"undos": sum.undos, "suspensions": sum.suspensions, "revivals": sum.revivals * 100, // it takes a rare chain of events
	} {
		if n*20 < *modelRuns {
			t.Errorf("the model saw only %d %s in %d runs; it proves little", n, what, *modelRuns)
		}
	}
}

// The same seed must tell the same story, or a failure could not be looked at.
func TestLabelModelIsDeterministic(t *testing.T) {
	for seed := uint64(1); seed <= 20; seed++ {
		a, b := newWorld(seed), newWorld(seed)
		a.run()
		b.run()
		if !slices.Equal(a.story, b.story) {
			t.Fatalf("seed %d tells two stories", seed)
		}
	}
}
