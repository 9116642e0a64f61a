package sdk

import (
	"context"
	"encoding/json"
	"slices"
	"time"
)

// Field names one thing a classifier can say about an issue.
type Field string

// The fields of a classification.
const (
	Category  Field = "category"
	Priority  Field = "priority"
	Severity  Field = "severity"
	Component Field = "component"
	Tags      Field = "tags"
	Effort    Field = "effort"
	Assignees Field = "assignees"
	Summary   Field = "summary"
	Sentiment Field = "sentiment"
)

// Classifier is all that a plugin must be. Classify is called from many
// goroutines at once.
type Classifier interface {
	// Describe says who the classifier is and what it can do. It is called
	// once, right after the process starts, and must not need a configuration.
	Describe() Description
	// Classify answers for one issue. A field it leaves out is an abstention.
	// An error concerns this issue alone; the host will ask again.
	Classify(ctx context.Context, request Request) (Result, error)
}

// Configurer is a Classifier with settings. Settings and secrets come this
// way, never by the environment.
type Configurer interface {
	// Configure is called before the first Classify and whenever the settings
	// change. settings is a JSON object, or empty; an error refuses them.
	Configure(ctx context.Context, settings json.RawMessage) error
}

// Embedder is a Classifier that can turn text into vectors, by which similar
// issues are found.
type Embedder interface {
	// Embed gives one vector per text, all of the length that
	// Description.Embedding states.
	Embed(ctx context.Context, texts []Text) ([][]float32, error)
}

// TermEmbedder is a Classifier that gives the terms of a text, such as its
// words, where an Embedder gives a finished vector. The host weighs each term by
// how few of the repository's own issues have it (inverse document frequency),
// which a plugin cannot know, and finds the issues that share the telling ones.
type TermEmbedder interface {
	// EmbedTerms gives the terms of each text, at most MaxTerms and none twice.
	EmbedTerms(ctx context.Context, texts []Text) ([][]Term, error)
}

// Term is what a text consists of, as a TermEmbedder sees it.
type Term struct {
	// ID is a hash of the term. Stored terms are compared with new ones, so what
	// an ID stands for must never change under one EmbeddingModel.Name.
	ID uint32
	// Weight says how much the term stands out within its text: above 0, at most
	// MaxTermWeight. For words, 1 + ln(how often the word stands in it) is good.
	Weight float32
	// Share is in how many of a thousand issues anywhere the term stands, 0 to
	// 1,000. It counts for as long as a repository has few issues of its own.
	Share uint16
}

// Learner is a Classifier that learns from labelled issues and corrections.
type Learner interface {
	// Fit makes a model of one repository from all of its examples. The model
	// is opaque to the host, which keeps it and gives it to Load.
	Fit(ctx context.Context, repository Repository, examples func(yield func(Example) bool)) (Model, error)
	// Load puts a model that Fit returned in force for its repository.
	Load(ctx context.Context, model Model) error
	// Learn takes one correction. The same event may come twice and must count once.
	Learn(ctx context.Context, example Example) error
	// Forget erases everything known of a repository.
	Forget(ctx context.Context, repositoryID int64) error
}

// Description says who a classifier is and what it can do.
type Description struct {
	// Name is lower-case letters, digits and dashes; Version is a semantic version.
	Name    string
	Version string
	// Fields lists what the classifier may set.
	Fields []Field
	// Embedding is set when, and only when, the classifier is an Embedder or, with
	// Terms set, a TermEmbedder.
	Embedding *EmbeddingModel
	// MaxBatch is the most issues the host may send in one call; 0 leaves it to
	// the host (256). A batch must end within the host's deadline, 30 seconds
	// unless configured otherwise, so a slow classifier asks for few.
	MaxBatch int
}

// EmbeddingModel names the space that vectors live in: only vectors of one
// model are ever compared.
type EmbeddingModel struct {
	Name       string
	Dimensions int // at most 1536; 0 when Terms is set
	// Terms tells that the classifier is a TermEmbedder.
	Terms bool
}

// Request is one issue to classify, with what is known around it.
type Request struct {
	Repository *Repository
	Issue      Issue
	// Similar holds the nearest issues of the same repository, nearest first.
	Similar []SimilarIssue
	// Wanted are the fields that are still open: answers for others are dropped.
	// Empty: every field is wanted.
	Wanted []Field
}

// Accepts tells whether the repository accepts the value for the field, and the
// field is still open: other answers are dropped.
func (r Request) Accepts(f Field, value string) bool {
	if !r.Wants(f) || r.Repository == nil {
		return false
	}
	return slices.ContainsFunc(r.Repository.Options[f], func(o Option) bool { return o.Value == value })
}

// Wants tells whether an answer for the field is of use: it is still open, and
// the repository has options for it or needs none.
func (r Request) Wants(f Field) bool {
	if len(r.Wanted) > 0 && !slices.Contains(r.Wanted, f) {
		return false
	}
	switch f {
	case Assignees, Summary, Sentiment:
		return true
	}
	return r.Repository != nil && len(r.Repository.Options[f]) > 0
}

// Repository is where the issue was opened. It is shared between requests and
// must not be changed.
type Repository struct {
	ID       int64
	FullName string
	// Options lists, field by field, the values the repository accepts. An
	// answer outside them is dropped by the host. A field without options is
	// free text (summary) or not wanted.
	Options map[Field][]Option
	// Settings is what the repository's configuration says to this plugin: a
	// JSON object, or empty.
	Settings json.RawMessage
}

// Option is one value a field may take in a repository.
type Option struct {
	Value string
	// Label and Description are the repository's own label for the value;
	// both are empty when the repository has no such label.
	Label       string
	Description string
}

// Issue is the text to classify. All of it was written by strangers and must
// be treated as data.
type Issue struct {
	Number            int
	Title             string
	Body              string
	Author            string
	AuthorAssociation string
	Labels            []string
	CreatedAt         time.Time
	UpdatedAt         time.Time
	// Truncated tells that Body was cut to fit the protocol's message size.
	Truncated bool
}

// SimilarIssue is a neighbour of the issue in the same repository.
type SimilarIssue struct {
	Number     int
	Title      string
	Similarity float64
	// Fields holds what is held to be true of it, values by field.
	Fields map[Field][]string
	// Corrected are those of Fields that a human said.
	Corrected []Field
}

// Result is what a classifier says about an issue. The zero Result abstains
// from everything.
type Result struct {
	Fields    map[Field]Answer
	Reasoning string
	Usage     Usage
	// Hold, when it is not empty, keeps everything from being written until a
	// human has looked at the issue. It says why, in one sentence.
	Hold string
}

// Answer is a field's value: one, or several for tags and assignees.
type Answer struct {
	Values []string
	// Confidence is the probability, 0 to 1, that Values are right.
	Confidence float64
	// Reason says why, in one sentence that a maintainer can check.
	Reason string
}

// Usage is what an answer cost.
type Usage struct {
	InputTokens  int64
	OutputTokens int64
	CostUSD      float64
	// Cached tells that the answer was known from an identical or nearly
	// identical issue.
	Cached bool
}

// Text is an issue's text to embed.
type Text struct {
	Title string
	Body  string
}

// Example is an issue whose right answer is known.
type Example struct {
	// EventID is unique per correction; empty for an issue that was labelled
	// before the app came.
	EventID    string
	Repository *Repository
	Issue      Issue
	Fields     map[Field][]string
	At         time.Time
}

// Model is a fitted model: opaque bytes under a version of the plugin's choosing.
type Model struct {
	RepositoryID int64
	Version      string
	Data         []byte
}
