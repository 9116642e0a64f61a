package openai

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"
)

// The defaults of the settings.
const (
	DefaultBaseURL = "https://api.openai.com/v1"
	DefaultModel   = "gpt-4o-mini"
	embeddingModel = "text-embedding-3-small"
	defaultTimeout = 25 * time.Second
	defaultAnswers = 2000
)

// Settings are the classifier's, as Configure takes them.
type Settings struct {
	// APIKey may be empty for a server that is not OpenAI's.
	APIKey string `json:"api_key"`
	// BaseURL is OpenAI's unless set: the URL that /chat/completions is appended to.
	BaseURL string `json:"base_url"`
	Model   string `json:"model"`
	// Timeout bounds one request to the server, as "20s".
	Timeout string `json:"timeout"`
	// Prices are needed for a model of OpenAI's that is not known here; elsewhere
	// answers cost nothing unless they are given.
	Prices *Prices `json:"prices"`
	// Batch is how many issues of a repository may share one request, 1 unless set.
	Batch int `json:"batch"`
	// CachedAnswers is how many answers are kept; 0 keeps none.
	CachedAnswers *int `json:"cached_answers"`

	timeout time.Duration
	rate    rate
	answers int
}

// Prices are in US dollars for a million tokens.
type Prices struct {
	Input       float64 `json:"input"`
	CachedInput float64 `json:"cached_input"`
	Output      float64 `json:"output"`
}

// knownPrices are those of https://openai.com/api/pricing for the standard tier.
func knownPrices(model string) (Prices, bool) {
	switch model {
	case "gpt-4o-mini", "gpt-4o-mini-2024-07-18":
		return Prices{0.15, 0.075, 0.60}, true
	case "gpt-4o", "gpt-4o-2024-08-06", "gpt-4o-2024-11-20":
		return Prices{2.50, 1.25, 10}, true
	case "gpt-4.1", "gpt-4.1-2025-04-14":
		return Prices{2, 0.50, 8}, true
	case "gpt-4.1-mini", "gpt-4.1-mini-2025-04-14":
		return Prices{0.40, 0.10, 1.60}, true
	case "gpt-4.1-nano", "gpt-4.1-nano-2025-04-14":
		return Prices{0.10, 0.025, 0.40}, true
	}
	return Prices{}, false
}

// ParseSettings reads settings. An error names each that is at fault, all at once.
func ParseSettings(text json.RawMessage) (Settings, error) {
	var s Settings
	if len(bytes.TrimSpace(text)) > 0 {
		d := json.NewDecoder(bytes.NewReader(text))
		d.DisallowUnknownFields()
		if err := d.Decode(&s); err != nil {
			return s, fmt.Errorf("not settings of openai: %w", err)
		}
		if _, err := d.Token(); !errors.Is(err, io.EOF) {
			return s, errors.New("not settings of openai: there is something behind them")
		}
	}
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if s.BaseURL == "" {
		s.BaseURL = DefaultBaseURL
	}
	u, err := url.Parse(s.BaseURL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		fault("base_url (OPENAI_BASE_URL): it must be a URL, such as %s", DefaultBaseURL)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		fault("base_url (OPENAI_BASE_URL): it holds a user, a query or a fragment; the key goes into OPENAI_API_KEY")
	}
	own := err == nil && strings.EqualFold(u.Hostname(), "api.openai.com")
	if own && s.APIKey == "" {
		fault("api_key (OPENAI_API_KEY): not set (create one at https://platform.openai.com/api-keys)")
	}
	if strings.ContainsFunc(s.APIKey, func(r rune) bool { return r <= ' ' || r > '~' }) {
		fault("api_key (OPENAI_API_KEY): it holds blanks or characters that no key has")
	}
	if s.Model == "" {
		s.Model = DefaultModel
	}
	s.timeout = defaultTimeout
	if s.Timeout != "" {
		if s.timeout, err = time.ParseDuration(s.Timeout); err != nil || s.timeout < time.Second || s.timeout > 10*time.Minute {
			fault("timeout: %q is not a duration between 1s and 10m", s.Timeout)
		}
	}
	prices, known := knownPrices(s.Model)
	switch {
	case s.Prices != nil:
		prices = *s.Prices
		for _, p := range []float64{prices.Input, prices.CachedInput, prices.Output} {
			if !(p >= 0 && p <= 10_000) {
				fault("prices: %g is not an amount of US dollars for a million tokens", p)
			}
		}
	case !own:
		prices = Prices{}
	case !known:
		fault("prices: those of the model %q are not known here; give input, cached_input and output in US dollars for a million tokens", s.Model)
	}
	s.rate = newRate(prices)
	if s.Batch == 0 {
		s.Batch = 1
	}
	if s.Batch < 1 || s.Batch > MaxBatch {
		fault("batch: %d is not between 1 and %d", s.Batch, MaxBatch)
	}
	s.answers = defaultAnswers
	if s.CachedAnswers != nil {
		if s.answers = *s.CachedAnswers; s.answers < 0 || s.answers > 1_000_000 {
			fault("cached_answers: %d is not between 0 and 1,000,000", s.answers)
		}
	}
	return s, errors.Join(faults...)
}
