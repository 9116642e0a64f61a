package simulate

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// checkRun is the result of a check of the App on a commit; its repository's lock guards it.
type checkRun struct {
	id          int64
	name        string
	head        string
	externalID  string
	detailsURL  string
	status      string
	conclusion  string
	started     time.Time
	completed   time.Time
	title       string
	summary     string
	text        string
	annotations []Annotation
	made        time.Time
}

// Annotation is a remark of a check run on lines of a file.
type Annotation struct {
	Path        string `json:"path"`
	StartLine   int    `json:"start_line"`
	EndLine     int    `json:"end_line"`
	StartColumn int    `json:"start_column"`
	EndColumn   int    `json:"end_column"`
	Level       string `json:"annotation_level"` // "notice", "warning" or "failure"
	Message     string `json:"message"`
	Title       string `json:"title"`
	RawDetails  string `json:"raw_details"`
}

// CheckRun is a snapshot of a check run.
type CheckRun struct {
	ID          int64
	Name        string
	HeadSHA     string
	ExternalID  string
	Status      string // "queued", "in_progress" or "completed"
	Conclusion  string
	Title       string
	Summary     string
	Text        string
	Annotations []Annotation
}

// GitHub's limits on a check run.
const (
	maxAnnotations = 50 // in one request
	maxCheckText   = 65535
	maxDetails     = 64 << 10
)

// CheckRuns returns the check runs of a repository, oldest first.
func (g *GitHub) CheckRuns(repo string) ([]CheckRun, error) {
	r, err := g.repository(repo)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	runs := make([]CheckRun, len(r.checks))
	for i, k := range r.checks {
		runs[i] = CheckRun{ID: k.id, Name: k.name, HeadSHA: k.head, ExternalID: k.externalID, Status: k.status, Conclusion: k.conclusion,
			Title: k.title, Summary: k.summary, Text: k.text, Annotations: slices.Clone(k.annotations)}
	}
	return runs, nil
}

// checkRequest is the body of a request about a check run; what is nil stays as it is.
type checkRequest struct {
	Name        *string    `json:"name"`
	HeadSHA     *string    `json:"head_sha"`
	ExternalID  *string    `json:"external_id"`
	DetailsURL  *string    `json:"details_url"`
	Status      *string    `json:"status"`
	Conclusion  *string    `json:"conclusion"`
	StartedAt   *time.Time `json:"started_at"`
	CompletedAt *time.Time `json:"completed_at"`
	Output      *struct {
		Title       *string           `json:"title"`
		Summary     *string           `json:"summary"`
		Text        *string           `json:"text"`
		Annotations []json.RawMessage `json:"annotations"`
	} `json:"output"`
}

// apply changes the run as asked. Annotations are added to those it has.
func (q *checkRequest) apply(k *checkRun, now time.Time) error {
	for _, field := range []struct{ to, asked *string }{
		{&k.name, q.Name}, {&k.externalID, q.ExternalID}, {&k.detailsURL, q.DetailsURL}, {&k.status, q.Status}, {&k.conclusion, q.Conclusion},
	} {
		if field.asked != nil {
			*field.to = *field.asked
		}
	}
	if q.StartedAt != nil {
		k.started = *q.StartedAt
	}
	if q.Conclusion != nil || q.CompletedAt != nil {
		k.status = "completed" // says GitHub, whatever else was asked
		k.completed = now
		if q.CompletedAt != nil {
			k.completed = *q.CompletedAt
		}
	}
	switch {
	case strings.TrimSpace(k.name) == "":
		return fmt.Errorf("%w: a check run needs a name", ErrInvalid)
	case !slices.Contains([]string{"queued", "in_progress", "completed"}, k.status):
		return fmt.Errorf("%w: the status %q is not one of queued, in_progress and completed", ErrInvalid, k.status)
	case k.status == "completed" && !slices.Contains([]string{"action_required", "cancelled", "failure", "neutral", "success", "skipped", "timed_out"}, k.conclusion):
		return fmt.Errorf("%w: a completed check run cannot have the conclusion %q", ErrInvalid, k.conclusion)
	}
	if q.Output == nil {
		return nil
	}
	if q.Output.Title != nil {
		k.title = *q.Output.Title
	}
	if q.Output.Text != nil {
		k.text = *q.Output.Text
	}
	if q.Output.Summary == nil {
		return fmt.Errorf("%w: an output needs a summary", ErrInvalid)
	}
	k.summary = *q.Output.Summary
	switch {
	case k.title == "":
		return fmt.Errorf("%w: an output needs a title", ErrInvalid)
	case utf8.RuneCountInString(k.summary) > maxCheckText, utf8.RuneCountInString(k.text) > maxCheckText:
		return fmt.Errorf("%w: the summary or the text is longer than %d characters", ErrInvalid, maxCheckText)
	case len(q.Output.Annotations) > maxAnnotations:
		return fmt.Errorf("%w: more than %d annotations in one request", ErrInvalid, maxAnnotations)
	}
	for _, raw := range q.Output.Annotations {
		a, err := parseAnnotation(raw)
		if err != nil {
			return err
		}
		k.annotations = append(k.annotations, a)
	}
	return nil
}

