package leafcache_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/osm-edge/osm/pkg/controlplane/ca/leafcache"
)

// TestAMonthWithSleep is R7 on a host that sleeps: 30 days at a validity of 24 hours, with a pause
// of three days in which the wall clock advances and timers do not. While the controller runs, no
// proxy holds a leaf with less than 30 % of its lifetime left; after the pause, recovery takes one tick.
func TestAMonthWithSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := runLeaves(t, leafcache.Profile{})
		const workloads, tick = 60, 30 * time.Second
		handles := make([]*leafcache.Handle, workloads)
		for i := range handles {
			handles[i] = c.acquire(t, fmt.Sprintf("w%d", i))
			defer handles[i].Release()
		}
		begin := c.clock.Now()
		slept := false
		least := 1.0
		for day := c.clock.Now().Sub(begin); day < 30*24*time.Hour; day = c.clock.Now().Sub(begin) {
			if !slept && day > 10*24*time.Hour {
				slept = true
				c.clock.Jump(72 * time.Hour)
				time.Sleep(tick)
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			for _, handle := range handles {
				least = min(least, c.left(handle.Current()))
			}
			if least < 0.3 {
				t.Fatalf("%v: a leaf with %.4f of its lifetime left", day, least)
			}
		}
		if !slept || least > 0.35 {
			t.Errorf("slept %v, least lifetime left %.3f: want renewals between 50 and 70 %% of the lifetime", slept, least)
		}
		t.Logf("least lifetime left %.4f, %d certificates", least, c.authority.Issued.Load())
	})
}
