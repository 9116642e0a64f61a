package simulate

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// reply is an answer not yet written.
type reply struct {
	status   int
	body     []byte
	header   http.Header
	media    string    // of the body; JSON when empty
	modified time.Time // for Last-Modified; zero where GitHub gives none
}

func movedTo(r *http.Request, location string) reply {
	if r.URL.RawQuery != "" {
		location += "?" + r.URL.RawQuery
	}
	status := http.StatusMovedPermanently
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		status = http.StatusTemporaryRedirect // keeps the method and the body
	}
	var d document
	d.begin('{')
	d.str("message", "Moved Permanently")
	d.str("url", location)
	d.str("documentation_url", "https://docs.github.com/rest/guides/best-practices-for-using-the-rest-api#follow-redirects")
	d.end('}')
	return reply{status: status, body: d, header: http.Header{"Location": {location}}}
}

func matches(condition, tag string) bool {
	for candidate := range strings.SplitSeq(condition, ",") {
		candidate = strings.TrimSpace(candidate)
		if candidate == "*" || strings.TrimPrefix(candidate, "W/") == strings.TrimPrefix(tag, "W/") {
			return condition != ""
		}
	}
	return false
}

func (g *GitHub) write(w http.ResponseWriter, r *http.Request, out reply) {
	h := w.Header()
	for name, values := range out.header {
		h[name] = values
	}
	h.Set("Date", g.clock.Now().UTC().Format(http.TimeFormat))
	n := g.requests.Add(1)
	h.Set("X-GitHub-Request-Id", fmt.Sprintf("%04X:%05X:%06X:%06X:%08X", g.opts.Seed&0xffff, n>>12, n, n*2654435761&0xffffff, g.clock.Now().Unix()))
	h.Set("X-GitHub-Media-Type", "github.v3; format=json")
	h.Set("X-GitHub-Api-Version-Selected", "2022-11-28")
	if len(out.body) > 0 {
		h.Set("Content-Type", cmp.Or(out.media, "application/json; charset=utf-8"))
		h.Set("Content-Length", strconv.Itoa(len(out.body)))
	}
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(out.status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(out.body) // a client that has gone away is no fault of ours
	}
}

// fail is an error in GitHub's form.
func fail(status int, message, docs string) reply {
	var d document
	d.begin('{')
	d.str("message", message)
	d.str("documentation_url", "https://docs.github.com/rest"+docs)
	d.str("status", strconv.Itoa(status))
	d.end('}')
	return reply{status: status, body: d}
}

func notFound() reply { return fail(http.StatusNotFound, "Not Found", "") }

// invalid is GitHub's answer to values it cannot take; code is "missing_field", "invalid", "already_exists" or "custom".
func (c *call) invalid(resource, field, code, message string) reply {
	var d document
	d.begin('{')
	d.str("message", "Validation Failed")
	d.array("errors")
	d.begin('{')
	d.str("resource", resource)
	d.str("code", code)
	d.str("field", field)
	if message != "" {
		d.str("message", message)
	}
	d.end('}')
	d.end(']')
	d.str("documentation_url", "https://docs.github.com/rest"+c.route.docs)
	d.str("status", "422")
	d.end('}')
	return reply{status: http.StatusUnprocessableEntity, body: d}
}

// failed turns an error of a change into GitHub's answer.
func (c *call) failed(err error, resource, field string) reply {
	switch {
	case errors.Is(err, ErrArchived):
		return fail(http.StatusForbidden, "Repository was archived so is read-only.", c.route.docs)
	case errors.Is(err, ErrGone):
		return fail(http.StatusGone, "This issue was deleted", c.route.docs)
	case errors.Is(err, ErrNotFound):
		return fail(http.StatusNotFound, "Not Found", c.route.docs)
	case errors.Is(err, ErrExists):
		return c.invalid(resource, field, "already_exists", "")
	case errors.Is(err, ErrInvalid):
		return c.invalid(resource, field, "invalid", err.Error())
	case errors.Is(err, ErrForbidden):
		return c.forbidden()
	}
	c.g.log.Error("the simulated GitHub failed a request", "route", c.route.pattern, "error", err)
	return fail(http.StatusInternalServerError, "Server Error", c.route.docs)
}

func (c *call) forbidden() reply {
	return fail(http.StatusForbidden, "Resource not accessible by integration", c.route.docs)
}

func ok(body []byte) reply { return reply{status: http.StatusOK, body: body} }

// changed is ok for a single resource that was last changed at that time.
func changed(body []byte, at time.Time) reply {
	return reply{status: http.StatusOK, body: body, modified: at}
}

func created(body []byte) reply { return reply{status: http.StatusCreated, body: body} }

func noContent() reply { return reply{status: http.StatusNoContent} }

// window is the part of a list that the request's page and per_page select.
type window struct{ first, last, page, size, pages int }

func (c *call) window(total int) window {
	q := c.r.URL.Query()
	size, err := strconv.Atoi(q.Get("per_page"))
	if err != nil || size < 1 {
		size = 30
	}
	size = min(size, 100)
	page, err := strconv.Atoi(q.Get("page"))
	if err != nil || page < 1 {
		page = 1
	}
	pages := max(1, (total+size-1)/size)
	first := total
	if page <= pages {
		first = (page - 1) * size
	}
	return window{first: first, last: min(first+size, total), page: page, size: size, pages: pages}
}

// listed is the answer of a list, with links to its other pages.
func (c *call) listed(w window, body []byte) reply {
	out := ok(body)
	if w.pages <= 1 {
		return out
	}
	var links []string
	link := func(page int, rel string) {
		q := c.r.URL.Query()
		q.Set("page", strconv.Itoa(page))
		links = append(links, fmt.Sprintf(`<%s%s?%s>; rel="%s"`, c.g.apiURL, c.r.URL.EscapedPath(), q.Encode(), rel))
	}
	if w.page > 1 {
		link(min(w.page-1, w.pages), "prev")
	}
	if w.page < w.pages {
		link(w.page+1, "next")
		link(w.pages, "last")
	}
	if w.page > 1 {
		link(1, "first")
	}
	out.header = http.Header{"Link": {strings.Join(links, ", ")}}
	return out
}
