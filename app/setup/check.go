package setup

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/dispatchai/dispatchai/core/github"
)

const (
	// logEvery is how often GitHub's log of deliveries is read.
	logEvery = time.Second
	// attemptTakes is how long GitHub may take for another attempt and its
	// receiver to answer, before it is asked for again.
	attemptTakes = 30 * time.Second
	// pagesRead bounds the search for a ping in the log: a new App's is short.
	pagesRead = 5
)

// check asks GitHub to deliver again, its first ping if the log still has it,
// until one delivery has arrived: seen here with a signature that verifies, or
// answered by a DispatchAI at the webhook's URL as GitHub's log shows. It says
// what is wrong each time that it did not.
func (s *Setup) check(ctx context.Context, c *Credentials, r *receiver) error {
	s.state.checking("")
	s.report("checking", "Asks GitHub to deliver the first ping again.", "")
	client, err := s.client(*c)
	if err != nil {
		return err
	}
	k := &checker{setup: s, credentials: *c, client: client, receiver: r, began: time.Now(), reported: make(map[int64]bool), trouble: "GitHub's log of deliveries could not be read"}
	deadline, cancel := context.WithTimeout(ctx, s.cfg.CheckTimeout)
	defer cancel()
	k.again = &backoff.ExponentialBackOff{InitialInterval: 2 * time.Second, RandomizationFactor: 0.2, Multiplier: 1.7, MaxInterval: 30 * time.Second}
	k.again.Reset()
	ticker := time.NewTicker(logEvery)
	defer ticker.Stop()
	for {
		done, err := k.look(deadline)
		if done {
			return nil
		}
		if err != nil && deadline.Err() == nil {
			if _, temporary := github.RetryAfter(err); !temporary {
				return err
			}
			k.tell(err.Error())
		}
		select {
		case <-r.arrived:
			return nil
		case <-ticker.C:
		case <-deadline.Done():
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return fmt.Errorf("no delivery from GitHub arrived within %s. %s The App and its secrets are kept in %s: put this right and run `dispatchai setup` again, "+
				"with another --webhook-url or --relay if that was wrong; it goes on from here", s.cfg.CheckTimeout, k.trouble, s.cfg.DataDir)
		}
	}
}

// checker follows one delivery through GitHub's log.
type checker struct {
	setup       *Setup
	credentials Credentials
	client      *github.Client
	receiver    *receiver
	again       *backoff.ExponentialBackOff

	began    time.Time
	reported map[int64]bool // attempts whose outcome was looked at
	asked    time.Time      // when another attempt was asked for last; zero: none is awaited
	next     time.Time      // the earliest time to ask again
	trouble  string
}

func (k *checker) tell(trouble string) {
	if trouble == k.trouble {
		return
	}
	k.trouble = trouble
	k.setup.state.checking(trouble)
	k.setup.report("trouble", trouble, "")
}

// look reads the log once and does what follows from it.
func (k *checker) look(ctx context.Context) (done bool, err error) {
	attempts, err := k.find(ctx)
	if err != nil {
		return false, err
	}
	if len(attempts) == 0 {
		if time.Since(k.began) > attemptTakes {
			k.tell("GitHub's log shows no delivery that could be sent again. It keeps them for three days: install the App, whose delivery will do as well.")
		}
		return false, nil
	}
	newest := attempts[0]
	if !k.reported[newest.ID] {
		first := len(k.reported) == 0
		k.reported[newest.ID] = true
		k.asked = time.Time{}
		// The first attempt was made before the secret was known: that it failed is no news.
		if !first || newest.OK() {
			if done, err := k.judge(ctx, newest); done || err != nil {
				return done, err
			}
			k.next = time.Now().Add(k.again.NextBackOff())
		}
	}
	if now := time.Now(); now.Before(k.next) || now.Sub(k.asked) < attemptTakes {
		return false, nil
	}
	if err := k.client.RedeliverDelivery(ctx, newest.ID); err != nil {
		return false, err
	}
	k.asked = time.Now()
	return false, nil
}

// find returns the attempts to deliver the first ping, or where the log has none
// those of its newest delivery, the newest attempt first.
func (k *checker) find(ctx context.Context) ([]github.Delivery, error) {
	var all []github.Delivery
	for page, cursor := 0, ""; page < pagesRead; page++ {
		found, err := k.client.ListDeliveries(ctx, cursor)
		if err != nil {
			return nil, err
		}
		if all = append(all, found.Deliveries...); found.Next == "" {
			break
		}
		cursor = found.Next
	}
	guid := ""
	for _, d := range all {
		if d.Event == github.EventPing {
			guid = d.GUID
			break
		}
	}
	if guid == "" && len(all) > 0 {
		guid = all[0].GUID
	}
	var attempts []github.Delivery
	for _, d := range all {
		if d.GUID == guid {
			attempts = append(attempts, d)
		}
	}
	return attempts, nil
}

