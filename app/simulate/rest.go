package simulate

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// route is one endpoint of the API.
type route struct {
	pattern string // of net/http, and the name under which requests are counted
	access  access
	needs   []need // any of them suffices; none means no permission
	docs    string // path below https://docs.github.com/rest
	content bool   // creates content, in the sense of the secondary limits
	handle  func(*call) reply
	count   atomic.Int64
}

// access says who may call a route.
type access int

const (
	forAnyone access = iota
	forApp           // with the App's JWT
	forInstallation
	forRepository // with an installation's token that covers the repository in the path
)

type need struct{ permission, level string }

// call is one request on its way through.
type call struct {
	g     *GitHub
	r     *http.Request
	route *route
	inst  *installation
	token *token
	repo  *repository
}

const maxRequestBody = 1 << 20

// ServeHTTP answers a request to the API or for a web page.
func (g *GitHub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost && !strings.HasPrefix(r.URL.Path, "/api/") && r.Header.Get("Content-Type") == formType {
		g.servePage(w, r)
		return
	}
	watched, tell := g.witnessed(w, r)
	if target, ok := g.normalise(r); !ok {
		g.write(watched, r, target)
		tell("")
		return
	}
	if rt := g.router.find(r); rt != nil {
		defer tell(rt.pattern) // in a panic too, by which a connection is broken off
		g.serve(rt, watched, r)
		return
	}
	if r.Method == http.MethodGet && !strings.HasPrefix(r.RequestURI, "/api/") {
		g.servePage(w, r)
		return
	}
	g.unknown.count.Add(1)
	g.write(watched, r, notFound())
	tell(g.unknown.pattern)
}

// normalise strips the prefix of an Enterprise Server and resolves /repositories/{id} paths and renamed repositories.
func (g *GitHub) normalise(r *http.Request) (reply, bool) {
	path := r.URL.EscapedPath()
	rest, enterprise := strings.CutPrefix(path, "/api/v3")
	if enterprise && (rest == "" || rest[0] == '/') {
		path = rest
	}
	if byID, ok := strings.CutPrefix(path, "/repositories/"); ok {
		id, tail, _ := strings.Cut(byID, "/")
		number, _ := strconv.ParseInt(id, 10, 64)
		g.mu.RLock()
		repo := g.reposByID[number]
		g.mu.RUnlock()
		if repo == nil {
			return notFound(), false
		}
		path = "/repos/" + repo.path()
		if tail != "" {
			path += "/" + tail
		}
	} else if named, ok := strings.CutPrefix(path, "/repos/"); ok {
		parts := strings.SplitN(named, "/", 3)
		if len(parts) >= 2 {
			key := strings.ToLower(parts[0] + "/" + parts[1])
			g.mu.RLock()
			id, moved := g.moved[key]
			g.mu.RUnlock()
			if moved {
				location := g.apiURL + "/repositories/" + strconv.FormatInt(id, 10)
				if len(parts) == 3 {
					location += "/" + parts[2]
				}
				return movedTo(r, location), false
			}
		}
	}
	if path == "" {
		path = "/"
	}
	decoded, err := url.PathUnescape(path)
	if err != nil {
		return notFound(), false
	}
	r.URL.Path, r.URL.RawPath = decoded, path
	return reply{}, true
}

