package setup

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/dispatchai/dispatchai/core/github"
)

// FileName is the file in the data directory that holds the App.
const FileName = "github-app.json"

// Credentials are a registered App as the data directory keeps it: who it is,
// its secrets, and how it was registered. They show their secrets to nobody who
// formats or logs them.
type Credentials struct {
	AppID int64  `json:"app_id"`
	Slug  string `json:"slug"`
	Name  string `json:"name"`
	Owner string `json:"owner"`
	// Org is the organisation that it was registered for; "" for a person.
	Org string `json:"org,omitempty"`
	// URL is the App's page at GitHub, which leads to its installation.
	URL           string `json:"url"`
	ClientID      string `json:"client_id"`
	ClientSecret  string `json:"client_secret"`
	WebhookSecret string `json:"webhook_secret"`
	PrivateKey    string `json:"private_key"`
	GitHubURL     string `json:"github_url"`
	APIURL        string `json:"api_url"`
	WebhookURL    string `json:"webhook_url,omitempty"`
	// RelayURL is the channel that deliveries come through, for development.
	RelayURL string `json:"relay_url,omitempty"`
	// StrictContents tells that the App has no permission to read repositories'
	// contents: their configuration is a single file, named in its settings.
	StrictContents bool      `json:"strict_contents"`
	CreatedAt      time.Time `json:"created_at"`
	// VerifiedAt is when a real delivery was seen to arrive; zero until then.
	VerifiedAt time.Time `json:"verified_at,omitzero"`
}

// String names the App and hides its secrets.
func (c Credentials) String() string { return fmt.Sprintf("GitHub App %d (%s)", c.AppID, c.Slug) }

// GoString hides the secrets from %#v too.
func (c Credentials) GoString() string { return c.String() }

// LogValue hides the secrets from structured logs.
func (c Credentials) LogValue() slog.Value { return slog.StringValue(c.String()) }

// InstallURL is where the App is installed on repositories.
func (c Credentials) InstallURL() string { return c.URL + "/installations/new" }

// largestFile bounds what Load reads.
const largestFile = 1 << 20

// Load reads the App that the data directory holds. Where there is none the
// error is fs.ErrNotExist; any other names the file and what to do, and quotes
// nothing of it.
func Load(dataDir string) (Credentials, error) {
	path := filepath.Join(dataDir, FileName)
	f, err := os.Open(path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return Credentials{}, fmt.Errorf("%s: %w", path, fs.ErrNotExist)
		}
		return Credentials{}, fmt.Errorf("the GitHub App cannot be read: %w (give the file to the user that runs DispatchAI)", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, largestFile+1))
	if err != nil {
		return Credentials{}, fmt.Errorf("%s: %w", path, err)
	}
	c, err := parse(text)
	if err != nil {
		return Credentials{}, fmt.Errorf("%s is damaged (%w): restore it from a backup, or move it away and run `dispatchai setup`", path, err)
	}
	return c, nil
}

// parse reads a file of Load's. Its errors quote nothing of it.
func parse(text []byte) (Credentials, error) {
	var c Credentials
	if len(text) > largestFile {
		return c, errors.New("it is too large")
	}
	if err := json.Unmarshal(text, &c); err != nil {
		return Credentials{}, errors.New("it is not the JSON that setup writes")
	}
	switch {
	case c.AppID <= 0:
		return Credentials{}, errors.New("app_id is missing")
	case c.WebhookSecret == "":
		return Credentials{}, errors.New("webhook_secret is missing")
	}
	if _, err := github.ParseAPIURL(c.APIURL); err != nil || c.APIURL == "" {
		return Credentials{}, errors.New("api_url is not a URL")
	}
	if _, err := github.ParsePrivateKey([]byte(c.PrivateKey)); err != nil {
		return Credentials{}, errors.New("private_key is not the App's key")
	}
	return c, nil
}

// store writes the App into the data directory, readable by its owner alone: all
// of it or nothing, and durable when it returns. An App that is there already is
// only replaced when it is the same, or else set aside under its ID.
func (c Credentials) store(dataDir string) (err error) {
	text, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dataDir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dataDir, "."+FileName+"-*") // with mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, ignoreMissing(os.Remove(f.Name())))
		}
	}()
	_, err = f.Write(append(text, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	path := filepath.Join(dataDir, FileName)
	if err := setAside(dataDir, path, c.AppID); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(dataDir)
}

// setAside keeps an App that is about to be replaced by another: its key is to
// be had nowhere else.
func setAside(dataDir, path string, by int64) error {
	old, err := Load(dataDir)
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && old.AppID == by:
		return nil
	case err != nil:
		return ignoreMissing(os.Rename(path, path+".damaged-"+time.Now().UTC().Format("20060102T150405")))
	}
	aside := filepath.Join(dataDir, fmt.Sprintf("github-app-%d.json", old.AppID))
	// With a second name for the old file there is no moment without an App.
	if os.Link(path, aside) == nil {
		return nil
	}
	return os.Rename(path, aside)
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// syncDir makes a rename in the directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// writable proves before anything is registered that its secrets can be kept.
func writable(dataDir string) error {
	if err := os.MkdirAll(dataDir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dataDir, ".setup-*")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}
