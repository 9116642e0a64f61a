package gateway

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
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

func newAuthenticator(token string, open bool, origins []string) (authenticator, error) {
	a := authenticator{token: sha256.Sum256([]byte(token)), set: token != "", open: open}
	for _, o := range origins {
		normal, err := normalOrigin(o)
		if err != nil {
			return authenticator{}, err
		}
		a.origins = append(a.origins, normal)
	}
	return a, nil
}

// normalOrigin writes an origin as browsers send it.
func normalOrigin(s string) (string, error) {
	u, err := url.Parse(strings.ToLower(strings.TrimSpace(s)))
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" ||
		strings.Contains(u.Hostname(), "*") || (u.Path != "" && u.Path != "/") || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return "", fmt.Errorf("the origin %q is not of the form https://host or https://host:port", s)
	}
	host := u.Host
	if port := u.Port(); port == "" || (u.Scheme == "http" && port == "80") || (u.Scheme == "https" && port == "443") {
		host = strings.TrimSuffix(host, ":"+port)
	}
	return u.Scheme + "://" + host, nil
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

// admit answers a request that may not use the API, and tells whether it may.
func (a authenticator) admit(w http.ResponseWriter, r *http.Request) bool {
	if a.authenticated(r) {
		return true
	}
	if a.open {
		writeProblem(w, problem{Status: http.StatusForbidden, Detail: "The demo has no password and so answers only this machine's own names: open it as http://localhost with its port."})
		return false
	}
	w.Header().Set("WWW-Authenticate", `Bearer realm="dispatchai"`)
	detail := "Send the API token as 'Authorization: Bearer <token>'; a browser's WebSocket offers the subprotocols dispatchai.v1 and bearer.<base64url of the token>."
	if !a.set {
		detail = "The API is closed because no token is configured; set DISPATCHAI_API_TOKEN on the server."
	}
	writeProblem(w, problem{Status: http.StatusUnauthorized, Detail: detail})
	return false
}

// require refuses requests that may not use the API, and writes that a page of
// another site made a browser send.
func (a authenticator) require(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !a.admit(w, r) {
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead && !a.allowsOrigin(r) {
			writeProblem(w, problem{Status: http.StatusForbidden, Detail: refusedOrigin})
			return
		}
		next.ServeHTTP(w, r)
	})
}

const refusedOrigin = "Pages of this origin may not do that here; if it is the dashboard's own behind a proxy, add it to DISPATCHAI_ALLOWED_ORIGINS."

// allowsOrigin tells whether the page that made the request may do so. Programs
// send no Origin and are judged by their token alone.
func (a authenticator) allowsOrigin(r *http.Request) bool {
	given := r.Header.Values("Origin")
	if len(given) == 0 {
		// Browsers tell of a page of another site here as well.
		site := r.Header.Get("Sec-Fetch-Site")
		return site == "" || site == "same-origin" || site == "none"
	}
	if len(given) > 1 {
		return false
	}
	if slices.Contains(a.origins, strings.ToLower(given[0])) {
		return true
	}
	scheme, host, ok := strings.Cut(given[0], "://")
	// Behind a proxy that ends TLS the page's scheme is https and ours http.
	return ok && (scheme == "https" || (scheme == "http" && r.TLS == nil)) && host != "" && strings.EqualFold(host, r.Host)
}

// bearer is the token of the Authorization header, or, where a WebSocket is
// asked for, of the subprotocol "bearer.<base64url>", because a browser cannot
// set headers there.
func bearer(r *http.Request) string {
	if scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(token)
	}
	if r.Header.Get("Upgrade") == "" {
		return ""
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
	if g.config.Open {
		mode, authentication = "demo", "none"
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"authentication": authentication, "authenticated": g.auth.authenticated(r), "mode": mode, "version": g.config.Version,
	})
}
