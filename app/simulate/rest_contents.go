package simulate

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// GitHub's limits on what its contents endpoint gives.
const (
	maxListedFiles  = 1000
	maxInlineFile   = 1 << 20
	maxRawFile      = 100 << 20
	base64LineWidth = 60
)

// contentsForm is what the Accept header asks of the contents endpoint: "raw", "object", or nothing for its JSON.
func (c *call) contentsForm() string {
	accept := c.r.Header.Get("Accept")
	for _, form := range []string{"raw", "object"} {
		for _, version := range []string{"", "v3."} {
			if strings.Contains(accept, "application/vnd.github."+version+form) {
				return form
			}
		}
	}
	return ""
}

// getContents gives a file or lists a directory. With the "single file" permission alone it gives that one file.
func getContents(c *call) reply {
	path := strings.Trim(c.path("path"), "/")
	if !allows(c.token.permissions, "contents", "read") && !slices.Contains(*c.g.singleFiles.Load(), path) {
		return c.forbidden()
	}
	ref := c.r.URL.Query().Get("ref")
	c.repo.mu.Lock()
	defer c.repo.mu.Unlock()
	if len(c.repo.branches) == 0 {
		return fail(http.StatusNotFound, "This repository is empty.", c.route.docs)
	}
	m := c.repo.resolve(ref)
	if m == nil {
		return fail(http.StatusNotFound, "No commit found for the ref "+ref, c.route.docs)
	}
	if ref == "" {
		ref = c.repo.defaultBranch
	}
	if b := m.files[path]; b != nil {
		return c.file(m, entry{name: path[strings.LastIndexByte(path, '/')+1:], path: path, sha: b.sha, blob: b}, ref)
	}
	entries := m.list(path)
	if len(entries) == 0 && path != "" {
		return notFound()
	}
	return c.directory(m, path, entries[:min(len(entries), maxListedFiles)], ref)
}

func (c *call) file(m *commit, e entry, ref string) reply {
	form := c.contentsForm()
	if len(e.blob.content) > maxRawFile {
		return fail(http.StatusForbidden, "This API returns blobs up to 100 MB in size.", c.route.docs)
	}
	if form == "raw" {
		out := changed(e.blob.content, m.changedAt(e.path))
		out.media = "application/vnd.github.raw; charset=utf-8"
		return out
	}
	encoding, content := "base64", ""
	if len(e.blob.content) > maxInlineFile {
		encoding = "none" // such a file is had only raw
	} else {
		content = wrapped(base64.StdEncoding.EncodeToString(e.blob.content))
	}
	var d document
	c.entry(&d, e, ref, func() {
		d.str("content", content)
		d.str("encoding", encoding)
	})
	return changed(d, m.changedAt(e.path))
}

// wrapped breaks base64 into lines, as GitHub sends it.
func wrapped(s string) string {
	var b strings.Builder
	for len(s) > 0 {
		n := min(base64LineWidth, len(s))
		b.WriteString(s[:n])
		b.WriteByte('\n')
		s = s[n:]
	}
	return b.String()
}

func (c *call) directory(m *commit, path string, entries []entry, ref string) reply {
	list := func(d *document) {
		for _, e := range entries {
			c.entry(d, e, ref, func() {})
		}
		d.end(']')
	}
	var d document
	if c.contentsForm() == "object" {
		e := entry{name: path[strings.LastIndexByte(path, '/')+1:], path: path, sha: m.trees[path]}
		c.entry(&d, e, ref, func() {
			d.array("entries")
			list(&d)
		})
	} else {
		d.begin('[')
		list(&d)
	}
	return changed(d, m.changedAt(path))
}

