package openai

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	api "github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/shared"

	"github.com/dispatchai/dispatchai/plugins/sdk"
)

// The bounds of a request.
const (
	maxAnswerTokens = 1200
	maxResponse     = 4 << 20
	// tries is how often one question is put: again after an answer that was cut
	// off or is none, and after one that says that the text was too long.
	tries = 3
)

// How long the host leaves the classifier alone.
const (
	afterOutage = 5 * time.Second
	afterQuota  = 10 * time.Minute
	afterFault  = 5 * time.Minute // that an operator has to mend
	maxDelay    = time.Hour
)

// model is the server that is asked, as the settings name it.
type model struct {
	settings Settings
	client   api.Client
	answers  *answers
	batcher  batcher
}

// asked is what the model is asked.
type asked struct {
	system, user string
	schema       map[string]any
}

func (q *question) asked(mark string) asked { return asked{q.prompt, q.user(mark), q.schema()} }

func newModel(s Settings) *model {
	transport := sdk.HTTPTransport()
	client := &http.Client{Transport: bounded{transport}}
	options := []option.RequestOption{
		option.WithBaseURL(strings.TrimSuffix(s.BaseURL, "/") + "/"), option.WithHTTPClient(client), option.WithMaxRetries(0),
	}
	if s.APIKey != "" {
		options = append(options, option.WithAPIKey(s.APIKey))
	}
	if strings.HasPrefix(s.BaseURL, "http://") {
		options = append(options, option.WithUnsafeAllowHTTP()) // as the operator says
	}
	return &model{settings: s, client: api.NewClient(options...), answers: newAnswers(s.answers),
		batcher: batcher{wait: gatherFor, open: make(map[string]*gathering)},
	}
}

// bounded cuts off responses that are larger than any answer, and follows no
// redirect, which would take the key elsewhere.
type bounded struct{ http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := b.RoundTripper.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if response.StatusCode >= 300 && response.StatusCode < 400 {
		return nil, errors.Join(errRedirected, response.Body.Close())
	}
	response.Body = &boundedBody{response.Body, maxResponse}
	return response, nil
}

type boundedBody struct {
	io.ReadCloser
	left int64
}

func (b *boundedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, errTooLarge
	}
	return n, err
}

var (
	errTooLarge   = errors.New("the response is larger than 4 MiB")
	errRedirected = errors.New("the model server redirects, which is not followed with a key: set OPENAI_BASE_URL to where it is")
	errTooLong    = errors.New("the text is longer than the model takes")
)

// ask puts a question to the model. What an answer cost counts, whatever became of it.
func (m *model) ask(ctx context.Context, q *question) (sdk.Result, error) {
	var total spent
	var fault error
	tokens := int64(maxAnswerTokens)
	for range tries {
		mark := newMark()
		completion, err := m.complete(ctx, q.asked(mark), tokens)
		if isTooLong(err) {
			q, fault = q.shorter(), err
			continue
		}
		if err != nil {
			return sdk.Result{}, err
		}
		total.add(spentBy(completion))
		result, err := q.read(completion, mark)
		if err == nil {
			result.Usage = m.settings.rate.usage(total)
			return result, nil
		}
		if fault = err; errors.Is(err, errCutOff) {
			tokens *= 2
		}
	}
	return sdk.Result{}, fmt.Errorf("%w, %d times in a row", fault, tries)
}

func isTooLong(err error) bool { return errors.Is(err, errTooLong) }

func (m *model) complete(ctx context.Context, r asked, tokens int64) (*api.ChatCompletion, error) {
	limited, cancel := context.WithTimeout(ctx, m.settings.timeout)
	defer cancel()
	completion, err := m.client.Chat.Completions.New(limited, api.ChatCompletionNewParams{
		Model:               m.settings.Model,
		Messages:            []api.ChatCompletionMessageParamUnion{api.SystemMessage(r.system), api.UserMessage(r.user)},
		MaxCompletionTokens: api.Int(tokens),
		Temperature:         api.Float(0),
		ResponseFormat: api.ChatCompletionNewParamsResponseFormatUnion{OfJSONSchema: &shared.ResponseFormatJSONSchemaParam{
			JSONSchema: shared.ResponseFormatJSONSchemaJSONSchemaParam{Name: "triage", Strict: api.Bool(true), Schema: r.schema},
		}},
	})
	if err != nil {
		return nil, m.failed(ctx, err)
	}
	return completion, nil
}

