package store

import (
	"strings"
	"time"
	"unicode/utf8"
)

// replacement stands where a text held what no database keeps.
const replacement = "\uFFFD"

// CleanText gives the text as every store keeps it: invalid UTF-8 and NUL,
// which PostgreSQL refuses and SQLite cuts at, become U+FFFD. Nothing else is
// changed, and a clean text is returned as it is.
func CleanText(s string) string {
	if utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, replacement), "\x00", replacement)
}

// CleanTime gives the time as every store keeps it: in UTC, cut to microseconds.
func CleanTime(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Microsecond)
}

// LabelKey gives the key under which a label is kept: GitHub compares label
// names without regard to case, so names that differ in nothing else share a key.
func LabelKey(name string) string {
	return strings.ToLower(strings.ToUpper(CleanText(name)))
}

// cleanTexts returns a clean copy that is never nil.
func cleanTexts(list []string) []string {
	clean := make([]string, len(list))
	for i, s := range list {
		clean[i] = CleanText(s)
	}
	return clean
}
