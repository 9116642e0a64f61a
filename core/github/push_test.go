package github

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dispatchai/dispatchai/core/triage"
)

func TestPush(t *testing.T) {
	commit := func(id, members string) string { return fmt.Sprintf(`{"id":%q%s}`, id, members) }
	many := func(n int, one string) string { return strings.TrimSuffix(strings.Repeat(one+",", n), ",") }
	for name, test := range map[string]struct {
		members string
		want    bool
	}{
		"the file changed":      {`"ref":"refs/heads/main","after":"b","commits":[` + commit("a", `,"modified":[".github/dispatchai.yml"]`) + `,` + commit("b", "") + `]`, true},
		"the file is gone":      {`"ref":"refs/heads/main","after":"b","commits":[` + commit("b", `,"removed":["x",".github/dispatchai.yml"]`) + `]`, true},
		"a workflow is new":     {`"ref":"refs/heads/main","after":"b","commits":[` + commit("b", `,"added":[".github/workflows/ci.yml"]`) + `]`, true},
		"something else":        {`"ref":"refs/heads/main","after":"b","commits":[` + commit("b", `,"added":["docs/.github/dispatchai.yml"],"modified":["main.go"],"removed":[]`) + `]`, false},
		"another branch":        {`"ref":"refs/heads/next","after":"b","commits":[` + commit("b", `,"modified":[".github/dispatchai.yml"]`) + `]`, false},
		"a tag":                 {`"ref":"refs/tags/main","after":"b","commits":[` + commit("b", `,"modified":[".github/dispatchai.yml"]`) + `]`, false},
		"forced":                {`"ref":"refs/heads/main","after":"b","forced":true,"commits":[` + commit("b", "") + `]`, true},
		"deleted":               {`"ref":"refs/heads/main","after":"0","deleted":true,"commits":[]`, false},
		"nothing listed":        {`"ref":"refs/heads/main","after":"b","commits":[]`, true},
		"not all listed":        {`"ref":"refs/heads/main","after":"c","commits":[` + commit("b", "") + `]`, true},
		"as many as are listed": {`"ref":"refs/heads/main","after":"b","commits":[` + many(2048, commit("b", "")) + `]`, true},
		"a very large commit":   {`"ref":"refs/heads/main","after":"b","commits":[` + commit("b", `,"added":[`+many(300, `"x"`)+`]`) + `]`, true},
		"nonsense":              {`"ref":7,"after":{},"commits":"x"`, false},
	} {
		body := `{` + test.members + `,"repository":{"id":7,"full_name":"acme/shop","default_branch":"main","created_at":1700000000},"installation":{"id":3},"sender":{"login":"maia","type":"User"}}`
		e, err := ParseWebhook(EventPush, "guid", []byte(body), time.Now())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if e.Kind != triage.KindPush || e.TouchesConfig != test.want || e.Repository.ID != 7 || e.InstallationID != 3 {
			t.Errorf("%s: %+v", name, e)
		}
		if route, key, err := Key(EventPush, []byte(body)); err != nil || route != RouteInstallations || key != "3" {
			t.Errorf("%s: key %v %q %v", name, route, key, err)
		}
	}
	if _, key, err := Key(EventPush, []byte(`{"ref":"refs/heads/main","repository":{"id":7,"full_name":"acme/shop"}}`)); err != nil || key != "0" {
		t.Errorf("a push from an ordinary webhook has the key %q, %v", key, err)
	}
}
