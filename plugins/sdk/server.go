package sdk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/dispatchai/dispatchai/proto/dispatchai/classifier/v1"
)

// modelPart is how much of a model goes into one message of a stream.
const modelPart = 1 << 20

// server answers the protocol's calls with a Classifier's methods.
type server struct {
	pb.UnimplementedClassifierServiceServer
	classifier  Classifier
	description Description
	parallel    int
	log         *slog.Logger
}

// newServer checks what can be known of a classifier before anybody calls it.
func newServer(c Classifier, parallel int, log *slog.Logger) (*server, error) {
	if c == nil {
		return nil, errors.New("there is no classifier to serve: it is nil")
	}
	if parallel <= 0 {
		parallel = runtime.GOMAXPROCS(0)
	}
	d := c.Describe()
	if err := d.Validate(); err != nil {
		return nil, fmt.Errorf("the classifier's description is not valid: %w", err)
	}
	if err := checkEmbedding(c, d.Embedding); err != nil {
		return nil, err
	}
	return &server{classifier: c, description: d, parallel: parallel, log: log}, nil
}

// checkEmbedding sees to it that a classifier embeds as its description says.
func checkEmbedding(c Classifier, model *EmbeddingModel) error {
	_, vectors := c.(Embedder)
	_, terms := c.(TermEmbedder)
	switch {
	case vectors && terms:
		return errors.New("the classifier has an Embed and an EmbedTerms method; only one is possible")
	case (vectors || terms) && model == nil:
		return errors.New("the classifier has an Embed or EmbedTerms method, so its description must name the Embedding")
	case model != nil && !model.Terms && !vectors:
		return errors.New("the description names an Embedding, but the classifier has no Embed method")
	case model != nil && model.Terms && !terms:
		return errors.New("the description names an Embedding of terms, but the classifier has no EmbedTerms method")
	}
	return nil
}

func (s *server) Describe(context.Context, *pb.DescribeRequest) (*pb.DescribeResponse, error) {
	var capabilities []pb.Capability
	if _, ok := s.classifier.(Configurer); ok {
		capabilities = append(capabilities, pb.Capability_CAPABILITY_CONFIGURE)
	}
	if s.description.Embedding != nil {
		capabilities = append(capabilities, pb.Capability_CAPABILITY_EMBED)
	}
	if _, ok := s.classifier.(Learner); ok {
		capabilities = append(capabilities, pb.Capability_CAPABILITY_LEARN)
	}
	return descriptionToProto(s.description, capabilities), nil
}

func (s *server) Configure(ctx context.Context, r *pb.ConfigureRequest) (*pb.ConfigureResponse, error) {
	c, ok := s.classifier.(Configurer)
	if !ok {
		return nil, status.Errorf(codes.Unimplemented, "%s has no settings", s.description.Name)
	}
	if err := c.Configure(ctx, json.RawMessage(r.GetSettings())); err != nil {
		if ctx.Err() != nil {
			return nil, status.FromContextError(ctx.Err()).Err()
		}
		return nil, status.Error(codes.InvalidArgument, clean(err.Error(), MaxReasonBytes))
	}
	return &pb.ConfigureResponse{}, nil
}

func (s *server) Classify(ctx context.Context, r *pb.ClassifyRequest) (*pb.ClassifyResponse, error) {
	items := r.GetItems()
	repositories := repositoriesFromProto(r.GetRepositories())
	outcomes := make([]pb.Outcome, len(items))
	response := &pb.ClassifyResponse{Outcomes: make([]*pb.Outcome, len(items))}

	// The classifier gets a little less time than the host gives, so that what
	// is done by then arrives.
	inner, cancel := beforeDeadline(ctx)
	defer cancel()
	var next atomic.Int64
	work := func() {
		for ctx.Err() == nil {
			i := int(next.Add(1)) - 1
			if i >= len(items) {
				return
			}
			out := &outcomes[i]
			out.Id = items[i].GetId()
			if inner.Err() != nil {
				out.Outcome = &pb.Outcome_Error{Error: errorToProto(RetryAfter(errors.New("the batch ran out of time before this issue's turn"), time.Second))}
			} else {
				s.classify(inner, repositories, items[i], out)
			}
			response.Outcomes[i] = out
		}
	}
	var wg sync.WaitGroup
	for range min(s.parallel, len(items)) - 1 {
		wg.Go(work)
	}
	work()
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return nil, status.FromContextError(err).Err()
	}
	return response, nil
}

