package simulate

import (
	_ "embed"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// The pages on which an owner registers an App from a manifest and installs it, as GitHub has them below /settings/apps
// and /apps.

//go:embed manifest.html
var manifestPages string

// somebody is who is signed in at the simulated GitHub's pages.
const somebody = "you"

// manifestPage answers for the pages of Apps; false means that the path is none of them.
func (g *GitHub) manifestPage(w http.ResponseWriter, r *http.Request, parts []string) (bool, error) {
	path := strings.Join(parts, "/")
	switch {
	case path == "settings/apps/new":
		return true, g.newAppPage(w, r, somebody, kindUser)
	case len(parts) == 5 && parts[0] == "organizations" && strings.HasSuffix(path, "/settings/apps/new"):
		return true, g.newAppPage(w, r, parts[1], kindOrganization)
	case path == "apps/"+g.opts.AppSlug+"/installations/new":
		return true, g.installPage(w, r)
	}
	return false, nil
}

// newAppPage shows what a manifest asks for, whatever site the form came from, and registers the App when its own form
// says so.
func (g *GitHub) newAppPage(w http.ResponseWriter, r *http.Request, login string, kind accountKind) error {
	owner, err := g.account(login, kind)
	if err != nil {
		return err
	}
	if !g.ownHost(r.Host) {
		return fmt.Errorf("%w: the form is not of this site", ErrForbidden)
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxRequestBody)
	if err := r.ParseForm(); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	text := r.PostForm.Get("manifest")
	m, faults := readManifest(text)
	data := struct {
		Owner, Name, Manifest, State string
		Permissions                  map[string]string
		Events, Faults               []string
		CanCreate                    bool
	}{Owner: owner.login, Name: m.Name, Manifest: text, State: r.FormValue("state"), Permissions: m.DefaultPermissions, Events: m.DefaultEvents, Faults: faults, CanCreate: len(faults) == 0}
	if r.Method == http.MethodPost && r.PostForm.Get("create") != "" && data.CanCreate {
		if err := http.NewCrossOriginProtection().Check(r); err != nil {
			return fmt.Errorf("%w: the form is not of this site", ErrForbidden)
		}
		m.Name = r.PostForm.Get("name")
		code, err := g.register(m, owner)
		if err == nil {
			if err := g.firstPing(r); err != nil {
				return err
			}
			http.Redirect(w, r, withQuery(m.RedirectURL, "code", code, "state", data.State), http.StatusFound)
			return nil
		}
		if !errors.Is(err, ErrExists) && !errors.Is(err, ErrInvalid) {
			return err
		}
		data.Name, data.Faults = m.Name, []string{err.Error()}
	}
	if u, err := url.Parse(m.RedirectURL); err == nil && data.CanCreate {
		// Browsers hold where a form's answer redirects to against the policy as well.
		w.Header().Set("Content-Security-Policy", fmt.Sprintf(pagePolicy, "'self' "+u.Scheme+"://"+u.Host))
	}
	return g.page(w, "new-app", data)
}

func withQuery(address string, pairs ...string) string {
	u, err := url.Parse(address)
	if err != nil {
		return address // readManifest saw to it
	}
	q := u.Query()
	for pair := range slices.Chunk(pairs, 2) {
		if pair[1] != "" {
			q.Set(pair[0], pair[1])
		}
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// installPage lets somebody install the App on an account that has repositories.
func (g *GitHub) installPage(w http.ResponseWriter, r *http.Request) error {
	data := struct {
		Name      string
		Accounts  []string
		Installed []string
	}{Name: g.asked().name}
	if r.Method == http.MethodPost {
		if err := http.NewCrossOriginProtection().Check(r); err != nil || !g.ownHost(r.Host) {
			return fmt.Errorf("%w: the form is not of this site", ErrForbidden)
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxRequestBody)
		if err := r.ParseForm(); err != nil {
			return fmt.Errorf("%w: %w", ErrInvalid, err)
		}
		if _, err := g.Install(r.Context(), r.PostForm.Get("account"), InstallOptions{}); err != nil && !errors.Is(err, ErrExists) {
			return err
		}
		http.Redirect(w, r, r.URL.Path, http.StatusSeeOther)
		return nil
	}
	g.mu.RLock()
	for _, inst := range g.installations {
		data.Installed = append(data.Installed, inst.account.login)
	}
	for owner := range g.reposByOwner {
		if !slices.Contains(data.Installed, owner.login) {
			data.Accounts = append(data.Accounts, owner.login)
		}
	}
	g.mu.RUnlock()
	slices.Sort(data.Accounts)
	slices.Sort(data.Installed)
	return g.page(w, "install-app", data)
}