// judge tells whether an attempt arrived, and says why not.
func (k *checker) judge(ctx context.Context, d github.Delivery) (bool, error) {
	relayed := k.credentials.RelayURL != ""
	text := ""
	if d.StatusCode != 0 {
		var err error
		if text, err = k.client.DeliveryAnswer(ctx, d.ID); err != nil {
			return false, err
		}
	}
	var answer struct{ Status string }
	ours := json.Unmarshal([]byte(text), &answer) == nil && (answer.Status == "accepted" || answer.Status == "rejected")
	if d.OK() && ours && answer.Status == "accepted" && !relayed {
		return true, nil
	}
	if relayed && d.OK() {
		// The relay has taken it; it is here in a moment or not at all.
		select {
		case <-k.receiver.arrived:
			return true, nil
		case <-time.After(2 * logEvery):
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
	k.tell(diagnose(d, situation{
		url: k.credentials.hookURL(), relayed: relayed, ours: ours, listening: k.receiver.served != nil, address: k.receiver.address,
		badSignatures: k.receiver.refused(), dataDir: k.setup.cfg.DataDir,
	}))
	return false, nil
}

func (c Credentials) hookURL() string {
	if c.RelayURL != "" {
		return c.RelayURL
	}
	return c.WebhookURL
}

// situation is what else is known of a delivery that did not arrive.
type situation struct {
	url           string
	relayed       bool
	ours          bool // a DispatchAI answered
	listening     bool // setup listens at address itself; otherwise something else does
	address       string
	badSignatures int
	dataDir       string
}

// diagnose says in words for the operator why an attempt did not arrive and what
// to do about it.
func diagnose(d github.Delivery, s situation) string {
	host := s.url
	if u, err := url.Parse(s.url); err == nil && u.Host != "" {
		host = u.Host
	}
	behind := "DispatchAI at " + s.address
	status := strings.ToLower(d.Status)
	has := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(status, w) {
				return true
			}
		}
		return false
	}
	switch code := d.StatusCode; {
	case code == 0 && has("ssl", "tls", "certificate"):
		return fmt.Sprintf("GitHub does not trust the TLS certificate of %s (%q): it has to be valid for that name, not self-signed, and sent with its intermediate certificates.", host, d.Status)
	case code == 0 && has("timed out", "timeout"):
		return fmt.Sprintf("%s did not answer GitHub in time (%q): check that the name leads to this machine and that the firewall lets GitHub in.", host, d.Status)
	case code == 0:
		return fmt.Sprintf("GitHub cannot reach %s (%q): check that the name is known to the world, that the port is open, and that the proxy in front of %s runs.", host, d.Status, behind)
	case s.relayed && d.OK() && s.badSignatures > 0:
		return "The delivery came through the relay, but its signature does not match: the relay has written the JSON anew, and the bytes that GitHub signed are lost. Use a relay that keeps them, such as `dispatchai relay`."
	case s.relayed && d.OK():
		return fmt.Sprintf("The relay at %s took the delivery, but it did not come here: check that this is the channel, and that nobody else listens to it.", host)
	case s.relayed && code == 503:
		return fmt.Sprintf("The relay at %s says that nobody listens to the channel: check that this machine reaches it.", host)
	case s.relayed:
		return fmt.Sprintf("The relay at %s answers GitHub with %d: check the channel's URL.", host, code)
	case code == 401 && s.ours && s.listening:
		return fmt.Sprintf("A DispatchAI answers at %s, but with another webhook secret, and it is not the one here at %s: check where the proxy leads.", host, s.address)
	case code == 401 && s.ours:
		return fmt.Sprintf("The service at %s answers, but has another webhook secret: restart it with --data-dir %s and without GITHUB_WEBHOOK_SECRET and GITHUB_APP_ID in its environment.", s.address, s.dataDir)
	case code == 401 || code == 403:
		return fmt.Sprintf("%s answers GitHub with %d: what stands in front of DispatchAI asks for a login or refuses GitHub's addresses. Let POST %s through without either.", host, code, webhookPath)
	case code == 404 || code == 405:
		return fmt.Sprintf("%s answers with %d: it is reached, but nothing takes webhooks at this path. Let the proxy pass POST %s on to %s.", host, code, webhookPath, behind)
	case code >= 300 && code < 400:
		return fmt.Sprintf("%s answers with a redirect (%d), which GitHub does not follow: give the address that it leads to as --webhook-url.", host, code)
	case code >= 500 && !s.ours:
		return fmt.Sprintf("%s answers with %d: the proxy is reached, but finds nothing behind it. It has to pass POST %s on to %s.", host, code, webhookPath, behind)
	case d.OK():
		return fmt.Sprintf("%s answers with %d, but not as DispatchAI does: something else takes the webhooks. Let the proxy pass POST %s on to %s.", host, code, webhookPath, behind)
	}
	return fmt.Sprintf("%s answers GitHub with %d (%q).", host, d.StatusCode, d.Status)
}
