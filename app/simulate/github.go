// Package simulate is a simulated GitHub: the REST API a GitHub App uses, its authentication, limits and errors, and the
// sender of signed webhooks, over state that people (or tests) change through methods of GitHub.
//
// It behaves as GitHub documents at https://docs.github.com/rest and https://docs.github.com/webhooks. Where it is
// stricter on purpose, so that a fault of a client shows early: an installation token reads nothing, not even public
// data, outside its repositories.
//
// A GitHub listens on one address for everything, as an Enterprise Server does: the API below /api/v3 (and, for clients
// of api.github.com, below /), web pages elsewhere. Every byte it answers and every GUID it sends follow from the seed
// and the order of acts, apart from secrets, which are random.
package simulate

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// What methods fail with; test with errors.Is.
var (
	ErrNotFound  = errors.New("not found")
	ErrGone      = errors.New("gone")
	ErrExists    = errors.New("exists already")
	ErrInvalid   = errors.New("invalid")
	ErrForbidden = errors.New("forbidden")
	ErrArchived  = errors.New("archived, so it can only be read")
	ErrClosed    = errors.New("the simulated GitHub is closed")
	ErrQueueFull = errors.New("the queue of webhooks is full")
)

// Options configure a simulated GitHub. The zero value of every field but WebhookSecret is useful.
type Options struct {
	// Listen is the address to listen on, "127.0.0.1:0" when empty.
	Listen string
	// Seed determines delivery GUIDs, delivery faults, API faults and the course of Play.
	Seed uint64
	// Clock is Real when nil.
	Clock Clock
	// AuthClock judges the App's JWTs and the age of tokens; Clock when nil. Set it to Real when Clock is Virtual and the
	// App under test takes the time for its JWTs from the machine.
	AuthClock Clock
	// Logger receives what an operator of the simulation wants to know; nothing is logged when nil.
	Logger *slog.Logger

	// WebhookURL is where webhooks go; none are made while it is empty. SetWebhookURL changes it.
	WebhookURL string
	// WebhookSecret signs webhooks. Without one they are unsigned, as GitHub's are.
	WebhookSecret string

	// AppID, AppSlug, AppName, AppOwner and ClientID identify the App. Defaults: 31415, "dispatchai", "DispatchAI", "dispatchai", "Iv23li" and a number.
	AppID    int64
	AppSlug  string
	AppName  string
	AppOwner string
	ClientID string
	// PrivateKey is the App's RSA key; one of 2048 bits is generated when nil.
	PrivateKey *rsa.PrivateKey
	// Permissions and Events are what the App asks of its installations. Defaults: issues write, metadata and contents
	// read; issues, issue_comment, label and repository.
	Permissions map[string]string
	Events      []string
	// SingleFiles are the paths that the permission single_file opens, as they are named in the App's settings. SetSingleFiles changes them.
	SingleFiles []string

	// Suggestions makes this a server that knows suggested changes and their reasons, as github.com does where the feature
	// is enabled. One that does not ignores what it is told of them: a label to be suggested is put on the issue.
	Suggestions bool
	// IssueTypePermission is the permission whose write level is push access where issue types are concerned; without it a
	// type is dropped silently. "issues" when empty, as github.com has it; a stricter server may want "contents".
	IssueTypePermission string

	// RateLimits are GitHub's own when zero.
	RateLimits RateLimits
	// DeliveryFaults are what goes wrong on the way to the webhook; nothing when zero. SetDeliveryFaults changes them.
	DeliveryFaults DeliveryFaults
	// Senders is how many webhooks are under way at a time, 32 when 0. With 1 they arrive in the order of their events.
	Senders int
	// AnswerDeadline is how long a webhook's receiver has to answer: 10 s when 0, as on github.com.
	AnswerDeadline time.Duration
	// QueuedWebhooks bounds the webhooks that wait for a sender, 4096 when 0. A person's act waits for room; a write of the
	// App waits for nobody: its webhook goes to a second queue four times as long, and when that is full into the log as failed.
	QueuedWebhooks int
	// DeliveryLog bounds the deliveries kept for inspection and redelivery, 10,000 when 0, none when negative. They are kept for three days at most.
	DeliveryLog int
	// EventsPerIssue bounds the history kept of each issue, 1,000 when 0, none when negative.
	EventsPerIssue int

	// OnEvent, when not nil, is called after every change of state, by whoever made it, before its webhooks are queued. It must be quick
	// and must not call a method that changes state. Events of one issue may arrive out of order when several people act at once.
	OnEvent func(Event)
	// OnRequest, when not nil, is told of every request to the API once it was answered. It is called by many requests at once and must be quick.
	OnRequest func(Exchange)
}

