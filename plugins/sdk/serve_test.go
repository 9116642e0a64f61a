package sdk

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "github.com/dispatchai/dispatchai/proto/dispatchai/classifier/v1"
)

const asPlugin = "run-as-plugin"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == asPlugin {
		if err := Serve(functional{}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// functional is a classifier made of a function.
type functional struct {
	classify func(context.Context, Request) (Result, error)
}

func (functional) Describe() Description {
	return Description{Name: "functional", Version: "1.0.0", Fields: []Field{Category}}
}

func (f functional) Classify(ctx context.Context, r Request) (Result, error) {
	if f.classify == nil {
		return Result{}, nil
	}
	return f.classify(ctx, r)
}

// dial serves a classifier on a Unix socket and connects to it.
func dial(t testing.TB, c Classifier, parallel int) pb.ClassifierServiceClient {
	t.Helper()
	s, err := newServer(c, parallel, Logger())
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "sdk")
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	g := newGRPCServer(s)
	pb.RegisterClassifierServiceServer(g, s)
	served := make(chan error, 1)
	go func() { served <- g.Serve(listener) }()
	conn, err := grpc.NewClient("unix:"+listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		g.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
		_ = os.RemoveAll(dir)
	})
	return pb.NewClassifierServiceClient(conn)
}

func request(titles ...string) *pb.ClassifyRequest {
	r := &pb.ClassifyRequest{Repositories: []*pb.Repository{{Id: 1, FullName: "a/b"}}}
	for i, title := range titles {
		r.Items = append(r.Items, &pb.Item{Id: uint64(100 + i), Issue: &pb.Issue{Title: title}})
	}
	return r
}