// serve runs one route: what may go wrong on the way, who asks, how often they may, whether they may, then the route itself.
func (g *GitHub) serve(rt *route, w http.ResponseWriter, r *http.Request) {
	rt.count.Add(1)
	fault := g.faults.hit(r, rt.pattern)
	if fault != nil {
		if fault.Latency > 0 {
			// net/http notices that a client has gone only once its request was read.
			body, err := io.ReadAll(io.LimitReader(r.Body, maxRequestBody+1))
			if err != nil || !pause(r.Context(), fault.Latency) {
				panic(http.ErrAbortHandler) // the client has gone
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
		}
		if fault.AfterEffect {
			defer g.misbehave(w, r, fault)
			w = discardAnswer{http.Header{}}
		} else if fault.Status != 0 || fault.Disconnect {
			g.misbehave(w, r, fault)
			return
		}
	}
	if r.UserAgent() == "" {
		g.write(w, r, fail(http.StatusForbidden, "Request forbidden by administrative rules. Please make sure your request has a User-Agent header "+
			"(https://docs.github.com/en/rest/overview/resources-in-the-rest-api#user-agent-required).", "/overview/resources-in-the-rest-api#user-agent-required"))
		return
	}
	c := &call{g: g, r: r, route: rt}
	limiter, limit, denied := c.authenticate()
	if denied != nil {
		g.write(w, r, *denied)
		return
	}
	g.write(w, r, c.limited(limiter, limit))
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// discardAnswer swallows an answer whose effect stays.
type discardAnswer struct{ header http.Header }

func (d discardAnswer) Header() http.Header { return d.header }

func (d discardAnswer) Write(b []byte) (int, error) { return len(b), nil }

func (d discardAnswer) WriteHeader(int) {}

func (g *GitHub) misbehave(w http.ResponseWriter, r *http.Request, f *Fault) {
	if f.Disconnect || f.Status == 0 {
		panic(http.ErrAbortHandler) // net/http's way to break a connection off; it is not logged
	}
	var out reply
	switch f.Status {
	case http.StatusForbidden, http.StatusTooManyRequests:
		out = secondaryLimit(f.Status)
	default:
		out = fail(f.Status, http.StatusText(f.Status), "")
	}
	if f.RetryAfter > 0 {
		out.header = http.Header{"Retry-After": {strconv.Itoa(wholeSeconds(f.RetryAfter))}}
	}
	g.write(w, r, out)
}

func wholeSeconds(d time.Duration) int { return max(1, int((d+time.Second-1)/time.Second)) }

func secondaryLimit(status int) reply {
	return fail(status, "You have exceeded a secondary rate limit. Please wait a few minutes before you try again. If you reach out to GitHub Support for help, "+
		"please include the request ID.", "/using-the-rest-api/rate-limits-for-the-rest-api#about-secondary-rate-limits")
}

// limited runs the route within its caller's limits. An answer of 304 costs nothing, as GitHub promises.
func (c *call) limited(l *limiter, primary int) reply {
	rules := c.g.limits.Load()
	if rules.Off || l == nil {
		return c.run()
	}
	now := c.g.clock.Now()
	free := strings.HasSuffix(c.route.pattern, " /rate_limit")
	take := 1
	if free {
		take = 0
	}
	left, ok := l.primary(primary, now, take)
	if !ok {
		who := "user"
		if c.inst != nil {
			who = "installation"
		}
		out := fail(http.StatusForbidden, fmt.Sprintf("API rate limit exceeded for %s ID %d. If you reach out to GitHub Support for help, please include the request ID.",
			who, c.caller()), "/using-the-rest-api/rate-limits-for-the-rest-api")
		out.limits(left)
		return out
	}
	if !rules.SecondaryOff && !free {
		wait, ok := l.secondary(rules, now, !c.reads(), c.route.content)
		if !ok {
			out := secondaryLimit(rules.SecondaryStatus)
			out.limits(left)
			out.header.Set("Retry-After", strconv.Itoa(wholeSeconds(wait)))
			return out
		}
		defer l.done()
	}
	out := c.run()
	if out.status == http.StatusNotModified && !free {
		left, _ = l.primary(primary, now, -1)
	}
	out.limits(left)
	return out
}

func (c *call) caller() int64 {
	if c.inst != nil {
		return c.inst.id
	}
	return c.g.opts.AppID
}

func (out *reply) limits(b budget) {
	if out.header == nil {
		out.header = make(http.Header, 8)
	}
	out.header.Set("X-RateLimit-Limit", strconv.Itoa(b.limit))
	out.header.Set("X-RateLimit-Remaining", strconv.Itoa(b.remaining()))
	out.header.Set("X-RateLimit-Used", strconv.Itoa(b.used))
	out.header.Set("X-RateLimit-Reset", strconv.FormatInt(b.reset.Unix(), 10))
	out.header.Set("X-RateLimit-Resource", "core")
}

// run checks the caller's rights and runs the route. Refused or not, the answer says which permissions would do.
func (c *call) run() reply {
	var out reply
	if denied := c.authorize(); denied != nil {
		out = *denied
	} else {
		out = c.route.handle(c)
	}
	if out.header == nil {
		out.header = make(http.Header, 8)
	}
	if len(c.route.needs) > 0 {
		accepted := make([]string, len(c.route.needs))
		for i, n := range c.route.needs {
			accepted[i] = n.permission + "=" + n.level
		}
		out.header.Set("X-Accepted-GitHub-Permissions", strings.Join(accepted, "; "))
	}
	if c.reads() && out.status == http.StatusOK {
		c.validate(&out)
	}
	return out
}

func (c *call) reads() bool { return c.r.Method == http.MethodGet || c.r.Method == http.MethodHead }

// validate gives an answer its validators and makes it 304 when the caller has it already. A tag belongs to the token
// that it was given to, as GitHub's do: a fresh token makes every answer new once. Last-Modified does not depend on the
// token, but only single resources have one, not lists.
func (c *call) validate(out *reply) {
	h := sha256.New()
	for _, name := range []string{"Authorization", "Accept"} {
		fmt.Fprintf(h, "%s\n", c.r.Header.Get(name))
	}
	h.Write(out.body)
	tag := `W/"` + hex.EncodeToString(h.Sum(nil)) + `"`
	out.header.Set("ETag", tag)
	out.header.Set("Cache-Control", "private, max-age=60, s-maxage=60")
	out.header.Set("Vary", "Accept, Authorization, Cookie, X-GitHub-OTP,Accept-Encoding, Accept, X-Requested-With")
	if !out.modified.IsZero() {
		out.header.Set("Last-Modified", out.modified.UTC().Format(http.TimeFormat))
	}
	fresh := false
	if condition := c.r.Header.Get("If-None-Match"); condition != "" {
		fresh = matches(condition, tag) // which makes If-Modified-Since count for nothing
	} else if since, err := http.ParseTime(c.r.Header.Get("If-Modified-Since")); err == nil && !out.modified.IsZero() {
		fresh = !out.modified.Truncate(time.Second).After(since)
	}
	if fresh {
		out.status, out.body = http.StatusNotModified, nil
	}
}

// decode reads the request's JSON body into value; an empty body leaves it alone.
func (c *call) decode(value any) *reply {
	body, err := io.ReadAll(io.LimitReader(c.r.Body, maxRequestBody+1))
	var out reply
	switch {
	case err != nil:
		out = fail(http.StatusBadRequest, "Problems reading the request's body", "")
	case len(body) > maxRequestBody:
		out = fail(http.StatusRequestEntityTooLarge, "Payload too large", "")
	case len(bytes.TrimSpace(body)) == 0:
		return nil
	case !json.Valid(body):
		out = fail(http.StatusBadRequest, "Problems parsing JSON", c.route.docs)
	default:
		if err = json.Unmarshal(body, value); err == nil {
			return nil
		}
		out = fail(http.StatusUnprocessableEntity, "Invalid request.\n\n"+err.Error(), c.route.docs)
	}
	return &out
}

func (c *call) path(name string) string {
	return c.r.PathValue(name)
}

func (c *call) id(name string) int64 {
	id, err := strconv.ParseInt(c.r.PathValue(name), 10, 64)
	if err != nil {
		return -1
	}
	return id
}
