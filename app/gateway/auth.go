package gateway

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// authenticator decides who may use the API: whoever bears the token, or
// anybody on this machine in the demo.
type authenticator struct {
	token   [sha256.Size]byte
	set     bool
	open    bool
	origins []string
}

func newAuthenticator(token string, open bool, origins []string) authenticator {
	return authenticator{token: sha256.Sum256([]byte(token)), set: token != "", open: open, origins: origins}
}

// authenticated tells whether the request may use the API.
func (a authenticator) authenticated(r *http.Request) bool {
	if a.open {
		// A page of another site can have its name resolve to this machine
		// (DNS rebinding); its Host header gives it away.
		return isLoopback(r.Host)
	}
	return a.accepts(bearer(r))
}

// accepts compares in constant time; hashing first hides the length as well.
func (a authenticator) accepts(token string) bool {
	given := sha256.Sum256([]byte(token))
	return subtle.ConstantTimeCompare(given[:], a.token[:]) == 1 && a.set
}

// require refuses requests that may not use the API, and writes that a page of
// another site made a browser send.
func (a authenticator) require(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !a.authenticated(r) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="dispatchai"`)
			detail := "Send the API token as 'Authorization: Bearer <token>'."
			if !a.set && !a.open {
				detail = "The API is closed because no token is configured; set DISPATCHAI_API_TOKEN on the server."
			}
			writeProblem(w, problem{Status: http.StatusUnauthorized, Detail: detail})
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead && !a.allowsOrigin(r) {
			writeProblem(w, problem{Status: http.StatusForbidden, Detail: "This origin may not change anything here."})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// allowsOrigin tells whether the page that made the request may do so. Programs
// send no Origin and are judged by their token alone.
func (a authenticator) allowsOrigin(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	if slices.Contains(a.origins, origin) {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && strings.EqualFold(u.Host, r.Host)
}

// bearer is the token of the Authorization header, or of the WebSocket
// subprotocol "bearer.<base64url>", because a browser cannot set headers there.
func bearer(r *http.Request) string {
	if scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(token)
	}
	for _, line := range r.Header.Values("Sec-WebSocket-Protocol") {
		for p := range strings.SplitSeq(line, ",") {
			if encoded, ok := strings.CutPrefix(strings.TrimSpace(p), "bearer."); ok {
				if token, err := base64.RawURLEncoding.DecodeString(encoded); err == nil {
					return string(token)
				}
			}
		}
	}
	return ""
}

func isLoopback(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = hostport
	}
	host = strings.Trim(host, "[]")
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

func (g *Gateway) getSession(w http.ResponseWriter, r *http.Request) {
	mode, authentication := "serve", "token"
	if g.Open {
		mode, authentication = "demo", "none"
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"authentication": authentication, "authenticated": g.auth.authenticated(r), "mode": mode, "version": g.Version,
	})
}