// beforeDeadline ends a tenth of the remaining time, at most a second, early.
func beforeDeadline(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, deadline.Add(-min(time.Second, time.Until(deadline)/10)))
}

// classify writes the outcome of one item. A panic of the classifier is that
// item's error and nobody else's.
func (s *server) classify(ctx context.Context, repositories []*Repository, item *pb.Item, out *pb.Outcome) {
	defer func() {
		if v := recover(); v != nil {
			s.logPanic("Classify", v)
			out.Outcome = &pb.Outcome_Error{Error: errorToProto(fmt.Errorf("the classifier panicked: %v", v))}
		}
	}()
	n := item.GetRepository()
	if int64(n) >= int64(len(repositories)) || item.GetIssue() == nil {
		out.Outcome = &pb.Outcome_Error{Error: errorToProto(Permanent(errors.New("the host sent an item without its issue or repository")))}
		return
	}
	result, err := s.classifier.Classify(ctx, Request{
		Repository: repositories[n],
		Issue:      issueFromProto(item.GetIssue()),
		Similar:    similarFromProto(item.GetSimilar()),
		Wanted:     fieldsFromProto(item.GetWanted()),
	})
	if err != nil {
		out.Outcome = &pb.Outcome_Error{Error: errorToProto(err)}
		return
	}
	out.Outcome = &pb.Outcome_Classification{Classification: resultToProto(result)}
}

func (s *server) Embed(ctx context.Context, r *pb.EmbedRequest) (*pb.EmbedResponse, error) {
	texts := make([]Text, len(r.GetTexts()))
	for i, t := range r.GetTexts() {
		texts[i] = Text{Title: t.GetTitle(), Body: t.GetBody()}
	}
	block := make([]pb.Vector, len(texts))
	switch e := s.classifier.(type) {
	case Embedder:
		vectors, err := e.Embed(ctx, texts)
		if err != nil {
			return nil, s.failed(ctx, "Embed", err)
		}
		if len(vectors) != len(texts) {
			return nil, status.Errorf(codes.Internal, "Embed gave %d vectors for %d texts", len(vectors), len(texts))
		}
		for i, v := range vectors {
			block[i].Values = v
		}
	case TermEmbedder:
		terms, err := e.EmbedTerms(ctx, texts)
		if err != nil {
			return nil, s.failed(ctx, "EmbedTerms", err)
		}
		if len(terms) != len(texts) {
			return nil, status.Errorf(codes.Internal, "EmbedTerms gave the terms of %d texts instead of %d", len(terms), len(texts))
		}
		for i, t := range terms {
			termsToProto(t, &block[i])
		}
	default:
		return nil, s.unimplemented("Embed")
	}
	response := &pb.EmbedResponse{Vectors: make([]*pb.Vector, len(texts))}
	for i := range block {
		response.Vectors[i] = &block[i]
	}
	return response, nil
}

func (s *server) Fit(stream grpc.BidiStreamingServer[pb.FitRequest, pb.FitResponse]) error {
	l, ok := s.classifier.(Learner)
	if !ok {
		return s.unimplemented("Fit")
	}
	request, err := stream.Recv()
	if err != nil {
		return err
	}
	if request.GetRepository() == nil {
		return status.Error(codes.InvalidArgument, "the first request of Fit must name the repository")
	}
	repository := repositoryFromProto(request.GetRepository())
	var broken error
	examples := func(yield func(Example) bool) {
		for request != nil {
			for _, e := range request.GetExamples() {
				if !yield(exampleFromProto(e, repository)) {
					return
				}
			}
			if request, broken = stream.Recv(); broken != nil {
				request = nil
				return
			}
		}
	}
	model, err := l.Fit(stream.Context(), *repository, examples)
	if broken != nil && !errors.Is(broken, io.EOF) {
		return broken
	}
	if err != nil {
		return s.failed(stream.Context(), "Fit", err)
	}
	if len(model.Data) > MaxModelBytes {
		return status.Errorf(codes.ResourceExhausted, "the model has %d bytes; at most %d are possible", len(model.Data), MaxModelBytes)
	}
	part := &pb.FitResponse{Version: clean(model.Version, 128)}
	for data := model.Data; ; {
		n := min(modelPart, len(data))
		part.Data, data = data[:n], data[n:]
		if err := stream.Send(part); err != nil {
			return err
		}
		if len(data) == 0 {
			return nil
		}
		part = &pb.FitResponse{}
	}
}

