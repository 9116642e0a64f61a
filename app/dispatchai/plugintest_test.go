package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/dispatchai/dispatchai/core/confine"
	"github.com/dispatchai/dispatchai/plugins/sdk"
	pb "github.com/dispatchai/dispatchai/proto/dispatchai/classifier/v1"
)

// The test binary is also the plugins that the tests check, and the built-in
// ones that a command starts itself as.
const asPlugin = "run-as-plugin"

func TestMain(m *testing.M) {
	confine.Enter()
	switch {
	case len(os.Args) > 2 && os.Args[1] == asPlugin:
		if os.Args[2] == "fine" {
			if err := sdk.Serve(fine{}); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			return
		}
		serveFaulty(os.Args[2])
	case len(os.Args) > 2 && os.Args[1] == "plugin" && os.Args[2] == "serve":
		main()
	default:
		os.Exit(m.Run())
	}
}

// fine conforms, with settings, and reads them.
type fine struct{}

func (fine) Describe() sdk.Description {
	return sdk.Description{Name: "fine", Version: "1.2.3", Fields: []sdk.Field{sdk.Category}, MaxBatch: 5}
}

func (fine) Configure(_ context.Context, settings json.RawMessage) error {
	var s struct {
		Key string `json:"api_key"`
	}
	if err := json.Unmarshal(settings, &s); err != nil || s.Key == "" {
		return errors.New("api_key is missing")
	}
	return nil
}

func (fine) Classify(context.Context, sdk.Request) (sdk.Result, error) { return sdk.Result{}, nil }

// faulty speaks the protocol without the SDK, and breaks it in one way.
type faulty struct {
	pb.UnimplementedClassifierServiceServer
	way string
}

func serveFaulty(way string) {
	version := sdk.ProtocolVersion
	if way == "future" {
		version = 9
	}
	if way != "deaf" {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			os.Exit(0)
		}()
	}
	goplugin.Serve(&goplugin.ServeConfig{
		HandshakeConfig:  goplugin.HandshakeConfig{MagicCookieKey: sdk.CookieKey, MagicCookieValue: sdk.CookieValue},
		VersionedPlugins: map[int]goplugin.PluginSet{version: {"classifier": faultyPlugin{service: faulty{way: way}}}},
		GRPCServer: func(o []grpc.ServerOption) *grpc.Server {
			return grpc.NewServer(append(o, grpc.MaxSendMsgSize(1<<30), grpc.MaxRecvMsgSize(sdk.MaxMessageBytes))...)
		},
	})
}

type faultyPlugin struct {
	goplugin.NetRPCUnsupportedPlugin
	service faulty
}

func (p faultyPlugin) GRPCServer(_ *goplugin.GRPCBroker, s *grpc.Server) error {
	pb.RegisterClassifierServiceServer(s, p.service)
	return nil
}

func (faultyPlugin) GRPCClient(context.Context, *goplugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, errors.New("not a client")
}

func (f faulty) Describe(context.Context, *pb.DescribeRequest) (*pb.DescribeResponse, error) {
	d := &pb.DescribeResponse{Name: "faulty", Version: "0.1.0", Fields: []pb.Field{pb.Field_FIELD_CATEGORY}}
	switch f.way {
	case "settings", "teller":
		d.Capabilities = []pb.Capability{pb.Capability_CAPABILITY_CONFIGURE}
	case "vectors":
		d.Capabilities = []pb.Capability{pb.Capability_CAPABILITY_EMBED}
		d.Embedding = &pb.EmbeddingModel{Name: "m", Dimensions: 3}
	case "unnamed":
		d.Capabilities = []pb.Capability{pb.Capability_CAPABILITY_EMBED}
	}
	return d, nil
}

func (f faulty) Configure(_ context.Context, r *pb.ConfigureRequest) (*pb.ConfigureResponse, error) {
	switch {
	case f.way == "unasked", len(r.GetSettings()) == 0 && f.way == "settings":
		return &pb.ConfigureResponse{}, nil
	case f.way == "teller":
		return nil, status.Errorf(codes.InvalidArgument, "what are %s?", r.GetSettings())
	case f.way == "settings":
		return nil, status.Errorf(codes.Unknown, "not JSON: %s", r.GetSettings())
	}
	return f.UnimplementedClassifierServiceServer.Configure(context.Background(), r)
}

