package main

import (
	"strings"
	"unicode"
)

// clean makes a stranger's text fit for a line on a terminal: nothing that
// drives it or turns the line around, and no more than most characters.
func clean(text string, most int) string {
	var b strings.Builder
	n := 0
	for _, r := range text {
		if n++; n > most {
			b.WriteRune('…')
			break
		}
		if !isPrintable(r) {
			r = ' '
		}
		b.WriteRune(r)
	}
	return b.String()
}

// isPrintable refuses control characters, line separators, direction marks and
// whatever else has no shape, but for the joiner that emoji are made with.
func isPrintable(r rune) bool {
	const joiner = '\u200d'
	return unicode.IsPrint(r) || r == joiner
}