func limited(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestClassifyBatch(t *testing.T) {
	client := dial(t, functional{func(_ context.Context, r Request) (Result, error) {
		switch r.Issue.Title {
		case "panic":
			var result Result
			result.Fields[Category] = Answer{}
			return result, nil
		case "permanent":
			return Result{}, Permanent(errors.New("too odd"))
		case "later":
			return Result{}, fmt.Errorf("model: %w", RetryAfter(errors.New("busy"), 90*time.Second))
		case "bad text":
			return Result{
				Fields:    map[Field]Answer{Category: {Values: []string{"b\xffg"}, Reason: strings.Repeat("é", 1000)}, "invented": {Values: []string{"x"}}},
				Reasoning: strings.Repeat("\xff", 1<<20),
			}, nil
		}
		return Result{Fields: map[Field]Answer{Category: {Values: []string{r.Issue.Title}, Confidence: 0.5}}}, nil
	}}, 3)
	r := request("bug", "panic", "permanent", "later", "bad text")
	r.Items = append(r.Items, &pb.Item{Id: 7, Repository: 9, Issue: &pb.Issue{}}, &pb.Item{Id: 8})
	response, err := client.Classify(limited(t), r)
	if err != nil {
		t.Fatal(err)
	}
	for i, o := range response.GetOutcomes() {
		if o.GetId() != r.GetItems()[i].GetId() {
			t.Errorf("outcome %d is for item %d", i, o.GetId())
		}
	}
	out := response.GetOutcomes()
	want := &pb.Classification{Answers: []*pb.Answer{{Field: pb.Field_FIELD_CATEGORY, Values: []string{"bug"}, Confidence: 0.5}}}
	if !proto.Equal(out[0].GetClassification(), want) {
		t.Errorf("bug: %v", out[0])
	}
	if e := out[1].GetError(); !strings.Contains(e.GetMessage(), "assignment to entry in nil map") || e.GetPermanent() {
		t.Errorf("panic: %v", out[1])
	}
	if e := out[2].GetError(); e.GetMessage() != "too odd" || !e.GetPermanent() {
		t.Errorf("permanent: %v", out[2])
	}
	if e := out[3].GetError(); e.GetRetryAfter().AsDuration() != 90*time.Second || e.GetMessage() != "model: busy" {
		t.Errorf("later: %v", out[3])
	}
	c := out[4].GetClassification()
	if len(c.GetAnswers()) != 2 || c.GetAnswers()[0].GetValues()[0] != "b\uFFFDg" || len(c.GetAnswers()[0].GetReason()) != MaxReasonBytes ||
		c.GetAnswers()[1].GetField() != pb.Field_FIELD_UNSPECIFIED || len(c.GetReasoning()) > MaxReasoningBytes {
		t.Errorf("bad text: %d answers, %.200v", len(c.GetAnswers()), c)
	}
	for _, o := range out[5:] {
		if !o.GetError().GetPermanent() {
			t.Errorf("a broken item: %v", o)
		}
	}
}

func TestOptionalCalls(t *testing.T) {
	client := dial(t, functional{}, 0)
	d, err := client.Describe(limited(t), &pb.DescribeRequest{})
	if err != nil || d.GetName() != "functional" || len(d.GetCapabilities()) != 0 {
		t.Errorf("%v %v", d, err)
	}
	_, configure := client.Configure(limited(t), &pb.ConfigureRequest{})
	_, embed := client.Embed(limited(t), &pb.EmbedRequest{})
	_, learn := client.Learn(limited(t), &pb.LearnRequest{})
	_, forget := client.Forget(limited(t), &pb.ForgetRequest{})
	fit, err := client.Fit(limited(t))
	if err == nil {
		_, err = fit.Recv()
	}
	for name, err := range map[string]error{"Configure": configure, "Embed": embed, "Learn": learn, "Forget": forget, "Fit": err} {
		if status.Code(err) != codes.Unimplemented {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The batch runs in parallel, as wide as it was told and no wider.
func TestParallel(t *testing.T) {
	var now, most atomic.Int64
	full := make(chan struct{})
	client := dial(t, functional{func(ctx context.Context, _ Request) (Result, error) {
		n := now.Add(1)
		defer now.Add(-1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		if n == 4 {
			close(full)
		}
		select {
		case <-full:
		case <-ctx.Done():
		}
		return Result{}, ctx.Err()
	}}, 4)
	// Four calls meet once; afterwards none waits.
	if _, err := client.Classify(limited(t), request("a", "b", "c", "d")); err != nil {
		t.Fatal(err)
	}
	if most.Load() != 4 {
		t.Errorf("%d at once", most.Load())
	}
}

// What is done before the deadline arrives; what had no turn is asked again.
func TestDeadline(t *testing.T) {
	client := dial(t, functional{func(ctx context.Context, r Request) (Result, error) {
		if r.Issue.Title == "slow" {
			<-ctx.Done()
			return Result{}, ctx.Err()
		}
		return Result{}, nil
	}}, 1)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	response, err := client.Classify(ctx, request("quick", "slow", "unlucky"))
	if err != nil {
		t.Fatal(err)
	}
	out := response.GetOutcomes()
	if out[0].GetClassification() == nil || out[1].GetError() == nil || out[1].GetError().GetRetryAfter() != nil || out[2].GetError().GetRetryAfter() == nil {
		t.Errorf("%v", out)
	}
}

func TestCancellationReachesTheClassifier(t *testing.T) {
	began, ended := make(chan struct{}), make(chan struct{})
	client := dial(t, functional{func(ctx context.Context, _ Request) (Result, error) {
		close(began)
		<-ctx.Done()
		close(ended)
		return Result{}, ctx.Err()
	}}, 1)
	ctx, cancel := context.WithCancel(limited(t))
	go func() {
		<-began
		cancel()
	}()
	if _, err := client.Classify(ctx, request("x")); status.Code(err) != codes.Canceled {
		t.Errorf("%v", err)
	}
	select {
	case <-ended:
	case <-limited(t).Done():
		t.Error("the classifier was not told")
	}
}

func TestUnfitClassifiers(t *testing.T) {
	for want, c := range map[string]Classifier{
		"it is nil":             nil,
		"must be lower-case":    described{Description{Name: "A b", Version: "1.0.0"}},
		"semantic version":      described{Description{Name: "a", Version: "one"}},
		"not a field":           described{Description{Name: "a", Version: "1.0.0", Fields: []Field{"colour"}}},
		"has no Embed method":   described{Description{Name: "a", Version: "1.0.0", Embedding: &EmbeddingModel{Name: "m", Dimensions: 3}}},
		"terms have none":       described{Description{Name: "a", Version: "1.0.0", Embedding: &EmbeddingModel{Name: "m", Dimensions: 3, Terms: true}}},
		"no EmbedTerms method":  described{Description{Name: "a", Version: "1.0.0", Embedding: &EmbeddingModel{Name: "m", Terms: true}}},
		"must name the Embeddi": termed{described{Description{Name: "a", Version: "1.0.0"}}},
		"1 to 1536 are possibl": described{Description{Name: "a", Version: "1.0.0", Embedding: &EmbeddingModel{Name: "m", Dimensions: 3000}}},
	} {
		if _, err := newServer(c, 0, Logger()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

type described struct{ d Description }

func (d described) Describe() Description                           { return d.d }
func (described) Classify(context.Context, Request) (Result, error) { return Result{}, nil }

type termed struct{ described }

func (termed) EmbedTerms(_ context.Context, texts []Text) ([][]Term, error) {
	out := make([][]Term, len(texts))
	for i, t := range texts {
		out[i] = []Term{{ID: uint32(len(t.Title)), Weight: 1.5, Share: 7}, {ID: 9, Weight: 2}}
	}
	return out[:min(len(out), 2)], nil
}

// Terms go over the wire as they are, and one list too few is an error.
func TestEmbedTerms(t *testing.T) {
	client := dial(t, termed{described{Description{Name: "a", Version: "1.0.0", Embedding: &EmbeddingModel{Name: "m", Terms: true}}}}, 0)
	d, err := client.Describe(limited(t), &pb.DescribeRequest{})
	if err != nil || !d.GetEmbedding().GetTerms() || !slices.Contains(d.GetCapabilities(), pb.Capability_CAPABILITY_EMBED) {
		t.Errorf("%v %v", d, err)
	}
	texts := []*pb.Text{{Title: "abc"}, {}}
	r, err := client.Embed(limited(t), &pb.EmbedRequest{Texts: texts})
	if err != nil || len(r.GetVectors()) != 2 {
		t.Fatal(r, err)
	}
	v := r.GetVectors()[0]
	if !slices.Equal(v.GetTerms(), []uint32{3, 9}) || !slices.Equal(v.GetWeights(), []float32{1.5, 2}) || !slices.Equal(v.GetShares(), []uint32{7, 0}) || len(v.GetValues()) != 0 {
		t.Errorf("%v", v)
	}
	if _, err := client.Embed(limited(t), &pb.EmbedRequest{Texts: append(texts, &pb.Text{})}); status.Code(err) != codes.Internal {
		t.Errorf("for too few lists: %v", err)
	}
}

// A plugin ends when its standard input does, which is when its host does,
// though the parent process lives.
func TestEndsWithItsHost(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(limited(t), self, asPlugin)
	cmd.Env = []string{CookieKey + "=" + CookieValue, "PLUGIN_PROTOCOL_VERSIONS=2,1", "PLUGIN_UNIX_SOCKET_DIR=" + t.TempDir(), "TMPDIR=" + os.TempDir()}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "1|1|unix|") {
		t.Fatalf("handshake %q: %v", line, err)
	}
	if err := stdin.Close(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("it did not end by itself: %v", err)
	}
}

// Started by hand, a plugin says what it is, and what it cannot make sense of.
func TestNotLaunched(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for value, want := range map[string]string{
		"":      "it is started by DispatchAI, not by hand",
		"false": "it is started by DispatchAI, not by hand",
		"maybe": `DISPATCHAI_PLUGIN_DEBUG is "maybe"; set it to 1`,
	} {
		cmd := exec.CommandContext(limited(t), self, asPlugin)
		cmd.Env = []string{DebugKey + "=" + value}
		if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), want) {
			t.Errorf("%q: %v, %s", value, err, out)
		}
	}
}

// Whatever bytes arrive, every item has its outcome.
func FuzzClassify(f *testing.F) {
	seed, err := proto.Marshal(request("a", "b"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte{})
	s, err := newServer(functional{func(_ context.Context, r Request) (Result, error) {
		return Result{Fields: map[Field]Answer{Category: {Values: []string{r.Issue.Title, r.Repository.FullName}}}}, nil
	}}, 2, Logger())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var r pb.ClassifyRequest
		if proto.Unmarshal(data, &r) != nil {
			return
		}
		response, err := s.Classify(context.Background(), &r)
		if err != nil {
			t.Fatal(err)
		}
		if len(response.GetOutcomes()) != len(r.GetItems()) {
			t.Fatalf("%d outcomes for %d items", len(response.GetOutcomes()), len(r.GetItems()))
		}
		for i, o := range response.GetOutcomes() {
			if o.GetId() != r.GetItems()[i].GetId() || o.GetOutcome() == nil {
				t.Fatalf("outcome %d: %v", i, o)
			}
		}
		if _, err := proto.Marshal(response); err != nil {
			t.Fatal(err)
		}
	})
}
