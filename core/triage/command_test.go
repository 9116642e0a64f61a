package triage

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestParseCommands(t *testing.T) {
	set := func(f Field, values ...string) Command {
		return Command{Verb: VerbSet, Field: f, Values: append([]string{}, values...)}
	}
	unclear := Command{}
	for body, want := range map[string][]Command{
		"/dispatch classify":                          {{Verb: VerbClassify}},
		"Thanks!\r\n\r\n/dispatch  Category\tbug\r\n": {set(FieldCategory, "bug")},
		"/DISPATCH priority high\n/dispatch ignore":   {set(FieldPriority, "high"), {Verb: VerbIgnore}},
		"/dispatch category none":                     {set(FieldCategory)},
		"/dispatch tags none":                         {set(FieldTags)},
		"/dispatch tags ui, needs docs ,ui":           {set(FieldTags, "ui", "needs docs")},
		"/dispatch tags ui sync":                      {set(FieldTags, "ui", "sync")},
		"/dispatch component file system":             {set(FieldComponent, "file system")},
		"/dispatch component `area/cli`":              {set(FieldComponent, "area/cli")},
		"/dispatch resume\n/dispatch undo":            {{Verb: VerbResume}, {Verb: VerbUndo}},

		"/dispatch":                              {unclear},
		"/dispatch please":                       {unclear},
		"/dispatch category":                     {unclear},
		"/dispatch tags ,":                       {unclear},
		"/dispatch classify now":                 {unclear},
		"/dispatch set":                          {unclear},
		"/dispatch summary it crashes":           {unclear},
		"/dispatch " + strings.Repeat("x", 1000): {unclear},

		"":                                        nil,
		"Say /dispatch classify to try again.":    nil,
		"/dispatcher classify":                    nil,
		"/ dispatch classify":                     nil,
		"> /dispatch classify":                    nil,
		"> as ann said\n/dispatch classify":       nil,
		"> as ann said\n\n/dispatch classify":     {{Verb: VerbClassify}},
		"    /dispatch classify":                  nil,
		"\t/dispatch classify":                    nil,
		" /dispatch classify":                     nil,
		"- /dispatch classify":                    nil,
		"```\n/dispatch classify\n```":            nil,
		"~~~ sh\n/dispatch classify\n```\n~~~":    nil,
		"```\n/dispatch undo\n":                   nil,
		"```\nx\n```\n/dispatch undo":             {{Verb: VerbUndo}},
		"<!-- \n/dispatch classify\n-->":          nil,
		"<!-- x --> /dispatch classify":           nil,
		"`/dispatch classify`":                    nil,
		strings.Repeat("/dispatch undo\n", 1000):  slices.Repeat([]Command{{Verb: VerbUndo}}, maxCommands),
		"\u202e/dispatch classify":                nil,
		"/dispatch\u00a0classify":                 nil,
		"/dispatch category bug\x00":              {set(FieldCategory, "bug\x00")},
		"/dispatch category bug\n\n\n/dispatch x": {set(FieldCategory, "bug"), unclear},
	} {
		if got := ParseCommands(body); !reflect.DeepEqual(got, want) {
			t.Errorf("%.80q is read as %+v, want %+v", body, got, want)
		}
	}
}

func TestResolve(t *testing.T) {
	tax := NewTaxonomy(named("kind/bug", "kind/feature", "area/cli", "area/parser", "ui"))
	for _, c := range []struct {
		f     Field
		named []string
		want  []string
		ok    bool
	}{
		{FieldCategory, []string{"Bug"}, []string{"bug"}, true},
		{FieldCategory, []string{"KIND/bug"}, []string{"bug"}, true},
		{FieldComponent, []string{"area/CLI"}, []string{"cli"}, true},
		{FieldComponent, []string{"cli", "area/cli"}, []string{"cli"}, true},
		{FieldCategory, []string{"area/cli"}, nil, false},
		{FieldComponent, []string{"kernel"}, nil, false},
		{FieldCategory, []string{"bug\x00"}, nil, false},
		{FieldCategory, nil, []string{}, true},
	} {
		if got, ok := tax.Resolve(c.f, c.named); ok != c.ok || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s %q is %q, %t; want %q, %t", c.f, c.named, got, ok, c.want, c.ok)
		}
	}
}

func FuzzParseCommands(f *testing.F) {
	for _, seed := range []string{"/dispatch classify", "> q\n/dispatch tags a, b", "```\n/dispatch undo\n```\n/dispatch category `bug`", "<!-- /dispatch\n--> x\n/dispatch ignore"} {
		f.Add(seed)
	}
	t := NewTaxonomy(named("kind/bug", "area/cli", "ui"))
	f.Fuzz(func(tt *testing.T, body string) {
		commands := ParseCommands(body)
		if len(commands) > maxCommands {
			tt.Fatalf("%d commands", len(commands))
		}
		for _, c := range commands {
			switch c.Verb {
			case "", VerbClassify, VerbIgnore, VerbResume, VerbUndo:
				if c.Field != "" || c.Values != nil {
					tt.Fatalf("%+v has values", c)
				}
			case VerbSet:
				if !c.Field.Labelled() || c.Values == nil {
					tt.Fatalf("%+v sets nothing", c)
				}
				if values, ok := t.Resolve(c.Field, c.Values); ok {
					if err := (CorrectionInput{Field: c.Field, Values: values, Actor: "x"}).Validate(t); err != nil && len(values) <= 1 {
						tt.Fatalf("%+v resolves to %q: %v", c, values, err)
					}
				}
			default:
				tt.Fatalf("the verb %q", c.Verb)
			}
		}
		// Nothing that is quoted or set in is a command.
		if quoted := ParseCommands("> " + strings.ReplaceAll(strings.ReplaceAll(body, "\r", "\n"), "\n", "\n> ")); len(quoted) > 0 {
			tt.Fatalf("quoted, %+v", quoted)
		}
	})
}
