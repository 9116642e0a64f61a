package control

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestPluginSwitch(t *testing.T) {
	t.Parallel()
	want := PluginSwitch{By: "maia@desk", At: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)}
	value, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if string(value) != `{"enabled":false,"by":"maia@desk","at":"2026-05-01T12:00:00Z"}` {
		t.Errorf("encoded as %s", value)
	}
	if got, err := ParsePluginSwitch(value); err != nil || got != want {
		t.Errorf("read as %+v, %v", got, err)
	}
	// A newer version may say more.
	if got, err := ParsePluginSwitch([]byte(`{"enabled":true,"share":0.5}`)); err != nil || !got.Enabled {
		t.Errorf("read as %+v, %v", got, err)
	}
	for _, bad := range []string{``, `null`, `{}`, `[]`, `"off"`, `{"enabled":"no"}`, `{"enabled":null}`, `{"enabled":false`} {
		if got, err := ParsePluginSwitch([]byte(bad)); err == nil {
			t.Errorf("%s was read as %+v", bad, got)
		}
	}
	for key, name := range map[string]string{"plugin/rules": "rules", "plugin/my-own-2": "my-own-2", "plugin/": "", "plugin/Rules": "", "rollout/rules": "", "plugin/a/b": "", "rules": ""} {
		got, ok := PluginOfKey(key)
		if ok != (name != "") || ok && (got != name || PluginKey(got) != key) {
			t.Errorf("the key %q is of %q, %v", key, got, ok)
		}
	}
}

// TestPluginRevision: it is read as it was written, and nonsense is refused.
func TestPluginRevision(t *testing.T) {
	want := PluginRevision{Number: 3, Source: "/opt/two", Previous: "/opt/one", Configured: "/opt/one", By: "maia@desk", At: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)}
	value, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ParsePluginRevision(value); err != nil || got != want {
		t.Errorf("read as %+v, %v", got, err)
	}
	for _, bad := range []string{``, `null`, `{}`, `[]`, `{"number":0}`, `{"number":-1}`, `{"number":"1"}`, `{"number":1,"source":"` + strings.Repeat("x", MaxPath+1) + `"}`} {
		if got, err := ParsePluginRevision([]byte(bad)); err == nil {
			t.Errorf("%.60s was read as %+v", bad, got)
		}
	}
	for key, name := range map[string]string{"plugin-revision/rules": "rules", "plugin-revision/": "", "plugin/rules": "", "plugin-revision/a/b": ""} {
		got, ok := RevisionOfKey(key)
		if ok != (name != "") || ok && (got != name || RevisionKey(got) != key) {
			t.Errorf("the key %q is of %q, %v", key, got, ok)
		}
	}
}

func report(name string, at time.Time) Report {
	return Report{
		Name: name, Host: "web-1", PID: 7, Roles: []string{"classify"}, Version: "1.2.3", StartedAt: at.Add(-time.Hour), ReportedAt: at,
		Groups:  []Group{{Group: "classify", Lag: 3, Lost: 1}},
		Plugins: []Plugin{{Name: "rules", Version: "1", State: PluginRestarting, Since: at, Restarts: 2, LastError: "exit status 3"}},
	}
}

func TestReport(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	want := report("web-1/7/1", at)
	value, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ParseReport(value); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("read as %+v, %v", got, err)
	}
	if got, err := ParseReport([]byte(`{"name":"n","reported_at":"2026-05-01T12:00:00Z","mood":"good"}`)); err != nil || got.Roles == nil || got.Groups == nil || got.Plugins == nil {
		t.Errorf("read as %+v, %v", got, err)
	}
	for _, bad := range []string{``, `null`, `{}`, `{"name":"n"}`, `{"reported_at":"2026-05-01T12:00:00Z"}`, `{"name":1}`} {
		if got, err := ParseReport([]byte(bad)); err == nil {
			t.Errorf("%s was read as %+v", bad, got)
		}
	}
}

// largestReport is what a record of the log takes (eventlog.MaxCompactedBytes),
// with room for the key.
const largestReport = 60 << 10

