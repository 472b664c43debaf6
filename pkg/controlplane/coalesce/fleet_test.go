package coalesce

import (
	"testing"
	"time"
)

// TestFleetWindow: whatever the number of proxies, the window is valid, no change waits
// longer than the promised 250 ms, and in practice all changes of a small fleet are urgent.
func TestFleetWindow(t *testing.T) {
	last := FleetWindow(0)
	for n := 0; n <= 200_000; n = n*2 + 1 {
		w := FleetWindow(n)
		if err := w.Validate(); err != nil {
			t.Errorf("%d proxies: %v", n, err)
		}
		if w.Max > 250*time.Millisecond || w.Lax > 250*time.Millisecond {
			t.Errorf("%d proxies: a change may wait for %v or %v", n, w.Max, w.Lax)
		}
		if w.Max < last.Max || w.Lax < last.Lax || w.Urgent > last.Urgent {
			t.Errorf("%d proxies: %+v after %+v: less merging with more proxies", n, w, last)
		}
		last = w
	}
	if w := FleetWindow(100); w.Urgent < 100 {
		t.Errorf("100 proxies: only %v urgent publications a second", w.Urgent)
	}
}
