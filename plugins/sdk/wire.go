package sdk

import (
	"encoding/json"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/dispatchai/dispatchai/proto/dispatchai/classifier/v1"
)

// fieldToProto gives FIELD_UNSPECIFIED for an unknown field, which the host
// drops and counts, so that the author can find out.
func fieldToProto(f Field) pb.Field {
	switch f {
	case Category:
		return pb.Field_FIELD_CATEGORY
	case Priority:
		return pb.Field_FIELD_PRIORITY
	case Severity:
		return pb.Field_FIELD_SEVERITY
	case Component:
		return pb.Field_FIELD_COMPONENT
	case Tags:
		return pb.Field_FIELD_TAGS
	case Effort:
		return pb.Field_FIELD_EFFORT
	case Assignees:
		return pb.Field_FIELD_ASSIGNEES
	case Summary:
		return pb.Field_FIELD_SUMMARY
	case Sentiment:
		return pb.Field_FIELD_SENTIMENT
	}
	return pb.Field_FIELD_UNSPECIFIED
}

// fieldFromProto gives "" for a field that this version does not know: a newer
// host may speak of it, and the classifier never hears of it.
func fieldFromProto(f pb.Field) Field {
	switch f {
	case pb.Field_FIELD_CATEGORY:
		return Category
	case pb.Field_FIELD_PRIORITY:
		return Priority
	case pb.Field_FIELD_SEVERITY:
		return Severity
	case pb.Field_FIELD_COMPONENT:
		return Component
	case pb.Field_FIELD_TAGS:
		return Tags
	case pb.Field_FIELD_EFFORT:
		return Effort
	case pb.Field_FIELD_ASSIGNEES:
		return Assignees
	case pb.Field_FIELD_SUMMARY:
		return Summary
	case pb.Field_FIELD_SENTIMENT:
		return Sentiment
	}
	return ""
}

func repositoryFromProto(r *pb.Repository) *Repository {
	out := &Repository{
		ID:       r.GetId(),
		FullName: r.GetFullName(),
		Options:  make(map[Field][]Option, len(r.GetOptions())),
		Settings: json.RawMessage(r.GetSettings()),
	}
	for _, fo := range r.GetOptions() {
		f := fieldFromProto(fo.GetField())
		if f == "" {
			continue
		}
		options := make([]Option, len(fo.GetOptions()))
		for i, o := range fo.GetOptions() {
			options[i] = Option{Value: o.GetValue(), Label: o.GetLabel(), Description: o.GetDescription()}
		}
		out.Options[f] = options
	}
	return out
}

func repositoriesFromProto(rs []*pb.Repository) []*Repository {
	out := make([]*Repository, len(rs))
	for i, r := range rs {
		out[i] = repositoryFromProto(r)
	}
	return out
}

func issueFromProto(i *pb.Issue) Issue {
	out := Issue{
		Number:            int(i.GetNumber()),
		Title:             i.GetTitle(),
		Body:              i.GetBody(),
		Author:            i.GetAuthor(),
		AuthorAssociation: i.GetAuthorAssociation(),
		Labels:            i.GetLabels(),
		Truncated:         i.GetTruncated(),
	}
	if t := i.GetCreatedAt(); t != nil {
		out.CreatedAt = t.AsTime()
	}
	if t := i.GetUpdatedAt(); t != nil {
		out.UpdatedAt = t.AsTime()
	}
	return out
}

func valuesFromProto(fields []*pb.FieldValues) map[Field][]string {
	if len(fields) == 0 {
		return nil
	}
	out := make(map[Field][]string, len(fields))
	for _, fv := range fields {
		if f := fieldFromProto(fv.GetField()); f != "" {
			out[f] = fv.GetValues()
		}
	}
	return out
}

func similarFromProto(similar []*pb.SimilarIssue) []SimilarIssue {
	if len(similar) == 0 {
		return nil
	}
	out := make([]SimilarIssue, len(similar))
	for i, s := range similar {
		out[i] = SimilarIssue{
			Number:     int(s.GetNumber()),
			Title:      s.GetTitle(),
			Similarity: s.GetSimilarity(),
			Fields:     valuesFromProto(s.GetFields()),
			Corrected:  fieldsFromProto(s.GetCorrected()),
		}
	}
	return out
}

