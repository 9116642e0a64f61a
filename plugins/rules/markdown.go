package rules

import (
	"bytes"
)

// titlePrefix finds a "[x]", "(x)", "x:" or "x(y):" at the start of a title and
// gives the length of it and what it holds; 0 when there is none.
func titlePrefix(t []byte) (next int, inside span) {
	if len(t) < 3 {
		return 0, span{}
	}
	if t[0] == '[' || t[0] == '(' {
		closing := byte(']')
		if t[0] == '(' {
			closing = ')'
		}
		if end := bytes.IndexByte(t[:min(len(t), 42)], closing); end > 1 {
			next = end + 1
			for next < len(t) && (t[next] == ':' || t[next] == '-' || t[next] == ' ') {
				next++
			}
			return next, span{1, end}
		}
		return 0, span{}
	}
	end := bytes.IndexByte(t[:min(len(t), 42)], ':')
	if end < 2 || end+1 < len(t) && t[end+1] != ' ' || bytes.IndexByte(t[:end], '?') >= 0 || bytes.Count(t[:end], []byte(" ")) > 2 {
		return 0, span{}
	}
	return end + 1, span{0, end}
}

// atxHeading gives the text of a "## heading".
func atxHeading(line []byte) ([]byte, bool) {
	n := 0
	for n < len(line) && line[n] == '#' {
		n++
	}
	if n == 0 || n > 6 || n == len(line) || line[n] != ' ' && (n == 1 || asciiClass(line[n]) != classLetter) {
		return nil, false
	}
	return bytes.TrimLeft(line[n:], " "), true
}

// boldHeading finds a line that starts with bold text which takes up the line
// or is followed by a colon or ends a question, and gives where it closes.
func boldHeading(line []byte) (closes int, ok bool) {
	if !hasPrefix(line, "**") && !hasPrefix(line, "__") {
		return 0, false
	}
	n := bytes.Index(line[2:], line[:2])
	if n <= 0 || n > maxHeading {
		return 0, false
	}
	closes = n + 2
	rest := bytes.TrimLeft(line[closes+2:], " ")
	last := line[closes-1]
	return closes, len(rest) == 0 || rest[0] == ':' || last == ':' || last == '?' || last == '.'
}

// underlined tells whether the line at i underlines a heading.
func underlined(text []byte, i int) bool {
	end, _ := cutLine(text, i)
	line := bytes.TrimRight(text[i:end], " ")
	return len(line) >= 3 && (line[0] == '=' || line[0] == '-') && len(bytes.Trim(line, string(line[:1]))) == 0
}

// listed tells whether a line is an item of a list.
func listed(line []byte) bool { return bullet(line) > 0 }

// bullet gives the length of "- ", "* ", "+ ", "1. " or "1) ", or 0.
func bullet(line []byte) int {
	if len(line) < 2 {
		return 0
	}
	if (line[0] == '-' || line[0] == '*' || line[0] == '+') && line[1] == ' ' {
		return 2
	}
	n := 0
	for n < len(line) && n < 3 && asciiClass(line[n]) == classDigit {
		n++
	}
	if n > 0 && n+1 < len(line) && (line[n] == '.' || line[n] == ')') && line[n+1] == ' ' {
		return n + 2
	}
	return 0
}

// nameBefore gives the offset of the colon in "Name of a thing: ...", or 0: at
// most five words, starting with a letter, and no sentence.
func nameBefore(line []byte) int {
	if b := line[0]; b < 0x80 && asciiClass(b) != classLetter {
		return 0
	}
	colon := bytes.IndexByte(line[:min(len(line), 60)], ':')
	if colon < 2 || colon+1 < len(line) && line[colon+1] != ' ' && line[colon+1] != '*' {
		return 0
	}
	name := line[:colon]
	if bytes.Count(name, []byte(" ")) > 4 || bytes.ContainsAny(name, ".,;!`\"") {
		return 0
	}
	return colon
}

// boilerplate tells whether a line is advice that templates carry, not the
// author's own words.
func boilerplate(line []byte) bool {
	for len(line) > 0 && (line[0] == '*' || line[0] == '_' || line[0] == '(' || line[0] == ' ') {
		line = line[1:]
	}
	if len(line) < 8 {
		return false
	}
	switch line[0] {
	case 'a':
		return hasPrefix(line, "a clear and concise description") || hasPrefix(line, "add any other context")
	case 'e':
		return hasPrefix(line, "ex. i'm always frustrated") || hasPrefix(line, "example: steps to reproduce")
	case 'i':
		return hasPrefix(line, "if applicable, add")
	case 'p':
		return hasPrefix(line, "please make sure") || hasPrefix(line, "please search") || hasPrefix(line, "please fill") || hasPrefix(line, "please check that")
	case 's':
		return hasPrefix(line, "see error")
	case 't':
		return hasPrefix(line, "thanks for taking the time") || hasPrefix(line, "thank you for taking the time")
	}
	return false
}
