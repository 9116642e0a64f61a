package gateway

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"
)

// contentSecurityPolicy lets the dashboard load its own files and talk to its
// own origin, nothing else. React sets style attributes through the CSSOM,
// which style-src does not govern.
const contentSecurityPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// secure sets the headers that hold for every answer.
func secure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Content-Security-Policy", contentSecurityPolicy)
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		next.ServeHTTP(w, r)
	})
}

// dashboard serves the built front end from memory. A path without a file is a
// page of the application, which finds its own way from index.html.
type dashboard map[string]dashboardFile

type dashboardFile struct {
	body []byte
	// etag is weak, because the same body may be sent compressed.
	etag string
}

const (
	indexFile = "index.html"
	assets    = "assets/"
)

func newDashboard(files fs.FS) (dashboard, error) {
	d := make(dashboard)
	err := fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		body, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(body)
		d[name] = dashboardFile{body, `W/"` + hex.EncodeToString(sum[:12]) + `"`}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the dashboard's files: %w", err)
	}
	if _, ok := d[indexFile]; !ok {
		return nil, errors.New("the dashboard has no " + indexFile + "; build it with `make web`")
	}
	return d, nil
}

func (d dashboard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		writeProblem(w, problem{Status: http.StatusMethodNotAllowed, Detail: "The dashboard answers GET and HEAD only."})
		return
	}
	name := strings.TrimPrefix(path.Clean("/"+r.URL.Path), "/")
	file, ok := d[name]
	if !ok {
		if !isPage(name, r.Header.Get("Accept")) {
			writeProblem(w, problem{Status: http.StatusNotFound, Detail: "The dashboard has no such file; reload the page if it was opened before an upgrade."})
			return
		}
		name, file = indexFile, d[indexFile]
	}
	if strings.HasPrefix(name, assets) {
		// The names carry a hash of the content.
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	} else {
		w.Header().Set("Cache-Control", "no-cache")
	}
	w.Header().Set("ETag", file.etag)
	http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(file.body))
}

// isPage tells a page of the application from a file that is missing: to answer
// a script or an image with the application itself would only confuse.
func isPage(name, accept string) bool {
	if strings.HasPrefix(name, assets) {
		return false
	}
	return path.Ext(name) == "" || strings.Contains(accept, "text/html")
}
