package simulate

import (
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v4"
)

// authenticate finds out who calls: their limiter, their primary limit, or the refusal.
func (c *call) authenticate() (*limiter, int, *reply) {
	scheme, secret, _ := strings.Cut(c.r.Header.Get("Authorization"), " ")
	secret = strings.TrimSpace(secret)
	limits := c.g.limits.Load()
	appLimit := 5000
	if limits.Primary > 0 {
		appLimit = limits.Primary
	}
	switch {
	case scheme == "":
		if c.route.access != forAnyone {
			return nil, 0, refuse(http.StatusUnauthorized, "Requires authentication", c.route.docs)
		}
		return &c.g.anonymous, 60, nil
	case !strings.EqualFold(scheme, "Bearer") && !strings.EqualFold(scheme, "token"):
		return nil, 0, badCredentials()
	case strings.Count(secret, ".") == 2:
		if message := c.g.verifyJWT(secret); message != "" {
			return nil, 0, refuse(http.StatusUnauthorized, message, "")
		}
		if c.route.access != forApp && c.route.access != forAnyone {
			return nil, 0, badCredentials() // a JWT opens only the endpoints of the App itself
		}
		return &c.g.appLimit, appLimit, nil
	}
	found, ok := c.g.tokens.Load(secret)
	if !ok {
		return nil, 0, badCredentials()
	}
	c.token = found.(*token)
	c.inst = c.token.inst
	if !c.g.authClock.Now().Before(c.token.expires) || c.inst.removed.Load() {
		return nil, 0, badCredentials()
	}
	if c.inst.suspended.Load() {
		return nil, 0, refuse(http.StatusForbidden, "This installation has been suspended", "/apps/apps#create-an-installation-access-token-for-an-app")
	}
	if c.route.access == forApp {
		return nil, 0, refuse(http.StatusUnauthorized, "A JSON web token could not be decoded", c.route.docs)
	}
	return c.inst.limiter, c.inst.primaryLimit(limits), nil
}

func refuse(status int, message, docs string) *reply {
	out := fail(status, message, docs)
	return &out
}

func badCredentials() *reply { return refuse(http.StatusUnauthorized, "Bad credentials", "") }

// verifyJWT returns GitHub's complaint about the App's JWT, or nothing when it is good.
func (g *GitHub) verifyJWT(raw string) string {
	const undecodable = "A JSON web token could not be decoded"
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"RS256"}), jwt.WithoutClaimsValidation())
	issued := &issuerClaims{}
	if _, err := parser.ParseWithClaims(raw, issued, func(*jwt.Token) (any, error) { return &g.key.PublicKey, nil }); err != nil {
		return undecodable
	}
	now := g.authClock.Now().Unix()
	id := strconv.FormatInt(g.opts.AppID, 10)
	switch {
	case issued.IssuedAt == 0:
		return "Missing 'issued at' claim ('iat') in assertion"
	case issued.ExpiresAt == 0:
		return "Missing 'expiration time' claim ('exp') in assertion"
	case issued.IssuedAt > now+60:
		return "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued"
	case issued.ExpiresAt <= now:
		return "'Expiration time' claim ('exp') must be a numeric value representing the future time at which the assertion expires"
	case issued.ExpiresAt > now+600+60, issued.ExpiresAt-issued.IssuedAt > 660:
		return "'Expiration time' claim ('exp') is too far in the future"
	case string(issued.Issuer) != id && string(issued.Issuer) != g.opts.ClientID:
		return "'Issuer' claim ('iss') must be an Integer or the client ID of the GitHub App"
	}
	return ""
}

// issuerClaims are the claims of an App's JWT. GitHub wants whole seconds, and takes the issuer as a number or as text.
type issuerClaims struct {
	IssuedAt  int64  `json:"iat"`
	ExpiresAt int64  `json:"exp"`
	Issuer    issuer `json:"iss"`
}

// Valid implements jwt.Claims; the claims are checked by verifyJWT, by the simulation's clock.
func (*issuerClaims) Valid() error { return nil }

type issuer string

// UnmarshalJSON accepts a number or a string.
func (i *issuer) UnmarshalJSON(b []byte) error {
	text := string(b)
	if unquoted, err := strconv.Unquote(text); err == nil {
		text = unquoted
	}
	if text == "null" || len(text) > 100 {
		return errors.New("the issuer is neither a number nor a client ID")
	}
	*i = issuer(text)
	return nil
}

// authorize checks that the caller may do what the route does.
func (c *call) authorize() *reply {
	switch c.route.access {
	case forAnyone, forApp:
		return nil
	case forInstallation:
		if c.inst == nil {
			return badCredentials()
		}
		return nil
	}
	key := strings.ToLower(c.path("owner") + "/" + c.path("repo"))
	c.g.mu.RLock()
	c.repo = c.g.repos[key]
	c.g.mu.RUnlock()
	if c.repo == nil {
		return refuse(http.StatusNotFound, "Not Found", c.route.docs)
	}
	if !c.inst.covers(c.repo) || c.token.repos != nil && !c.token.repos[c.repo] {
		c.repo.mu.Lock()
		private := c.repo.private
		c.repo.mu.Unlock()
		if private { // whose existence is nobody's business
			return refuse(http.StatusNotFound, "Not Found", c.route.docs)
		}
		out := c.forbidden()
		return &out
	}
	if len(c.route.needs) == 0 || slices.ContainsFunc(c.route.needs, func(n need) bool { return allows(c.token.permissions, n.permission, n.level) }) {
		return nil
	}
	out := c.forbidden()
	return &out
}

// issueToken makes an installation token that is valid for an hour.
func (g *GitHub) issueToken(inst *installation, permissions map[string]string, repos map[*repository]bool) (*token, error) {
	secret, err := randomText(36)
	if err != nil {
		return nil, err
	}
	now := g.authClock.Now()
	t := &token{secret: "ghs_" + secret, inst: inst, permissions: permissions, repos: repos, expires: now.Add(time.Hour).Truncate(time.Second)}
	inst.mu.Lock()
	defer inst.mu.Unlock()
	over := len(inst.tokens) + 1 - maxTokens
	inst.tokens = slices.DeleteFunc(inst.tokens, func(old *token) bool {
		over--
		if over >= 0 || !now.Before(old.expires) {
			g.tokens.Delete(old.secret)
			return true
		}
		return false
	})
	inst.tokens = append(inst.tokens, t)
	g.tokens.Store(t.secret, t)
	return t, nil
}

func randomText(n int) (string, error) {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	b := make([]byte, n)
	for i := range b {
		at, err := rand.Int(rand.Reader, big.NewInt(int64(len(letters))))
		if err != nil {
			return "", fmt.Errorf("making a token: %w", err)
		}
		b[i] = letters[at.Int64()]
	}
	return string(b), nil
}

// RevokeTokens ends every token of an installation, as if their hour were over: the App sees 401 "Bad credentials" until it asks for another.
func (g *GitHub) RevokeTokens(id int64) error {
	inst, err := g.installation(id)
	if err != nil {
		return err
	}
	inst.mu.Lock()
	defer inst.mu.Unlock()
	for _, t := range inst.tokens {
		g.tokens.Delete(t.secret)
	}
	inst.tokens = nil
	return nil
}
