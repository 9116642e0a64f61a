package store

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestCleanTime(t *testing.T) {
	in := time.Date(2026, 1, 2, 3, 4, 5, 678901234, time.FixedZone("", -7200))
	if got, want := CleanTime(in), time.Date(2026, 1, 2, 5, 4, 5, 678901000, time.UTC); got != want {
		t.Errorf("%v, want %v", got, want)
	}
	if got := CleanTime(time.Time{}.In(time.FixedZone("", 3600))); got != (time.Time{}) {
		t.Errorf("the zero time became %v", got)
	}
}

func TestLabelKey(t *testing.T) {
	for _, pair := range [][2]string{{"Bug", "bUG"}, {"Größe", "GRÖßE"}, {"\u212Aelvin", "kelvin"}, {"ΣΑΣ", "σας"}} {
		if LabelKey(pair[0]) != LabelKey(pair[1]) {
			t.Errorf("%q and %q differ: %q, %q", pair[0], pair[1], LabelKey(pair[0]), LabelKey(pair[1]))
		}
	}
	if LabelKey("bug") == LabelKey("bug ") {
		t.Error("a space makes no difference")
	}
}

func FuzzCleanText(f *testing.F) {
	for _, s := range []string{"", "plain", "a\x00b", "\xff\xfe", "\xed\xa0\x80", "🙂"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		clean := CleanText(s)
		switch {
		case !utf8.ValidString(clean) || strings.ContainsRune(clean, 0):
			t.Fatalf("%q became %q", s, clean)
		case CleanText(clean) != clean:
			t.Fatalf("%q is not stable", clean)
		case utf8.ValidString(s) && !strings.ContainsRune(s, 0) && s != clean:
			t.Fatalf("%q was changed to %q", s, clean)
		}
	})
}
