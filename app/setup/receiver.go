package setup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"syscall"

	"golang.org/x/sync/semaphore"

	"github.com/dispatchai/dispatchai/core/github"
)

// largestPing bounds the bodies that setup reads: a ping takes a few kilobytes,
// other deliveries are the service's business.
const largestPing = 1 << 20

// receiver takes deliveries where the service will, until the service does. It
// verifies them as ingress does, accepts pings alone, and answers 503 to any
// other delivery, so that GitHub's log shows that it was not kept.
type receiver struct {
	served  *served // nil where the service itself listens already
	address string
	relayed chan error // the end of the relay's client; nil without a relay
	reading *semaphore.Weighted

	mu       sync.Mutex
	verifier *github.Verifier
	arrived  chan struct{} // closed when a verified delivery has arrived
	seen     bool
	rejected int // deliveries whose signature does not verify, since the secret is known
}

// receive begins to take deliveries: at the service's address, unless something
// listens there, or from the relay.
func (s *Setup) receive(ctx context.Context) (*receiver, error) {
	r := &receiver{arrived: make(chan struct{}), address: s.cfg.WebhookListen, reading: semaphore.NewWeighted(8)}
	relayURL := s.cfg.RelayURL
	if relayURL == "" && s.existing != nil && s.cfg.WebhookURL == "" {
		relayURL = s.existing.RelayURL
	}
	if relayURL != "" {
		r.address = "127.0.0.1:0"
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", r.address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return r, nil // it is taken for the service, and GitHub's log will tell
	case err != nil:
		return nil, fmt.Errorf("DISPATCHAI_LISTEN: %w", err)
	}
	r.address = listener.Addr().String()
	mux := http.NewServeMux()
	mux.Handle("POST "+webhookPath, r)
	r.served = serve(listener, mux, s.cfg.Logger)
	if relayURL != "" {
		if s.cfg.Forward == nil {
			return nil, errors.Join(errors.New("--relay: this build knows no relay"), r.served.stop())
		}
		r.relayed = make(chan error, 1)
		go func() { r.relayed <- s.cfg.Forward(ctx, relayURL, "http://"+r.address+webhookPath, r.verify) }()
	}
	return r, nil
}

// stop ends it; the context given to receive must have ended.
func (r *receiver) stop() error {
	if r.served == nil {
		return nil
	}
	err := r.served.stop()
	if r.relayed != nil {
		err = errors.Join(err, <-r.relayed)
	}
	return err
}

// learn tells the webhook's secret.
func (r *receiver) learn(secret string) error {
	v, err := github.NewVerifier(secret)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.verifier = v
	return nil
}

var errNoSecretYet = errors.New("the secret is not known yet")

func (r *receiver) verify(body []byte, signature string) error {
	r.mu.Lock()
	v := r.verifier
	r.mu.Unlock()
	if v == nil {
		return errNoSecretYet
	}
	return v.Verify(body, signature)
}

// refused tells how many deliveries came whose signature did not verify.
func (r *receiver) refused() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rejected
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	if !r.reading.TryAcquire(1) {
		answer(w, http.StatusServiceUnavailable, "rejected", "setup takes few deliveries at a time")
		return
	}
	defer r.reading.Release(1)
	body, err := io.ReadAll(http.MaxBytesReader(w, request.Body, largestPing))
	if err != nil {
		answer(w, http.StatusServiceUnavailable, "rejected", "DispatchAI is being set up and reads nothing as large")
		return
	}
	switch err := r.verify(body, request.Header.Get("X-Hub-Signature-256")); {
	case errors.Is(err, errNoSecretYet):
		answer(w, http.StatusServiceUnavailable, "rejected", "DispatchAI is being set up and does not know the webhook's secret yet; it will ask for this delivery again")
		return
	case err != nil:
		r.mu.Lock()
		r.rejected++
		r.mu.Unlock()
		answer(w, http.StatusUnauthorized, "rejected", err.Error())
		return
	}
	r.mu.Lock()
	if !r.seen {
		r.seen = true
		close(r.arrived)
	}
	r.mu.Unlock()
	if request.Header.Get("X-GitHub-Event") != github.EventPing {
		answer(w, http.StatusServiceUnavailable, "rejected", "DispatchAI is being set up; have this delivered again when the service runs")
		return
	}
	answer(w, http.StatusOK, "accepted", "")
}

// answer is of the same form as ingress', so that whoever reads GitHub's log
// knows DispatchAI by it.
func answer(w http.ResponseWriter, status int, outcome, message string) {
	text, err := json.Marshal(struct {
		Status  string `json:"status"`
		Message string `json:"message,omitempty"`
	}{outcome, message})
	if err != nil { // strings always encode
		text = []byte(`{"status":"rejected"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(text) // the sender may be gone
}
