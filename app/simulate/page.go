package simulate

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"hash/fnv"
	"html/template"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// The pages let somebody who watches the demo look at an issue where its html_url leads, and change it as a person would.

//go:embed pages.html
var pagesSource string

const (
	pagePolicy = "default-src 'none'; style-src 'unsafe-inline'; form-action %s; base-uri 'none'; frame-ancestors 'none'"
	formType   = "application/x-www-form-urlencoded"
	pageShows  = 200 // issues of a repository's list
)

func parsePages() (*template.Template, error) {
	return template.New("pages").Parse(pagesSource + manifestPages)
}

// servePage answers a browser: pages for GET, the acts of their forms for POST.
func (g *GitHub) servePage(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	var err error
	var ofApps bool
	switch ofApps, err = g.manifestPage(w, r, parts); {
	case ofApps:
	case r.Method == http.MethodPost:
		err = g.submit(w, r, parts)
	case len(parts) == 3 && parts[0] == "avatars":
		avatar(w, parts[2])
		return
	case len(parts) == 1 && parts[0] == "":
		err = g.homePage(w)
	case len(parts) == 2, len(parts) == 3 && parts[2] == "issues":
		err = g.issuesPage(w, parts[0]+"/"+parts[1])
	case len(parts) == 4 && (parts[2] == "issues" || parts[2] == "pull"):
		number, _ := strconv.Atoi(parts[3])
		err = g.issuePage(w, parts[0]+"/"+parts[1], number)
	case len(parts) > 4 && parts[2] == "raw":
		err = g.rawPage(w, parts[0]+"/"+parts[1], parts[3], strings.Join(parts[4:], "/"))
	default:
		err = ErrNotFound
	}
	switch {
	case err == nil:
	case errors.Is(err, ErrNotFound), errors.Is(err, ErrGone):
		g.unknown.count.Add(1)
		g.write(w, r, notFound())
	case errors.Is(err, ErrInvalid), errors.Is(err, ErrExists):
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
	case errors.Is(err, ErrForbidden), errors.Is(err, ErrArchived):
		http.Error(w, err.Error(), http.StatusForbidden)
	default:
		g.log.Error("the simulated GitHub failed a page", "path", r.URL.Path, "error", err)
		http.Error(w, "the simulated GitHub failed; its log says why", http.StatusInternalServerError)
	}
}

