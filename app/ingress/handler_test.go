package ingress

import (
	"encoding/json"
	"fmt"
	"strings"
)

const testSecret = "it's a secret to everybody but the tests"

// issueBody is an issues delivery of about that many bytes.
func issueBody(size int) []byte {
	body, err := json.Marshal(map[string]any{
		"action":       "opened",
		"issue":        map[string]any{"id": 1, "number": 12, "title": "A title", "body": nil, "labels": []any{}, "user": nil},
		"repository":   map[string]any{"id": 77, "full_name": "harbour-lights/tidewatch"},
		"installation": map[string]any{"id": 5},
	})
	if err != nil {
		panic(err)
	}
	padding := ""
	for i := 0; len(body)+len(padding) < size; i++ {
		padding += fmt.Sprintf(`,"some_%03d_url":"https://api.github.com/repos/harbour-lights/tidewatch/things{/thing}/%d"`, i, i)
	}
	return []byte(strings.TrimSuffix(string(body), "}") + padding + "}")
}
