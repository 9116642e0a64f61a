package githubtest

import (
	"hash/maphash"
	"slices"
)

// shapeOf is the same for JSON texts that have the same members of the same
// types, lists with the same kinds of elements, and the same words: strings of
// small letters, as those are that a schema enumerates. It is made for speed, by
// reading the bytes once; texts that are no JSON have some shape or other.
func shapeOf(text []byte) uint64 {
	s := shaper{text: text}
	return s.value()
}

type shaper struct {
	text []byte
	at   int
}

const (
	shapeNothing = iota
	shapeString
	shapeNumber
	shapeLiteral
	shapeObject
	shapeList
)

// maxWord bounds the words that are told apart.
const maxWord = 32

func mix(h, part uint64) uint64 {
	h ^= part + 0x9e3779b97f4a7c15 + h<<6 + h>>2
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	return h * 0xc4ceb9fe1a85ec53
}

// next skips what separates tokens, and returns the byte that a token begins with.
func (s *shaper) next() (byte, bool) {
	for ; s.at < len(s.text); s.at++ {
		switch c := s.text[s.at]; c {
		case ' ', '\t', '\n', '\r', ',', ':':
		default:
			return c, true
		}
	}
	return 0, false
}

func (s *shaper) value() uint64 {
	c, ok := s.next()
	if !ok {
		return shapeNothing
	}
	switch {
	case c == '{':
		s.at++
		h := uint64(shapeObject)
		for {
			if c, ok := s.next(); !ok || c == '}' {
				s.at++
				return h
			}
			name := s.string(true)
			h += mix(name, s.value()) // in any order
		}
	case c == '[':
		s.at++
		var kinds []uint64
		for {
			if c, ok := s.next(); !ok || c == ']' {
				s.at++
				break
			}
			if kind := s.value(); !slices.Contains(kinds, kind) {
				kinds = append(kinds, kind)
			}
		}
		slices.Sort(kinds)
		h := uint64(shapeList)
		for _, kind := range kinds {
			h = mix(h, kind)
		}
		return h
	case c == '"':
		return s.string(false)
	case c == '-' || c >= '0' && c <= '9':
		for s.at++; s.at < len(s.text) && (s.text[s.at] >= '0' && s.text[s.at] <= '9' || s.text[s.at] == '.' || s.text[s.at] == 'e'); s.at++ {
		}
		if c == '-' {
			return mix(shapeNumber, 1)
		}
		return shapeNumber
	}
	s.at++ // a closing bracket, or a literal, whose further letters are skipped
	for s.at < len(s.text) && s.text[s.at] >= 'a' && s.text[s.at] <= 'z' {
		s.at++
	}
	return mix(shapeLiteral, uint64(c))
}

// string reads a string, of which the letters count when it is a member's name or a word.
func (s *shaper) string(name bool) uint64 {
	s.at++
	start, word := s.at, true
	for ; s.at < len(s.text) && s.text[s.at] != '"'; s.at++ {
		switch c := s.text[s.at]; {
		case c >= 'a' && c <= 'z' || c == '_':
		case c == '\\':
			s.at++
			word = false
		default:
			word = false
		}
	}
	end := min(s.at, len(s.text))
	s.at++
	if name || word && end-start <= maxWord {
		return mix(shapeString, maphash.Bytes(seed, s.text[start:end]))
	}
	return shapeString
}
