package githubtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
)

// Exchange is one request to GitHub's API and its answer. Its members are those
// of app/simulate's Exchange, so that one converts to the other.
type Exchange struct {
	At           time.Time
	Method       string
	Path         string // without the prefix of an Enterprise Server, escaped as it was sent
	Query        url.Values
	Header       http.Header
	Body         []byte
	Route        string
	Status       int // 0 when there was no answer
	AnswerHeader http.Header
	Answer       []byte
}

// What a test holds to GitHub's description.
type What int

const (
	// Everything is for tests of what calls GitHub: its requests must be as
	// GitHub describes them, and so must the answers that it gets.
	Everything What = iota
	// Answers is for tests that ask wrongly on purpose.
	Answers
)

// maxFaults bounds what a test is told, and maxExcerpt what it is shown of a body.
const (
	maxFaults  = 20
	maxExcerpt = 400
)

// String shows the exchange in short.
func (e Exchange) String() string {
	path := e.Path
	if len(e.Query) > 0 {
		path += "?" + e.Query.Encode()
	}
	return fmt.Sprintf("\t%s %s %s\n\t%d %s", e.Method, path, excerpt(e.Body), e.Status, excerpt(e.Answer))
}

func excerpt(body []byte) []byte {
	if len(body) > maxExcerpt {
		return append(bytes.Clone(body[:maxExcerpt]), "..."...)
	}
	return body
}

// Watch returns a function that takes every exchange of a test, from many
// goroutines if need be, and fails the test at its end for those that are not as
// GitHub describes them. Call Watch before the server starts that takes the
// requests, so that the server has ended when the test is judged. Without the
// description nothing is watched: that fails the test where CI=true.
func Watch(t testing.TB, what What) func(Exchange) {
	t.Helper()
	d, err := published()
	switch {
	case errors.Is(err, fs.ErrNotExist) && os.Getenv("CI") != "true":
		t.Logf("SKIPPED: requests to GitHub are not checked. %v", installed(err))
		return func(Exchange) {}
	case err != nil:
		t.Error(installed(err))
		return func(Exchange) {}
	}
	var mu sync.Mutex
	examples := make(map[string]Exchange) // by what is wrong
	t.Cleanup(func() {
		mu.Lock()
		defer mu.Unlock()
		if len(examples) == 0 {
			return
		}
		t.Error("not as GitHub describes its API (" + file + "):")
		for i, fault := range slices.Sorted(maps.Keys(examples)) {
			if i == maxFaults {
				t.Errorf("and %d faults more", len(examples)-maxFaults)
				break
			}
			t.Errorf("%s\n%s", fault, examples[fault])
		}
	})
	return func(e Exchange) {
		for _, fault := range d.check(e, what) {
			mu.Lock()
			if _, known := examples[fault]; !known {
				examples[fault] = e
			}
			mu.Unlock()
		}
	}
}

// Requests names the operations of GitHub's API that this process has watched,
// as its description does: "GET /repos/{owner}/{repo}/labels".
func Requests() []string {
	d, err := published()
	if err != nil {
		return nil
	}
	var names []string
	d.requested.Range(func(name, _ any) bool {
		names = append(names, name.(string))
		return true
	})
	slices.Sort(names)
	return names
}

// check returns what is wrong with an exchange. Of those that are alike one is
// looked at.
func (d *description) check(e Exchange, what What) []string {
	o, values := d.find(e.Method, e.Path)
	if o == nil {
		if what == Answers {
			return nil
		}
		if methods := d.methods(e.Path); len(methods) > 0 {
			return []string{fmt.Sprintf("%s %s: GitHub has no such method there, but %s", e.Method, e.Path, strings.Join(methods, ", "))}
		}
		return []string{fmt.Sprintf("%s %s: GitHub has no such path", e.Method, e.Path)}
	}
	d.requested.Store(o.name, nil)
	print := fingerprint(o, e, what)
	if found, seen := d.seen.Load(print); seen {
		return found.([]string)
	}
	schemas, err := o.load()
	if err != nil {
		return []string{err.Error()}
	}
	var faults []string
	if what == Everything {
		faults = d.request(o, schemas, e, values)
	}
	if e.Status != 0 {
		faults = append(faults, d.answer(o, schemas, e)...)
	}
	d.seen.Store(print, faults)
	return faults
}

var seed = maphash.MakeSeed()

// longNumber is a number that stands for another one as well: an ID, a time.
var longNumber = regexp.MustCompile(`[0-9]{4,}`)

// fingerprint is the same for exchanges of which one conforms if the other does.
func fingerprint(o *operation, e Exchange, what What) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	fmt.Fprintln(&h, o.name, what, e.Method, e.Status)
	if what == Everything {
		fmt.Fprintln(&h, longNumber.ReplaceAllLiteralString(e.Path, "0000"), longNumber.ReplaceAllLiteralString(e.Query.Encode(), "0000"))
		for _, name := range []string{"Accept", "Content-Type", "User-Agent", "X-GitHub-Api-Version"} {
			fmt.Fprintln(&h, e.Header.Values(name))
		}
		_, _ = h.Write(longNumber.ReplaceAllLiteral(e.Body, []byte("0000")))
	}
	fmt.Fprintln(&h, e.AnswerHeader.Get("Content-Type"), shapeOf(e.Answer))
	return h.Sum64()
}