// Event is one thing that happened.
type Event struct {
	At         time.Time
	Event      string // as in X-GitHub-Event: "issues", "issue_comment", "label", "installation", ...
	Action     string // as in the payload: "opened", "labeled", ...
	Repository string // "owner/name"; empty for events of an installation
	Number     int    // of the issue; 0 when it is not about one
	Title      string // of the issue
	Actor      string // login
	Bot        bool   // the actor is a bot
	About      string // the label, the first line of the comment, the reason of closing, the account of the installation
}

// GitHub is a simulated GitHub. Its methods are safe for concurrent use.
type GitHub struct {
	opts       Options
	clock      Clock
	authClock  Clock
	log        *slog.Logger
	key        *rsa.PrivateKey
	listener   net.Listener
	server     *http.Server
	baseURL    string
	apiURL     string
	appObject  []byte
	registered atomic.Pointer[registration] // from a manifest; nil: as the options say
	manifests  manifests
	bot        *account
	created    time.Time
	outbox     *outbox
	routes     []*route
	router     router
	pages      *template.Template
	unknown    route // counts requests for what does not exist
	faults     faults
	appLimit   limiter
	anonymous  limiter
	limits     atomic.Pointer[RateLimits]
	tokens     sync.Map // secret -> *token
	requests   atomic.Uint64
	pings      atomic.Uint64

	ids struct{ account, repository, issue, comment, label, event, installation, reaction, check, suggestion, issueType atomic.Int64 }

	mu            sync.RWMutex
	accounts      map[string]*account
	repos         map[string]*repository // by lower-case full name
	reposByID     map[int64]*repository
	reposByOwner  map[*account][]*repository
	moved         map[string]int64 // former full names, lower case -> repository
	installations map[int64]*installation

	singleFiles atomic.Pointer[[]string] // see SetSingleFiles

	lifecycle sync.Mutex
	stop      context.CancelFunc
	done      chan struct{}
	closed    bool
}

// New makes a simulated GitHub and binds its address, so that URL is known; it serves from Start on.
func New(o Options) (*GitHub, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	listener, err := lc.Listen(context.Background(), "tcp", o.Listen)
	if err != nil {
		return nil, fmt.Errorf("simulated GitHub: %w", err)
	}
	g := &GitHub{opts: o, clock: o.Clock, authClock: o.AuthClock, log: o.Logger, key: o.PrivateKey, listener: listener,
		baseURL: "http://" + listener.Addr().String(), accounts: map[string]*account{}, repos: map[string]*repository{}, reposByID: map[int64]*repository{},
		reposByOwner: map[*account][]*repository{}, moved: map[string]int64{}, installations: map[int64]*installation{}}
	g.apiURL = g.baseURL + "/api/v3"
	// IDs beyond 32 bits, as GitHub's newer ones are: a client that keeps them in an int32 fails here.
	g.ids.account.Store(180_000_000)
	g.ids.repository.Store(900_000_000)
	g.ids.issue.Store(3_100_000_000)
	g.ids.comment.Store(2_900_000_000)
	g.ids.label.Store(8_200_000_000)
	g.ids.event.Store(17_000_000_000)
	g.ids.installation.Store(64_000_000)
	g.ids.reaction.Store(290_000_000)
	g.ids.check.Store(52_000_000_000)
	g.ids.issueType.Store(2_100_000)
	g.ids.suggestion.Store(4_300_000_000)
	g.created = g.now()
	g.SetSingleFiles(o.SingleFiles...)
	limits := o.RateLimits.withDefaults()
	g.limits.Store(&limits)
	g.faults.seed = o.Seed
	g.outbox = newOutbox(g)
	owner, err := g.account(o.AppOwner, kindOrganization)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the App's owner: %w", err), listener.Close())
	}
	if g.bot, err = g.account(o.AppSlug+botSuffix, kindBot); err != nil {
		return nil, errors.Join(fmt.Errorf("the App's slug: %w", err), listener.Close())
	}
	as := g.asked()
	g.appObject = g.renderApp(owner, &as)
	if g.pages, err = parsePages(); err != nil {
		return nil, errors.Join(fmt.Errorf("pages: %w", err), listener.Close())
	}
	g.unknown.pattern = "unknown"
	g.routeAll()
	g.server = &http.Server{Handler: g, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute,
		ErrorLog: slog.NewLogLogger(g.log.Handler(), slog.LevelDebug)}
	return g, nil
}

