package github

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

func syntaxError(b []byte, at int, want string) error {
	if at >= len(b) {
		return fmt.Errorf("the body ends at byte %d where %s was expected", len(b), want)
	}
	return fmt.Errorf("byte %d is %q where %s was expected", at, b[at], want)
}

// nesting remembers, one bit per level, whether the level is an object.
type nesting struct {
	depth   int
	objects [maxNesting/64 + 1]uint64
}

func (n *nesting) push(object bool) bool {
	if n.depth == maxNesting {
		return false
	}
	n.depth++
	word, bit := n.depth>>6, uint64(1)<<(n.depth&63)
	if object {
		n.objects[word] |= bit
	} else {
		n.objects[word] &^= bit
	}
	return true
}

func (n *nesting) inObject() bool {
	return n.objects[n.depth>>6]&(uint64(1)<<(n.depth&63)) != 0
}

// scanDocument checks the value that starts at i and returns the index behind it.
func scanDocument(b []byte, i int, visit func(name []byte, value document)) (int, error) {
	const (
		wantValue = iota
		wantFirstElement
		wantFirstMember
		wantMember
		wantNext
	)
	var (
		levels nesting
		name   []byte // of the outermost object's present member, nil outside one
		value  int    // where that member's value starts
	)
	for want := wantValue; ; {
		if want == wantNext && levels.depth <= 1 {
			if levels.depth == 0 {
				return i, nil
			}
			if name != nil {
				visit(plainName(name), document(b[value:i:i]))
				name = nil
			}
		}
		i = skipSpace(b, i)
		if i >= len(b) {
			return 0, syntaxError(b, i, "more of the JSON value")
		}
		c := b[i]
		switch want {
		case wantFirstElement:
			if c == ']' {
				levels.depth--
				i++
				want = wantNext
				continue
			}
			want = wantValue
			continue
		case wantFirstMember, wantMember:
			if c == '}' && want == wantFirstMember {
				levels.depth--
				i++
				want = wantNext
				continue
			}
			if c != '"' {
				return 0, syntaxError(b, i, "the name of a member")
			}
			end, err := scanString(b, i+1)
			if err != nil {
				return 0, err
			}
			colon := skipSpace(b, end)
			if colon >= len(b) || b[colon] != ':' {
				return 0, syntaxError(b, colon, "a colon")
			}
			if levels.depth == 1 && visit != nil {
				name, value = b[i+1:end-1], skipSpace(b, colon+1)
			}
			i = colon + 1
			want = wantValue
			continue
		case wantNext:
			object := levels.inObject()
			switch {
			case c == ',' && object:
				want = wantMember
			case c == ',':
				want = wantValue
			case c == '}' && object, c == ']' && !object:
				levels.depth--
			case object:
				return 0, syntaxError(b, i, "a comma or a closing brace")
			default:
				return 0, syntaxError(b, i, "a comma or a closing bracket")
			}
			i++
			continue
		}

		var err error
		switch c {
		case '"':
			i, err = scanString(b, i+1)
		case '{', '[':
			if !levels.push(c == '{') {
				return 0, fmt.Errorf("byte %d opens more than %d levels of nesting", i, maxNesting)
			}
			i++
			want = wantFirstElement
			if c == '{' {
				want = wantFirstMember
			}
			continue
		case 't':
			i, err = scanLiteral(b, i, "true")
		case 'f':
			i, err = scanLiteral(b, i, "false")
		case 'n':
			i, err = scanLiteral(b, i, "null")
		default:
			i, err = scanNumber(b, i)
		}
		if err != nil {
			return 0, err
		}
		want = wantNext
	}
}

func skipSpace(b []byte, i int) int {
	for i < len(b) && b[i] <= ' ' && (b[i] == ' ' || b[i] == '\n' || b[i] == '\r' || b[i] == '\t') {
		i++
	}
	return i
}

func scanLiteral(b []byte, i int, literal string) (int, error) {
	if len(b)-i < len(literal) || string(b[i:i+len(literal)]) != literal {
		return 0, syntaxError(b, i, literal)
	}
	return i + len(literal), nil
}

func scanNumber(b []byte, i int) (int, error) {
	digits := func() bool {
		from := i
		for i < len(b) && b[i]-'0' <= 9 {
			i++
		}
		return i > from
	}
	start := i
	if i < len(b) && b[i] == '-' {
		i++
	}
	switch {
	case i < len(b) && b[i] == '0':
		i++
	case !digits():
		if i == start {
			return 0, syntaxError(b, i, "a JSON value")
		}
		return 0, syntaxError(b, i, "a digit")
	}
	if i < len(b) && b[i] == '.' {
		i++
		if !digits() {
			return 0, syntaxError(b, i, "a digit")
		}
	}
	if i < len(b) && (b[i] == 'e' || b[i] == 'E') {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		if !digits() {
			return 0, syntaxError(b, i, "a digit")
		}
	}
	return i, nil
}

const (
	everyByte = 0x0101010101010101
	everyHigh = 0x8080808080808080
)

// zeroBytes marks the high bit of each zero byte of w. Marks above the lowest
// one may be false; the lowest one never is.
func zeroBytes(w uint64) uint64 { return (w - everyByte) &^ w & everyHigh }

// scanString checks the string whose opening quote stands before i and returns
// the index behind its closing quote. Eight plain bytes are passed at a time.
func scanString(b []byte, i int) (int, error) {
	for {
		for len(b)-i >= 8 {
			w := binary.LittleEndian.Uint64(b[i:])
			special := zeroBytes(w^('"'*everyByte)) | zeroBytes(w^('\\'*everyByte)) | (w-' '*everyByte)&^w&everyHigh
			if special != 0 {
				i += bits.TrailingZeros64(special) >> 3
				break
			}
			i += 8
		}
		if i >= len(b) {
			return 0, syntaxError(b, i, "the end of a string")
		}
		switch c := b[i]; {
		case c == '"':
			return i + 1, nil
		case c == '\\':
			width, ok := escapeWidth(b, i)
			if !ok {
				return 0, syntaxError(b, min(i+1, len(b)), "a valid escape")
			}
			i += width
		case c < ' ':
			return 0, syntaxError(b, i, "an escaped control character")
		default:
			i++
		}
	}
}

// escapeWidth tells how many bytes the escape that starts at the backslash b[i] takes.
func escapeWidth(b []byte, i int) (int, bool) {
	if i+1 >= len(b) {
		return 0, false
	}
	switch b[i+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2, true
	case 'u':
		_, ok := hexUnit(b, i+2)
		return 6, ok
	}
	return 0, false
}

// hexUnit reads the four hexadecimal digits at b[i].
func hexUnit(b []byte, i int) (rune, bool) {
	if len(b)-i < 4 {
		return 0, false
	}
	var r rune
	for _, c := range b[i : i+4] {
		switch {
		case c-'0' <= 9:
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}
