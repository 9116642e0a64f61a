package gateway

import (
	"cmp"
	"net/http"

	"github.com/dispatchai/dispatchai/core/store"
)

// disagreementsShown is how many disagreements are given unless more are asked for.
const disagreementsShown = 50

// getChallenges answers with what challengers would have said: how often they agree with
// what was decided and who was right, and the disagreements that nobody has settled.
func (g *Gateway) getChallenges(w http.ResponseWriter, r *http.Request) {
	repositories, limit, ok := g.narrow(w, r)
	if !ok {
		return
	}
	scores, err := g.config.Store.ChallengeScores(r.Context(), repositories)
	if err != nil {
		g.storeProblem(w, r, err, "")
		return
	}
	disagreements, err := g.config.Store.Disagreements(r.Context(), repositories, cmp.Or(limit, disagreementsShown))
	if err != nil {
		g.storeProblem(w, r, err, "")
		return
	}
	writeJSON(w, http.StatusOK, struct {
		Scores        []store.ChallengeScore `json:"scores"`
		Disagreements []store.Disagreement   `json:"disagreements"`
	}{scores, disagreements})
}
