package leafcache

import (
	"testing"
	"time"
)

// TestReissueTime: few certificates are replaced at once, many at a rate that a provider can sustain.
func TestReissueTime(t *testing.T) {
	for proxies, want := range map[int]time.Duration{0: 0, 3: 300 * time.Millisecond, 1000: 100 * time.Second, 100_000: 5 * time.Minute} {
		if got := ReissueTime(proxies); got != want {
			t.Errorf("%d proxies: %v, want %v", proxies, got, want)
		}
	}
}
