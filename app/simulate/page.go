package simulate

import "net/http"

func (g *GitHub) servePage(w http.ResponseWriter, r *http.Request) bool { return false }
