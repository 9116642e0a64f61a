package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"
)

// described is the document and what tests have seen of it.
var described = sync.OnceValue(func() *description {
	doc, err := openapi3.NewLoader().LoadFromData(openapi)
	if err == nil {
		err = doc.Validate(context.Background())
	}
	if err != nil {
		panic(err)
	}
	router, err := legacy.NewRouter(doc)
	if err != nil {
		panic(err)
	}
	return &description{doc: doc, router: router, seen: make(map[string]bool)}
})

type description struct {
	doc    *openapi3.T
	router routers.Router
	mu     sync.Mutex
	seen   map[string]bool // "GET /api/issues 200"
}

func (d *description) note(route string, status int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.seen[route+" "+strconv.Itoa(status)] = true
}

// validate holds an answer to the document: its status, its type, its body, and
// no property that the document does not know.
func validate(t testing.TB, request *http.Request, a answer) {
	t.Helper()
	d := described()
	route, params, err := d.router.FindRoute(request)
	if err != nil {
		// Not of the document: then it must be a problem.
		if a.status != http.StatusNotFound && a.status != http.StatusMethodNotAllowed && a.status != http.StatusUnauthorized && a.status != http.StatusForbidden {
			t.Errorf("%s %s answers %d and is not described", request.Method, request.URL, a.status)
		}
		a.problem()
		return
	}
	d.note(request.Method+" "+route.Path, a.status)
	input := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: request, PathParams: params, Route: route},
		Status:                 a.status, Header: a.header, Body: io.NopCloser(bytes.NewReader(a.body)),
		Options: &openapi3filter.Options{IncludeResponseStatus: true, MultiError: true},
	}
	if err := openapi3filter.ValidateResponse(context.Background(), input); err != nil {
		t.Errorf("%s %s: %v", request.Method, request.URL, err)
		return
	}
	response := route.Operation.Responses.Status(a.status)
	media, _, _ := strings.Cut(a.header.Get("Content-Type"), ";")
	content := response.Value.Content.Get(media)
	if content == nil {
		t.Errorf("%s %s: %q is not described", request.Method, request.URL, media)
		return
	}
	var value any
	a.decode(&value)
	for _, name := range undescribed(content.Schema, value, "") {
		t.Errorf("%s %s answers %s, which is not described", request.Method, request.URL, name)
	}
	if a.status >= 400 {
		a.problem()
	}
}

func validateFrame(t testing.TB, text []byte) {
	t.Helper()
	var value any
	if err := json.Unmarshal(text, &value); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	schemas := described().doc.Components.Schemas
	if err := schemas["Frame"].Value.VisitJSON(value); err != nil {
		t.Errorf("%v in the frame %s", err, text)
	}
	kind, _ := value.(map[string]any)["type"].(string)
	name := map[string]string{"hello": "Hello", "issue": "IssueFrame", "resync": "Resync"}[kind]
	if name == "" {
		t.Fatalf("a frame of the type %q", kind)
	}
	for _, name := range undescribed(schemas[name], value, "") {
		t.Errorf("the frame has %s, which is not described", name)
	}
}

// undescribed lists the properties of a value that its schema does not name.
func undescribed(ref *openapi3.SchemaRef, value any, at string) (names []string) {
	switch v := value.(type) {
	case []any:
		if items := ref.Value.Items; items != nil {
			for _, e := range v {
				names = append(names, undescribed(items, e, at+"[]")...)
			}
		}
	case map[string]any:
		properties := make(map[string]*openapi3.SchemaRef)
		free := collect(ref, properties) == 0
		for name, e := range v {
			switch property, ok := properties[name]; {
			case ok:
				names = append(names, undescribed(property, e, at+"."+name)...)
			case ref.Value.AdditionalProperties.Schema != nil:
				names = append(names, undescribed(ref.Value.AdditionalProperties.Schema, e, at+"."+name)...)
			case !free:
				names = append(names, at+"."+name)
			}
		}
	}
	return names
}

// collect gathers the properties of a schema and of those it is made of.
func collect(ref *openapi3.SchemaRef, into map[string]*openapi3.SchemaRef) int {
	for name, property := range ref.Value.Properties {
		into[name] = property
	}
	for _, part := range ref.Value.AllOf {
		collect(part, into)
	}
	return len(into)
}