func (g *GitHub) page(w http.ResponseWriter, name string, data any) error {
	var b bytes.Buffer
	if err := g.pages.ExecuteTemplate(&b, name, data); err != nil {
		return fmt.Errorf("page %s: %w", name, err)
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	if h.Get("Content-Security-Policy") == "" {
		h.Set("Content-Security-Policy", fmt.Sprintf(pagePolicy, "'self'"))
	}
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	_, _ = w.Write(b.Bytes()) // a browser that has gone away is no fault of ours
	return nil
}

type repositoryRow struct {
	Name, Description string
	Open, Total       int64
}

func (g *GitHub) homePage(w http.ResponseWriter) error {
	var rows []repositoryRow
	for _, name := range g.Repositories() {
		r, err := g.repository(name)
		if err != nil {
			continue // deleted since
		}
		r.mu.Lock()
		rows = append(rows, repositoryRow{Name: name, Description: r.description, Open: r.openIssues, Total: int64(len(r.issues))})
		r.mu.Unlock()
	}
	return g.page(w, "home", rows)
}

func (g *GitHub) issuesPage(w http.ResponseWriter, repo string) error {
	r, err := g.repository(repo)
	if err != nil {
		return err
	}
	data := struct {
		Name, Description string
		Issues            []Issue
		More              bool
	}{}
	r.mu.Lock()
	data.Name, data.Description = r.fullName(), r.description
	for _, is := range slices.Backward(r.issues) {
		if is.deleted || is.movedTo != "" {
			continue
		}
		if data.More = len(data.Issues) == pageShows; data.More {
			break
		}
		data.Issues = append(data.Issues, is.snapshot(r))
	}
	r.mu.Unlock()
	return g.page(w, "issues", data)
}

func (g *GitHub) issuePage(w http.ResponseWriter, repo string, number int) error {
	is, err := g.Issue(repo, number)
	if err != nil {
		return err
	}
	type choice struct {
		Name, Color string
		On          bool
	}
	data := struct {
		Issue    Issue
		Labels   []choice
		Comments []CommentSnapshot
		Events   []LabelEvent
	}{Issue: is}
	labels, err := g.Labels(repo)
	if err != nil {
		return err
	}
	for _, l := range labels {
		data.Labels = append(data.Labels, choice{l.Name, l.Color, slices.Contains(is.Labels, l.Name)})
	}
	if data.Comments, err = g.Comments(repo, number); err != nil {
		return err
	}
	if data.Events, err = g.LabelEvents(repo, number); err != nil {
		return err
	}
	return g.page(w, "issue", data)
}

// rawPage gives the content of a public repository's file, where download_url points.
func (g *GitHub) rawPage(w http.ResponseWriter, repo, ref, path string) error {
	r, err := g.repository(repo)
	if err != nil {
		return err
	}
	r.mu.Lock()
	m := r.resolve(ref)
	hidden := r.private
	r.mu.Unlock()
	if hidden || m == nil || m.files[path] == nil {
		return ErrNotFound
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; sandbox")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(m.files[path].content)
	return nil
}

// submit does what a form asks, in the name of the repository's administrator. Forms of other sites are refused: any
// page in the browser could otherwise act here.
func (g *GitHub) submit(w http.ResponseWriter, r *http.Request, parts []string) error {
	if err := http.NewCrossOriginProtection().Check(r); err != nil || !g.ownHost(r.Host) {
		return fmt.Errorf("%w: the form is not of this site", ErrForbidden)
	}
	if len(parts) < 3 || len(parts) > 4 || parts[2] != "issues" && parts[2] != "pull" {
		return ErrNotFound
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxRequestBody)
	if err := r.ParseForm(); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	repo := parts[0] + "/" + parts[1]
	found, err := g.repository(repo)
	if err != nil {
		return err
	}
	found.mu.Lock()
	owner := found.owner
	found.mu.Unlock()
	person, err := g.administrator(owner, "")
	if err != nil {
		return err
	}
	ctx, form := r.Context(), r.PostForm
	if len(parts) == 3 {
		number, err := g.OpenIssue(ctx, repo, NewIssue{Author: person.login, Title: form.Get("title"), Body: form.Get("body")})
		if err != nil {
			return err
		}
		http.Redirect(w, r, "/"+found.path()+"/issues/"+itoa(number), http.StatusSeeOther)
		return nil
	}
	number, err := strconv.Atoi(parts[3])
	if err != nil {
		return ErrNotFound
	}
	switch {
	case form.Get("add") != "":
		err = g.AddLabel(ctx, repo, number, person.login, form.Get("add"))
	case form.Get("remove") != "":
		err = g.RemoveLabel(ctx, repo, number, person.login, form.Get("remove"))
	case form.Get("comment") != "":
		_, err = g.Comment(ctx, repo, number, person.login, form.Get("comment"))
	case form.Get("state") == "closed":
		err = g.CloseIssue(ctx, repo, number, person.login, "")
	case form.Get("state") == "open":
		err = g.ReopenIssue(ctx, repo, number, person.login)
	default:
		err = fmt.Errorf("%w: the form asks for nothing", ErrInvalid)
	}
	if err == nil {
		http.Redirect(w, r, "/"+found.path()+"/issues/"+itoa(number), http.StatusSeeOther)
	}
	return err
}

// ownHost guards against a foreign name that was made to point at this address.
func (g *GitHub) ownHost(host string) bool {
	_, port, err := net.SplitHostPort(g.listener.Addr().String())
	return err == nil && (host == g.listener.Addr().String() || host == net.JoinHostPort("localhost", port))
}

// avatar draws a picture that belongs to an account's ID: five by five squares, mirrored.
func avatar(w http.ResponseWriter, id string) {
	h := fnv.New64a()
	h.Write([]byte(id))
	bits := h.Sum64()
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 5 5" shape-rendering="crispEdges"><rect width="5" height="5" fill="#eee"/><g fill="hsl(%d 55%% 45%%)">`, bits%360)
	for row := range 5 {
		for column := range 3 {
			if bits>>(10+row*3+column)&1 == 1 {
				fmt.Fprintf(&b, `<path d="M%d %dh1v1h-1zM%d %dh1v1h-1z"/>`, column, row, 4-column, row)
			}
		}
	}
	b.WriteString(`</g></svg>`)
	w.Header().Set("Content-Type", "image/svg+xml")
	w.Header().Set("Cache-Control", "public, max-age=86400")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; sandbox")
	_, _ = w.Write([]byte(b.String()))
}
