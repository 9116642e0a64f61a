package plugin

import (
	"math"
	"slices"
	"strings"

	"github.com/dispatchai/dispatchai/core/triage"
	"github.com/dispatchai/dispatchai/plugins/sdk"
	pb "github.com/dispatchai/dispatchai/proto/dispatchai/classifier/v1"
)

// The bounds of free values.
const (
	maxSentiment = 64
	maxLogin     = 100
)

// accept takes from a plugin's classification what is in order: fields that the
// plugin declared, values among the repository's options, probabilities that
// are some, text that can be shown. The rest is dropped, and counted by reason.
func (p *Plugin) accept(process *process, item *Item, c *pb.Classification, out *Outcome) {
	out.Err = nil
	out.Fields = make(map[triage.Field]triage.Answer, len(c.GetAnswers()))
	for _, a := range c.GetAnswers() {
		f := fieldFromProto(a.GetField())
		answer, fault := p.acceptAnswer(process, item.Repository, f, a)
		if len(item.Wanted) > 0 && !slices.Contains(item.Wanted, f) && fault == "" {
			fault = "not_wanted"
		}
		if fault == "" {
			if _, twice := out.Fields[f]; twice {
				fault = "duplicate_field"
			} else {
				out.Fields[f] = answer
				continue
			}
		}
		p.dropped(f, fault)
	}
	out.Reasoning = p.redact.prose(c.GetReasoning(), sdk.MaxReasoningBytes)
	out.Hold = p.redact.text(c.GetHold(), sdk.MaxReasonBytes)
	out.Usage = p.acceptUsage(c.GetUsage())
	out.Cached = c.GetUsage().GetCached()
}

func (p *Plugin) dropped(f triage.Field, reason string) {
	if f == "" {
		f = "unknown"
	}
	p.metrics.dropped.WithLabelValues(string(f), reason).Inc()
}

func (p *Plugin) acceptAnswer(process *process, repository *sdk.Repository, f triage.Field, a *pb.Answer) (_ triage.Answer, fault string) {
	switch confidence := a.GetConfidence(); {
	case f == "":
		return triage.Answer{}, "unknown_field"
	case !slices.Contains(process.description.Fields, f):
		return triage.Answer{}, "undeclared_field"
	case math.IsNaN(confidence) || confidence < 0 || confidence > 1:
		return triage.Answer{}, "confidence"
	case len(a.GetValues()) == 0:
		return triage.Answer{}, "no_value"
	case len(a.GetValues()) > maxValues(f):
		return triage.Answer{}, "too_many_values"
	}
	values, fault := p.acceptValues(repository, f, a.GetValues())
	if len(values) == 0 {
		return triage.Answer{}, fault
	}
	if fault != "" {
		p.dropped(f, fault)
	}
	return triage.Answer{
		Values:     values,
		Confidence: a.GetConfidence(),
		Reason:     p.redact.text(a.GetReason(), sdk.MaxReasonBytes),
		Source:     triage.SourcePlugin,
		Plugin:     p.name,
		Version:    process.description.Version,
	}, ""
}

func maxValues(f triage.Field) int {
	switch f {
	case triage.FieldTags:
		return sdk.MaxTags
	case triage.FieldAssignees:
		return sdk.MaxAssignees
	}
	return 1
}

// acceptValues gives the values that are in order, in the repository's own
// spelling, and the reason why others are not.
func (p *Plugin) acceptValues(repository *sdk.Repository, f triage.Field, given []string) (values []string, fault string) {
	var options []sdk.Option
	if repository != nil {
		options = repository.Options[sdk.Field(f)]
	}
	if len(options) == 0 && f.Labelled() {
		return nil, "not_wanted"
	}
	values = make([]string, 0, len(given))
	for _, v := range given {
		var ok bool
		reason := "not_an_option"
		switch {
		case len(options) > 0:
			v, ok = option(options, v)
		case f == triage.FieldAssignees:
			ok, reason = login(v), "not_a_login"
			v = strings.Clone(v)
		case f == triage.FieldSentiment:
			v = p.redact.text(v, maxSentiment)
			ok, reason = v != "", "empty_value"
		default:
			v = p.redact.text(v, sdk.MaxReasonBytes)
			ok, reason = v != "", "empty_value"
		}
		switch {
		case !ok:
			fault = reason
		case slices.Contains(values, v):
			fault = "duplicate_value"
		default:
			values = append(values, v)
		}
	}
	return values, fault
}

// option finds the option that a value names. Labels on GitHub do not differ by
// case alone, so neither do the values that stand for them.
func option(options []sdk.Option, v string) (string, bool) {
	for i := range options {
		if options[i].Value == v {
			return options[i].Value, true
		}
	}
	for i := range options {
		if strings.EqualFold(options[i].Value, v) {
			return options[i].Value, true
		}
	}
	return "", false
}

// login tells whether s can be a GitHub login: letters, digits, dashes, and the
// underscore of managed users.
func login(s string) bool {
	if s == "" || len(s) > maxLogin || s[0] == '-' {
		return false
	}
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return false
		}
	}
	return true
}

func (p *Plugin) acceptUsage(u *pb.Usage) triage.Usage {
	if u == nil {
		return triage.Usage{}
	}
	cost := u.GetCostUsd()
	if u.GetInputTokens() < 0 || u.GetOutputTokens() < 0 || math.IsNaN(cost) || math.IsInf(cost, 0) || cost < 0 {
		p.metrics.dropped.WithLabelValues("usage", "not_a_cost").Inc()
		return triage.Usage{}
	}
	return triage.Usage{InputTokens: u.GetInputTokens(), OutputTokens: u.GetOutputTokens(), CostUSD: cost}
}
