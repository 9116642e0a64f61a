package rules

import (
	_ "embed"
	"strconv"
	"strings"
)

// backgroundWords says how common words are in issues: each line is a share in
// a thousand, a colon, and words of about that share.
//
//go:embed background.txt
var backgroundWords string

// background estimates in how many of a thousand issues a word stands, for as
// long as a repository has few of its own to count in.
type background struct {
	perMille map[string]float64
}

const backgroundIssues = 1000

// unknownWord is the share in a thousand of a word that is not in the table.
// Most of those recur: taken for unique, they would drown the rest.
const unknownWord = 6

func newBackground() *background {
	b := &background{perMille: map[string]float64{}}
	for _, line := range strings.Split(backgroundWords, "\n") {
		share, words, ok := strings.Cut(line, ":")
		n, err := strconv.ParseFloat(strings.TrimSpace(share), 64)
		if !ok || err != nil {
			continue // a comment
		}
		for _, w := range strings.Fields(words) {
			b.perMille[w] = n
		}
	}
	return b
}

// share is the estimated share of issues that have the word, 0 for one that is
// not in the table.
func (b *background) share(word string) float64 { return b.perMille[word] / backgroundIssues }

// commonness is the estimate for a word of a text, in a thousand issues.
func (b *background) commonness(lower []byte) uint16 {
	return uint16(max(unknownWord, b.perMille[string(lower)]))
}
