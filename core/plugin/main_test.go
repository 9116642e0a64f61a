package plugin

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/dispatchai/dispatchai/core/confine"
	"github.com/dispatchai/dispatchai/plugins/rules"
	"github.com/dispatchai/dispatchai/plugins/sdk"
	pb "github.com/dispatchai/dispatchai/proto/dispatchai/classifier/v1"
)

// The test binary is also the plugins, and the host, that the tests run: its
// first argument says which.
const asPlugin = "run-as-plugin"

func TestMain(m *testing.M) {
	confine.Enter()
	if len(os.Args) > 2 && os.Args[1] == asPlugin {
		if err := runAs(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func runAs(mode string) error {
	switch mode {
	case "sdk":
		return sdk.Serve(&subject{})
	case "rules-on-one-core":
		runtime.GOMAXPROCS(1)
		return sdk.Serve(rules.New())
	case "terms":
		return sdk.Serve(speller{})
	case "raw":
		serveRaw(sdk.CookieKey, sdk.ProtocolVersion)
	case "other-cookie":
		serveRaw("ANOTHER_COOKIE", sdk.ProtocolVersion)
	case "newer":
		serveRaw(sdk.CookieKey, sdk.ProtocolVersion, 7, 9)
	case "future":
		serveRaw(sdk.CookieKey, 9)
	case "hello":
		fmt.Println("hello, world")
	case "exit":
		fmt.Fprintln(os.Stderr, "cannot open the model file")
		os.Exit(3)
	case "mute":
		select {}
	case "tcp":
		fmt.Println("1|1|tcp|127.0.0.1:9|grpc")
		select {}
	case "elsewhere":
		fmt.Println("1|1|unix|/tmp/somebody-elses.sock|grpc")
		select {}
	case "endless-handshake":
		for {
			fmt.Print(strings.Repeat("x", 1<<16))
		}
	case "child":
		// A child of the plugin keeps its output open and outlives it.
		cmd := exec.Command("sleep", "1000")
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if err := cmd.Start(); err != nil {
			return err
		}
		return sdk.Serve(&subject{child: cmd.Process.Pid})
	case "host":
		return runHost()
	}
	return nil
}

// runHost launches a plugin, says its process ID, and waits to be killed.
func runHost() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	p, err := Launch(context.Background(), Spec{Name: "orphan", Path: self, Args: []string{asPlugin, "sdk"}}, Options{})
	if err != nil {
		return err
	}
	fmt.Println(p.Health().PID, p.runDir)
	_, err = io.Copy(io.Discard, os.Stdin)
	return errors.Join(err, p.Close())
}

// subject is a classifier that does what an issue's title says.
type subject struct {
	child    int
	greeting string
	models   map[int64]string
	learned  []string
}

func (s *subject) Describe() sdk.Description {
	return sdk.Description{
		Name: "subject", Version: "1.2.3",
		Fields:    []sdk.Field{sdk.Category, sdk.Tags, sdk.Summary},
		Embedding: &sdk.EmbeddingModel{Name: "letters", Dimensions: 4},
	}
}

func (s *subject) Configure(_ context.Context, settings json.RawMessage) error {
	var c struct {
		Greeting string `json:"greeting"`
		APIKey   string `json:"api_key"`
		Refuse   bool   `json:"refuse"`
	}
	if len(settings) > 0 {
		if err := json.Unmarshal(settings, &c); err != nil {
			return err
		}
	}
	if c.Refuse {
		return fmt.Errorf("refuse must not be set; the key is %s", c.APIKey)
	}
	s.greeting = c.Greeting
	if c.APIKey != "" {
		fmt.Fprintf(os.Stderr, "configured with %s\n", c.APIKey)
	}
	return nil
}

func (s *subject) Classify(ctx context.Context, r sdk.Request) (sdk.Result, error) {
	word, rest, _ := strings.Cut(r.Issue.Title, " ")
	switch word {
	case "crash":
		fmt.Fprintln(os.Stderr, "about to crash")
		os.Exit(7)
	case "hang":
		select {}
	case "sleep":
		<-ctx.Done()
		return sdk.Result{}, ctx.Err()
	case "panic":
		panic("out of cheese")
	case "error":
		return sdk.Result{}, errors.New(rest)
	case "permanent":
		return sdk.Result{}, sdk.Permanent(errors.New(rest))
	case "later":
		return sdk.Result{}, sdk.RetryAfter(errors.New("rate limited"), 7*time.Second)
	case "environment":
		wd, _ := os.Getwd()
		return sdk.Result{Reasoning: strings.Join(os.Environ(), "\n") + "\nWD=" + wd}, nil
	case "flood":
		line := strings.Repeat("y", 100) + "\n"
		for range 20000 {
			if _, err := os.Stderr.WriteString(line); err != nil {
				return sdk.Result{}, err
			}
		}
	case "dial", "connect":
		dial := sdk.Dial
		if word == "dial" {
			dial = (&net.Dialer{}).DialContext
		}
		c, err := dial(ctx, "tcp", rest)
		if err != nil {
			return sdk.Result{}, err
		}
		defer func() { _ = c.Close() }()
		if _, err := fmt.Fprintln(c, "ping"); err != nil {
			return sdk.Result{}, err
		}
		answer, err := bufio.NewReader(c).ReadString('\n')
		return sdk.Result{Reasoning: answer}, err
	case "gorge":
		taken := make([]byte, 0, 1<<30)
		for ctx.Err() == nil && len(taken) < cap(taken) {
			taken = append(taken, bytes.Repeat([]byte{1}, 1<<20)...)
		}
		runtime.KeepAlive(taken)
	case "seen":
		i := r.Issue
		return sdk.Result{Reasoning: fmt.Sprintf("%q %q %q %t %d", i.Author, i.AuthorAssociation, i.Labels, i.CreatedAt.IsZero(), len(r.Similar))}, nil
	case "size":
		return sdk.Result{Reasoning: fmt.Sprint(len(r.Issue.Title), len(r.Issue.Body), r.Issue.Truncated)}, nil
	case "greeting":
		return sdk.Result{Reasoning: s.greeting}, nil
	case "child":
		return sdk.Result{Reasoning: fmt.Sprint(s.child)}, nil
	case "model":
		return sdk.Result{Reasoning: s.models[r.Repository.ID]}, nil
	case "learned":
		return sdk.Result{Reasoning: strings.Join(s.learned, ",")}, nil
	}
	return sdk.Result{
		Fields: map[sdk.Field]sdk.Answer{
			sdk.Category: {Values: []string{"bug"}, Confidence: 0.75, Reason: "It says so."},
			sdk.Summary:  {Values: []string{r.Issue.Title}, Confidence: 1},
		},
		Reasoning: fmt.Sprintf("%s: %d similar", r.Repository.FullName, len(r.Similar)),
		Usage:     sdk.Usage{InputTokens: 3, CostUSD: 0.25},
	}, nil
}

func (s *subject) Embed(_ context.Context, texts []sdk.Text) ([][]float32, error) {
	vectors := make([][]float32, len(texts))
	for i, t := range texts {
		vectors[i] = []float32{float32(len(t.Title)), 1, 2, 3}
		switch t.Title {
		case "crash":
			os.Exit(7)
		case "nan":
			vectors[i][2] = float32(math.NaN())
		case "short":
			vectors[i] = vectors[i][:3]
		case "error":
			return nil, errors.New("no")
		}
	}
	return vectors, nil
}

// speller is a classifier that embeds a text as its title says.
type speller struct{}

func (speller) Describe() sdk.Description {
	return sdk.Description{Name: "speller", Version: "1.0.0", Embedding: &sdk.EmbeddingModel{Name: "words", Terms: true}}
}

func (speller) Classify(context.Context, sdk.Request) (sdk.Result, error) { return sdk.Result{}, nil }

func (speller) EmbedTerms(_ context.Context, texts []sdk.Text) ([][]sdk.Term, error) {
	out := make([][]sdk.Term, len(texts))
	for i, t := range texts {
		term := sdk.Term{ID: uint32(len(t.Title)), Weight: 1.5, Share: 6}
		out[i] = []sdk.Term{term}
		switch t.Title {
		case "":
			out[i] = nil
		case "twice":
			out[i] = append(out[i], term)
		case "weightless":
			out[i][0].Weight = 0
		case "endless":
			out[i][0].Weight = float32(math.Inf(1))
		case "common":
			out[i][0].Share = 1001
		case "many", "full":
			out[i] = make([]sdk.Term, sdk.MaxTerms+5-len(t.Title))
			if t.Title == "full" {
				out[i] = out[i][1:]
			}
			for n := range out[i] {
				out[i][n] = sdk.Term{ID: uint32(n), Weight: 1}
			}
		case "crash":
			os.Exit(7)
		}
	}
	return out, nil
}

func (s *subject) Fit(_ context.Context, r sdk.Repository, examples func(func(sdk.Example) bool)) (sdk.Model, error) {
	n, bytes := 0, 0
	for e := range examples {
		n++
		bytes += len(e.Issue.Body)
	}
	// Large enough to need several parts.
	data := []byte(strings.Repeat("m", 3<<20) + fmt.Sprintf("%s:%d:%d", r.FullName, n, bytes))
	return sdk.Model{RepositoryID: r.ID, Version: "v1", Data: data}, nil
}

func (s *subject) Load(_ context.Context, m sdk.Model) error {
	if len(m.Data) == 0 {
		return errors.New("the model is empty")
	}
	if s.models == nil {
		s.models = make(map[int64]string)
	}
	s.models[m.RepositoryID] = m.Version + ":" + strings.TrimLeft(string(m.Data), "m")
	return nil
}

func (s *subject) Learn(_ context.Context, e sdk.Example) error {
	s.learned = append(s.learned, fmt.Sprintf("%s/%s/%s", e.EventID, e.Repository.FullName, strings.Join(e.Fields[sdk.Category], "+")))
	return nil
}

func (s *subject) Forget(_ context.Context, id int64) error {
	delete(s.models, id)
	return nil
}

// raw speaks the protocol without the SDK, and badly: as an issue's title says.
type raw struct {
	pb.UnimplementedClassifierServiceServer
}

func serveRaw(cookie string, versions ...int) {
	plugins := make(map[int]goplugin.PluginSet)
	for _, v := range versions {
		plugins[v] = goplugin.PluginSet{"classifier": rawPlugin{}}
	}
	goplugin.Serve(&goplugin.ServeConfig{
		HandshakeConfig:  goplugin.HandshakeConfig{MagicCookieKey: cookie, MagicCookieValue: sdk.CookieValue},
		VersionedPlugins: plugins,
		GRPCServer: func(o []grpc.ServerOption) *grpc.Server {
			return grpc.NewServer(append(o, grpc.MaxSendMsgSize(1<<30), grpc.MaxRecvMsgSize(1<<30))...)
		},
	})
}

type rawPlugin struct {
	goplugin.NetRPCUnsupportedPlugin
}

func (rawPlugin) GRPCServer(_ *goplugin.GRPCBroker, s *grpc.Server) error {
	pb.RegisterClassifierServiceServer(s, raw{})
	return nil
}

func (rawPlugin) GRPCClient(context.Context, *goplugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, errors.New("not a client")
}

func (raw) Describe(context.Context, *pb.DescribeRequest) (*pb.DescribeResponse, error) {
	return &pb.DescribeResponse{
		Name: "raw", Version: "0.1.0",
		Fields: []pb.Field{pb.Field_FIELD_CATEGORY, pb.Field_FIELD_TAGS, pb.Field_FIELD_SUMMARY, pb.Field_FIELD_ASSIGNEES, pb.Field(77)},
	}, nil
}

func (raw) Classify(_ context.Context, r *pb.ClassifyRequest) (*pb.ClassifyResponse, error) {
	out := &pb.ClassifyResponse{}
	for _, item := range r.GetItems() {
		ok := &pb.Outcome{Id: item.GetId(), Outcome: &pb.Outcome_Classification{Classification: &pb.Classification{
			Answers: []*pb.Answer{{Field: pb.Field_FIELD_CATEGORY, Values: []string{"bug"}, Confidence: 0.5}},
		}}}
		switch item.GetIssue().GetTitle() {
		case "huge":
			ok.GetClassification().Reasoning = strings.Repeat("z", 100<<20)
		case "missing":
			continue
		case "twice":
			other := &pb.Outcome{Id: item.GetId(), Outcome: &pb.Outcome_Error{Error: &pb.ItemError{Message: "second"}}}
			out.Outcomes = append(out.Outcomes, ok, other)
			continue
		case "other":
			ok.Id += 1000
		case "empty":
			ok.Outcome = nil
		case "status":
			return nil, status.Error(codes.Internal, "I am confused\x1b[31m")
		case "values":
			ok.GetClassification().Answers = []*pb.Answer{
				{Field: pb.Field_FIELD_CATEGORY, Values: []string{"security"}, Confidence: 0.9},
				{Field: pb.Field_FIELD_TAGS, Values: []string{"help wanted", "admin", "HELP WANTED"}, Confidence: 0.9, Reason: "a\x00b\u202ec\nd"},
				{Field: pb.Field_FIELD_SUMMARY, Values: []string{"fine"}, Confidence: math.NaN()},
				{Field: pb.Field_FIELD_PRIORITY, Values: []string{"high"}, Confidence: 1},
				{Field: pb.Field(99), Values: []string{"?"}, Confidence: 1},
				{Field: pb.Field_FIELD_ASSIGNEES, Values: []string{"octocat", "no such/login", "@all"}, Confidence: 0.4},
			}
		}
		out.Outcomes = append(out.Outcomes, ok)
	}
	return out, nil
}
