package simulate

import (
	"strconv"
	"time"
	"unicode/utf8"
)

// document builds JSON by appending. Payloads of 10-15 KB are made for every event of a benchmark, and most of their
// bytes never change, so they are spliced from prepared parts instead of being marshalled by reflection.
type document []byte

func (d *document) comma() {
	if n := len(*d); n > 0 {
		switch (*d)[n-1] {
		case '{', '[', ':':
		default:
			*d = append(*d, ',')
		}
	}
}

// key writes a member's name; names are constants of this package and need no escaping.
func (d *document) key(name string) {
	d.comma()
	*d = append(*d, '"')
	*d = append(*d, name...)
	*d = append(*d, '"', ':')
}

func (d *document) begin(bracket byte) {
	d.comma()
	*d = append(*d, bracket)
}

func (d *document) end(bracket byte) { *d = append(*d, bracket) }

func (d *document) object(name string) { d.key(name); d.begin('{') }
func (d *document) array(name string)  { d.key(name); d.begin('[') }

func (d *document) str(name, value string) { d.key(name); *d = appendString(*d, value) }

// text writes null for the empty string, as GitHub does for descriptions and bodies that nobody gave.
func (d *document) text(name, value string) {
	if value == "" {
		d.null(name)
		return
	}
	d.str(name, value)
}

func (d *document) num(name string, value int64) {
	d.key(name)
	*d = strconv.AppendInt(*d, value, 10)
}

func (d *document) flag(name string, value bool) {
	d.key(name)
	*d = strconv.AppendBool(*d, value)
}

func (d *document) null(name string) { d.key(name); *d = append(*d, "null"...) }

// instant writes a time as GitHub does, in UTC to the second, and null for the zero time.
func (d *document) instant(name string, t time.Time) {
	if t.IsZero() {
		d.null(name)
		return
	}
	d.key(name)
	*d = append(*d, '"')
	*d = t.UTC().AppendFormat(*d, timeLayout)
	*d = append(*d, '"')
}

// raw writes a prepared JSON value, null when it is empty.
func (d *document) raw(name string, value []byte) {
	if len(value) == 0 {
		d.null(name)
		return
	}
	d.key(name)
	*d = append(*d, value...)
}

// item writes a prepared JSON value as the next element of the open array.
func (d *document) item(value []byte) {
	d.comma()
	*d = append(*d, value...)
}

func (d *document) strings(name string, values []string) {
	d.array(name)
	for _, v := range values {
		d.comma()
		*d = appendString(*d, v)
	}
	d.end(']')
}

// members copies prepared members, written without surrounding braces, into the open object.
func (d *document) members(prepared []byte) {
	d.comma()
	*d = append(*d, prepared...)
}

const timeLayout = "2006-01-02T15:04:05Z"

const hexDigits = "0123456789abcdef"

// appendString appends s as a JSON string. Bytes that are not UTF-8 become U+FFFD, as JSON must be UTF-8.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c >= 0x20 && c != '"' && c != '\\' {
				i++
				continue
			}
			b = append(b, s[start:i]...)
			switch c {
			case '"', '\\':
				b = append(b, '\\', c)
			case '\n':
				b = append(b, '\\', 'n')
			case '\r':
				b = append(b, '\\', 'r')
			case '\t':
				b = append(b, '\\', 't')
			default:
				b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&0xf])
			}
			i++
			start = i
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 {
			b = append(b, s[start:i]...)
			b = append(b, "\ufffd"...)
			i++
			start = i
			continue
		}
		i += size
	}
	b = append(b, s[start:]...)
	return append(b, '"')
}