// TestReportIsBounded: whatever a plugin says of itself, its process can still
// report.
func TestReportIsBounded(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("\x01é", 50_000)
	r := Report{Name: long, Host: long, Version: long, ReportedAt: time.Now()}
	for range 300 {
		r.Roles = append(r.Roles, long)
		r.Groups = append(r.Groups, Group{Group: long})
		r.Plugins = append(r.Plugins, Plugin{Name: long, Version: long, State: PluginState(long), LastError: long, Source: long, Configured: long, RevisionError: long})
	}
	value, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if len(value) > largestReport {
		t.Errorf("a report of %d bytes", len(value))
	}
	if len(r.Roles[0]) != len(long) {
		t.Error("encoding changed the report itself")
	}
	if _, err := ParseReport(value); err != nil {
		t.Error(err)
	}
}

func TestOverview(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	o := NewOverview([]Report{
		report("b", now.Add(-59*time.Second)), report("gone", now.Add(-GoneAfter)), report("a", now.Add(5*time.Second)),
	}, map[string]PluginSwitch{"off": {}, "on": {Enabled: true}}, nil, now)
	var names []string
	for _, p := range o.Processes {
		names = append(names, p.Name)
	}
	if !slices.Equal(names, []string{"a", "b"}) {
		t.Errorf("the processes are %v", names)
	}
	if got := o.Known(); !slices.Equal(got, []string{"off", "on", "rules"}) {
		t.Errorf("the plugins are %v", got)
	}
	if o.Enabled("off") || !o.Enabled("on") || !o.Enabled("rules") || !o.Enabled("never heard of") {
		t.Error("not as switched")
	}
	if age := report("x", now.Add(time.Minute)).Age(now); age != 0 {
		t.Errorf("a report of the future is %s old", age)
	}
}

func FuzzParse(f *testing.F) {
	at := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	value, _ := report("web-1/7/1", at).Encode()
	f.Add("plugin/rules", value)
	f.Add("plugin/x", []byte(`{"enabled":false,"by":"maia","at":"2026-05-01T12:00:00Z"}`))
	f.Add("plugin-revision/x", []byte(`{"number":2,"source":"/opt/two","previous":"","configured":"","by":"maia","at":"2026-05-01T12:00:00Z"}`))
	f.Add("", []byte("{\"name\":\"\xff\",\"reported_at\":\"2026-05-01T12:00:00Z\",\"plugins\":[null,{}]}"))
	f.Fuzz(func(t *testing.T, key string, value []byte) {
		if name, ok := PluginOfKey(key); ok && PluginKey(name) != key {
			t.Errorf("%q is of %q", key, name)
		}
		if s, err := ParsePluginSwitch(value); err == nil {
			again, err := s.Encode()
			if err != nil {
				return // a year that JSON cannot hold
			}
			if got, err := ParsePluginSwitch(again); err != nil || got.Enabled != s.Enabled || got.By != s.By || !got.At.Equal(s.At) {
				t.Errorf("%+v became %+v, %v", s, got, err)
			}
		}
		if name, ok := RevisionOfKey(key); ok && RevisionKey(name) != key {
			t.Errorf("%q is of %q", key, name)
		}
		if s, err := ParsePluginRevision(value); err == nil {
			again, err := s.Encode()
			if err != nil {
				return // a year that JSON cannot hold
			}
			if got, err := ParsePluginRevision(again); err != nil || got.Number != s.Number || got.Source != s.Source || got.By != s.By || !got.At.Equal(s.At) {
				t.Errorf("%+v became %+v, %v", s, got, err)
			}
		}
		r, err := ParseReport(value)
		if err != nil {
			return
		}
		again, err := r.Encode()
		if err != nil {
			return
		}
		if len(again) > largestReport || !utf8.Valid(again) || !json.Valid(again) {
			t.Errorf("%d bytes, not as they should be: %.200q", len(again), again)
		}
		if _, err := ParseReport(again); err != nil {
			t.Errorf("%v in %.200q", err, again)
		}
	})
}