func parseAnnotation(raw []byte) (Annotation, error) {
	var a Annotation
	if err := json.Unmarshal(raw, &a); err != nil {
		return a, fmt.Errorf("%w: an annotation: %w", ErrInvalid, err)
	}
	switch {
	case a.Path == "" || a.Message == "":
		return a, fmt.Errorf("%w: an annotation needs a path and a message", ErrInvalid)
	case a.StartLine < 1 || a.EndLine < a.StartLine:
		return a, fmt.Errorf("%w: an annotation of %s on lines %d to %d", ErrInvalid, a.Path, a.StartLine, a.EndLine)
	case a.StartLine != a.EndLine && (a.StartColumn != 0 || a.EndColumn != 0):
		return a, fmt.Errorf("%w: an annotation of several lines of %s has columns", ErrInvalid, a.Path)
	case a.EndColumn != 0 && a.EndColumn < a.StartColumn:
		return a, fmt.Errorf("%w: an annotation of %s on columns %d to %d", ErrInvalid, a.Path, a.StartColumn, a.EndColumn)
	case !slices.Contains([]string{"notice", "warning", "failure"}, a.Level):
		return a, fmt.Errorf("%w: the annotation level %q is not one of notice, warning and failure", ErrInvalid, a.Level)
	case len(a.Message) > maxDetails || len(a.RawDetails) > maxDetails || utf8.RuneCountInString(a.Title) > 255:
		return a, fmt.Errorf("%w: an annotation of %s is too long", ErrInvalid, a.Path)
	}
	return a, nil
}

func createCheckRun(c *call) reply {
	var asked checkRequest
	if out := c.decode(&asked); out != nil {
		return *out
	}
	if asked.HeadSHA == nil || asked.Name == nil {
		return c.invalid("CheckRun", "head_sha", "missing_field", "A check run needs a name and a head_sha.")
	}
	var out reply
	err := c.act(func(ch *change) error {
		if ch.repo.commits[*asked.HeadSHA] == nil {
			return fmt.Errorf("%w: no commit found for SHA: %s", ErrInvalid, *asked.HeadSHA)
		}
		k := &checkRun{head: *asked.HeadSHA, status: "queued", started: ch.now, made: ch.now}
		if err := asked.apply(k, ch.now); err != nil {
			return err
		}
		k.id = c.g.ids.check.Add(1)
		ch.repo.checks = append(ch.repo.checks, k)
		out = created(c.checkObject(k))
		return nil
	})
	if err != nil {
		return c.failed(err, "CheckRun", "head_sha")
	}
	return out
}

func updateCheckRun(c *call) reply {
	var asked checkRequest
	if out := c.decode(&asked); out != nil {
		return *out
	}
	var out reply
	err := c.act(func(ch *change) error {
		k := ch.repo.check(c.id("id"))
		if k == nil {
			return ErrNotFound
		}
		after := *k
		after.annotations = slices.Clone(k.annotations)
		if err := asked.apply(&after, ch.now); err != nil {
			return err
		}
		*k = after
		out = ok(c.checkObject(k))
		return nil
	})
	if err != nil {
		return c.failed(err, "CheckRun", "status")
	}
	return out
}

