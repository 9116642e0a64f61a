package gateway

import (
	"net/http"
	"time"

	"github.com/dispatchai/dispatchai/core/store"
)

// gapsSince is how far GET /api/gaps looks back unless it is told: as far as
// GitHub keeps deliveries.
const gapsSince = 72 * time.Hour

// getGaps answers with the proof that nothing which GitHub told is missing, or
// with what is.
func (g *Gateway) getGaps(w http.ResponseWriter, r *http.Request) {
	now := g.config.Now()
	since := now.Add(-gapsSince)
	if text := r.URL.Query().Get("since"); text != "" {
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			writeProblem(w, problem{Status: http.StatusBadRequest, Detail: "since must be a time as in RFC 3339, for example 2026-05-01T00:00:00Z."})
			return
		}
		since = at
	}
	report, err := g.config.Store.Gaps(r.Context(), since, nil)
	if err != nil {
		g.storeProblem(w, r, err, "")
		return
	}
	writeJSON(w, http.StatusOK, struct {
		ServerTime time.Time `json:"server_time"`
		Gapless    bool      `json:"gapless"`
		Summary    string    `json:"summary"`
		store.GapReport
	}{now.UTC(), report.Gapless(), report.Summary(now), report})
}