// entry writes a file or directory; more adds members. The caller holds the repository's lock.
func (c *call) entry(d *document, e entry, ref string, more func()) {
	kind, view, object, size := "dir", "tree", "trees", 0
	if e.blob != nil {
		kind, view, object, size = "file", "blob", "blobs", len(e.blob.content)
	}
	escaped := escapeFile(e.path)
	self := c.repo.apiURL + "/contents/" + escaped + "?ref=" + url.QueryEscape(ref)
	git := c.repo.apiURL + "/git/" + object + "/" + e.sha
	html := c.repo.pageURL + "/" + view + "/" + ref + "/" + escaped
	d.begin('{')
	d.str("name", e.name)
	d.str("path", e.path)
	d.str("sha", e.sha)
	d.num("size", int64(size))
	d.str("url", self)
	d.str("html_url", html)
	d.str("git_url", git)
	if e.blob != nil && !c.repo.private {
		d.str("download_url", c.repo.pageURL+"/raw/"+ref+"/"+escaped)
	} else {
		d.null("download_url")
	}
	d.str("type", kind)
	more()
	d.object("_links")
	d.str("self", self)
	d.str("git", git)
	d.str("html", html)
	d.end('}')
	d.end('}')
}

func escapeFile(path string) string {
	segments := strings.Split(path, "/")
	for i, s := range segments {
		segments[i] = escapePath(s)
	}
	return strings.Join(segments, "/")
}

// getCommit gives a commit, or only its SHA to who asks for that.
func getCommit(c *call) reply {
	c.repo.mu.Lock()
	defer c.repo.mu.Unlock()
	m := c.repo.resolve(c.path("ref"))
	if m == nil {
		return fail(http.StatusUnprocessableEntity, "No commit found for SHA: "+c.path("ref"), c.route.docs)
	}
	if strings.Contains(c.r.Header.Get("Accept"), "application/vnd.github.") && strings.Contains(c.r.Header.Get("Accept"), "sha") {
		out := changed([]byte(m.sha), m.at)
		out.media = "application/vnd.github.sha; charset=utf-8"
		return out
	}
	var d document
	m.render(&d, c.repo)
	return changed(d, m.at)
}

// listCommits lists a branch's commits, newest first; with a path only those that changed it.
func listCommits(c *call) reply {
	q := c.r.URL.Query()
	path := strings.Trim(q.Get("path"), "/")
	c.repo.mu.Lock()
	defer c.repo.mu.Unlock()
	if len(c.repo.branches) == 0 {
		return fail(http.StatusConflict, "Git Repository is empty.", c.route.docs)
	}
	m := c.repo.resolve(q.Get("sha"))
	if m == nil {
		return notFound()
	}
	var found []*commit
	for ; m != nil; m = m.parent {
		before := ""
		if m.parent != nil {
			before = m.parent.object(path)
		}
		if path == "" || m.object(path) != before {
			found = append(found, m)
		}
	}
	w := c.window(len(found))
	var d document
	d.begin('[')
	for _, m := range found[w.first:w.last] {
		m.render(&d, c.repo)
	}
	d.end(']')
	return c.listed(w, d)
}

// render writes the commit as the REST API gives it.
func (m *commit) render(d *document, r *repository) {
	api := r.apiURL + "/git/commits/" + m.sha
	d.begin('{')
	d.str("sha", m.sha)
	d.str("node_id", nodeID("C", r.id, m.at.Unix()))
	d.object("commit")
	for _, role := range []string{"author", "committer"} {
		d.object(role)
		d.str("name", m.author.login)
		d.str("email", m.author.email())
		d.instant("date", m.at)
		d.end('}')
	}
	d.str("message", m.message)
	d.object("tree")
	d.str("sha", m.trees[""])
	d.str("url", r.apiURL+"/git/trees/"+m.trees[""])
	d.end('}')
	d.str("url", api)
	d.num("comment_count", 0)
	d.members([]byte(`"verification":{"verified":false,"reason":"unsigned","signature":null,"payload":null,"verified_at":null}`))
	d.end('}')
	d.str("url", r.apiURL+"/commits/"+m.sha)
	d.str("html_url", r.pageURL+"/commit/"+m.sha)
	d.str("comments_url", r.apiURL+"/commits/"+m.sha+"/comments")
	d.raw("author", m.author.object())
	d.raw("committer", m.author.object())
	d.array("parents")
	if m.parent != nil {
		d.begin('{')
		d.str("sha", m.parent.sha)
		d.str("url", r.apiURL+"/commits/"+m.parent.sha)
		d.str("html_url", r.pageURL+"/commit/"+m.parent.sha)
		d.end('}')
	}
	d.end(']')
	d.end('}')
}
