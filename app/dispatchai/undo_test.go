package main

import (
	"testing"
	"time"
)

func TestParseSince(t *testing.T) {
	zone := time.FixedZone("CET", 3600)
	now := time.Date(2026, 5, 20, 12, 0, 0, 0, zone)
	for text, want := range map[string]time.Time{
		"2026-05-19T10:00:00Z":      time.Date(2026, 5, 19, 10, 0, 0, 0, time.UTC),
		"2026-05-19T10:00:00+02:00": time.Date(2026, 5, 19, 8, 0, 0, 0, time.UTC),
		"2026-05-19":                time.Date(2026, 5, 18, 23, 0, 0, 0, time.UTC),
		"24h":                       now.Add(-24 * time.Hour),
		"90m":                       now.Add(-90 * time.Minute),
		"7d":                        now.AddDate(0, 0, -7),
	} {
		if got, err := parseSince(text, now); err != nil || !got.Equal(want) || got.Location() != time.UTC {
			t.Errorf("%q is %v (%v), want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "yesterday", "2026-05-21", "-1h", "-3d", "d", "99999999999999999999d", "400000d", "2026-13-01"} {
		if got, err := parseSince(text, now); err == nil {
			t.Errorf("%q is taken for %v", text, got)
		}
	}
}
