package leafcache_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/ca/leafcache"
	"github.com/osm-edge/osm/tests/catest"
)

// cache is a running Cache in a synctest bubble.
type cache struct {
	*leafcache.Cache
	clock     *catest.Clock
	authority *catest.Counting
}

func runLeaves(t *testing.T, profile leafcache.Profile) *cache {
	t.Helper()
	clock := &catest.Clock{}
	issuer, _ := catest.NewIssuer(t, clock.Now)
	c := &cache{clock: clock, authority: &catest.Counting{Authority: issuer}}
	leaves, err := leafcache.New(leafcache.Config{Authority: c.authority, Profile: profile, Now: clock.Now})
	must(t, err)
	c.Cache = leaves
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- leaves.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
	})
	return c
}

func (c *cache) acquire(t *testing.T, name string) *leafcache.Handle {
	t.Helper()
	handle, err := c.Acquire(t.Context(), catest.Workload(name))
	must(t, err)
	return handle
}

// left returns the remaining share of a leaf's lifetime.
func (c *cache) left(leaf *ca.Leaf) float64 {
	return leaf.NotAfter.Sub(c.clock.Now().Round(0)).Seconds() / leaf.NotAfter.Sub(leaf.Issued).Seconds()
}

// TestLeavesForAMonth is R7: over 30 days no workload ever holds a certificate with less than
// 20 % of its lifetime left; each renewal is announced, and happens between 50 and 70 % of the lifetime.
func TestLeavesForAMonth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := runLeaves(t, leafcache.Profile{})
		const workloads = 20
		var handles []*leafcache.Handle
		held := map[*leafcache.Handle]*ca.Leaf{}
		for i := range workloads {
			handle := c.acquire(t, fmt.Sprintf("w%d", i))
			defer handle.Release()
			handles = append(handles, handle)
			held[handle] = handle.Current()
		}
		renewals := 0
		for range 30 * 24 * 12 {
			time.Sleep(5 * time.Minute)
			synctest.Wait()
			for _, handle := range handles {
				select {
				case <-handle.Changed():
					if share := c.left(held[handle]); share > 0.5 || share < 0.29 {
						t.Fatalf("%s renewed with %.2f of its lifetime left", handle.Identity(), share)
					}
					held[handle] = handle.Current()
					renewals++
				default:
				}
				if held[handle] != handle.Current() {
					t.Fatalf("%s changed without a notification", handle.Identity())
				}
				if c.left(held[handle]) < 0.2 {
					t.Fatalf("%s holds a certificate with %.2f of its lifetime left", handle.Identity(), c.left(held[handle]))
				}
			}
		}
		if c.Len() != workloads || renewals < workloads*30*24/17 || renewals > workloads*30*24/12 {
			t.Errorf("%d identities, %d renewals", c.Len(), renewals)
		}
		if got := int(c.authority.Issued.Load()); got != renewals+workloads {
			t.Errorf("%d certificates issued for %d renewals", got, renewals)
		}
	})
}

// TestLeavesAfterPause: the host sleeps for three days; timers have not moved, the wall clock has.
func TestLeavesAfterPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := runLeaves(t, leafcache.Profile{})
		handle := c.acquire(t, "a")
		defer handle.Release()
		before := handle.Current()
		synctest.Wait()
		c.clock.Jump(72 * time.Hour)
		time.Sleep(30 * time.Second) // the next tick
		synctest.Wait()
		select {
		case <-handle.Changed():
		default:
			t.Fatal("not renewed at the next tick")
		}
		if c.left(handle.Current()) < 0.99 || handle.Current() == before {
			t.Errorf("%.2f of its lifetime left", c.left(handle.Current()))
		}
		// A clock that is set back again must neither stop renewal nor renew without end.
		c.clock.Jump(-72 * time.Hour)
		issued := c.authority.Issued.Load()
		time.Sleep(time.Hour)
		if got := c.authority.Issued.Load(); got != issued+1 || c.left(handle.Current()) > 1 {
			t.Errorf("%d renewals in an hour after the clock was set back, want 1", got-issued)
		}
	})
}

// TestAcquireAfterPauseIsFresh: Acquire before the next tick does not return an expired leaf.
func TestAcquireAfterPauseIsFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := runLeaves(t, leafcache.Profile{})
		first := c.acquire(t, "a")
		defer first.Release()
		synctest.Wait()
		c.clock.Jump(72 * time.Hour)
		second := c.acquire(t, "a")
		defer second.Release()
		if c.left(second.Current()) < 0.99 || first.Current() != second.Current() {
			t.Errorf("%.2f of its lifetime left, shared: %v", c.left(second.Current()), first.Current() == second.Current())
		}
	})
}

// TestAcquireOnce: simultaneous streams of one identity need one certificate, and the last one to
// end removes it from the cache.
func TestAcquireOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := runLeaves(t, leafcache.Profile{})
		c.authority.Delay = time.Second
		var streams sync.WaitGroup
		handles := make([]*leafcache.Handle, 100)
		for i := range handles {
			streams.Go(func() { handles[i] = c.acquire(t, "a") })
		}
		streams.Wait()
		for _, handle := range handles {
			if handle.Current() == nil || handle.Current() != handles[0].Current() {
				t.Fatal("handles with different leaves")
			}
		}
		if n := c.authority.Issued.Load(); n != 1 || c.Len() != 1 {
			t.Errorf("%d certificates for %d identities", n, c.Len())
		}
		for _, handle := range handles[1:] {
			handle.Release()
			handle.Release()
		}
		if c.Len() != 1 {
			t.Error("removed while in use")
		}
		handles[0].Release()
		if c.Len() != 0 {
			t.Errorf("%d identities left", c.Len())
		}
	})
}