// fieldsFromProto leaves out what this version does not know.
func fieldsFromProto(fields []pb.Field) []Field {
	var out []Field
	for _, p := range fields {
		if f := fieldFromProto(p); f != "" {
			out = append(out, f)
		}
	}
	return out
}

func exampleFromProto(e *pb.Example, repository *Repository) Example {
	out := Example{
		EventID:    e.GetEventId(),
		Repository: repository,
		Issue:      issueFromProto(e.GetIssue()),
		Fields:     valuesFromProto(e.GetFields()),
	}
	if t := e.GetAt(); t != nil {
		out.At = t.AsTime()
	}
	return out
}

func descriptionToProto(d Description, capabilities []pb.Capability) *pb.DescribeResponse {
	out := &pb.DescribeResponse{
		Name:         d.Name,
		Version:      d.Version,
		Capabilities: capabilities,
		MaxBatch:     uint32(min(d.MaxBatch, 1<<20)),
	}
	for _, f := range d.Fields {
		out.Fields = append(out.Fields, fieldToProto(f))
	}
	if e := d.Embedding; e != nil {
		out.Embedding = &pb.EmbeddingModel{Name: e.Name, Dimensions: uint32(e.Dimensions), Terms: e.Terms}
	}
	return out
}

func termsToProto(terms []Term, out *pb.Vector) {
	out.Terms = make([]uint32, len(terms))
	out.Weights = make([]float32, len(terms))
	out.Shares = make([]uint32, len(terms))
	for i, t := range terms {
		out.Terms[i], out.Weights[i], out.Shares[i] = t.ID, t.Weight, uint32(t.Share)
	}
}

// resultToProto writes the fields in the order of their numbers, so that the
// same result always gives the same bytes. What the host would cut anyway is
// cut here, so that one verbose answer does not break its batch.
func resultToProto(r Result) *pb.Classification {
	out := &pb.Classification{Reasoning: clean(r.Reasoning, MaxReasoningBytes), Hold: clean(r.Hold, MaxReasonBytes)}
	if len(r.Fields) > 0 {
		answers := make([]pb.Answer, len(r.Fields))
		out.Answers = make([]*pb.Answer, 0, len(r.Fields))
		add := func(f pb.Field, a Answer) {
			p := &answers[len(out.Answers)]
			p.Field, p.Confidence, p.Reason = f, a.Confidence, clean(a.Reason, MaxReasonBytes)
			p.Values = cleanAll(a.Values)
			out.Answers = append(out.Answers, p)
		}
		for n := pb.Field_FIELD_CATEGORY; n <= pb.Field_FIELD_SENTIMENT; n++ {
			if a, ok := r.Fields[fieldFromProto(n)]; ok {
				add(n, a)
			}
		}
		for f, a := range r.Fields {
			if len(out.Answers) == len(r.Fields) {
				break
			}
			if !f.Known() {
				add(pb.Field_FIELD_UNSPECIFIED, a)
			}
		}
	}
	if r.Usage != (Usage{}) {
		out.Usage = &pb.Usage{
			InputTokens:  r.Usage.InputTokens,
			OutputTokens: r.Usage.OutputTokens,
			CostUsd:      r.Usage.CostUSD,
			Cached:       r.Usage.Cached,
		}
	}
	return out
}

func errorToProto(err error) *pb.ItemError {
	out := &pb.ItemError{Message: clean(err.Error(), MaxReasonBytes), Permanent: IsPermanent(err)}
	if after, ok := RetryDelay(err); ok {
		out.RetryAfter = durationpb.New(after)
	}
	return out
}

// cleanAll keeps one value more than any field may have, so that the host
// still sees that there were too many.
func cleanAll(values []string) []string {
	values = values[:min(len(values), MaxTags+1)]
	for i, v := range values {
		if len(v) > MaxReasonBytes || !utf8.ValidString(v) {
			out := make([]string, len(values))
			copy(out, values[:i])
			for j, v := range values[i:] {
				out[i+j] = clean(v, MaxReasonBytes)
			}
			return out
		}
	}
	return values
}

// clean makes text fit for a protobuf string of at most limit bytes.
func clean(s string, limit int) string {
	return cut(strings.ToValidUTF8(cut(s, limit), "\uFFFD"), limit)
}

// cut shortens s to at most limit bytes, without splitting a character.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	end := limit
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end]
}
