package repoconfig

import (
	"fmt"
	"strings"
)

// instead says what may have been meant, or what there is.
func instead(name string, allowed []string) string {
	if near := nearest(name, allowed); near != "" {
		return fmt.Sprintf("; did you mean %s?", near)
	}
	return "; known are " + strings.Join(allowed, ", ")
}

// nearest is the word that somebody who wrote name most likely meant, or "".
func nearest(name string, words []string) string {
	name = strings.ReplaceAll(strings.ToLower(name), "_", "-")
	if len(name) > 2*maxGlob {
		return ""
	}
	best, least := "", 3
	for _, w := range words {
		if d := distance(name, w); d < least && d < max(len(w), 2)/2+1 && d < len(name) {
			best, least = w, d
		}
		if least > 2 && len(name) >= 4 && (strings.HasPrefix(w, name) || strings.HasPrefix(name, w) && len(w) >= 3) {
			best = w
		}
	}
	return best
}

// distance is how many letters one must add, remove, change or swap with the
// next one to make b of a.
func distance(a, b string) int {
	before, last := []int(nil), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			change := last[j]
			if a[i] != b[j] {
				change++
			}
			row[j+1] = min(change, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
