package rules

import (
	"bytes"
	"unicode"
	"unicode/utf8"
)

// The caps on what is read of one issue, in characters. They are applied
// before anything is matched, so that the cost of the longest issue is fixed.
const (
	maxTitle = 1_000
	maxBody  = 20_000
)

// appendClean appends at most limit characters of s to dst in the form that
// everything else reads: valid UTF-8, lines ended by \n, no control, zero-width
// or bidirectional characters, plain spaces and quotes, full-width letters made
// plain. What a reader of the page cannot see, no rule sees.
func appendClean(dst []byte, s string, limit int) []byte {
	for i := 0; i < len(s) && limit > 0; limit-- {
		b := s[i]
		if b < utf8.RuneSelf {
			i++
			switch {
			case b == '\r':
				if i >= len(s) || s[i] != '\n' {
					dst = append(dst, '\n')
				}
			case b < ' ' && b != '\n', b == 0x7f:
				dst = append(dst, ' ')
			default:
				dst = append(dst, b)
			}
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1, unicode.IsControl(r), unicode.Is(unicode.Zs, r):
			dst = append(dst, ' ')
		case r == '\u2028' || r == '\u2029':
			dst = append(dst, '\n')
		case unicode.Is(unicode.Cf, r), unicode.Is(unicode.Variation_Selector, r):
		case r == '\u2018' || r == '\u2019' || r == '\u02bc':
			dst = append(dst, '\'')
		case r == '\u201c' || r == '\u201d':
			dst = append(dst, '"')
		case r >= '\uff01' && r <= '\uff5e':
			dst = append(dst, byte(r-0xfee0))
		default:
			dst = append(dst, s[i:i+size]...)
		}
		i += size
	}
	return dst
}

// appendLower appends text in lower case, byte for byte as long as text, so
// that one offset serves both.
func appendLower(dst, text []byte) []byte {
	for i := 0; i < len(text); {
		b := text[i]
		if b < utf8.RuneSelf {
			if 'A' <= b && b <= 'Z' {
				b += 'a' - 'A'
			}
			dst = append(dst, b)
			i++
			continue
		}
		r, size := utf8.DecodeRune(text[i:])
		if l := unicode.ToLower(r); utf8.RuneLen(l) == size {
			dst = utf8.AppendRune(dst, l)
		} else {
			dst = append(dst, text[i:i+size]...)
		}
		i += size
	}
	return dst
}

// wordKind tells numbers and versions, which all count as the same word, from
// the rest.
type wordKind uint8

const (
	plainWord wordKind = iota
	numberWord
	versionWord
)

// The classes of ASCII bytes that words are made of.
const (
	classLetter = 1 << iota
	classDigit
)

// asciiClass is computed rather than looked up: the compiler turns it into two
// comparisons.
func asciiClass(b byte) uint8 {
	switch {
	case 'a' <= b|0x20 && b|0x20 <= 'z':
		return classLetter
	case '0' <= b && b <= '9':
		return classDigit
	}
	return 0
}

// nextWord gives the end of the word that starts at i in lower, and its kind.
// The end is i when no word starts there. Words are letters and digits with
// apostrophes inside; 1.2.3 and v2.0 are versions.
func nextWord(lower []byte, i int) (end int, kind wordKind) {
	letters, digits, j := false, false, i
	for j < len(lower) {
		b := lower[j]
		if b < utf8.RuneSelf {
			switch asciiClass(b) {
			case classLetter:
				letters = true
				j++
				continue
			case classDigit:
				digits = true
				j++
				continue
			}
			if b == '\'' && j > i && j+1 < len(lower) && asciiClass(lower[j-1]) == classLetter && asciiClass(lower[j+1]) == classLetter {
				j++
				continue
			}
			break
		}
		r, size := utf8.DecodeRune(lower[j:])
		if !unicode.IsLetter(r) && !unicode.IsMark(r) && !unicode.IsDigit(r) {
			break
		}
		letters = true
		j += size
	}
	if j == i || !digits {
		return j, plainWord
	}
	if letters && (lower[i] != 'v' || !allDigits(lower[i+1:j])) {
		return j, plainWord
	}
	kind = numberWord
	if letters {
		kind = versionWord
	}
	for j+1 < len(lower) && lower[j] == '.' && asciiClass(lower[j+1]) == classDigit {
		kind = versionWord
		j += 2
		for j < len(lower) && asciiClass(lower[j]) != 0 {
			j++
		}
	}
	return j, kind
}

func allDigits(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(b) > 0
}

// cutLine gives the end of the line that starts at i, without its \n, and the
// start of the next one.
func cutLine(text []byte, i int) (end, next int) {
	if n := bytes.IndexByte(text[i:], '\n'); n >= 0 {
		return i + n, i + n + 1
	}
	return len(text), len(text)
}

// quotable makes a short piece of somebody's text fit to stand in a reason:
// letters, digits and the punctuation of names and paths only, at most 48
// characters.
func quotable(text string) string {
	out := make([]byte, 0, 52)
	n, space := 0, false
	for _, r := range text {
		if n == 48 {
			return string(out) + "…"
		}
		switch {
		case unicode.IsLetter(r), unicode.IsDigit(r), r == '.', r == '/', r == '_', r == '-', r == ':', r == '+', r == '#':
			if space && len(out) > 0 {
				out = append(out, ' ')
			}
			space = false
			out = utf8.AppendRune(out, r)
			n++
		default:
			space = true
		}
	}
	return string(out)
}
