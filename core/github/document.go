package github

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// maxNesting bounds how deep a document may nest. GitHub's payloads nest fewer
// than ten levels; the bound keeps a hostile body of brackets from costing more
// than its length.
const maxNesting = 1000

// document is one JSON value whose syntax parseDocument accepted. It is a view
// into the payload: reading it copies nothing until text is asked for. A nil
// document stands for a member that is absent.
//
// Where an object repeats a member, the first one counts, on every level and in
// every function of this package; so what Key says of a payload and what
// ParseWebhook makes of it cannot differ.
type document []byte

// parseDocument checks that body is exactly one JSON value (RFC 8259) nested at
// most maxNesting levels deep. Strings may hold invalid UTF-8; text replaces it.
// It neither recurses nor allocates. Where the value is an object, visit, unless
// it is nil, is given each of its members on the way, before it is known whether
// what follows is in order.
func parseDocument(body []byte, visit func(name []byte, value document)) (document, error) {
	start := skipSpace(body, 0)
	end, err := scanDocument(body, start, visit)
	if err != nil {
		return nil, err
	}
	if rest := skipSpace(body, end); rest != len(body) {
		return nil, syntaxError(body, rest, "nothing more after the JSON value")
	}
	return document(body[start:end:end]), nil
}

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

// skipValue returns the index behind the value at b[i], which is known to be valid.
func skipValue(b []byte, i int) int {
	switch b[i] {
	case '"':
		return skipString(b, i+1)
	case '{', '[':
		for depth := 0; i < len(b); {
			switch b[i] {
			case '"':
				i = skipString(b, i+1)
				continue
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			}
			i++
		}
		return i
	}
	for i < len(b) && b[i] != ',' && b[i] != '}' && b[i] != ']' && b[i] > ' ' {
		i++
	}
	return i
}

// skipString returns the index behind the closing quote of the valid string
// whose opening quote stands before i.
func skipString(b []byte, i int) int {
	for i < len(b) {
		for len(b)-i >= 8 {
			w := binary.LittleEndian.Uint64(b[i:])
			special := zeroBytes(w^('"'*everyByte)) | zeroBytes(w^('\\'*everyByte))
			if special != 0 {
				i += bits.TrailingZeros64(special) >> 3
				break
			}
			i += 8
		}
		if i >= len(b) {
			break
		}
		switch b[i] {
		case '"':
			return i + 1
		case '\\':
			i += 2
		default:
			i++
		}
	}
	return len(b)
}

// members walks an object's members in order; of a document that is no object it yields none.
type members struct {
	b     []byte
	i     int
	name  []byte
	value document
}

func (d document) members() members {
	if len(d) == 0 || d[0] != '{' {
		return members{}
	}
	return members{b: d, i: 1}
}

func (m *members) next() bool {
	if m.b == nil {
		return false
	}
	i := skipSpace(m.b, m.i)
	if m.b[i] == ',' {
		i = skipSpace(m.b, i+1)
	}
	if m.b[i] == '}' {
		m.b = nil
		return false
	}
	end := skipString(m.b, i+1)
	m.name = plainName(m.b[i+1 : end-1])
	i = skipSpace(m.b, end)
	i = skipSpace(m.b, i+1)
	end = skipValue(m.b, i)
	m.value = document(m.b[i:end:end])
	m.i = end
	return true
}

// plainName resolves the escapes that a member's name may have.
func plainName(raw []byte) []byte {
	if bytes.IndexByte(raw, '\\') >= 0 {
		return []byte(unquote(raw))
	}
	return raw
}

// member returns the value of the first member of that name, nil if there is none.
func (d document) member(name string) document {
	for m := d.members(); m.next(); {
		if string(m.name) == name {
			return m.value
		}
	}
	return nil
}

// elements walks an array; of a document that is no array it yields none.
type elements struct {
	b     []byte
	i     int
	value document
}

func (d document) elements() elements {
	if len(d) == 0 || d[0] != '[' {
		return elements{}
	}
	return elements{b: d, i: 1}
}

func (e *elements) next() bool {
	if e.b == nil {
		return false
	}
	i := skipSpace(e.b, e.i)
	if e.b[i] == ',' {
		i = skipSpace(e.b, i+1)
	}
	if e.b[i] == ']' {
		e.b = nil
		return false
	}
	end := skipValue(e.b, i)
	e.value = document(e.b[i:end:end])
	e.i = end
	return true
}

// set tells whether the value is there and not null.
func (d document) set() bool { return len(d) > 0 && d[0] != 'n' }

func (d document) object() bool { return len(d) > 0 && d[0] == '{' }

func (d document) isTrue() bool { return len(d) > 0 && d[0] == 't' }

// text is the string's text, as valid UTF-8 without NUL characters; what was
// neither stands as U+FFFD. Of anything but a string it is "".
func (d document) text() string {
	if len(d) < 2 || d[0] != '"' {
		return ""
	}
	raw := d[1 : len(d)-1]
	if bytes.IndexByte(raw, '\\') < 0 && utf8.Valid(raw) {
		return string(raw)
	}
	return unquote(raw)
}

// integer is the whole number written in plain digits, as GitHub writes its identifiers.
func (d document) integer() (int64, bool) {
	if len(d) == 0 || len(d) > 20 || (d[0] != '-' && d[0]-'0' > 9) {
		return 0, false
	}
	n, err := strconv.ParseInt(string(d), 10, 64)
	return n, err == nil
}

// unquote resolves the escapes of a valid string's inside.
func unquote(raw []byte) string {
	var s strings.Builder
	s.Grow(len(raw))
	for i := 0; i < len(raw); {
		c := raw[i]
		switch {
		case c == '\\':
			r, width := unescape(raw, i)
			if r == 0 {
				r = utf8.RuneError
			}
			s.WriteRune(r)
			i += width
		case c < utf8.RuneSelf:
			from := i
			for i < len(raw) && raw[i] < utf8.RuneSelf && raw[i] != '\\' {
				i++
			}
			s.Write(raw[from:i])
		default:
			r, width := utf8.DecodeRune(raw[i:])
			s.WriteRune(r)
			i += width
		}
	}
	return s.String()
}

// unescape reads the escape at raw[i], a pair of surrogates as one character;
// half a pair becomes U+FFFD.
func unescape(raw []byte, i int) (rune, int) {
	switch c := raw[i+1]; c {
	case 'b':
		return '\b', 2
	case 'f':
		return '\f', 2
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	case 'u':
		r, _ := hexUnit(raw, i+2)
		if !utf16.IsSurrogate(r) {
			return r, 6
		}
		if i+7 < len(raw) && raw[i+6] == '\\' && raw[i+7] == 'u' {
			if low, ok := hexUnit(raw, i+8); ok {
				if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
					return pair, 12
				}
			}
		}
		return utf8.RuneError, 6
	default:
		return rune(c), 2
	}
}
