package plugin

import (
	"encoding/json"
	"io"
	"log/slog"
	"math"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	"github.com/dispatchai/dispatchai/core/triage"
	"github.com/dispatchai/dispatchai/plugins/sdk"
	pb "github.com/dispatchai/dispatchai/proto/dispatchai/classifier/v1"
)

// judge gives a Plugin that checks answers, without a process.
func judge(t testing.TB) (*Plugin, *process) {
	t.Helper()
	m, err := newMetrics(prometheus.NewRegistry(), "test")
	if err != nil {
		t.Fatal(err)
	}
	p := &Plugin{spec: Spec{Name: "test"}, metrics: m, redact: newRedactor(nil), log: slog.New(slog.DiscardHandler)}
	return p, &process{description: Description{Version: "1.0.0", Fields: triage.Fields()}}
}

func TestAcceptValues(t *testing.T) {
	p, _ := judge(t)
	for _, c := range []struct {
		field triage.Field
		given []string
		want  []string
		fault string
	}{
		{triage.FieldCategory, []string{"bug"}, []string{"bug"}, ""},
		{triage.FieldCategory, []string{"BUG"}, []string{"bug"}, ""},
		{triage.FieldCategory, []string{"bug "}, nil, "not_an_option"},
		{triage.FieldCategory, []string{"type: bug"}, nil, "not_an_option"},
		{triage.FieldPriority, []string{"high"}, nil, "not_wanted"},
		{triage.FieldTags, []string{"help wanted", "x", "help wanted"}, []string{"help wanted"}, "duplicate_value"},
		{triage.FieldSummary, []string{"  a\nb\x07 "}, []string{"a b"}, ""},
		{triage.FieldSummary, []string{"\x00"}, nil, "empty_value"},
		{triage.FieldSummary, []string{strings.Repeat("é", 1000)}, []string{strings.Repeat("é", 498) + "…"}, ""},
		{triage.FieldAssignees, []string{"mona-lisa", "corp_user", "-x", "a b", ""}, []string{"mona-lisa", "corp_user"}, "not_a_login"},
	} {
		values, fault := p.acceptValues(repository, c.field, c.given)
		if !slices.Equal(values, c.want) || fault != c.fault {
			t.Errorf("%s %q: %q %q, want %q %q", c.field, c.given, values, fault, c.want, c.fault)
		}
	}
}

func TestTooManyValuesAreNoAnswer(t *testing.T) {
	p, process := judge(t)
	var out Outcome
	p.accept(process, &Item{Repository: repository}, &pb.Classification{Answers: []*pb.Answer{
		{Field: pb.Field_FIELD_CATEGORY, Values: []string{"bug", "feature"}, Confidence: 1},
		{Field: pb.Field_FIELD_TAGS, Values: slices.Repeat([]string{"help wanted"}, sdk.MaxTags+1), Confidence: 1},
	}}, &out)
	if len(out.Fields) != 0 || counted(p.metrics.dropped.WithLabelValues("category", "too_many_values")) != 1 {
		t.Errorf("%+v", out.Fields)
	}
}

func TestOnlyWantedFieldsAreAccepted(t *testing.T) {
	p, process := judge(t)
	var out Outcome
	p.accept(process, &Item{Repository: repository, Wanted: []triage.Field{triage.FieldTags}}, &pb.Classification{Answers: []*pb.Answer{
		{Field: pb.Field_FIELD_CATEGORY, Values: []string{"bug"}, Confidence: 1},
		{Field: pb.Field_FIELD_TAGS, Values: []string{"help wanted"}, Confidence: 1},
	}, Hold: "it\nsteers"}, &out)
	if len(out.Fields) != 1 || out.Fields[triage.FieldTags].Value() != "help wanted" || counted(p.metrics.dropped.WithLabelValues("category", "not_wanted")) != 1 {
		t.Errorf("%+v", out.Fields)
	}
	if out.Hold != "it steers" {
		t.Errorf("hold %q", out.Hold)
	}
}

func TestUsageIsChecked(t *testing.T) {
	p, _ := judge(t)
	for _, u := range []*pb.Usage{{InputTokens: -1}, {OutputTokens: -1}, {CostUsd: -0.1}, {CostUsd: math.NaN()}, {CostUsd: math.Inf(1)}} {
		if got := p.acceptUsage(u); got != (triage.Usage{}) {
			t.Errorf("%v: %+v", u, got)
		}
	}
}

