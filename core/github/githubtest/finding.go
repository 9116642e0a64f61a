package githubtest

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
)

// finding is one place where something is not as described.
type finding struct {
	where   string // what it is in, if that is not the body
	pointer string // into the body, with * for the index in a list: "/labels/*/name"
	keyword string // of the schema: "required", "type", "enum", ...; "status" when the answer's status is the fault
	reason  string
}

func (f finding) String() string {
	where := strings.TrimSpace(f.where + " " + f.pointer)
	if where == "" {
		return f.reason
	}
	return "at " + where + ": " + f.reason
}

// validate holds a value to a schema.
func validate(schema *openapi3.Schema, value any) []finding {
	return findings(schema.VisitJSON(value, openapi3.MultiErrors(), openapi3.EnableFormatValidation()))
}

// findings lists what a validation found.
func findings(err error) []finding {
	switch e := any(err).(type) {
	case nil:
		return nil
	case openapi3.MultiError:
		var all []finding
		for _, one := range e {
			for _, f := range findings(one) {
				if !slices.Contains(all, f) {
					all = append(all, f)
				}
			}
		}
		return all
	case *openapi3filter.RequestError:
		where := "body"
		if e.Parameter != nil {
			where = fmt.Sprintf("%s parameter %q", e.Parameter.In, e.Parameter.Name)
		}
		if e.Err == nil {
			return []finding{{where: where, keyword: "request", reason: e.Reason}}
		}
		all := findings(e.Err)
		for i := range all {
			all[i].where = where
		}
		return all
	case *openapi3.SchemaError:
		return within(generalised(e.JSONPointer()), ofSchema(e))
	}
	return []finding{{keyword: "other", reason: err.Error()}}
}

// unsupported is how the library names a member of an object that it does not know.
var unsupported = regexp.MustCompile(`^property "(.*)" is unsupported$`)

// ofSchema looks into the parts of a composed schema, because what the library
// says of them as a whole names no member. Of alternatives that all fail it
// tells of the closest; that several fit is nothing to complain of, as GitHub
// means "any of" by "oneOf".
func ofSchema(e *openapi3.SchemaError) []finding {
	var parts openapi3.SchemaRefs
	switch e.SchemaField {
	case "oneOf":
		parts = e.Schema.OneOf
	case "anyOf":
		parts = e.Schema.AnyOf
	case "allOf":
		var all []finding
		for _, part := range e.Schema.AllOf {
			all = append(all, validate(part.Value, e.Value)...)
		}
		return all
	case "properties":
		if name := unsupported.FindStringSubmatch(e.Reason); name != nil {
			return []finding{{pointer: "/" + name[1], keyword: e.SchemaField, reason: "there is no such member"}}
		}
	case "required":
		return []finding{{keyword: e.SchemaField, reason: "it is missing"}}
	}
	if parts == nil {
		return []finding{{keyword: e.SchemaField, reason: e.Reason}}
	}
	var closest []finding
	for i, part := range parts {
		found := validate(part.Value, e.Value)
		if len(found) == 0 {
			return nil
		}
		if i == 0 || distance(found) < distance(closest) {
			closest = found
		}
	}
	return closest
}

// distance is how far a value is from a schema; one of another type is furthest.
func distance(found []finding) int {
	if len(found) == 1 && found[0].pointer == "" && found[0].keyword == "type" {
		return math.MaxInt
	}
	return len(found)
}

func within(pointer string, found []finding) []finding {
	for i := range found {
		found[i].pointer = pointer + found[i].pointer
	}
	return found
}

func generalised(pointer []string) string {
	var b strings.Builder
	for _, part := range pointer {
		if _, err := strconv.Atoi(part); err == nil {
			part = "*"
		}
		b.WriteString("/" + part)
	}
	return b.String()
}
