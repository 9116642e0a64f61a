package github

import (
	"bytes"
	"encoding/binary"
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