// TestOpenAPI gets every answer that the document describes, each from a real
// cause, and checks that no route is missing from it.
func TestOpenAPI(t *testing.T) {
	s := open(t, func(c *Config) { c.CorrectionWait = 5 * time.Second })
	routes := []struct{ method, path, body string }{
		{"GET", "/api/issues", ""},
		{"GET", "/api/issues/1101", ""},
		{"POST", "/api/issues/1101/correct", `{"field":"category","values":["feature"]}`},
		{"POST", "/api/issues/1101/classify", ""},
		{"GET", "/api/repositories", ""},
		{"GET", "/api/repositories/77/configuration", ""},
		{"GET", "/api/stats", ""},
		{"GET", "/api/gaps", ""},
		{"GET", "/api/challenges", ""},
	}
	s.expect(200, "GET", "/api/session", "")
	s.expect(200, "GET", "/api/openapi.json", "")
	s.expect(400, "GET", "/api/issues?limit=0", "")
	s.expect(400, "GET", "/api/gaps?since=yesterday", "")
	s.expect(400, "GET", "/api/challenges?limit=many", "")
	s.expect(404, "GET", "/api/challenges?repository=no/where", "")
	s.expect(404, "GET", "/api/issues?repository=no/where", "")
	s.expect(404, "GET", "/api/issues/7", "")
	s.expect(404, "GET", "/api/repositories/7/configuration", "")
	s.expect(404, "POST", "/api/issues/7/correct", `{"field":"category","values":["bug"]}`)
	s.expect(404, "POST", "/api/issues/7/classify", "")
	s.expect(400, "POST", "/api/issues/1101/correct", `{"field":`)
	s.expect(400, "POST", "/api/issues/1101/classify", "", with("Idempotency-Key", strings.Repeat("k", 201)))
	s.expect(409, "POST", "/api/issues/1102/correct", `{"field":"category","values":["bug"]}`)
	s.expect(413, "POST", "/api/issues/1101/correct", `{"field":"category","values":["`+strings.Repeat("x", maxRequestBody)+`"]}`)
	s.expect(415, "POST", "/api/issues/1101/correct", `{}`, with("Content-Type", "text/plain"))
	s.expect(422, "POST", "/api/issues/1101/correct", `{"field":"category","values":["no such"]}`)
	s.expect(503, "GET", "/api/status", "")
	s.expect(401, "GET", "/api/status", "", without("Authorization"))
	for _, r := range routes {
		s.expect(401, r.method, r.path, r.body, without("Authorization"))
		if r.method == "POST" {
			s.expect(403, r.method, r.path, r.body, with("Origin", "https://evil.example"))
		}
	}

	s.shutDown()
	s.start(func(c *Config) { c.CorrectionWait = time.Millisecond })
	for _, r := range routes {
		if r.method == "POST" {
			s.expect(202, r.method, r.path, r.body)
		}
	}
	s.shutDown()
	s.start()
	s.work()
	for _, r := range routes {
		s.expect(200, r.method, r.path, r.body)
	}

	s.shutDown()
	s.start(demo, reporting)
	s.expect(200, "GET", "/api/status", "", host("localhost:8080"))
	s.expect(403, "GET", "/api/status", "", host("evil.example:8080"))
	for _, r := range routes {
		s.expect(403, r.method, r.path, r.body, host("evil.example:8080"))
	}

	// The WebSocket's refusals; its frames are tested elsewhere.
	refuse := func(status int, cursor string, header http.Header) {
		t.Helper()
		conn, response, err := s.dial(cursor, header)
		if err == nil {
			conn.Close()
			t.Fatalf("the stream is open instead of %d", status)
		}
		body, _ := io.ReadAll(response.Body)
		got := answer{t, response.StatusCode, response.Header, body}
		if got.status != status {
			t.Fatalf("the stream answers %d instead of %d: %s", got.status, status, body)
		}
		validate(t, response.Request, got)
	}
	refuse(403, "", http.Header{"Host": {"evil.example"}})
	s.shutDown()
	s.start()
	refuse(401, "", http.Header{"Authorization": {"Bearer wrong"}})
	refuse(403, "", http.Header{"Authorization": {"Bearer " + testToken}, "Origin": {"https://evil.example"}})
	refuse(400, "not-a-cursor", nil)
	if a := s.call("GET", "/ws", ""); a.status != http.StatusUpgradeRequired {
		t.Errorf("a plain request to /ws: %d %s", a.status, a.body)
	} else {
		described().note("GET /ws", 426)
	}
	s.connect("")
	described().note("GET /ws", http.StatusSwitchingProtocols)

	// A gateway that is not told of the log is not live.
	idle, err := New(Config{Store: s.store, Publisher: s.producer, Token: testToken})
	if err != nil {
		t.Fatal(err)
	}
	was := s.current.Swap(idle)
	refuse(503, "", nil)
	s.current.Store(was)

	if err := s.store.Close(); err != nil {
		t.Fatal(err)
	}
	for _, r := range routes {
		s.expect(503, r.method, r.path, r.body)
	}

	var want []string
	var paths []string
	for path, item := range described().doc.Paths.Map() {
		for method, operation := range item.Operations() {
			paths = append(paths, method+" "+path)
			for status := range operation.Responses.Map() {
				want = append(want, method+" "+path+" "+status)
			}
		}
	}
	slices.Sort(want)
	for _, w := range want {
		if !described().seen[w] {
			t.Errorf("described, but never answered: %s", w)
		}
	}
	slices.Sort(paths)
	if got := served(t, s); !slices.Equal(got, paths) {
		t.Errorf("the gateway serves\n%s\nthe document describes\n%s", strings.Join(got, "\n"), strings.Join(paths, "\n"))
	}
}

// served lists the gateway's routes, each of which has a metric of its own.
func served(t *testing.T, s *system) (routes []string) {
	families, err := s.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "dispatchai_gateway_request_seconds" {
			for _, m := range f.GetMetric() {
				routes = append(routes, m.GetLabel()[0].GetValue())
			}
		}
	}
	slices.Sort(routes)
	return routes
}

func TestUnknownRoutes(t *testing.T) {
	s := open(t)
	for _, method := range []string{"PUT", "DELETE", "PATCH", "POST"} {
		if a := s.expect(405, method, "/api/issues", ""); a.header.Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: Allow is %q", method, a.header.Get("Allow"))
		}
	}
	if a := s.expect(405, "GET", "/api/issues/1101/correct", ""); a.header.Get("Allow") != "POST" {
		t.Errorf("Allow is %q", a.header.Get("Allow"))
	}
	s.expect(404, "GET", "/api/nothing", "")
	s.expect(404, "GET", "/api/", "")
	s.expect(401, "GET", "/api/nothing", "", without("Authorization"))
	if a := s.expect(200, "HEAD", "/api/issues", ""); len(a.body) > 0 {
		t.Errorf("HEAD has the body %s", a.body)
	}
	if a := s.call("GET", "/", ""); a.status != 404 {
		t.Errorf("without a dashboard / answers %d", a.status)
	}
	s.expect(404, "GET", fmt.Sprintf("/api/issues/%s", "99999999999999999999"), "")
}
