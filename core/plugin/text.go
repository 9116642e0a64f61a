package plugin

import (
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"unicode"
	"unicode/utf8"
)

// redactor makes a plugin's words fit for logs, labels and comments: no
// control characters, no more than so many bytes, no secret of its settings.
type redactor struct {
	secrets atomic.Pointer[strings.Replacer] // nil when there are none

	mu     sync.Mutex
	recent []string
}

// minSecret is the length below which a setting is no secret worth hiding, as
// striking it would mangle ordinary text.
const minSecret = 6

func newRedactor(settings json.RawMessage) *redactor {
	r := &redactor{}
	r.learn(settings)
	return r
}

// Redactor gives a function that makes a plugin's words fit to be shown: the
// secrets of its settings are struck, and so is what drives a terminal.
func Redactor(settings json.RawMessage) func(string) string {
	r := newRedactor(settings)
	return func(s string) string { return r.prose(s, maxShown) }
}

// maxShown bounds the words of a plugin that are shown at once.
const maxShown = 64 << 10

// learn strikes the secrets of new settings too, beside those of the last ones,
// which the plugin may still speak of.
func (r *redactor) learn(settings json.RawMessage) {
	var value any
	if json.Unmarshal(settings, &value) != nil {
		return
	}
	fresh := secretsIn(value, false, nil)
	r.mu.Lock()
	defer r.mu.Unlock()
	all := append(slices.Clone(fresh), r.recent...)
	r.recent = fresh
	if len(all) == 0 {
		r.secrets.Store(nil)
		return
	}
	// The longest first, so that a secret that begins another hides neither.
	slices.SortFunc(all, func(a, b string) int { return len(b) - len(a) })
	pairs := make([]string, 0, 2*len(all))
	for _, s := range all {
		pairs = append(pairs, s, "[redacted]")
	}
	r.secrets.Store(strings.NewReplacer(pairs...))
}

func secretsIn(value any, secret bool, found []string) []string {
	switch v := value.(type) {
	case map[string]any:
		for key, inner := range v {
			found = secretsIn(inner, secret || secretKey(key), found)
		}
	case []any:
		for _, inner := range v {
			found = secretsIn(inner, secret, found)
		}
	case string:
		if secret && len(v) >= minSecret {
			found = append(found, v)
		}
	}
	return found
}

func secretKey(key string) bool {
	key = strings.ToLower(key)
	for _, word := range []string{"key", "token", "secret", "password", "passwd", "credential", "authorization"} {
		if strings.Contains(key, word) {
			return true
		}
	}
	return false
}

// text gives one line of at most limit bytes.
func (r *redactor) text(s string, limit int) string { return r.clean(s, limit, false) }

// prose is text that may have several lines.
func (r *redactor) prose(s string, limit int) string { return r.clean(s, limit, true) }

func (r *redactor) clean(s string, limit int, lines bool) string {
	// Generous before, exact after: what is struck may make room for more.
	s = cutText(s, 4*limit)
	if secrets := r.secrets.Load(); secrets != nil {
		s = secrets.Replace(s)
	}
	s = strings.ToValidUTF8(s, "\uFFFD")
	if strings.ContainsFunc(s, hidden) {
		s = strings.Map(func(c rune) rune {
			switch {
			case c == '\n' && lines:
				return c
			case c == '\n', c == '\t':
				return ' '
			case hidden(c):
				return -1
			}
			return c
		}, s)
	}
	s = strings.TrimSpace(s)
	if len(s) <= limit {
		return s
	}
	const mark = "…"
	return cutText(s, limit-len(mark)) + mark
}

// hidden tells of characters that have no place in a label's reason or a log:
// control characters, and those that reorder the text around them.
func hidden(c rune) bool {
	switch {
	case c < 0x20, c >= 0x7f && c <= 0x9f:
		return true
	case c < 0x200e:
		return false
	case c == 0x200e, c == 0x200f, c >= 0x202a && c <= 0x202e, c >= 0x2066 && c <= 0x2069, c == 0x2028, c == 0x2029:
		return true
	}
	return c == 0xfeff || unicode.Is(unicode.Co, c)
}

// cutText shortens s to at most limit bytes, without splitting a character.
func cutText(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	end := max(limit, 0)
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end]
}