func (f faulty) Embed(ctx context.Context, r *pb.EmbedRequest) (*pb.EmbedResponse, error) {
	if f.way != "vectors" {
		return f.UnimplementedClassifierServiceServer.Embed(ctx, r)
	}
	out := &pb.EmbedResponse{}
	for range r.GetTexts() {
		out.Vectors = append(out.Vectors, &pb.Vector{Values: []float32{1, 2}})
	}
	return out, nil
}

func (f faulty) Classify(ctx context.Context, r *pb.ClassifyRequest) (*pb.ClassifyResponse, error) {
	out := &pb.ClassifyResponse{}
	for i, item := range r.GetItems() {
		c := &pb.Classification{}
		o := &pb.Outcome{Id: item.GetId(), Outcome: &pb.Outcome_Classification{Classification: c}}
		out.Outcomes = append(out.Outcomes, o)
		switch f.way {
		case "outside":
			c.Answers = []*pb.Answer{{Field: pb.Field_FIELD_CATEGORY, Values: []string{"admin"}, Confidence: 1}}
		case "long":
			c.Answers = []*pb.Answer{{Field: pb.Field_FIELD_CATEGORY, Confidence: 2, Reason: strings.Repeat("r", 2000)}}
		case "missing":
			if i == 3 {
				out.Outcomes = out.Outcomes[:i]
			}
		case "twice":
			if i == 1 {
				out.Outcomes = append(out.Outcomes, o)
			}
		case "position":
			o.Id = uint64(i + 1)
		case "empty":
			o.Outcome = nil
		case "crash":
			if item.GetIssue().GetTitle() == "minified" {
				os.Exit(3)
			}
		case "hang":
			if item.GetIssue().GetTitle() == "nested" {
				select {}
			}
		case "huge":
			c.Reasoning = strings.Repeat("z", 10<<20)
		}
	}
	return out, nil
}

// run runs a command of this binary, in this process.
func run(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, errOut bytes.Buffer
	c := newCommand()
	c.SetArgs(args)
	c.SetOut(&out)
	c.SetErr(&errOut)
	err = c.ExecuteContext(t.Context())
	return out.String(), errOut.String(), err
}