func (o Options) withDefaults() (Options, error) {
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	if o.Clock == nil {
		o.Clock = Real{}
	}
	if o.AuthClock == nil {
		o.AuthClock = o.Clock
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.AppID == 0 {
		o.AppID = 31415
	}
	if o.AppSlug == "" {
		o.AppSlug = "dispatchai"
	}
	if o.AppName == "" {
		o.AppName = "DispatchAI"
	}
	if o.AppOwner == "" {
		o.AppOwner = "dispatchai"
	}
	if o.ClientID == "" {
		o.ClientID = fmt.Sprintf("Iv23li%014d", o.AppID)
	}
	if o.IssueTypePermission == "" {
		o.IssueTypePermission = "issues"
	}
	if o.Permissions == nil {
		o.Permissions = map[string]string{"issues": "write", "contents": "read"}
	}
	o.Permissions = maps.Clone(o.Permissions)
	o.Permissions["metadata"] = "read"
	if o.Events == nil {
		o.Events = []string{"issues", "issue_comment", "label", "repository"}
	}
	o.Events = slices.Clone(o.Events)
	for value, fallback := range map[*int]int{&o.Senders: 32, &o.QueuedWebhooks: 4096, &o.DeliveryLog: 10_000, &o.EventsPerIssue: 1000} {
		if *value == 0 {
			*value = fallback
		}
	}
	if o.AnswerDeadline == 0 {
		o.AnswerDeadline = 10 * time.Second
	}
	if o.WebhookURL != "" {
		if err := validHook(o.WebhookURL); err != nil {
			return o, err
		}
	}
	if err := o.DeliveryFaults.validate(); err != nil {
		return o, err
	}
	if o.Senders < 0 || o.QueuedWebhooks < 0 || o.AnswerDeadline < 0 {
		return o, fmt.Errorf("%w: Senders, QueuedWebhooks and AnswerDeadline cannot be negative", ErrInvalid)
	}
	if o.PrivateKey == nil {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			return o, fmt.Errorf("generating the App's private key: %w", err)
		}
		o.PrivateKey = key
	}
	return o, nil
}

func validHook(address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("%w: the webhook URL %q is not an http or https URL", ErrInvalid, address)
	}
	return nil
}

// URL is the server's address, "http://127.0.0.1:port". Give it to go-github as an Enterprise base URL, or as the API's base URL itself.
func (g *GitHub) URL() string { return g.baseURL }

// AppID is the App's ID, the issuer of its JWTs.
func (g *GitHub) AppID() int64 { return g.opts.AppID }

// BotLogin is the login of the App's bot, "<slug>[bot]".
func (g *GitHub) BotLogin() string { return g.bot.login }

// WebhookSecret is the secret that signs webhooks.
func (g *GitHub) WebhookSecret() string { return g.asked().secret }

// PrivateKeyPEM is the App's private key in the form GitHub lets one download it, PKCS #1.
func (g *GitHub) PrivateKeyPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(g.key)})
}

// SetSingleFiles names the files that the permission single_file opens, as somebody does by hand in the App's settings.
func (g *GitHub) SetSingleFiles(paths ...string) {
	paths = slices.Clone(paths)
	g.singleFiles.Store(&paths)
}

// Start serves the API and sends webhooks until ctx ends or Close is called.
func (g *GitHub) Start(ctx context.Context) error {
	g.lifecycle.Lock()
	defer g.lifecycle.Unlock()
	if g.closed {
		return ErrClosed
	}
	if g.stop != nil {
		return errors.New("the simulated GitHub was started already")
	}
	ctx, g.stop = context.WithCancel(ctx)
	g.done = make(chan struct{})
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := g.server.Serve(g.listener); err != nil && !errors.Is(err, http.ErrServerClosed) {
			g.log.Error("the simulated GitHub stopped serving", "error", err)
		}
	}()
	g.outbox.start()
	go func() {
		defer close(g.done)
		<-ctx.Done()
		g.outbox.close()
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		if err := g.server.Shutdown(grace); err != nil {
			_ = g.server.Close() // whoever is still connected after the grace is cut off
		}
		<-served
	}()
	return nil
}

// Close stops serving and sending and waits until both have ended. Webhooks not yet sent are given up.
func (g *GitHub) Close() error {
	g.lifecycle.Lock()
	defer g.lifecycle.Unlock()
	if g.closed {
		return nil
	}
	g.closed = true
	if g.stop == nil {
		g.outbox.close()
		return g.listener.Close()
	}
	g.stop()
	<-g.done
	return nil
}

func (g *GitHub) renderApp(owner *account, r *registration) []byte {
	var d document
	d.begin('{')
	d.num("id", g.opts.AppID)
	d.str("slug", g.opts.AppSlug)
	d.str("node_id", nodeID("A", g.opts.AppID))
	d.str("client_id", g.opts.ClientID)
	d.raw("owner", owner.simple)
	d.str("name", r.name)
	d.str("description", "Triages the issues of repositories")
	d.str("external_url", g.baseURL)
	d.str("html_url", g.baseURL+"/apps/"+g.opts.AppSlug)
	d.instant("created_at", g.created)
	d.instant("updated_at", g.created)
	permissionsObject(&d, r.permissions)
	d.strings("events", r.events)
	d.end('}')
	return d
}
