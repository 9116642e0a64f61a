package simulate

import "time"

// What the App reads of an issue's labels, as LabelStep.Action names it.
const (
	ReadLabels  = "reads the labels"  // those on the issue
	ReadHistory = "reads the history" // the issue's events
)

// LabelStep is a label put on an issue or taken off it, or the App's reading of how they stand.
type LabelStep struct {
	Action   string    // "labeled" or "unlabeled", ReadLabels or ReadHistory
	Label    string    // of a change
	Actor    string    // login; the App's bot when it reads
	Bot      bool      // the actor is a bot
	Delivery string    // GUID of a change's webhook, whatever becomes of it; empty when none was made
	At       time.Time // exact, where the API tells whole seconds
}

// Changes tells whether the step changed what is on the issue.
func (s LabelStep) Changes() bool { return s.Action != ReadLabels && s.Action != ReadHistory }

// LabelCourse returns the changes of an issue's labels and the App's readings of them, in the order in which they took
// effect: what the App could know when it wrote a label. Options.EventsPerIssue bounds it. As in the history that GitHub
// keeps, a label that goes with its repository's label is not told of.
func (g *GitHub) LabelCourse(repo string, number int) (course []LabelStep, err error) {
	err = g.view(repo, number, func(_ *repository, is *issue) { course = append(course, is.course...) })
	return course, err
}

// step tells of a change of the issue's labels that was made.
func (c *change) step(is *issue, action string, l *label) {
	guid := c.emit("issues", action, is, l.name, func(d *document) { d.raw("label", l.object) })
	is.walk(LabelStep{Action: action, Label: l.name, Actor: c.actor.login, Bot: c.actor.kind == kindBot, Delivery: guid, At: c.g.clock.Now()}, c.g.opts.EventsPerIssue)
}

// look remembers that the App reads something of an issue. The caller holds the repository's lock.
func (c *call) look(is *issue, action string) {
	if c.inst != nil {
		is.walk(LabelStep{Action: action, Actor: c.g.bot.login, Bot: true, At: c.g.clock.Now()}, c.g.opts.EventsPerIssue)
	}
}

func (is *issue) walk(s LabelStep, bound int) {
	if bound <= 0 {
		return
	}
	if len(is.course) >= bound {
		is.course = append(is.course[:0], is.course[len(is.course)-bound+1:]...)
	}
	is.course = append(is.course, s)
}