func (s *server) Load(stream grpc.ClientStreamingServer[pb.LoadRequest, pb.LoadResponse]) error {
	l, ok := s.classifier.(Learner)
	if !ok {
		return s.unimplemented("Load")
	}
	var model Model
	for first := true; ; first = false {
		part, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			if first {
				return status.Error(codes.InvalidArgument, "the model's first part is missing")
			}
			break
		}
		if err != nil {
			return err
		}
		if first {
			model.RepositoryID, model.Version = part.GetRepositoryId(), part.GetVersion()
		}
		if len(model.Data)+len(part.GetData()) > MaxModelBytes {
			return status.Errorf(codes.ResourceExhausted, "the model has more than %d bytes", MaxModelBytes)
		}
		model.Data = append(model.Data, part.GetData()...)
	}
	if err := l.Load(stream.Context(), model); err != nil {
		return s.failed(stream.Context(), "Load", err)
	}
	return stream.SendAndClose(&pb.LoadResponse{})
}

func (s *server) Learn(ctx context.Context, r *pb.LearnRequest) (*pb.LearnResponse, error) {
	l, ok := s.classifier.(Learner)
	if !ok {
		return nil, s.unimplemented("Learn")
	}
	repositories := repositoriesFromProto(r.GetRepositories())
	for _, e := range r.GetExamples() {
		n := e.GetRepository()
		if int64(n) >= int64(len(repositories)) || e.GetIssue() == nil {
			return nil, status.Error(codes.InvalidArgument, "the host sent an example without its issue or repository")
		}
		if err := l.Learn(ctx, exampleFromProto(e, repositories[n])); err != nil {
			return nil, s.failed(ctx, "Learn", err)
		}
	}
	return &pb.LearnResponse{}, nil
}

func (s *server) Forget(ctx context.Context, r *pb.ForgetRequest) (*pb.ForgetResponse, error) {
	l, ok := s.classifier.(Learner)
	if !ok {
		return nil, s.unimplemented("Forget")
	}
	if err := l.Forget(ctx, r.GetRepositoryId()); err != nil {
		return nil, s.failed(ctx, "Forget", err)
	}
	return &pb.ForgetResponse{}, nil
}

func (s *server) unimplemented(method string) error {
	return status.Errorf(codes.Unimplemented, "%s does not offer %s", s.description.Name, method)
}

// failed turns a classifier's error into a status: FAILED_PRECONDITION for what
// asking again will not mend, ABORTED with an ItemError as its detail for what
// time will, UNKNOWN otherwise. UNAVAILABLE is the transport's own word.
func (s *server) failed(ctx context.Context, method string, err error) error {
	if ctx.Err() != nil {
		return status.FromContextError(ctx.Err()).Err()
	}
	code := codes.Unknown
	if IsPermanent(err) {
		code = codes.FailedPrecondition
	}
	st := status.New(code, clean(method+": "+err.Error(), MaxReasonBytes))
	if _, waits := RetryDelay(err); waits {
		if detailed, e := status.New(codes.Aborted, st.Message()).WithDetails(errorToProto(err)); e == nil {
			st = detailed
		}
	}
	return st.Err()
}

func (s *server) logPanic(method string, v any) {
	s.log.Error("the classifier panicked", "method", method, "panic", fmt.Sprint(v), "stack", cut(string(debug.Stack()), 4<<10))
}

// recoverUnary makes a panic outside Classify that call's error.
func (s *server) recoverUnary(ctx context.Context, r any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (_ any, err error) {
	defer s.recovered(info.FullMethod, &err)
	return handle(ctx, r)
}

func (s *server) recoverStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) (err error) {
	defer s.recovered(info.FullMethod, &err)
	return handle(srv, stream)
}

func (s *server) recovered(method string, err *error) {
	if v := recover(); v != nil {
		s.logPanic(method, v)
		*err = status.Error(codes.Internal, clean(fmt.Sprintf("the classifier panicked: %v", v), MaxReasonBytes))
	}
}