// Whatever a plugin answers, what comes through is within the bounds and the taxonomy.
func FuzzAccept(f *testing.F) {
	for _, c := range []*pb.Classification{
		{},
		{Answers: []*pb.Answer{{Field: pb.Field_FIELD_CATEGORY, Values: []string{"bug"}, Confidence: 0.5, Reason: "x\ny"}}, Reasoning: "\x1b"},
		{Answers: []*pb.Answer{{Field: pb.Field_FIELD_TAGS, Values: []string{"help wanted", "admin"}, Confidence: math.NaN()}, {Field: 50, Values: []string{"z"}}}, Usage: &pb.Usage{CostUsd: -1}},
		{Answers: []*pb.Answer{{Field: pb.Field_FIELD_SUMMARY, Values: []string{"\u202e evil"}, Confidence: 1}}},
	} {
		b, err := proto.Marshal(c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	p, process := judge(f)
	text := func(t *testing.T, s string, limit int, lines bool) {
		if len(s) > limit || !utf8.ValidString(s) {
			t.Fatalf("%q is more than %d bytes, or not valid", s, limit)
		}
		if strings.ContainsFunc(s, func(c rune) bool { return hidden(c) && (!lines || c != '\n') }) {
			t.Fatalf("%q holds what must not be shown", s)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var c pb.Classification
		if proto.Unmarshal(data, &c) != nil {
			return
		}
		var out Outcome
		p.accept(process, &Item{Repository: repository}, &c, &out)
		for field, a := range out.Fields {
			if !field.Valid() || len(a.Values) == 0 || len(a.Values) > maxValues(field) || !(a.Confidence >= 0 && a.Confidence <= 1) {
				t.Fatalf("%s: %+v", field, a)
			}
			if field.Labelled() {
				for _, v := range a.Values {
					if !slices.ContainsFunc(repository.Options[sdk.Field(field)], func(o sdk.Option) bool { return o.Value == v }) {
						t.Fatalf("%s: %q is not in the taxonomy", field, v)
					}
				}
			}
			for _, v := range a.Values {
				text(t, v, sdk.MaxReasonBytes, false)
			}
			text(t, a.Reason, sdk.MaxReasonBytes, false)
		}
		text(t, out.Reasoning, sdk.MaxReasoningBytes, true)
		text(t, out.Hold, sdk.MaxReasonBytes, false)
		if _, err := json.Marshal(out.Fields); err != nil {
			t.Fatal(err)
		}
	})
}

// A description is another thing that arrives from outside.
func FuzzDescribe(f *testing.F) {
	b, err := proto.Marshal(&pb.DescribeResponse{Name: "a", Version: "1.0.0", Fields: []pb.Field{1, 1, 9, 10}, Capabilities: []pb.Capability{1, 2, 3}, Embedding: &pb.EmbeddingModel{Name: "m", Dimensions: 3}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, data []byte) {
		var r pb.DescribeResponse
		if proto.Unmarshal(data, &r) != nil {
			return
		}
		d, err := checkDescription(&r)
		if err != nil {
			return
		}
		if len(d.Name) > 63 || len(d.Version) > 64 || d.MaxBatch < 0 || len(d.Fields) > len(triage.Fields()) {
			t.Fatalf("%+v", d)
		}
		if d.Embedding != nil && ((d.Embedding.Dimensions < 1) != d.Embedding.Terms || d.Embedding.Dimensions > sdk.MaxDimensions) {
			t.Fatalf("%+v", d.Embedding)
		}
	})
}

// However output is cut into writes, a line is bounded, whole and without secrets.
func FuzzOutput(f *testing.F) {
	f.Add([]byte("one\ntwo"), 1)
	f.Add([]byte(`{"level":"ERROR","msg":"x"}`+"\n"), 3)
	f.Add([]byte(strings.Repeat("x", 2*maxLine)+"\n\n\r\n\xff\x1b[2J"), 1000)
	f.Fuzz(func(t *testing.T, data []byte, chunk int) {
		if chunk < 1 || chunk > 1<<16 {
			chunk = 7
		}
		p, _ := judge(t)
		var records []map[string]any
		log := slog.New(slog.NewJSONHandler(writerFunc(func(b []byte) {
			var r map[string]any
			if err := json.Unmarshal(b, &r); err != nil {
				t.Fatal(err)
			}
			records = append(records, r)
		}), nil))
		out := newOutput(log, p.redact, p.metrics)
		w := out.writer("stderr")
		for part := range slices.Chunk(data, chunk) {
			if n, err := w.Write(part); n != len(part) || err != nil {
				t.Fatal(n, err)
			}
		}
		out.flush()
		if len(records) > linesPerSecond+linesPerSecond+2 {
			t.Fatalf("%d records", len(records))
		}
		for _, r := range records {
			if line, ok := r["line"].(string); ok && (len(line) > maxLine || strings.ContainsFunc(line, hidden)) {
				t.Fatalf("%q", line)
			}
		}
	})
}

type writerFunc func([]byte)

func (f writerFunc) Write(b []byte) (int, error) {
	f(b)
	return len(b), nil
}

var _ io.Writer = writerFunc(nil)

func TestRedactor(t *testing.T) {
	r := newRedactor(json.RawMessage(`{"model":"gpt-4o-mini","api_key":"sk-abcdef","nested":{"tokens":["t-0123456","t-0123456789"]},"password":"abc"}`))
	got := r.text("sk-abcdef gpt-4o-mini t-0123456789 abc", 200)
	if want := "[redacted] gpt-4o-mini [redacted] abc"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	r.learn(json.RawMessage(`{"api_key":"sk-second"}`))
	if got := r.text("sk-abcdef sk-second", 200); got != "[redacted] [redacted]" {
		t.Errorf("after a change: %q", got)
	}
	if got := r.prose("a\r\nb\tc\u202e", 200); got != "a\nb c" {
		t.Errorf("prose: %q", got)
	}
}

// A request holds each repository once, and an item belongs to its own in every part.
func TestRequestParts(t *testing.T) {
	other := &sdk.Repository{ID: 8, FullName: "octo/dog"}
	batch := []Item{{Repository: repository}, {Repository: other}, {Repository: repository}, {Repository: other}, {}}
	r := newRequest(batch, 10, withheld{})
	for _, part := range [][2]int{{0, 5}, {1, 2}, {3, 5}, {0, 4}} {
		m := r.message(part[0], part[1])
		seen := map[int64]bool{}
		for _, repo := range m.GetRepositories() {
			if seen[repo.GetId()] {
				t.Errorf("%v: repository %d stands twice", part, repo.GetId())
			}
			seen[repo.GetId()] = true
		}
		for i, item := range m.GetItems() {
			want := int64(0)
			if s := batch[part[0]+i].Repository; s != nil {
				want = s.ID
			}
			if got := m.GetRepositories()[item.GetRepository()].GetId(); got != want || item.GetId() != uint64(10+part[0]+i) {
				t.Errorf("%v: item %d is of repository %d, want %d", part, item.GetId(), got, want)
			}
		}
	}
}