func (r *repository) check(id int64) *checkRun {
	at, found := slices.BinarySearchFunc(r.checks, id, func(k *checkRun, id int64) int { return cmp.Compare(k.id, id) })
	if !found {
		return nil
	}
	return r.checks[at]
}

func getCheckRun(c *call) reply {
	c.repo.mu.Lock()
	defer c.repo.mu.Unlock()
	if k := c.repo.check(c.id("id")); k != nil {
		return ok(c.checkObject(k))
	}
	return notFound()
}

func listAnnotations(c *call) reply {
	c.repo.mu.Lock()
	defer c.repo.mu.Unlock()
	k := c.repo.check(c.id("id"))
	if k == nil {
		return notFound()
	}
	column := func(d *document, name string, n int) {
		if n == 0 {
			d.null(name)
		} else {
			d.num(name, int64(n))
		}
	}
	w := c.window(len(k.annotations))
	var d document
	d.begin('[')
	for _, a := range k.annotations[w.first:w.last] {
		d.begin('{')
		d.str("path", a.Path)
		d.str("blob_href", c.repo.pageURL+"/blob/"+k.head+"/"+escapeFile(a.Path))
		d.num("start_line", int64(a.StartLine))
		d.num("end_line", int64(a.EndLine))
		column(&d, "start_column", a.StartColumn)
		column(&d, "end_column", a.EndColumn)
		d.str("annotation_level", a.Level)
		d.text("title", a.Title)
		d.str("message", a.Message)
		d.text("raw_details", a.RawDetails)
		d.end('}')
	}
	d.end(']')
	return c.listed(w, d)
}

// listCheckRuns lists the runs on a commit, newest first; of those with the same name only the latest unless all are wanted.
func listCheckRuns(c *call) reply {
	q := c.r.URL.Query()
	c.repo.mu.Lock()
	defer c.repo.mu.Unlock()
	m := c.repo.resolve(c.path("ref"))
	if m == nil {
		return fail(http.StatusUnprocessableEntity, "No commit found for SHA: "+c.path("ref"), c.route.docs)
	}
	var found []*checkRun
	seen := map[string]bool{}
	for _, k := range slices.Backward(c.repo.checks) {
		if k.head != m.sha || seen[k.name] && q.Get("filter") != "all" ||
			q.Get("check_name") != "" && q.Get("check_name") != k.name || q.Get("status") != "" && q.Get("status") != k.status {
			continue
		}
		seen[k.name] = true
		found = append(found, k)
	}
	w := c.window(len(found))
	var d document
	d.begin('{')
	d.num("total_count", int64(len(found)))
	d.array("check_runs")
	for _, k := range found[w.first:w.last] {
		d.item(c.checkObject(k))
	}
	d.end(']')
	d.end('}')
	return c.listed(w, d)
}

func (c *call) checkObject(k *checkRun) []byte {
	id := itoa(int(k.id))
	api := c.repo.apiURL + "/check-runs/" + id
	page := c.repo.pageURL + "/runs/" + id
	var d document
	d.begin('{')
	d.num("id", k.id)
	d.str("name", k.name)
	d.str("node_id", nodeID("CR", c.repo.id, k.id))
	d.str("head_sha", k.head)
	d.str("external_id", k.externalID)
	d.str("url", api)
	d.str("html_url", page)
	d.str("details_url", cmp.Or(k.detailsURL, c.g.baseURL))
	d.str("status", k.status)
	d.text("conclusion", k.conclusion)
	d.instant("started_at", k.started)
	d.instant("completed_at", k.completed)
	d.object("output")
	d.text("title", k.title)
	d.text("summary", k.summary)
	d.text("text", k.text)
	d.num("annotations_count", int64(len(k.annotations)))
	d.str("annotations_url", api+"/annotations")
	d.end('}')
	d.object("check_suite")
	d.num("id", k.id-1) // suites are not simulated; each run has one to itself
	d.end('}')
	d.raw("app", c.g.appObject)
	d.array("pull_requests")
	d.end(']')
	d.end('}')
	return d
}
