package leafcache

import (
	"cmp"
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
)

// SetProfile changes the profile. Leaves in use are reissued, spread over at most five minutes, so
// that a shorter validity takes effect soon and not after half of the old one.
func (c *Cache) SetProfile(p Profile) {
	c.mu.Lock()
	same := c.profile == p
	c.profile = p
	c.mu.Unlock()
	if !same {
		c.ReissueSoon()
	}
}

// ReissueSoon renews every leaf in use within at most five minutes.
func (c *Cache) ReissueSoon() {
	profile, _ := c.current()
	c.Reissue(min(maxSpread, cmp.Or(profile.Validity, ca.DefaultTTL)/4))
}

// SetValidity changes only the lifetime of new leaves; see SetProfile.
func (c *Cache) SetValidity(validity time.Duration) {
	p, _ := c.current()
	p.Validity = validity
	c.SetProfile(p)
}

// Reissue renews every leaf in use, spread over the given time.
func (c *Cache) Reissue(over time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	c.reissue = reissue{c.reissue.count + 1, now.Add(over)}
	for id, e := range c.entries {
		c.hasten(id, e, now, over)
	}
	c.wake.Wake()
}

// hasten makes an entry due within the given time. c.mu is held.
func (c *Cache) hasten(id identity.Identity, e *entry, now time.Time, within time.Duration) {
	if due := now.Add(ca.Spread(id, within)); due.Before(e.due) {
		e.due = due
	}
}

// Run renews leaves until ctx ends, and returns its cause.
func (c *Cache) Run(ctx context.Context) error {
	for {
		due, wait := c.schedule()
		c.renew(ctx, due)
		if len(due) > 0 {
			_, wait = c.schedule()
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		case <-c.wake:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// schedule returns the identities that are due and how long to wait for the next one.
func (c *Cache) schedule() (due []identity.Identity, wait time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	c.next = now.Add(maxTick)
	for id, e := range c.entries {
		switch {
		case e.leaf == nil: // Acquire is issuing it
		case !now.Before(e.due), !e.leaf.ValidAt(now):
			due = append(due, id)
		case e.due.Before(c.next):
			c.next = e.due
		}
	}
	return due, max(c.next.Sub(now), 0)
}

// renew issues new leaves, a few at a time. issue postpones those that fail.
func (c *Cache) renew(ctx context.Context, due []identity.Identity) {
	var group errgroup.Group
	group.SetLimit(c.cfg.Concurrency)
	for _, id := range due {
		group.Go(func() error {
			if _, err := c.issue(ctx, id); err != nil && ctx.Err() == nil {
				c.cfg.Log.Warn("certificate not renewed, will retry", "identity", id.String(), "error", err)
			}
			return nil
		})
	}
	_ = group.Wait() // the functions return nil
}
