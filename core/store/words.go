package store

import (
	"slices"
	"unicode"
	"unicode/utf8"
)

// The bounds of the search index. Hostile texts must not make an issue
// arbitrarily expensive to store.
const (
	// SearchableBytes is how much of a body can be found by Search.
	SearchableBytes = 16 << 10
	// maxQueryWords is how many words of a search are looked at.
	maxQueryWords = 16
	// maxWordRunes is where a word is cut, on both sides of a search.
	maxWordRunes = 32
)

// IndexWords lists the distinct words by which an issue is found: those of its
// title and of the first SearchableBytes of its body. Every store indexes
// these and nothing else, so that all of them find the same issues.
//
// A word is a run of letters and digits, lower-cased, cut at 32 characters.
// Scripts written without spaces (Han, Kana, Hangul, Thai ...) give each pair of
// neighbouring characters and the last one alone.
func IndexWords(title, body string) []string {
	if len(body) > SearchableBytes {
		cut := SearchableBytes
		for cut > SearchableBytes-utf8.UTFMax && !utf8.RuneStart(body[cut]) {
			cut--
		}
		body = body[:cut]
	}
	seen := make(map[string]struct{}, len(body)/12+8)
	words := make([]string, 0, len(body)/12+8)
	add := func(word []byte) bool {
		if _, known := seen[string(word)]; !known {
			w := string(word)
			seen[w] = struct{}{}
			words = append(words, w)
		}
		return true
	}
	splitWords(title, true, add)
	splitWords(body, true, add)
	return words
}

// QueryWords lists the words a search asks for, at most 16. An issue is found
// when, for each of them, one of its own words begins with it. Whatever else
// the search holds, quotes and operators included, only separates words. A search without
// any word (nothing but punctuation, say) finds nothing.
func QueryWords(search string) []string {
	var words []string
	splitWords(search, false, func(word []byte) bool {
		if w := string(word); !slices.Contains(words, w) {
			words = append(words, w)
		}
		return len(words) < maxQueryWords
	})
	return words
}

// splitWords calls yield for each word until it returns false; the word is only
// valid during the call. index tells whether the text is to be found (the last
// character of an unspaced run stands alone, too) or to be searched for.
func splitWords(text string, index bool, yield func([]byte) bool) {
	s := splitter{index: index, yield: yield, word: make([]byte, 0, maxWordRunes*utf8.UTFMax)}
	for _, r := range text {
		switch {
		case 'a' <= r && r <= 'z' || '0' <= r && r <= '9':
			s.letter(r)
		case 'A' <= r && r <= 'Z':
			s.letter(r + 'a' - 'A')
		case r < utf8.RuneSelf:
			s.end()
		case unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul, unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar):
			s.unspaced(r)
		case unicode.IsLetter(r), unicode.IsNumber(r):
			s.letter(unicode.ToLower(r))
		case s.runes > 0 && unicode.Is(unicode.Mn, r):
			s.letter(r) // a combining mark belongs to the letter before it
		default:
			s.end()
		}
		if s.stopped {
			return
		}
	}
	s.end()
}

// splitter is a text being split: in the middle of a word, of a run of an
// unspaced script, or of neither.
type splitter struct {
	index   bool
	yield   func([]byte) bool
	stopped bool

	word  []byte
	runes int // in word

	last   rune // of the run; 0 outside of one
	paired bool // last is part of a pair already
}

func (s *splitter) emit(word []byte) {
	if !s.stopped && !s.yield(word) {
		s.stopped = true
	}
}

func (s *splitter) letter(r rune) {
	if s.last != 0 {
		s.end()
	}
	if s.runes < maxWordRunes {
		s.word = utf8.AppendRune(s.word, r)
		s.runes++
	}
}

func (s *splitter) unspaced(r rune) {
	if s.runes > 0 {
		s.end()
	}
	if s.last != 0 {
		s.emit(utf8.AppendRune(utf8.AppendRune(nil, s.last), r))
		s.paired = true
	}
	s.last = r
}

// end ends the word or run.
func (s *splitter) end() {
	if s.runes > 0 {
		s.emit(s.word)
		s.word, s.runes = s.word[:0], 0
	}
	if s.last != 0 {
		if s.index || !s.paired {
			s.emit(utf8.AppendRune(nil, s.last))
		}
		s.last, s.paired = 0, false
	}
}
