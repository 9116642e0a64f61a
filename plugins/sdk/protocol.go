package sdk

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"unicode"
	"unicode/utf8"
)

// The handshake of the protocol: how the host knows that an executable is a
// classifier plugin, and how the plugin knows that a host started it. Authors
// need none of this; it is what the host and test tools build on.
const (
	// ProtocolVersion is negotiated in the handshake; it changes when the
	// protocol changes incompatibly.
	ProtocolVersion = 1
	// CookieKey and CookieValue are set in the environment of a plugin that a
	// host starts.
	CookieKey   = "DISPATCHAI_PLUGIN"
	CookieValue = "classifier"
)

// The bounds of the protocol. The host cuts or drops what exceeds them.
const (
	// MaxMessageBytes bounds a message in either direction.
	MaxMessageBytes = 8 << 20
	// MaxBodyBytes bounds the body of an issue; a longer one is cut.
	MaxBodyBytes = 1 << 20
	// MaxReasonBytes bounds Answer.Reason, the summary and the text of an error.
	MaxReasonBytes = 1000
	// MaxReasoningBytes bounds Result.Reasoning.
	MaxReasoningBytes = 8 << 10
	// MaxTags and MaxAssignees bound the values of the fields that may have several.
	MaxTags      = 20
	MaxAssignees = 10
	// MaxDimensions bounds an embedding.
	MaxDimensions = 1536
	// MaxTerms, MaxTermWeight and MaxTermShare bound what a TermEmbedder gives for a text.
	MaxTerms      = 2048
	MaxTermWeight = 64
	MaxTermShare  = 1000
	// MaxModelBytes bounds a fitted model.
	MaxModelBytes = 256 << 20
)

// Fields lists every field that a classifier can set.
func Fields() []Field {
	return []Field{Category, Priority, Severity, Component, Tags, Effort, Assignees, Summary, Sentiment}
}

// Known tells whether f is a field of this version of the protocol.
func (f Field) Known() bool { return fieldToProto(f) != 0 }

// Multiple tells whether an answer for the field may have several values.
func (f Field) Multiple() bool { return f == Tags || f == Assignees }

// Validate says what is wrong with a description, all faults at once.
func (d Description) Validate() error {
	var faults []error
	if !namePattern.MatchString(d.Name) {
		faults = append(faults, fmt.Errorf("the name %q must be lower-case letters, digits and dashes, starting with a letter, at most 63 of them", bounded(d.Name)))
	}
	if len(d.Version) > 64 || !versionPattern.MatchString(d.Version) {
		faults = append(faults, fmt.Errorf("the version %q must be a semantic version such as 1.2.3", bounded(d.Version)))
	}
	seen := make(map[Field]bool, len(d.Fields))
	for _, f := range d.Fields {
		switch {
		case !f.Known():
			faults = append(faults, fmt.Errorf("%q is not a field of a classification; the fields are %v", bounded(string(f)), Fields()))
		case seen[f]:
			faults = append(faults, fmt.Errorf("the field %s is listed twice", f))
		}
		seen[f] = true
	}
	if d.MaxBatch < 0 {
		faults = append(faults, fmt.Errorf("the largest batch is %d and must not be negative", d.MaxBatch))
	}
	if e := d.Embedding; e != nil {
		if e.Name == "" || len(e.Name) > 128 || !printable(e.Name) {
			faults = append(faults, fmt.Errorf("the embedding model's name %q must be 1 to 128 bytes of printable text", bounded(e.Name)))
		}
		switch {
		case e.Terms && e.Dimensions != 0:
			faults = append(faults, fmt.Errorf("the embedding has %d dimensions and is of terms; terms have none", e.Dimensions))
		case !e.Terms && (e.Dimensions < 1 || e.Dimensions > MaxDimensions):
			faults = append(faults, fmt.Errorf("the embedding has %d dimensions; 1 to %d are possible", e.Dimensions, MaxDimensions))
		}
	}
	return errors.Join(faults...)
}

var (
	namePattern    = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)
	versionPattern = regexp.MustCompile(`^v?(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$`)
)

// CheckTerms says what is wrong with the terms of a text, nil when nothing is.
func CheckTerms(terms []Term) error {
	if len(terms) > MaxTerms {
		return fmt.Errorf("a text has %d terms; at most %d are possible", len(terms), MaxTerms)
	}
	ids := make([]uint32, len(terms))
	for i, t := range terms {
		if !(t.Weight > 0 && t.Weight <= MaxTermWeight) {
			return fmt.Errorf("a term has the weight %v; it must be above 0 and at most %d", t.Weight, MaxTermWeight)
		}
		if t.Share > MaxTermShare {
			return fmt.Errorf("a term stands in %d of %d issues", t.Share, MaxTermShare)
		}
		ids[i] = t.ID
	}
	slices.Sort(ids)
	if len(slices.Compact(ids)) != len(terms) {
		return errors.New("a term stands twice among those of a text")
	}
	return nil
}

// bounded keeps an error message readable whatever a plugin calls itself.
func bounded(s string) string { return cut(s, 80) }

func printable(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}
