package rules

// category is what an issue is. The order decides between equals.
type category int

const (
	bug category = iota
	feature
	question
	documentation
	security
	performance
	maintenance
	categories // how many there are
)

// String gives the canonical value of the category field.
func (c category) String() string {
	return [...]string{"bug", "feature", "question", "documentation", "security", "performance", "maintenance"}[c]
}

// urgency is a level of priority or of severity, the gravest first.
type urgency int

const (
	critical urgency = iota
	high
	medium
	low
	urgencies
)

// String gives the canonical value of the priority and severity fields.
func (u urgency) String() string {
	return [...]string{"critical", "high", "medium", "low"}[u]
}

// weights is what a cue says for and against each category: the logarithm of
// a factor on its odds.
type weights struct {
	bug, feature, question, documentation, security, performance, maintenance float64
}

func (w weights) of(c category) float64 {
	return [...]float64{w.bug, w.feature, w.question, w.documentation, w.security, w.performance, w.maintenance}[c]
}

// levels is the same for priority and severity.
type levels struct{ critical, high, medium, low float64 }

func (l levels) of(u urgency) float64 { return [...]float64{l.critical, l.high, l.medium, l.low}[u] }

// cue is a set of phrases that mean the same, and what they say.
//
// The tables of cues are read when a Classifier is made, and never written.
// Phrases are separated by |, their words by a blank; ^ stands for the start of
// a sentence, ? for a question mark, # for a number and #.# for a version.
type cue struct {
	in      zone
	words   string
	guarded bool // does not count after "no", "not", "without"
	weights weights
	// priority and severity weigh for those two fields.
	priority, severity levels
	// tag is what it says for a tag of that name, with this confidence.
	tag        string
	confidence float64
}

// signal is what an issue shows by its build rather than its words.
type signal int

const (
	hasTrace signal = iota
	hasErrorName
	titleError
	hasFacts
	hasSteps
	hasImage
	hasCode
	hasMuchCode
	hasReference
	noBody
	shortBody
	longBody
	titleQuestion
	bodyQuestion
	bodyQuestions
	endsAsking
	bugTemplate
	featureTemplate
	signals // how many there are
)

// String completes "Has ..." for a signal.
func (s signal) String() string {
	return [...]string{
		hasTrace:        "a stack trace",
		hasErrorName:    "the name of an error",
		titleError:      "the name of an error in the title",
		hasFacts:        "a list of versions",
		hasSteps:        "numbered steps",
		hasImage:        "a screenshot",
		hasCode:         "a code block",
		hasMuchCode:     "more code or output than text",
		hasReference:    "references to other issues",
		noBody:          "no description",
		shortBody:       "a short description",
		longBody:        "a long description",
		titleQuestion:   "a title that ends in a question mark",
		bodyQuestion:    "a question",
		bodyQuestions:   "several questions",
		endsAsking:      "a question as its last sentence",
		bugTemplate:     "the marker of a bug report template",
		featureTemplate: "the marker of a feature request template",
	}[s]
}
