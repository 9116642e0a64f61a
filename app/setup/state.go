package setup

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"sync"
	"time"
)

// step is how far a setup is.
type step string

const (
	stepCreate   step = "create"
	stepConvert  step = "convert"
	stepChecking step = "check"
	stepDone     step = "done"
)

// state is what the page shows. Run changes it, browsers read it.
type state struct {
	mu       sync.Mutex
	cfg      Config
	manifest manifest
	token    string // the random state of the form; "" when none is awaited
	step     step
	trouble  string
	app      Credentials // with its secrets left out
	lastRead time.Time
	read     chan struct{} // closed when the end was shown
}

func newState(cfg Config, m manifest) *state {
	return &state{cfg: cfg, manifest: m, token: rand.Text(), step: stepCreate, read: make(chan struct{})}
}

var errWrongState = errors.New("the state does not match")

// consume checks the state that came back from GitHub, and lets none come back
// again. It is compared in constant time.
func (s *state) consume(token string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token == "" || subtle.ConstantTimeCompare([]byte(token), []byte(s.token)) != 1 {
		return errWrongState
	}
	s.token, s.step, s.trouble = "", stepConvert, ""
	return nil
}

// again offers the form anew.
func (s *state) again(trouble, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token, s.step, s.trouble, s.manifest.Name = rand.Text(), stepCreate, trouble, name
}

// created shows the App. Its secrets have no business in what is rendered.
func (s *state) created(c Credentials) {
	c.ClientSecret, c.WebhookSecret, c.PrivateKey = "", "", ""
	s.mu.Lock()
	defer s.mu.Unlock()
	s.app, s.token, s.step, s.trouble = c, "", stepChecking, ""
}

func (s *state) checking(trouble string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trouble = trouble
}

func (s *state) finish(c Credentials) {
	c.ClientSecret, c.WebhookSecret, c.PrivateKey = "", "", ""
	s.mu.Lock()
	defer s.mu.Unlock()
	s.app, s.step, s.trouble = c, stepDone, ""
}

const (
	// pageIsOpen is how lately a page must have asked for news to count as open.
	pageIsOpen = 5 * time.Second
	// lastWords is how long an open page is waited for to show the end.
	lastWords = 5 * time.Second
)

// awaitReader waits until an open page shows the end, so that it does not stay
// behind with what was true before.
func (s *state) awaitReader(ctx context.Context) {
	s.mu.Lock()
	open := time.Since(s.lastRead) < pageIsOpen
	s.mu.Unlock()
	if !open {
		return
	}
	timer := time.NewTimer(lastWords)
	defer timer.Stop()
	select {
	case <-s.read:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// view is what the page's template reads.
type view struct {
	Step        step
	Trouble     string
	FormAction  string
	Manifest    string
	Name        string
	Owner       string // whose App it is to be
	GitHub      string
	Permissions []permission
	Events      []string
	Strict      bool
	Deliveries  string
	Relayed     bool
	App         Credentials
	InstallURL  string
	SettingsURL string
	DataDir     string
	File        string
	Command     string
}

func (s *state) view() (view, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastRead = time.Now()
	text, err := json.Marshal(s.manifest)
	if err != nil {
		return view{}, err
	}
	v := view{
		Step: s.step, Trouble: s.trouble, Manifest: string(text), Name: s.manifest.Name, Owner: s.cfg.Org, GitHub: s.cfg.GitHubURL,
		Permissions: s.manifest.permissions(), Events: s.manifest.DefaultEvents, Strict: s.cfg.Strict, Deliveries: s.cfg.hookURL(),
		Relayed: s.cfg.RelayURL != "", App: s.app, DataDir: s.cfg.DataDir, File: FileName, Command: ServeCommand(s.cfg.DataDir),
	}
	if s.token != "" {
		v.FormAction = s.cfg.formAction(s.token)
	}
	if s.app.AppID != 0 {
		v.InstallURL, v.SettingsURL, v.Strict = s.app.InstallURL(), s.app.PermissionsURL(), s.app.StrictContents
		v.Deliveries, v.Relayed = s.app.hookURL(), s.app.RelayURL != ""
	}
	return v, nil
}

// shown notes that a page shows the end.
func (s *state) shown(v view) {
	if v.Step != stepDone {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.read:
	default:
		close(s.read)
	}
}

var plainPath = regexp.MustCompile(`^[A-Za-z0-9_./~+-]+$`)

// ServeCommand is the command line that runs the service on what setup kept.
func ServeCommand(dataDir string) string {
	if !plainPath.MatchString(dataDir) {
		dataDir = "'" + strings.ReplaceAll(dataDir, "'", `'\''`) + "'"
	}
	return "dispatchai serve --data-dir " + dataDir
}