// TestAcquireOutlivesAnotherCaller: the first of two waiting streams ends; the second must not
// fail because of that.
func TestAcquireOutlivesAnotherCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := runLeaves(t, leafcache.Profile{})
		c.authority.Delay = time.Second
		ctx, cancel := context.WithCancel(t.Context())
		first := make(chan error)
		go func() {
			_, err := c.Acquire(ctx, catest.Workload("a"))
			first <- err
		}()
		synctest.Wait()
		var second *leafcache.Handle
		done := make(chan struct{})
		go func() { second = c.acquire(t, "a"); close(done) }()
		synctest.Wait()
		cancel()
		if err := <-first; !errors.Is(err, context.Canceled) {
			t.Errorf("the first caller got %v", err)
		}
		<-done
		if second.Current() == nil || c.Len() != 1 {
			t.Errorf("the second caller got %v", second.Current())
		}
		second.Release()
	})
}

// TestAcquireFails: a failed Acquire leaves nothing behind.
func TestAcquireFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := runLeaves(t, leafcache.Profile{})
		c.authority.Away.Store(true)
		if _, err := c.Acquire(t.Context(), catest.Workload("a")); !errors.Is(err, catest.ErrAway) {
			t.Errorf("got %v", err)
		}
		if c.Len() != 0 {
			t.Errorf("%d identities left", c.Len())
		}
	})
}

// TestLeavesRetry: while the authority is unavailable the leaf stays, attempts are bounded, and the
// renewal follows soon after it is back.
func TestLeavesRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := runLeaves(t, leafcache.Profile{Validity: 10 * time.Hour})
		handle := c.acquire(t, "a")
		defer handle.Release()
		before := handle.Current()
		c.authority.Away.Store(true)
		time.Sleep(8 * time.Hour)
		asked := c.authority.Asked.Load()
		if handle.Current() != before || asked < 30 || asked > 60*5*3 {
			t.Errorf("%d attempts in at most 3 hours", asked)
		}
		c.authority.Away.Store(false)
		time.Sleep(time.Minute)
		synctest.Wait()
		if handle.Current() == before {
			t.Error("not renewed a minute after the authority was back")
		}
	})
}

// TestSetValidity: a new validity reaches leaves in use within minutes, not all at once.
func TestSetValidity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := runLeaves(t, leafcache.Profile{})
		var handles []*leafcache.Handle
		for i := range 50 {
			handle := c.acquire(t, fmt.Sprintf("w%d", i))
			defer handle.Release()
			handles = append(handles, handle)
		}
		c.SetValidity(time.Hour)
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := c.authority.Issued.Load() - 50; n == 0 || n > 30 {
			t.Errorf("%d of 50 reissued in the first of five minutes", n)
		}
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		for _, handle := range handles {
			if leaf := handle.Current(); leaf.NotAfter.Sub(leaf.Issued) > time.Hour {
				t.Errorf("%s still has a lifetime of %v", handle.Identity(), leaf.NotAfter.Sub(leaf.Issued))
			}
		}
		issued := c.authority.Issued.Load()
		c.SetValidity(time.Hour) // no change, no work
		time.Sleep(10 * time.Minute)
		if n := c.authority.Issued.Load(); n != issued {
			t.Errorf("%d certificates for no change", n-issued)
		}
	})
}

// TestShortValidity: leaves with lifetimes shorter than the tick are renewed in time as well.
func TestShortValidity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := runLeaves(t, leafcache.Profile{Validity: 20 * time.Second})
		time.Sleep(5 * time.Second)
		handle := c.acquire(t, "a")
		defer handle.Release()
		for range 600 {
			time.Sleep(time.Second)
			synctest.Wait()
			if c.left(handle.Current()) < 0.2 {
				t.Fatalf("%.2f of its lifetime left", c.left(handle.Current()))
			}
		}
	})
}

// TestLeavesUnderRace calls everything at the same time, for the race detector, and checks the final state.
func TestLeavesUnderRace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := runLeaves(t, leafcache.Profile{Validity: time.Minute})
		var streams sync.WaitGroup
		for i := range 40 {
			streams.Go(func() {
				for range 10 {
					handle := c.acquire(t, fmt.Sprintf("w%d", i%5))
					time.Sleep(time.Duration(i) * time.Second)
					select {
					case <-handle.Changed():
					default:
					}
					if handle.Current() == nil || c.left(handle.Current()) <= 0 {
						t.Errorf("%s holds %v", handle.Identity(), handle.Current())
					}
					handle.Release()
				}
			})
		}
		streams.Go(func() {
			for i := range 20 {
				c.SetProfile(leafcache.Profile{Validity: time.Duration(1+i%2) * time.Minute})
				time.Sleep(10 * time.Second)
			}
		})
		streams.Wait()
		if c.Len() != 0 {
			t.Errorf("%d identities left", c.Len())
		}
	})
}

func TestNewLeavesNeedsAuthority(t *testing.T) {
	if _, err := leafcache.New(leafcache.Config{}); err == nil {
		t.Error("accepted no authority")
	}
}
