package store

import (
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
	var words []string
	add := func(word string) bool {
		if _, known := seen[word]; !known {
			seen[word] = struct{}{}
			words = append(words, word)
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
	splitWords(search, false, func(word string) bool {
		for _, w := range words {
			if w == word {
				return true
			}
		}
		words = append(words, word)
		return len(words) < maxQueryWords
	})
	return words
}

// splitWords calls yield for each word until it returns false. index tells
// whether the text is to be found (its last character of an unspaced run stands
// alone, too) or to be searched for.
func splitWords(text string, index bool, yield func(string) bool) {
	word := make([]rune, 0, maxWordRunes)
	var run []rune
	flush := func() bool {
		if len(word) > 0 {
			w := string(word)
			word = word[:0]
			if !yield(w) {
				return false
			}
		}
		for i := range run {
			if i+1 < len(run) {
				if !yield(string(run[i : i+2])) {
					return false
				}
			} else if index || len(run) == 1 {
				if !yield(string(run[i:])) {
					return false
				}
			}
		}
		run = run[:0]
		return true
	}
	for _, r := range text {
		switch {
		case r < utf8.RuneSelf:
			if 'A' <= r && r <= 'Z' {
				r += 'a' - 'A'
			}
			if (r < 'a' || r > 'z') && (r < '0' || r > '9') {
				if !flush() {
					return
				}
				continue
			}
		case unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul, unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar):
			if len(word) > 0 && !flush() {
				return
			}
			if run = append(run, r); len(run) == maxWordRunes {
				// The run goes on with its last character, so that no pair is lost.
				last := run[len(run)-1]
				if !yieldPairs(run, yield) {
					return
				}
				run = append(run[:0], last)
			}
			continue
		case unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsNumber(r):
			r = unicode.ToLower(r)
		case unicode.Is(unicode.Mn, r) && len(word) > 0:
			// A combining mark belongs to the letter before it.
		default:
			if !flush() {
				return
			}
			continue
		}
		if len(run) > 0 && !flush() {
			return
		}
		if len(word) < maxWordRunes {
			word = append(word, r)
		}
	}
	flush()
}

func yieldPairs(run []rune, yield func(string) bool) bool {
	for i := 0; i+1 < len(run); i++ {
		if !yield(string(run[i : i+2])) {
			return false
		}
	}
	return true
}
