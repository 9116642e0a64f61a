package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/dispatchai/dispatchai/core/triage"
	"github.com/dispatchai/dispatchai/plugins/sdk"
	pb "github.com/dispatchai/dispatchai/proto/dispatchai/classifier/v1"
)

// Example is an issue whose right answer is known.
type Example struct {
	// EventID is unique per correction; empty for an issue that was labelled
	// before the app came.
	EventID    string
	Repository *sdk.Repository
	Issue      triage.Issue
	// Fields holds the right values; a field without values does not apply.
	Fields map[triage.Field][]string
	At     time.Time
}

// The parts in which streams are sent.
const (
	modelPart   = 1 << 20
	examplePart = 1 << 20
)

func (e *Example) message(repository uint32, not withheld) *pb.Example {
	out := &pb.Example{
		EventId:    encodable(e.EventID, maxTitle),
		Repository: repository,
		Issue:      &pb.Issue{},
		Fields:     valuesToProto(e.Fields),
		At:         timestamp(e.At),
	}
	issueToProto(&e.Issue, out.Issue)
	not.strike(out.Issue)
	return out
}

// Learn hands corrections to the plugin. All of them count once it returns nil;
// after an error all may be handed over again, as an event counts once.
func (p *Plugin) Learn(ctx context.Context, examples []Example) error {
	for len(examples) > 0 {
		m := &pb.LearnRequest{}
		index := make(map[*sdk.Repository]uint32)
		size, n := 0, 0
		for ; n < len(examples) && n < p.options.MaxBatch; n++ {
			e := &examples[n]
			i, known := index[e.Repository]
			if !known {
				i = uint32(len(m.Repositories))
				r := repositoryToProto(e.Repository)
				if size += proto.Size(r) + frame; size > maxCall && n > 0 {
					break
				}
				index[e.Repository] = i
				m.Repositories = append(m.Repositories, r)
			}
			message := e.message(i, p.Spec().Manifest.withheld())
			if size += proto.Size(message) + frame; size > maxCall && n > 0 {
				break
			}
			m.Examples = append(m.Examples, message)
		}
		err := p.call(ctx, "Learn", p.options.CallTimeout, false, func(ctx context.Context, process *process) error {
			_, err := process.service.Learn(ctx, m)
			return err
		})
		if err != nil {
			return err
		}
		examples = examples[n:]
	}
	return nil
}

// Forget has the plugin erase everything it knows of a repository.
func (p *Plugin) Forget(ctx context.Context, repositoryID int64) error {
	return p.call(ctx, "Forget", p.options.CallTimeout, false, func(ctx context.Context, process *process) error {
		_, err := process.service.Forget(ctx, &pb.ForgetRequest{RepositoryId: repositoryID})
		return err
	})
}

// Fit has the plugin make a model of one repository from its examples, whose
// own Repository is not looked at. The model is not in force until Load.
func (p *Plugin) Fit(ctx context.Context, repository *sdk.Repository, examples iter.Seq[Example]) (sdk.Model, error) {
	if repository == nil {
		return sdk.Model{}, errors.New("fit a model: the repository is missing")
	}
	model := sdk.Model{RepositoryID: repository.ID}
	err := p.call(ctx, "Fit", p.options.FitTimeout, false, func(ctx context.Context, process *process) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel() // ends the stream whatever happens
		stream, err := process.service.Fit(ctx)
		if err != nil {
			return err
		}
		if err := sendExamples(stream.Send, repository, examples, p.Spec().Manifest.withheld()); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if err := stream.CloseSend(); err != nil {
			return err
		}
		for first := true; ; first = false {
			part, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				if first {
					return &malformedError{"there is no model in the answer"}
				}
				return nil
			}
			if err != nil {
				return err
			}
			if first {
				if model.Version = part.GetVersion(); len(model.Version) > 128 {
					return &malformedError{"the model's version is longer than 128 bytes"}
				}
			}
			if len(model.Data)+len(part.GetData()) > sdk.MaxModelBytes {
				return &malformedError{fmt.Sprintf("the model has more than %d bytes", sdk.MaxModelBytes)}
			}
			model.Data = append(model.Data, part.GetData()...)
		}
	})
	if err != nil {
		return sdk.Model{}, err
	}
	return model, nil
}

// sendExamples sends the stream of Fit in parts. io.EOF says that the plugin
// has answered before it heard all; the answer says why.
func sendExamples(send func(*pb.FitRequest) error, repository *sdk.Repository, examples iter.Seq[Example], not withheld) error {
	if err := send(&pb.FitRequest{Repository: repositoryToProto(repository)}); err != nil {
		return err
	}
	part, size := &pb.FitRequest{}, 0
	for e := range examples {
		message := e.message(0, not)
		part.Examples = append(part.Examples, message)
		if size += proto.Size(message) + frame; size >= examplePart {
			if err := send(part); err != nil {
				return err
			}
			part, size = &pb.FitRequest{}, 0
		}
	}
	if len(part.Examples) == 0 {
		return nil
	}
	return send(part)
}

// Load puts a model that Fit returned in force. It does not outlive the
// process: Options.Models gives what to load after a restart.
func (p *Plugin) Load(ctx context.Context, model sdk.Model) error {
	return p.call(ctx, "Load", p.options.FitTimeout, false, func(ctx context.Context, process *process) error {
		return load(ctx, process, model)
	})
}

func load(ctx context.Context, process *process, model sdk.Model) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the stream whatever happens
	stream, err := process.service.Load(ctx)
	if err != nil {
		return err
	}
	part := &pb.LoadRequest{RepositoryId: model.RepositoryID, Version: encodable(model.Version, 128)}
	for data := model.Data; ; {
		n := min(modelPart, len(data))
		part.Data, data = data[:n], data[n:]
		if err := stream.Send(part); err != nil && !errors.Is(err, io.EOF) {
			return err
		} else if err != nil || len(data) == 0 {
			_, err := stream.CloseAndRecv()
			return err
		}
		part = &pb.LoadRequest{}
	}
}

// loadModels gives a fresh process the models it had. One that it will not
// take must not keep it from classifying.
func (p *Plugin) loadModels(ctx context.Context, pr *process) error {
	if p.options.Models == nil || !pr.description.Learns {
		return nil
	}
	for model, err := range p.options.Models(ctx) {
		if err == nil {
			err = load(ctx, pr, model)
		}
		if ctx.Err() != nil || pr.gone() {
			return fmt.Errorf("it did not load its models: %w", err)
		}
		if err != nil {
			p.metrics.modelFailures.Inc()
			p.log.Error("plugin did not load a model", "repository", model.RepositoryID, "version", model.Version, "error", p.redact.text(err.Error(), maxError))
		}
	}
	return nil
}
