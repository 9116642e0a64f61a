package plugin

import (
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/dispatchai/dispatchai/core/triage"
	"github.com/dispatchai/dispatchai/plugins/sdk"
	pb "github.com/dispatchai/dispatchai/proto/dispatchai/classifier/v1"
)

// The bounds of what a plugin is told of an issue. GitHub's own are lower
// (a title of 256 characters, a body of 65,536, 100 labels of 50).
const (
	maxTitle   = 4 << 10
	maxLabels  = 100
	maxLabel   = 256
	maxSimilar = 20
	// maxRepository bounds a repository's options and settings, so that it and
	// an issue always fit into one message.
	maxRepository = 4 << 20
)

// request is a batch in the protocol's words, to be cut into messages.
type request struct {
	source       []Item
	first        uint64 // the ID of the first item; the others follow
	items        []*pb.Item
	sizes        []int
	repositories map[*sdk.Repository]encodedRepository
}

type encodedRepository struct {
	message *pb.Repository
	size    int
}

func newRequest(items []Item, first uint64, not withheld) *request {
	r := &request{
		source:       items,
		first:        first,
		items:        make([]*pb.Item, len(items)),
		sizes:        make([]int, len(items)),
		repositories: make(map[*sdk.Repository]encodedRepository, 1),
	}
	block := make([]pb.Item, len(items))
	issues := make([]pb.Issue, len(items))
	for i := range items {
		item := &items[i]
		if _, known := r.repositories[item.Repository]; !known {
			m := repositoryToProto(item.Repository)
			r.repositories[item.Repository] = encodedRepository{m, proto.Size(m) + frame}
		}
		b := &block[i]
		b.Id, b.Issue = first+uint64(i), &issues[i]
		issueToProto(&item.Issue, b.Issue)
		not.strike(b.Issue)
		if !not.similar {
			b.Similar = similarToProto(item.Similar)
		}
		b.Wanted = fieldsToProto(item.Wanted)
		r.items[i], r.sizes[i] = b, proto.Size(b)+frame
	}
	return r
}

// frame is more than what a message takes around an element of a list.
const frame = 16

// message makes the request for the items from to to. The items belong to one
// message at a time.
func (r *request) message(from, to int) *pb.ClassifyRequest {
	m := &pb.ClassifyRequest{Items: r.items[from:to]}
	var last *sdk.Repository
	index := make(map[*sdk.Repository]uint32, 1)
	for i := from; i < to; i++ {
		repository := r.source[i].Repository
		if i == from || repository != last {
			last = repository
			if _, known := index[repository]; !known {
				index[repository] = uint32(len(m.Repositories))
				m.Repositories = append(m.Repositories, r.repositories[repository].message)
			}
		}
		r.items[i].Repository = index[repository]
	}
	return m
}

func fieldToProto(f triage.Field) pb.Field {
	switch f {
	case triage.FieldCategory:
		return pb.Field_FIELD_CATEGORY
	case triage.FieldPriority:
		return pb.Field_FIELD_PRIORITY
	case triage.FieldSeverity:
		return pb.Field_FIELD_SEVERITY
	case triage.FieldComponent:
		return pb.Field_FIELD_COMPONENT
	case triage.FieldTags:
		return pb.Field_FIELD_TAGS
	case triage.FieldEffort:
		return pb.Field_FIELD_EFFORT
	case triage.FieldAssignees:
		return pb.Field_FIELD_ASSIGNEES
	case triage.FieldSummary:
		return pb.Field_FIELD_SUMMARY
	case triage.FieldSentiment:
		return pb.Field_FIELD_SENTIMENT
	}
	return pb.Field_FIELD_UNSPECIFIED
}

// fieldFromProto gives "" for a field that this version does not know.
func fieldFromProto(f pb.Field) triage.Field {
	switch f {
	case pb.Field_FIELD_CATEGORY:
		return triage.FieldCategory
	case pb.Field_FIELD_PRIORITY:
		return triage.FieldPriority
	case pb.Field_FIELD_SEVERITY:
		return triage.FieldSeverity
	case pb.Field_FIELD_COMPONENT:
		return triage.FieldComponent
	case pb.Field_FIELD_TAGS:
		return triage.FieldTags
	case pb.Field_FIELD_EFFORT:
		return triage.FieldEffort
	case pb.Field_FIELD_ASSIGNEES:
		return triage.FieldAssignees
	case pb.Field_FIELD_SUMMARY:
		return triage.FieldSummary
	case pb.Field_FIELD_SENTIMENT:
		return triage.FieldSentiment
	}
	return ""
}