func self(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPluginTestPassesWhatConforms(t *testing.T) {
	t.Parallel()
	out, _, err := run(t, "plugin", "test", "rules")
	if err != nil || !strings.Contains(out, "ok     the end of its host\n\nrules conforms: ") || strings.Contains(out, "FAULT") {
		t.Errorf("the built-in plugin: %v\n%s", err, out)
	}
	settings := filepath.Join(t.TempDir(), "settings.json")
	if err := os.WriteFile(settings, []byte(`{"api_key":"sk-12345678"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	out, progress, err := run(t, "plugin", "test", "--json", "--settings", settings, self(t), "--", asPlugin, "fine")
	var report conformance
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	if err != nil || !report.Conforms || len(report.Checks) < 20 || !strings.Contains(progress, "ok     a batch\n") {
		t.Errorf("%v\n%s\n%s", err, out, progress)
	}
	out, _, err = run(t, "plugin", "test", self(t), "--", asPlugin, "fine")
	if !errors.Is(err, errReported) || !strings.Contains(out, "FAULT  settings\n         - it does not accept to be without settings; give it some (--settings FILE") || !strings.Contains(out, "api_key is missing") {
		t.Errorf("without the settings that it needs: %v\n%s", err, out)
	}
}

// A plugin that repeats its settings does not bring them to anybody's log.
func TestPluginTestTellsNoSecret(t *testing.T) {
	t.Parallel()
	settings := filepath.Join(t.TempDir(), "settings.json")
	if err := os.WriteFile(settings, []byte(`{"api_key":"sk-87654321"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"--json=false", "--json"} {
		out, progress, err := run(t, "plugin", "test", format, "--settings", settings, self(t), "--", asPlugin, "teller")
		if !errors.Is(err, errReported) || !strings.Contains(out, "what are {") || strings.Contains(out+progress, "sk-87654321") || !strings.Contains(out, "[redacted]") {
			t.Errorf("%v\n%s\n%s", err, out, progress)
		}
	}
}

// Each fault is told as what the plugin did, and in the check that is for it,
// though the service would have dropped it in silence.
func TestPluginTestFindsFaults(t *testing.T) {
	t.Parallel()
	for way, want := range map[string]struct{ check, fault string }{
		"outside":  {"an ordinary bug", `"admin" is not among the repository's options for category`},
		"long":     {"an empty issue", "the reason of category has 2000 bytes"},
		"missing":  {"a batch", "there is no outcome for item"},
		"twice":    {"a batch", "there are two outcomes for item"},
		"position": {"a batch", "which was not sent; repeat the item's id"},
		"empty":    {"a title alone", "is neither a classification nor an error"},
		"crash":    {"one endless line", "it ended while it was asked: the process ended: exit status 3"},
		"hang":     {"deep nesting", "no answer within 1s"},
		"huge":     {"an ordinary bug", "message larger than max"},
		"unasked":  {"what it does not offer", "Configure must answer UNIMPLEMENTED while the description does not list CAPABILITY_CONFIGURE, but it succeeds"},
		"settings": {"settings that are broken", "its message repeats the secret among the settings"},
		"vectors":  {"embedding", "the vector has 2 numbers; the description states 3"},
		"unnamed":  {"description", "must name an embedding model"},
		"deaf":     {"the end of its host", "it goes on 5s after its standard input has ended"},
		"future":   {"start", "it speaks version 9 of the plugin protocol, and this DispatchAI version 1"},
	} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			out, _, err := run(t, "plugin", "test", "--json", "--timeout", "1s", self(t), "--", asPlugin, way)
			var report conformance
			if e := json.Unmarshal([]byte(out), &report); e != nil || !errors.Is(err, errReported) || report.Conforms {
				t.Fatalf("%v, %v: %s", err, e, out)
			}
			found := false
			for _, c := range report.Checks {
				if c.OK != (len(c.Faults) == 0) {
					t.Errorf("%+v", c)
				}
				found = found || c.Check == want.check && strings.Contains(strings.Join(c.Faults, "\n"), want.fault)
			}
			if !found {
				t.Errorf("the fault was not found: %s", out)
			}
			// One fault ends no check but its own.
			if last := report.Checks[len(report.Checks)-1].Check; last != "the end of its host" && !slices.Contains([]string{"unnamed", "future", "settings"}, way) {
				t.Errorf("the last check is %q", last)
			}
		})
	}
}

func TestPluginInfo(t *testing.T) {
	t.Parallel()
	out, _, err := run(t, "plugin", "info", "rules")
	if err != nil || !strings.Contains(out, "name          rules\n") || !strings.Contains(out, "protocol      version 1\n") {
		t.Errorf("%v\n%s", err, out)
	}
	// It says who it is without the settings that it needs.
	out, _, err = run(t, "plugin", "info", self(t), "--json", "--", asPlugin, "fine")
	const want = `{"name":"fine","version":"1.2.3","protocol":1,"fields":["category"],"capabilities":["configure"],"max_batch":5}` + "\n"
	if err != nil || out != want {
		t.Errorf("%v\n%s", err, out)
	}
	for fault, args := range map[string][]string{
		"there is no executable":           {"plugin", "info", "no/such/plugin"},
		"and its own arguments after --":   {"plugin", "info", "rules", "more"},
		"there is no file /no/such/file":   {"plugin", "info", "reattach:/no/such/file"},
		"did not greet as a DispatchAI p":  {"plugin", "info", self(t), "--", "-test.run=^$"},
		"an embedding model must be named": {"plugin", "info", self(t), "--", asPlugin, "unnamed"},
	} {
		if _, _, err := run(t, args...); err == nil || !strings.Contains(strings.Join(strings.Fields(err.Error()), " "), fault) {
			t.Errorf("%q: %v", args, err)
		}
	}
}

func TestSpecName(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"./My Plugin.py": "my-plugin-py", "/opt/7zip": "zip", "///": "plugin", strings.Repeat("x", 99): strings.Repeat("x", 40), "日本": "plugin",
	} {
		if got := specName(path); got != want {
			t.Errorf("%q: %q, want %q", path, got, want)
		}
	}
}