// The versions of the API and the types of answers that may be asked for, and
// what a request must say of who sends it:
// https://docs.github.com/en/rest/using-the-rest-api/getting-started-with-the-rest-api#headers
var (
	apiVersions = []string{"2022-11-28", "2026-03-10"}
	accepted    = regexp.MustCompile(`^application/vnd\.github(\.(raw|text|html|full|object|diff|patch|sha))?\+json$`)
	libraries   = regexp.MustCompile(`^(Go-http-client|go-github)/`)
)

// request holds the request to the operation, to GitHub's rules for headers, and
// to the rule that nothing is sent that GitHub does not describe.
func (d *description) request(o *operation, s *schemas, e Exchange, values []string) []string {
	var faults []string
	fault := func(format string, arguments ...any) {
		faults = append(faults, o.name+": the request "+fmt.Sprintf(format, arguments...))
	}
	if version := e.Header.Get("X-GitHub-Api-Version"); !slices.Contains(apiVersions, version) {
		fault("has the header X-GitHub-Api-Version %q; GitHub documents %s", version, strings.Join(apiVersions, " and "))
	}
	if accept := e.Header.Get("Accept"); !accepted.MatchString(accept) {
		fault("has the header Accept %q; GitHub documents application/vnd.github+json", accept)
	}
	if agent := e.Header.Get("User-Agent"); agent == "" || libraries.MatchString(agent) {
		fault("has the header User-Agent %q; GitHub wants the App's name there", agent)
	}
	variables := make(map[string]string, len(values))
	for i, value := range values {
		unescaped, err := url.PathUnescape(value)
		if err != nil {
			fault("has a path that is not escaped well: %v", err)
			return faults
		}
		variables[o.variables[i]] = unescaped
	}
	operation := s.request.Operation
	for _, name := range slices.Sorted(maps.Keys(e.Query)) {
		if operation.Parameters.GetByInAndName("query", name) == nil {
			fault("has the query parameter %q, which is not described; these are: %s", name, strings.Join(queryParameters(operation), ", "))
		}
	}
	sent, err := http.NewRequestWithContext(context.Background(), s.request.Method, "https://api.github.com"+e.Path, bytes.NewReader(e.Body))
	if err != nil {
		fault("is not one: %v", err)
		return faults
	}
	sent.URL.RawQuery, sent.Header = e.Query.Encode(), e.Header
	err = openapi3filter.ValidateRequest(sent.Context(), &openapi3filter.RequestValidationInput{
		Request: sent, PathParams: variables, Route: s.request,
		Options: &openapi3filter.Options{
			MultiError: true, RejectWhenRequestBodyNotSpecified: true, SkipSettingDefaults: true,
			SchemaValidationOptions: []openapi3.SchemaValidationOption{openapi3.EnableFormatValidation()},
		},
	})
	for _, f := range findings(err) {
		fault("is wrong %s", f)
	}
	return faults
}

func queryParameters(o *openapi3.Operation) []string {
	var names []string
	for _, p := range o.Parameters {
		if p.Value.In == "query" {
			names = append(names, p.Value.Name)
		}
	}
	slices.Sort(names)
	return names
}

// anywhere are the statuses that any operation may answer with, though GitHub
// describes them of few: redirects of what was renamed, refused credentials and
// permissions, limits, repositories that were taken down, and its own failures.
// https://docs.github.com/en/rest/using-the-rest-api/troubleshooting-the-rest-api
func anywhere(method string, status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusTemporaryRedirect, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound,
		http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity, http.StatusTooManyRequests,
		http.StatusUnavailableForLegalReasons:
		return true
	case http.StatusNotModified:
		return method == http.MethodGet || method == http.MethodHead
	}
	return status >= http.StatusInternalServerError
}

// answer holds the answer to what is described for its status.
func (d *description) answer(o *operation, s *schemas, e Exchange) []string {
	at := fmt.Sprintf("%s: the answer %d ", o.name, e.Status)
	answers := s.answers
	described := answers.Status(e.Status)
	if described == nil && anywhere(e.Method, e.Status) {
		general, err := d.errors.load()
		if err != nil {
			return []string{err.Error()}
		}
		described = general.answers.Value(fmt.Sprintf("%dXX", e.Status/100))
		if e.Status < http.StatusBadRequest {
			return nil
		}
	}
	if described == nil {
		if excused(o, e.Status, finding{keyword: "status"}) {
			return nil
		}
		return []string{at + "is not described; these are: " + strings.Join(slices.Sorted(maps.Keys(answers.Map())), ", ")}
	}
	if e.Method == http.MethodHead || len(e.Answer) == 0 {
		if len(e.Answer) == 0 && e.Method != http.MethodHead && described.Value.Content.Get("application/json") != nil {
			return []string{at + "has no body, but is described to have one"}
		}
		return nil
	}
	media, _, _ := strings.Cut(e.AnswerHeader.Get("Content-Type"), ";")
	if media != "application/json" {
		return nil // of another form that was asked for, as raw contents are
	}
	asked, special := strings.CutSuffix(e.Header.Get("Accept"), "+json")
	content := described.Value.Content[asked] // not Get, which takes the next best
	if !special || content == nil {
		content = described.Value.Content.Get(media)
	}
	if content == nil {
		return []string{at + "has a body, but is described to have none"}
	}
	var body any
	if err := json.Unmarshal(e.Answer, &body); err != nil {
		return []string{at + "is not JSON: " + err.Error()}
	}
	var faults []string
	for _, f := range validate(content.Schema.Value, body) {
		if !excused(o, e.Status, f) {
			faults = append(faults, at+"is wrong "+f.String())
		}
	}
	return faults
}
