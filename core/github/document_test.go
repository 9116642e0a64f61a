package github

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func TestParseDocumentNestingBomb(t *testing.T) {
	for name, body := range map[string]string{
		"arrays":  strings.Repeat("[", 25<<20),
		"objects": strings.Repeat(`{"a":`, 5<<20),
		"closed":  strings.Repeat("[", maxNesting+1) + strings.Repeat("]", maxNesting+1),
	} {
		if _, err := parseDocument([]byte(body), nil); err == nil || !strings.Contains(err.Error(), "nesting") {
			t.Errorf("%s: error %v, want one about nesting", name, err)
		}
	}
	deep := strings.Repeat("[", maxNesting) + strings.Repeat("]", maxNesting)
	if _, err := parseDocument([]byte(deep), nil); err != nil {
		t.Errorf("%d levels: %v", maxNesting, err)
	}
}

func TestDocumentFirstMemberCounts(t *testing.T) {
	d, err := parseDocument([]byte(` {"a":{"b":1},"\u0061":{"b":2},"a":3,"list":[ 1 , {"x":[2,"]"]}, "three\n" ] } `), nil)
	if err != nil {
		t.Fatal(err)
	}
	if n, ok := d.member("a").member("b").integer(); !ok || n != 1 {
		t.Errorf("a.b = %d, %t; want the first, 1", n, ok)
	}
	if d.member("none") != nil {
		t.Error("an absent member is not nil")
	}
	var got []string
	for e := d.member("list").elements(); e.next(); {
		got = append(got, string(e.value))
	}
	if want := []string{"1", `{"x":[2,"]"]}`, `"three\n"`}; strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("elements %q, want %q", got, want)
	}
}

func TestDocumentText(t *testing.T) {
	for raw, want := range map[string]string{
		`"plain"`:               "plain",
		`"a\"b\\c\/\b\f\n\r\t"`: "a\"b\\c/\b\f\n\r\t",
		`"\u00e9\uD83C\uDF0A"`:  "é🌊",
		`"\ud83c alone"`:        "\uFFFD alone",
		`"\udf0a\ud83c"`:        "\uFFFD\uFFFD",
		`"nul \u0000 here"`:     "nul \uFFFD here",
		"\"bad \xff\xfe utf\"":  "bad \uFFFD\uFFFD utf",
		"\"\xff\\n\"":           "\uFFFD\n",
		`12`:                    "",
		`null`:                  "",
	} {
		d, err := parseDocument([]byte(raw), nil)
		if err != nil {
			t.Errorf("%s: %v", raw, err)
			continue
		}
		if got := d.text(); got != want {
			t.Errorf("%s: text %q, want %q", raw, got, want)
		}
	}
}

// FuzzDocument holds parseDocument and text to what encoding/json makes of the same bytes.
func FuzzDocument(f *testing.F) {
	for _, seed := range []string{
		`{}`, `[]`, ` [1 , 2.5e-3,-0]`, `{"a":{"b":[true,false,null]},"a":"\u00e9\ud83c\udf0a\n"}`,
		`"\ud800"`, `"unfinished`, `{"a" 1}`, `[1,]`, `{,}`, `01`, `-`, `1.`, `tru`, "\"\x01\"", "\"\xff\"", `"\x"`, `"\u12"`, ``, `1 2`, "\"12345678\\\"90\"",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var visited []document
		d, err := parseDocument(body, func(name []byte, value document) { visited = append(visited, document(bytes.Clone(name)), value) })
		if bytes.Count(body, []byte("["))+bytes.Count(body, []byte("{")) <= maxNesting {
			if valid := json.Valid(body); valid != (err == nil) {
				t.Fatalf("json.Valid says %t, parseDocument %v", valid, err)
			}
		}
		if err != nil {
			return
		}
		checkDocument(t, d)
		for m := d.members(); m.next(); visited = visited[2:] {
			if len(visited) < 2 || !bytes.Equal(visited[0], m.name) || !bytes.Equal(visited[1], m.value) {
				t.Fatalf("%q: member %q %q, visited %q", body, m.name, m.value, visited)
			}
		}
		if len(visited) != 0 {
			t.Fatalf("%q: visited %q besides the members", body, visited)
		}
	})
}

func checkDocument(t *testing.T, d document) {
	t.Helper()
	var s string
	if d[0] == '"' {
		if err := json.Unmarshal(d, &s); err != nil {
			t.Fatalf("%q: %v", d, err)
		}
		if want := strings.ReplaceAll(s, "\x00", "\uFFFD"); d.text() != want {
			t.Fatalf("%q: text %q, want %q", d, d.text(), want)
		}
	}
	var list []json.RawMessage
	if d[0] == '[' {
		if err := json.Unmarshal(d, &list); err != nil {
			t.Fatal(err)
		}
		i := 0
		for e := d.elements(); e.next(); i++ {
			if i >= len(list) || !bytes.Equal(list[i], e.value) {
				t.Fatalf("%q: element %d is %q", d, i, e.value)
			}
			checkDocument(t, e.value)
		}
		if i != len(list) {
			t.Fatalf("%q: %d elements, want %d", d, i, len(list))
		}
	}
	for m := d.members(); m.next(); {
		checkDocument(t, m.value)
	}
}
