package leafcache

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/wake"
)

const (
	// maxTick bounds how late a jump of the wall clock is noticed: timers run on the monotonic
	// clock, which stops while the host sleeps.
	maxTick = 30 * time.Second
	// issueTimeout ends an attempt that no caller's context ends.
	issueTimeout = 30 * time.Second
	// maxSpread is the longest time over which a changed profile reissues the leaves.
	maxSpread = 5 * time.Minute
	// defaultConcurrency is how many leaves are renewed at once.
	defaultConcurrency = 8
)

// Profile describes the service leaves; it may change at run time.
type Profile struct {
	// Validity is the lifetime of a leaf; zero means ca.DefaultTTL.
	Validity time.Duration
	// KeyBits asks for RSA keys of that size; zero means ECDSA P-256.
	KeyBits int
}

// Config says how a Cache issues leaves.
type Config struct {
	// Authority is required.
	Authority ca.Authority
	// Profile is the first profile; see SetProfile.
	Profile Profile
	// Now is the wall clock; nil means time.Now.
	Now func() time.Time
	// Concurrency bounds simultaneous renewals; zero means 8.
	Concurrency int
	// Log receives failed renewals; nil discards them.
	Log *slog.Logger
	// Metrics may be nil.
	Metrics *ca.Metrics
}

// Cache keeps one current leaf per identity in use in this replica. Each user of an identity holds a
// Handle. The last Release drops the leaf, so that the cache is never larger than the set of
// identities in use. Renewal needs Run.
type Cache struct {
	cfg    Config
	flight singleflight.Group
	wake   wake.Signal // a leaf is due before next

	mu      sync.Mutex
	profile Profile
	reissue reissue
	next    time.Time // when Run checks again
	entries map[identity.Identity]*entry
}

// reissue is the last request to replace all leaves.
type reissue struct {
	count int // number of requests so far
	until time.Time
}

// entry is one identity in use. Cache.mu guards its fields.
type entry struct {
	leaf     *ca.Leaf // nil until the first one is issued
	due      time.Time
	failures int
	handles  map[*Handle]struct{}
}

// New returns an empty cache.
func New(cfg Config) (*Cache, error) {
	if cfg.Authority == nil {
		return nil, errors.New("new leaf cache: an authority is required")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	cfg.Concurrency = cmp.Or(cfg.Concurrency, defaultConcurrency)
	c := &Cache{cfg: cfg, wake: wake.NewSignal(), profile: cfg.Profile, entries: map[identity.Identity]*entry{}}
	if err := cfg.Metrics.CountLeaves(c.Len); err != nil {
		return nil, err
	}
	return c, nil
}

// Acquire returns a handle on the identity's leaf, issuing one if this replica has none that is
// valid. Simultaneous calls for one identity issue once. The caller must Release the handle.
func (c *Cache) Acquire(ctx context.Context, id identity.Identity) (*Handle, error) {
	handle := c.join(id)
	if c.usable(handle) {
		return handle, nil
	}
	leaf, err := c.issue(ctx, id)
	if err != nil {
		handle.Release()
		return nil, err
	}
	c.adoptFirst(handle, leaf)
	return handle, nil
}

// join adds a handle to the identity's entry, and creates the entry if there is none.
func (c *Cache) join(id identity.Identity) *Handle {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[id]
	if e == nil {
		e = &entry{handles: map[*Handle]struct{}{}}
		c.entries[id] = e
	}
	handle := &Handle{cache: c, id: id, entry: e, changed: wake.NewSignal()}
	e.handles[handle] = struct{}{}
	return handle
}

// usable reports whether the handle has a leaf that is still valid. A leaf that is only due for
// renewal is usable: Run renews it and notifies every handle.
func (c *Cache) usable(handle *Handle) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	leaf := handle.entry.leaf
	return leaf != nil && leaf.ValidAt(c.now())
}

// issue requests a new leaf and stores it, once for all simultaneous callers.
func (c *Cache) issue(ctx context.Context, id identity.Identity) (*ca.Leaf, error) {
	result := c.flight.DoChan(id.String(), func() (any, error) {
		// A caller that gives up must not fail the others: the shared attempt has a timeout of its own.
		attempt, cancel := context.WithTimeout(context.WithoutCancel(ctx), issueTimeout)
		defer cancel()
		profile, count := c.current()
		leaf, err := c.cfg.Authority.Issue(attempt, ca.Request{Identity: id, TTL: profile.Validity, KeyBits: profile.KeyBits, Usage: ca.UsageService})
		if err != nil {
			c.postpone(id)
			return nil, err
		}
		c.adopt(id, leaf, count)
		return leaf, nil
	})
	select {
	case <-ctx.Done():
		return nil, fmt.Errorf("issue certificate for %s: %w", id, context.Cause(ctx))
	case r := <-result:
		if r.Err != nil {
			return nil, r.Err
		}
		return r.Val.(*ca.Leaf), nil
	}
}

// adopt makes a leaf the current one of its identity, if that is still in use, and notifies the
// handles. A leaf requested before the last Reissue is reissued like all others.
func (c *Cache) adopt(id identity.Identity, leaf *ca.Leaf, count int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[id]
	if e == nil {
		return
	}
	c.put(e, leaf)
	if count != c.reissue.count {
		now := c.now()
		c.hasten(id, e, now, max(c.reissue.until.Sub(now), 0))
		c.wake.Wake()
	}
}

// adoptFirst gives a handle the result of a flight that finished before the handle's entry was
// created.
func (c *Cache) adoptFirst(handle *Handle, leaf *ca.Leaf) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if handle.entry.leaf == nil {
		c.put(handle.entry, leaf)
	}
}

// put stores a leaf in an entry. c.mu is held.
func (c *Cache) put(e *entry, leaf *ca.Leaf) {
	first := e.leaf == nil
	e.leaf, e.due, e.failures = leaf, leaf.RenewAt, 0
	if e.due.Before(c.next) {
		c.wake.Wake()
	}
	if first {
		return // its users are still in Acquire
	}
	for handle := range e.handles {
		handle.changed.Wake()
	}
}

// postpone schedules the next attempt after a failed one.
func (c *Cache) postpone(id identity.Identity) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.entries[id]; e != nil {
		e.due = c.now().Add(ca.RetryDelay(id, e.failures))
		e.failures++
	}
}

// Len is the number of identities in use.
func (c *Cache) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.entries)
}

// current returns the profile, and how many times Reissue was called.
func (c *Cache) current() (Profile, int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.profile, c.reissue.count
}

// now is the wall clock without its monotonic reading.
func (c *Cache) now() time.Time { return c.cfg.Now().Round(0) }
