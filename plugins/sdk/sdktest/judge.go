package sdktest

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"unicode/utf8"

	"github.com/dispatchai/dispatchai/plugins/sdk"
	pb "github.com/dispatchai/dispatchai/proto/dispatchai/classifier/v1"
)

// maxSentiment bounds a sentiment.
const maxSentiment = 64

var login = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_-]{0,99}$`)

// judge says which of the rules a classification breaks. What breaks one never
// reaches a repository: the host drops it.
func (k *checker) judge(c *pb.Classification, r *pb.Repository) error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	seen := make(map[pb.Field]bool)
	for _, a := range c.GetAnswers() {
		f := a.GetField()
		name := fieldName(f)
		if !sdk.Field(name).Known() {
			fault("it answers for %v, which is not a field", f)
			continue
		}
		if seen[f] {
			fault("it answers twice for %s; one answer per field counts", name)
		}
		seen[f] = true
		switch limit := maxValues(f); {
		case !slices.Contains(k.described.GetFields(), f):
			fault("it sets %s, which its description does not list; list it, or leave it out", name)
		case len(a.GetValues()) == 0:
			fault("%s has no value; leave the field out to abstain", name)
		case len(a.GetValues()) > limit:
			fault("%s has %d values; at most %d are possible", name, len(a.GetValues()), limit)
		}
		if confidence := a.GetConfidence(); !(confidence >= 0 && confidence <= 1) {
			fault("the confidence of %s is %v; it must be between 0 and 1", name, confidence)
		}
		if len(a.GetReason()) > sdk.MaxReasonBytes {
			fault("the reason of %s has %d bytes; at most %d are possible", name, len(a.GetReason()), sdk.MaxReasonBytes)
		}
		for i, v := range a.GetValues() {
			if slices.Contains(a.GetValues()[:i], v) {
				fault("%s has the value %q twice", name, v)
			} else if err := valueFault(f, v, r); err != nil {
				faults = append(faults, err)
			}
		}
	}
	if n := len(c.GetReasoning()); n > sdk.MaxReasoningBytes {
		fault("the reasoning has %d bytes; at most %d are possible", n, sdk.MaxReasoningBytes)
	}
	if u := c.GetUsage(); u.GetInputTokens() < 0 || u.GetOutputTokens() < 0 || !(u.GetCostUsd() >= 0) || math.IsInf(u.GetCostUsd(), 0) {
		fault("the usage %v is not one; tokens and cost are zero or more", u)
	}
	return errors.Join(faults...)
}

func maxValues(f pb.Field) int {
	switch f {
	case pb.Field_FIELD_TAGS:
		return sdk.MaxTags
	case pb.Field_FIELD_ASSIGNEES:
		return sdk.MaxAssignees
	}
	return 1
}

// valueFault says what is wrong with one value of a field.
func valueFault(f pb.Field, v string, r *pb.Repository) error {
	name := fieldName(f)
	var wanted []*pb.Option
	for _, fo := range r.GetOptions() {
		if fo.GetField() == f {
			wanted = fo.GetOptions()
		}
	}
	if len(wanted) > 0 {
		if !slices.ContainsFunc(wanted, func(o *pb.Option) bool { return o.GetValue() == v }) {
			return fmt.Errorf("%.100q is not among the repository's options for %s; choose among them, or leave the field out", v, name)
		}
		return nil
	}
	switch f {
	case pb.Field_FIELD_ASSIGNEES:
		if !login.MatchString(v) {
			return fmt.Errorf("%.100q cannot be a GitHub login", v)
		}
	case pb.Field_FIELD_SUMMARY, pb.Field_FIELD_SENTIMENT:
		limit := sdk.MaxReasonBytes
		if f == pb.Field_FIELD_SENTIMENT {
			limit = maxSentiment
		}
		if v == "" || len(v) > limit || !utf8.ValidString(v) {
			return fmt.Errorf("%s has %d bytes; 1 to %d are possible", name, len(v), limit)
		}
	default:
		return fmt.Errorf("%.100q is not among the repository's options for %s, as it has none; leave the field out", v, name)
	}
	return nil
}
