package gateway

import (
	_ "embed"
	"net/http"
)

// openapi describes the API; a test holds the answers to it.
//
//go:embed openapi.json
var openapi []byte

func serveOpenAPI(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-cache")
	_, _ = w.Write(openapi)
}