// repositoryToProto keeps within maxRepository: settings first, then options
// in the order of the fields for as long as they fit. A nil repository has no options.
func repositoryToProto(r *sdk.Repository) *pb.Repository {
	if r == nil {
		return &pb.Repository{}
	}
	out := &pb.Repository{Id: r.ID, FullName: encodable(r.FullName, maxTitle)}
	room := maxRepository
	if len(r.Settings) <= room/2 {
		out.Settings = r.Settings
		room -= len(r.Settings)
	}
	for _, f := range triage.Fields() {
		options := r.Options[sdk.Field(f)]
		if len(options) == 0 {
			continue
		}
		fo := &pb.FieldOptions{Field: fieldToProto(f), Options: make([]*pb.Option, 0, len(options))}
		block := make([]pb.Option, len(options))
		for i, o := range options {
			b := &block[i]
			b.Value, b.Label, b.Description = encodable(o.Value, maxTitle), encodable(o.Label, maxTitle), encodable(o.Description, maxTitle)
			if room -= len(b.Value) + len(b.Label) + len(b.Description) + frame; room < 0 {
				break
			}
			fo.Options = append(fo.Options, b)
		}
		out.Options = append(out.Options, fo)
	}
	return out
}

func issueToProto(i *triage.Issue, out *pb.Issue) {
	out.Number = int64(i.Number)
	out.Title = encodable(i.Title, maxTitle)
	out.Body = encodable(i.Body, sdk.MaxBodyBytes)
	out.Truncated = len(i.Body) > sdk.MaxBodyBytes || len(i.Title) > maxTitle
	out.Author = encodable(i.Author.Login, maxLabel)
	out.AuthorAssociation = encodable(i.AuthorAssociation, maxLabel)
	out.Labels = labels(i.Labels)
	out.CreatedAt, out.UpdatedAt = timestamp(i.CreatedAt), timestamp(i.UpdatedAt)
}

// strike takes out what the plugin has no need to see.
func (not withheld) strike(i *pb.Issue) {
	if not.author {
		i.Author, i.AuthorAssociation = "", ""
	}
	if not.labels {
		i.Labels = nil
	}
	if not.times {
		i.CreatedAt, i.UpdatedAt = nil, nil
	}
}

// labels shares the given ones where they can go as they are.
func labels(names []string) []string {
	names = names[:min(len(names), maxLabels)]
	for i, n := range names {
		if fit := encodable(n, maxLabel); fit != n {
			names = slices.Clone(names)
			for j := i; j < len(names); j++ {
				names[j] = encodable(names[j], maxLabel)
			}
			return names
		}
	}
	return names
}

func similarToProto(similar []Similar) []*pb.SimilarIssue {
	if len(similar) == 0 {
		return nil
	}
	similar = similar[:min(len(similar), maxSimilar)]
	block := make([]pb.SimilarIssue, len(similar))
	out := make([]*pb.SimilarIssue, len(similar))
	for i := range similar {
		b := &block[i]
		b.Number = int64(similar[i].Number)
		b.Title = encodable(similar[i].Title, maxTitle)
		b.Similarity = similar[i].Similarity
		b.Fields = valuesToProto(similar[i].Fields)
		b.Corrected = fieldsToProto(similar[i].Corrected)
		out[i] = b
	}
	return out
}

func fieldsToProto(fields []triage.Field) []pb.Field {
	if len(fields) == 0 {
		return nil
	}
	out := make([]pb.Field, len(fields))
	for i, f := range fields {
		out[i] = fieldToProto(f)
	}
	return out
}

func valuesToProto(fields map[triage.Field][]string) []*pb.FieldValues {
	if len(fields) == 0 {
		return nil
	}
	out := make([]*pb.FieldValues, 0, len(fields))
	for _, f := range triage.Fields() {
		if values, ok := fields[f]; ok {
			fv := &pb.FieldValues{Field: fieldToProto(f)}
			for _, v := range values[:min(len(values), maxLabels)] {
				fv.Values = append(fv.Values, encodable(v, sdk.MaxReasonBytes))
			}
			out = append(out, fv)
		}
	}
	return out
}

func timestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// encodable makes text fit for a protobuf string of at most limit bytes.
func encodable(s string, limit int) string {
	return cutText(strings.ToValidUTF8(cutText(s, limit), "\uFFFD"), limit)
}
