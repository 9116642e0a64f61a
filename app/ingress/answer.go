package ingress

import (
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/dispatchai/dispatchai/core/github"
)

// rejection is why a request was refused and how to say so.
type rejection struct {
	status  int
	reason  string // the answer's "error", and a metric's label
	message string
	// retryAfter is in seconds, 0 for none.
	retryAfter int
	limit      *limitState
}

var (
	errMethod      = &rejection{status: http.StatusMethodNotAllowed, reason: "method", message: "webhooks are delivered with POST"}
	errContentType = &rejection{status: http.StatusUnsupportedMediaType, reason: "content_type",
		message: "the body must be application/json"}
	errFormEncoded = &rejection{status: http.StatusUnsupportedMediaType, reason: "content_type",
		message: "the webhook is set to application/x-www-form-urlencoded; choose \"application/json\" as content type in its settings on GitHub"}
	errContentEncoding = &rejection{status: http.StatusUnsupportedMediaType, reason: "content_type",
		message: "the body must not be compressed (Content-Encoding)"}
	errTooLarge = &rejection{status: http.StatusRequestEntityTooLarge, reason: "too_large",
		message: "the body is larger than 25 MiB, the most that GitHub sends"}
	errMissingSignature = &rejection{status: http.StatusUnauthorized, reason: "missing_signature",
		message: "exactly one X-Hub-Signature-256 header is needed; set a secret in the webhook's settings on GitHub"}
	errBadSignature = &rejection{status: http.StatusUnauthorized, reason: "bad_signature",
		message: "the signature does not match; GITHUB_WEBHOOK_SECRET must be the secret in the webhook's settings on GitHub"}
	errOverloaded = &rejection{status: http.StatusServiceUnavailable, reason: "overloaded", retryAfter: 2,
		message: "too many deliveries at once; try again"}
	errBodyTimeout = &rejection{status: http.StatusRequestTimeout, reason: "body_timeout",
		message: "the body did not arrive in time"}
	errBodyIncomplete = &rejection{status: http.StatusBadRequest, reason: "body_incomplete",
		message: "the body ended early"}
	errBadHeaders = &rejection{status: http.StatusBadRequest, reason: "bad_headers",
		message: "exactly one well-formed X-GitHub-Event header and one X-GitHub-Delivery header are needed"}
	errLogFull = &rejection{status: http.StatusServiceUnavailable, reason: "log_full", retryAfter: 30,
		message: "the event log is full; nothing was kept, deliver again later"}
	errLogUnavailable = &rejection{status: http.StatusServiceUnavailable, reason: "log_unavailable", retryAfter: 5,
		message: "the event log did not confirm the delivery; deliver again"}
)

// reasons lists every reason once, so that each metric exists from the start.
func reasons() []string {
	return []string{
		errMethod.reason, errContentType.reason, errTooLarge.reason, reasonLimited, errMissingSignature.reason, errBadSignature.reason,
		errOverloaded.reason, errBodyTimeout.reason, errBodyIncomplete.reason, errBadHeaders.reason, reasonNotJSON, reasonIncomplete,
		errLogFull.reason, errLogUnavailable.reason,
	}
}

const (
	reasonLimited    = "rate_limited"
	reasonNotJSON    = "not_json"
	reasonIncomplete = "incomplete"
)

func limited(state limitState, message string) *rejection {
	return &rejection{
		status: http.StatusTooManyRequests, reason: reasonLimited, message: message,
		retryAfter: max(1, int(math.Ceil(state.wait.Seconds()))), limit: &state,
	}
}

// unusable says why a verified body cannot be kept.
func unusable(err error) *rejection {
	reason := reasonIncomplete
	if errors.Is(err, github.ErrNotJSON) {
		reason = reasonNotJSON
	}
	return &rejection{status: http.StatusBadRequest, reason: reason, message: err.Error()}
}

func (h *Handler) reject(w http.ResponseWriter, r *http.Request, why *rejection) {
	h.metrics.rejected.WithLabelValues(why.reason).Inc()
	h.complaints.Do(func() {
		h.logger.Warn("refused a webhook request", "reason", why.reason, "status", why.status, "message", why.message,
			"client", h.clients.of(r).String(), "method", r.Method)
	})
	header := w.Header()
	if why == errBodyTimeout {
		header.Set("Connection", "close") // what is left of the body will not come
	}
	// The server reads what is left of a short body before it answers.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(h.bodyTimeout))
	if why == errMethod {
		header.Set("Allow", http.MethodPost)
	}
	if why.retryAfter > 0 {
		header.Set("Retry-After", strconv.Itoa(why.retryAfter))
	}
	if why.limit != nil {
		header.Set("X-RateLimit-Limit", strconv.Itoa(why.limit.limit))
		header.Set("X-RateLimit-Remaining", strconv.Itoa(why.limit.remaining))
		header.Set("X-RateLimit-Reset", strconv.FormatInt(why.limit.resetAt.Add(time.Second-1).Unix(), 10))
	}
	text, err := json.Marshal(struct {
		Status  string `json:"status"`
		Error   string `json:"error"`
		Message string `json:"message"`
	}{"rejected", why.reason, why.message})
	if err != nil { // strings always encode
		text = []byte(`{"status":"rejected"}`)
	}
	write(w, why.status, text)
}

// The event and the delivery are wellFormed, so they need no escapes.

func answerAccepted(w http.ResponseWriter, event, delivery string) {
	text := make([]byte, 0, 320)
	text = append(text, `{"status":"accepted","delivery_id":"`...)
	text = append(text, delivery...)
	text = append(text, `","event":"`...)
	text = append(text, event...)
	text = append(text, `"}`...)
	write(w, http.StatusOK, text)
}

func answerIgnored(w http.ResponseWriter, event string) {
	write(w, http.StatusOK, []byte(`{"status":"ignored","event":"`+event+`"}`))
}

func write(w http.ResponseWriter, status int, text []byte) {
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(status)
	// The sender may be gone; there is nobody left to tell.
	_, _ = w.Write(text)
}
