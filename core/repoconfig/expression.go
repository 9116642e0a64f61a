package repoconfig

import (
	"encoding/json"
	"strings"
)

// token is one piece of a workflow's expression or of a script.
type token struct {
	kind tokenKind
	text string // an identifier with its dots in lower case, a string's text, or a sign
}

type tokenKind int

const (
	sign tokenKind = iota
	identifier
	literal
)

// maxTokens bounds what is read of one expression.
const maxTokens = 4000

// tokens splits an expression. Identifiers keep their dots and stars, so that
// "github.event.issue.labels.*.name" is one; ["label"] reads as .label. It reads
// scripts well enough to find comparisons in them.
func tokens(s string) []token {
	var all []token
	for i := 0; i < len(s) && len(all) < maxTokens; {
		c := s[i]
		switch {
		case c == '\'' || c == '"' || c == '`':
			text, next := quoted(s, i)
			if next < len(s) && s[next] == ']' && len(all) > 1 && all[len(all)-1].text == "[" && all[len(all)-2].kind == identifier {
				all = all[:len(all)-1]
				all[len(all)-1].text += "." + strings.ToLower(text)
				i = next + 1
				continue
			}
			all = append(all, token{literal, text})
			i = next
		case isNameByte(c):
			end := i
			for end < len(s) && (isNameByte(s[end]) || s[end] == '.' || s[end] == '*' || s[end] == '-' || s[end] == '?' && end+1 < len(s) && s[end+1] == '.') {
				end++
			}
			name := strings.ReplaceAll(strings.ToLower(s[i:end]), "?", "")
			if n := len(all); n > 0 && strings.HasPrefix(name, ".") && all[n-1].kind == identifier {
				all[n-1].text += name
			} else {
				all = append(all, token{identifier, name})
			}
			i = end
		case c == '.' && len(all) > 0 && all[len(all)-1].kind == identifier:
			end := i + 1
			for end < len(s) && (isNameByte(s[end]) || s[end] == '.' || s[end] == '*') {
				end++
			}
			all[len(all)-1].text += strings.ToLower(s[i:end])
			i = end
		case strings.HasPrefix(s[i:], "==") || strings.HasPrefix(s[i:], "!="):
			all = append(all, token{sign, s[i : i+2]})
			i += 2
			if i < len(s) && s[i] == '=' {
				i++
			}
		case strings.HasPrefix(s[i:], "||"):
			all = append(all, token{sign, "||"})
			i += 2
		case c == '(' || c == ')' || c == ',' || c == '[' || c == '!':
			all = append(all, token{sign, string(c)})
			i++
		default:
			i++
		}
	}
	return all
}

func isNameByte(c byte) bool {
	return 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || c == '_'
}

// quoted reads the string that opens at i; a doubled quotation mark stands for
// one, as workflows have it. One that is never closed ends with the text.
func quoted(s string, i int) (text string, next int) {
	var b strings.Builder
	mark := s[i]
	for i++; i < len(s); i++ {
		if s[i] == mark {
			if i+1 == len(s) || s[i+1] != mark {
				return b.String(), i + 1
			}
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String(), len(s)
}

// labelTest is what an expression asks about labels.
type labelTest struct {
	patterns []string // globs of the labels it asks for
	asks     bool     // it speaks of labels at all
	unclear  bool     // in a way that cannot be read
	holds    bool     // it holds for such labels, and not only for others
	// elsewhere tells that it holds for other events than labels put on or taken
	// off: github.event.action == 'opened'.
	elsewhere bool
}

func isLabelName(t token) bool {
	return t.kind == identifier && (t.text == "label.name" || strings.HasSuffix(t.text, ".label.name"))
}

func isLabels(t token) bool {
	return t.kind == identifier && (strings.HasSuffix(t.text, ".labels") || strings.Contains(t.text, ".labels."))
}

// readTest finds what an expression asks about labels.
func readTest(expression string) labelTest {
	var test labelTest
	all := tokens(expression)
	read := make([]bool, len(all)) // what speaks of labels and was understood
	either, action := false, false
	for i, t := range all {
		switch {
		case t.text == "||" && t.kind == sign:
			either = true
		case t.kind == sign && (t.text == "==" || t.text == "!=") && i > 0 && i+1 < len(all):
			left, right := i-1, i+1
			if all[left].kind == literal {
				left, right = right, left
			}
			if all[right].kind != literal {
				continue
			}
			value := all[right].text
			switch {
			case isLabelName(all[left]):
				read[left] = true
				test.patterns = append(test.patterns, value)
				test.holds = test.holds || t.text == "=="
			case all[left].kind == identifier && strings.HasSuffix(all[left].text, "event.action"):
				action = action || t.text == "==" && value != "labeled" && value != "unlabeled"
			}
		case t.kind == identifier && i+1 < len(all) && all[i+1].text == "(" && all[i+1].kind == sign:
			switch t.text {
			case "contains", "startswith", "endswith":
				if test.call(t.text, all, read, i+2) && (i == 0 || all[i-1].text != "!") {
					test.holds = true
				}
			}
		}
	}
	for i, t := range all {
		if isLabelName(t) || isLabels(t) {
			test.asks = true
			test.unclear = test.unclear || !read[i]
		}
	}
	test.elsewhere = action && !either && !strings.Contains(expression, "labeled")
	return test
}

// call reads contains(), startsWith() or endsWith(), whose arguments start at i.
// It tells whether they speak of labels.
func (test *labelTest) call(function string, all []token, read []bool, i int) bool {
	depth, argument := 1, 0
	var args [2][]int // the tokens of each argument
	for ; i < len(all) && depth > 0; i++ {
		switch t := all[i]; {
		case t.kind == sign && t.text == "(":
			depth++
		case t.kind == sign && t.text == ")":
			depth--
		case t.kind == sign && t.text == "," && depth == 1:
			argument++
		case argument < 2:
			args[argument] = append(args[argument], i)
		}
	}
	if len(args[0]) == 0 || len(args[1]) == 0 {
		return false
	}
	found := len(test.patterns)
	last := all[args[1][0]]
	switch {
	case len(args[1]) == 1 && last.kind == literal:
		wrapped := false
		for _, at := range args[0] {
			switch t := all[at]; {
			case t.text == "join" || t.text == "tojson" || t.text == "format":
				wrapped = true
			case isLabelName(t), isLabels(t):
				read[at] = true
				test.patterns = append(test.patterns, around(function, last.text, wrapped || isLabelName(t)))
			}
		}
	case len(args[1]) == 1 && isLabelName(last) && function == "contains":
		for _, at := range args[0] {
			if all[at].kind == literal {
				read[args[1][0]] = true
				test.patterns = append(test.patterns, listed(all[at].text)...)
			}
		}
	}
	return len(test.patterns) > found
}

// around is the glob of the labels for which a function holds.
func around(function, text string, within bool) string {
	switch {
	case function == "startswith":
		return text + "*"
	case function == "endswith":
		return "*" + text
	case within:
		return "*" + text + "*"
	}
	return text
}

// listed reads a list in a string: JSON, or names with commas or line ends between.
func listed(text string) []string {
	var list []string
	if json.Unmarshal([]byte(text), &list) == nil {
		return list
	}
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == '\n' })
}
