package xds

import (
	"time"

	"golang.org/x/time/rate"
)

// ledger holds an entry per key and forgets idle ones, so that names and addresses that come and go do
// not fill the memory.
type ledger[K comparable, E interface{ idle(now time.Time) bool }] struct {
	entries map[K]E
	swept   int // how many there were after the last sweep
	make    func(K) E
}

func newLedger[K comparable, E interface{ idle(now time.Time) bool }](entry func(K) E) ledger[K, E] {
	return ledger[K, E]{entries: map[K]E{}, make: entry}
}

// of returns the entry of a key, a new one if there is none.
func (l *ledger[K, E]) of(key K, now time.Time) E {
	if known, ok := l.entries[key]; ok {
		return known
	}
	if len(l.entries) > 2*l.swept+1000 {
		for other, known := range l.entries {
			if known.idle(now) {
				delete(l.entries, other)
			}
		}
		l.swept = len(l.entries)
	}
	made := l.make(key)
	l.entries[key] = made
	return made
}

// full reports whether nothing of a limit is used.
func full(l *rate.Limiter, now time.Time) bool { return l.TokensAt(now) >= float64(l.Burst()) }
