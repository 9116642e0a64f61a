package store

import (
	"errors"
	"testing"
	"time"
)

func TestCursor(t *testing.T) {
	for _, c := range []Cursor{
		{},
		{UpdatedAt: time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC), ID: 42},
		{UpdatedAt: time.Date(1960, 3, 1, 12, 0, 0, 0, time.UTC), ID: 1 << 62},
	} {
		got, err := ParseCursor(c.String())
		if err != nil || !got.UpdatedAt.Equal(c.UpdatedAt) || got.ID != c.ID {
			t.Errorf("%+v came back as %+v, %v", c, got, err)
		}
	}
}

func FuzzParseCursor(f *testing.F) {
	f.Add("")
	f.Add(Cursor{UpdatedAt: time.Unix(1_700_000_000, 0), ID: 7}.String())
	f.Add("AQAGCkNkXAAAAAAAAAAAAAcAAAAA")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseCursor(text)
		if err != nil {
			if !errors.Is(err, ErrInvalidCursor) {
				t.Fatalf("error %v", err)
			}
			return
		}
		if c.String() != text {
			t.Fatalf("%q is accepted and would be given out as %q", text, c.String())
		}
	})
}
