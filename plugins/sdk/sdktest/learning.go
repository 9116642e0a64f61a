package sdktest

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/dispatchai/dispatchai/plugins/sdk"
	pb "github.com/dispatchai/dispatchai/proto/dispatchai/classifier/v1"
)

// modelPart is how much of a model goes into one message.
const modelPart = 1 << 20

// model is what Fit gave.
type model struct {
	version string
	data    []byte
}

func (k *checker) fit(ctx context.Context, r *pb.Repository, examples []*pb.Example) (model, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the stream whatever happens
	var out model
	stream, err := k.service.Fit(ctx)
	if err != nil {
		return out, err
	}
	for _, part := range []*pb.FitRequest{{Repository: r}, {Examples: examples}} {
		// io.EOF says that it answered before it heard all; the answer says why.
		if err := stream.Send(part); err != nil && !errors.Is(err, io.EOF) {
			return out, err
		}
	}
	if err := stream.CloseSend(); err != nil {
		return out, err
	}
	for first := true; ; first = false {
		part, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF) && first:
			return out, errors.New("there is no model in the answer; give at least one part, which names the version")
		case errors.Is(err, io.EOF):
			return out, nil
		case err != nil:
			return out, err
		case first:
			out.version = part.GetVersion()
		}
		if out.data = append(out.data, part.GetData()...); len(out.data) > sdk.MaxModelBytes {
			return out, fmt.Errorf("the model has more than %d bytes", sdk.MaxModelBytes)
		}
	}
}

func (k *checker) load(ctx context.Context, repository int64, m *model) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := k.service.Load(ctx)
	if err != nil {
		return err
	}
	if m != nil {
		part := &pb.LoadRequest{RepositoryId: repository, Version: m.version}
		for data := m.data; ; {
			n := min(modelPart, len(data))
			part.Data, data = data[:n], data[n:]
			if err := stream.Send(part); errors.Is(err, io.EOF) || err == nil && len(data) == 0 {
				break
			} else if err != nil {
				return err
			}
			part = &pb.LoadRequest{}
		}
	}
	_, err = stream.CloseAndRecv()
	return err
}

func example(event, title string, f pb.Field, values ...string) *pb.Example {
	return &pb.Example{
		EventId: event, At: timestamppb.New(issues()[0].issue.GetCreatedAt().AsTime()),
		Issue:  &pb.Issue{Number: 9, Title: title, Body: title + " and more of it"},
		Fields: []*pb.FieldValues{{Field: f, Values: values}},
	}
}

// learning fits, loads, learns and forgets for two repositories that are alike,
// one of which hears of every event more than once, so that they must answer alike.
func (k *checker) learning(ctx context.Context) error {
	once, twice := repository(), repository()
	once.Id, twice.Id = 101, 102
	before, err := k.answers(ctx, once)
	if err != nil {
		return err
	}
	for _, r := range []*pb.Repository{once, twice} {
		if err := k.fitAndLoad(ctx, r); err != nil {
			return err
		}
	}
	corrections := func(suffix string) []*pb.Example {
		return []*pb.Example{
			example("event-1-"+suffix, "Crash when saving a file", pb.Field_FIELD_CATEGORY, "question"),
			example("event-2-"+suffix, "How do I configure a proxy?", pb.Field_FIELD_CATEGORY, "bug"),
			// A field that stands there without values does not apply.
			example("event-3-"+suffix, "Log attached", pb.Field_FIELD_PRIORITY),
		}
	}
	learn := func(r *pb.Repository, examples ...*pb.Example) error {
		return k.step(ctx, "Learn", func(ctx context.Context) error {
			_, err := k.service.Learn(ctx, &pb.LearnRequest{Repositories: []*pb.Repository{r}, Examples: examples})
			return err
		})
	}
	if err := learn(once, corrections("a")...); err != nil {
		return err
	}
	again := corrections("b")
	if err := errors.Join(learn(twice, append(again, again[0], again[2])...), learn(twice, again[:2]...)); err != nil {
		return fmt.Errorf("events that come again: %w", err)
	}
	one, err := k.answers(ctx, once)
	if err != nil {
		return fmt.Errorf("after it has learned: %w", err)
	}
	two, err := k.answers(ctx, twice)
	if err != nil {
		return fmt.Errorf("after it has learned: %w", err)
	}
	if !k.options.Varies && !equal(one, two) {
		return fmt.Errorf("an event that comes twice must count once, but it says %v, and %v where it heard of it once; keep the events' IDs", two, one)
	}
	for _, id := range []int64{101, 101, 102, 987654321} {
		err := k.step(ctx, "Forget", func(ctx context.Context) error {
			_, err := k.service.Forget(ctx, &pb.ForgetRequest{RepositoryId: id})
			return err
		})
		if err != nil {
			return fmt.Errorf("of what is not known, or no longer, too: %w", err)
		}
	}
	after, err := k.answers(ctx, once)
	if err != nil {
		return fmt.Errorf("after it has forgotten: %w", err)
	}
	if !k.options.Varies && !equal(before, after) {
		return fmt.Errorf("it must forget a repository as though it had never known it, but it says %v, and %v before it learned", after, before)
	}
	return nil
}

func (k *checker) fitAndLoad(ctx context.Context, r *pb.Repository) error {
	var examples []*pb.Example
	for _, category := range []string{"bug", "question", "bug", "feature"} {
		examples = append(examples, example("", category+" title", pb.Field_FIELD_CATEGORY, category))
	}
	var m model
	err := k.step(ctx, "Fit", func(ctx context.Context) (err error) {
		m, err = k.fit(ctx, r, examples)
		return err
	})
	if err != nil {
		return err
	}
	if len(m.version) > 128 {
		return fmt.Errorf("the version of the model that Fit gave has %d bytes; at most 128 are possible", len(m.version))
	}
	return k.step(ctx, "Load with what Fit gave", func(ctx context.Context) error { return k.load(ctx, r.GetId(), &m) })
}

func (k *checker) step(ctx context.Context, name string, do func(context.Context) error) error {
	if err := k.call(ctx, do); err != nil {
		return fmt.Errorf("call %s: %w", name, err)
	}
	return nil
}

// answers are what it says of the ordinary issues.
func (k *checker) answers(ctx context.Context, r *pb.Repository) ([]*pb.Classification, error) {
	var out []*pb.Classification
	for _, i := range issues()[:2] {
		c, err := k.classifyOne(ctx, r, i.issue)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

func equal(a, b []*pb.Classification) bool {
	for i := range a {
		if !proto.Equal(a[i], b[i]) {
			return false
		}
	}
	return true
}