// failed says what a request's failure means. None of it holds what the server
// said, which may hold the prompt or a part of the key.
func (m *model) failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	refused, ok := errors.AsType[*api.Error](err)
	if !ok {
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			return sdk.RetryAfter(fmt.Errorf("the model server has not answered within %s", m.settings.timeout), afterOutage)
		case errors.Is(err, errTooLarge):
			return sdk.RetryAfter(errTooLarge, afterOutage)
		case errors.Is(err, errRedirected):
			return sdk.RetryAfter(errRedirected, afterFault)
		}
		return sdk.RetryAfter(fmt.Errorf("the model server cannot be reached or broke off: %s", kindOf(err)), afterOutage)
	}
	var header http.Header
	if refused.Response != nil {
		header = refused.Response.Header
	}
	code := cutMiddle(strings.Map(codeRune, refused.Code), 64)
	switch status := refused.StatusCode; {
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return sdk.RetryAfter(fmt.Errorf("the model server refuses the key (%d): check OPENAI_API_KEY, and that it may use the model %s", status, m.settings.Model), afterFault)
	case status == http.StatusNotFound:
		return sdk.RetryAfter(fmt.Errorf("the model server knows no model %s, or OPENAI_BASE_URL is not its address", m.settings.Model), afterFault)
	case status == http.StatusTooManyRequests && refused.Code == "insufficient_quota":
		return sdk.RetryAfter(errors.New("the quota of the key is used up: see the billing of the account it belongs to"), afterQuota)
	case status == http.StatusTooManyRequests:
		return sdk.RetryAfter(errors.New("the model server's rate limit is reached"), delay(header, time.Now()))
	case status == http.StatusBadRequest && refused.Code == "context_length_exceeded":
		return errTooLong
	case status == http.StatusRequestTimeout, status == http.StatusConflict, status >= 500:
		return sdk.RetryAfter(fmt.Errorf("the model server has a fault of its own (%d)", status), delay(header, time.Now()))
	default:
		return sdk.RetryAfter(fmt.Errorf("the model server does not accept the request (%d %s); does the model %s take a strict JSON schema?", status, code, m.settings.Model), afterFault)
	}
}

func codeRune(r rune) rune {
	if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '_' {
		return r
	}
	return -1
}

// kindOf is what is said of an error of the network: its innermost cause, which
// holds neither addresses nor what was sent.
func kindOf(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return cutMiddle(err.Error(), 200)
		}
		err = inner
	}
}

// delay is how long a server asks to be left alone: Retry-After in seconds or as a
// date (RFC 9110, section 10.2.3), or until OpenAI's limits of requests and tokens
// are new (https://developers.openai.com/api/docs/guides/rate-limits).
func delay(h http.Header, now time.Time) time.Duration {
	d := time.Duration(0)
	if v := h.Get("Retry-After-Ms"); v != "" {
		if ms, err := strconv.ParseFloat(v, 64); err == nil && ms > 0 && ms < 1e9 {
			d = time.Duration(ms * float64(time.Millisecond))
		}
	}
	if v := h.Get("Retry-After"); v != "" && d == 0 {
		if seconds, err := strconv.ParseFloat(v, 64); err == nil && seconds > 0 && seconds < 1e6 {
			d = time.Duration(seconds * float64(time.Second))
		} else if at, err := http.ParseTime(v); err == nil {
			d = at.Sub(now)
		}
	}
	if d <= 0 {
		for _, name := range []string{"requests", "tokens"} {
			if h.Get("X-Ratelimit-Remaining-"+name) != "0" {
				continue
			}
			if reset, err := time.ParseDuration(h.Get("X-Ratelimit-Reset-" + name)); err == nil {
				d = max(d, reset)
			}
		}
	}
	if d <= 0 {
		d = afterOutage
	}
	return min(max(d, time.Second), maxDelay)
}
