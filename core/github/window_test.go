package github

import (
	"math/rand/v2"
	"testing"
	"time"
)

// Whatever the course of admissions, delays on the way and clocks, no span on
// GitHub's side ever sees more than the ceiling, and whoever is told to wait is
// told no more than a grain too much.
func TestWindowHoldsInEverySpan(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 1))
		span := []time.Duration{time.Minute, time.Hour}[seed%2]
		const ceiling = 12
		w := window{span: span}
		now := time.Date(2026, 3, 1, 0, 0, 0, random.IntN(1e9), time.UTC)
		type flight struct{ sent, lands time.Time }
		var flying []flight
		var arrived []time.Time // at GitHub: any time between sending and landing
		for range 400 {
			now = now.Add(time.Duration(random.Int64N(int64(span) / 20)))
			for i := 0; i < len(flying); {
				f := flying[i]
				if f.lands.After(now) {
					i++
					continue
				}
				w.land(f.lands, amount{all: 1})
				arrived = append(arrived, f.sent.Add(time.Duration(random.Int64N(int64(f.lands.Sub(f.sent))+1))))
				flying = append(flying[:i], flying[i+1:]...)
			}
			w.forget(now)
			wait := w.wait(now, 1, ceiling, countAll)
			if wait == 0 {
				w.depart(amount{all: 1})
				flying = append(flying, flight{now, now.Add(time.Duration(random.Int64N(int64(span) / 10)))})
				continue
			}
			if len(flying) == 0 {
				later := w
				later.slots = append([]slot(nil), w.slots...)
				later.forget(now.Add(wait))
				if later.wait(now.Add(wait), 1, ceiling, countAll) != 0 {
					t.Fatalf("seed %d: told to wait %s, and then again", seed, wait)
				}
				recent := 0
				for _, at := range arrived {
					if at.After(now.Add(wait - 2*w.grain() - span - span/10)) {
						recent++
					}
				}
				if recent < ceiling {
					t.Fatalf("seed %d: told to wait %s with only %d of %d spent", seed, wait, recent, ceiling)
				}
			}
		}
		for _, f := range flying {
			arrived = append(arrived, f.sent)
		}
		for _, from := range arrived {
			n := 0
			for _, at := range arrived {
				if !at.Before(from) && at.Before(from.Add(span)) {
					n++
				}
			}
			if n > ceiling {
				t.Fatalf("seed %d: %d within %s, want at most %d", seed, n, span, ceiling)
			}
		}
		if len(w.slots) > grains+1 {
			t.Fatalf("seed %d: %d slots", seed, len(w.slots))
		}
	}
}

func TestWindowForgivesAClockThatRanAhead(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	w := window{span: time.Minute}
	w.put(now.Add(48*time.Hour).Unix(), amount{all: 5})
	w.put(now.Unix(), amount{all: 1})
	w.forget(now)
	if n := w.spent().all; n != 6 {
		t.Errorf("%d are spent, want 6", n)
	}
	w.forget(now.Add(time.Minute + time.Second))
	if n := w.spent().all; n != 0 {
		t.Errorf("%d are spent a minute later, want none", n)
	}
}
