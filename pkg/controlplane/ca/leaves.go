package ca

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/singleflight"

	"github.com/osm-edge/osm/pkg/controlplane/identity"
)

const (
	// maxTick bounds how late a jump of the wall clock is noticed: timers run on the monotonic
	// clock, which stands still while the host sleeps.
	maxTick = 30 * time.Second
	// issueTimeout ends an attempt that no caller's context ends.
	issueTimeout = 30 * time.Second
	// Attempts to renew are repeated after retryFirst, doubling up to retryLast.
	retryFirst = time.Second
	retryLast  = time.Minute
	// maxSpread is the longest time over which a changed profile reissues the leaves.
	maxSpread = 5 * time.Minute
	// defaultConcurrency is how many leaves are renewed at once.
	defaultConcurrency = 8
)

// Profile is what service leaves look like; it may change at run time.
type Profile struct {
	// Validity is the leaves' life; zero means DefaultTTL.
	Validity time.Duration
	// KeyBits asks for RSA keys of that size; zero means ECDSA P-256.
	KeyBits int
}

// LeavesConfig says how Leaves issues.
type LeavesConfig struct {
	// Authority is required.
	Authority Authority
	// Profile is the first profile; see SetProfile.
	Profile Profile
	// Now is the wall clock; nil means time.Now.
	Now func() time.Time
	// Concurrency bounds simultaneous renewals; zero means 8.
	Concurrency int
	// Log hears of failed renewals; nil discards them.
	Log *slog.Logger
	// Metrics may be nil.
	Metrics *Metrics
}

// Leaves keeps one current leaf per identity in use in this replica. Whoever serves an identity
// holds a Lease; the last Release forgets the leaf, so the cache is never larger than the set of
// identities in use. Renewal needs Run.
type Leaves struct {
	cfg    LeavesConfig
	flight singleflight.Group
	wake   chan struct{} // one slot: something is due before next

	mu      sync.Mutex
	profile Profile
	reissue reissue
	next    time.Time // when Run looks again
	entries map[identity.Identity]*entry
}

// reissue is the last wish to replace all leaves.
type reissue struct {
	count int // of such wishes
	until time.Time
}

// entry is an identity in use. Its fields are guarded by Leaves.mu.
type entry struct {
	leaf     *Leaf // nil until the first is issued
	due      time.Time
	failures int
	leases   map[*Lease]struct{}
}

// Lease is one user's hold on an identity's current leaf.
type Lease struct {
	leaves  *Leaves
	id      identity.Identity
	entry   *entry
	changed chan struct{}
}

// NewLeaves returns an empty cache.
func NewLeaves(cfg LeavesConfig) (*Leaves, error) {
	if cfg.Authority == nil {
		return nil, errors.New("new leaf cache: an authority is required")
	}
	cfg.Now = clock(cfg.Now)
	cfg.Log = logger(cfg.Log)
	cfg.Concurrency = cmp.Or(cfg.Concurrency, defaultConcurrency)
	l := &Leaves{cfg: cfg, wake: make(chan struct{}, 1), profile: cfg.Profile, entries: map[identity.Identity]*entry{}}
	if err := cfg.Metrics.leaves(l); err != nil {
		return nil, err
	}
	return l, nil
}

// Acquire returns a lease on the identity's leaf, issuing one if this replica has none that is
// valid. Simultaneous calls for one identity issue once. The caller must Release the lease.
func (l *Leaves) Acquire(ctx context.Context, id identity.Identity) (*Lease, error) {
	lease := l.join(id)
	if l.usable(lease) {
		return lease, nil
	}
	leaf, err := l.issue(ctx, id)
	if err != nil {
		lease.Release()
		return nil, err
	}
	l.adoptFirst(lease, leaf)
	return lease, nil
}

// join adds a lease to the identity's entry, which it makes if it must.
func (l *Leaves) join(id identity.Identity) *Lease {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.entries[id]
	if e == nil {
		e = &entry{leases: map[*Lease]struct{}{}}
		l.entries[id] = e
	}
	lease := &Lease{leaves: l, id: id, entry: e, changed: make(chan struct{}, 1)}
	e.leases[lease] = struct{}{}
	return lease
}

// usable says whether the lease has a leaf that is still valid. One that is merely due is usable:
// Run renews it and tells every lease.
func (l *Leaves) usable(lease *Lease) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	leaf := lease.entry.leaf
	return leaf != nil && leaf.validAt(l.now())
}

// issue gets a new leaf and stores it, once for all simultaneous callers.
func (l *Leaves) issue(ctx context.Context, id identity.Identity) (*Leaf, error) {
	result := l.flight.DoChan(id.String(), func() (any, error) {
		// One caller's end must not fail the others: the shared attempt has an end of its own.
		attempt, cancel := context.WithTimeout(context.WithoutCancel(ctx), issueTimeout)
		defer cancel()
		profile, count := l.current()
		leaf, err := l.cfg.Authority.Issue(attempt, Request{Identity: id, TTL: profile.Validity, KeyBits: profile.KeyBits, Usage: UsageService})
		if err != nil {
			l.postpone(id)
			return nil, err
		}
		l.adopt(id, leaf, count)
		return leaf, nil
	})
	select {
	case <-ctx.Done():
		return nil, fmt.Errorf("issue certificate for %s: %w", id, context.Cause(ctx))
	case r := <-result:
		if r.Err != nil {
			return nil, r.Err
		}
		return r.Val.(*Leaf), nil
	}
}

// adopt makes a leaf the current one of its identity, if anybody still uses that, and tells the
// leases. A leaf that was asked for before the last Reissue does not escape that.
func (l *Leaves) adopt(id identity.Identity, leaf *Leaf, count int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.entries[id]
	if e == nil {
		return
	}
	l.put(e, leaf)
	if count != l.reissue.count {
		now := l.now()
		l.hasten(id, e, now, max(l.reissue.until.Sub(now), 0))
		poke(l.wake)
	}
}

// adoptFirst gives a lease the result of a flight that had stored it before the lease's entry was
// made.
func (l *Leaves) adoptFirst(lease *Lease, leaf *Leaf) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if lease.entry.leaf == nil {
		l.put(lease.entry, leaf)
	}
}

// put stores a leaf in an entry. l.mu is held.
func (l *Leaves) put(e *entry, leaf *Leaf) {
	first := e.leaf == nil
	e.leaf, e.due, e.failures = leaf, leaf.RenewAt, 0
	if e.due.Before(l.next) {
		poke(l.wake)
	}
	if first {
		return // whoever waits for it is still in Acquire
	}
	for lease := range e.leases {
		poke(lease.changed)
	}
}

// postpone sets the time of the next attempt after a failed one.
func (l *Leaves) postpone(id identity.Identity) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.entries[id]; e != nil {
		delay := min(retryFirst<<min(e.failures, 10), retryLast)
		e.failures++
		e.due = l.now().Add(delay/2 + fraction(delay/2, jitter(id)))
	}
}

// SetProfile changes what leaves look like. Those in use are reissued, spread over at most five
// minutes, so that a shortened validity holds soon and not after half of the old one.
func (l *Leaves) SetProfile(p Profile) {
	l.mu.Lock()
	same := l.profile == p
	l.profile = p
	l.mu.Unlock()
	if !same {
		l.ReissueSoon()
	}
}

// ReissueSoon renews every leaf in use within at most five minutes.
func (l *Leaves) ReissueSoon() {
	profile, _ := l.current()
	l.Reissue(min(maxSpread, cmp.Or(profile.Validity, DefaultTTL)/4))
}

// SetValidity changes only the life of new leaves; see SetProfile.
func (l *Leaves) SetValidity(validity time.Duration) {
	p, _ := l.current()
	p.Validity = validity
	l.SetProfile(p)
}

// Reissue renews every leaf in use, spread over the given time.
func (l *Leaves) Reissue(over time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	l.reissue = reissue{l.reissue.count + 1, now.Add(over)}
	for id, e := range l.entries {
		l.hasten(id, e, now, over)
	}
	poke(l.wake)
}

// hasten makes an entry due within the given time. l.mu is held.
func (l *Leaves) hasten(id identity.Identity, e *entry, now time.Time, within time.Duration) {
	if due := now.Add(fraction(within, jitter(id))); due.Before(e.due) {
		e.due = due
	}
}

// Run renews leaves until ctx ends, and returns its cause.
func (l *Leaves) Run(ctx context.Context) error {
	for {
		due, wait := l.schedule()
		l.renew(ctx, due)
		if len(due) > 0 {
			_, wait = l.schedule()
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		case <-l.wake:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// schedule returns the identities that are due and how long to wait for the next one.
func (l *Leaves) schedule() (due []identity.Identity, wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	l.next = now.Add(maxTick)
	for id, e := range l.entries {
		switch {
		case e.leaf == nil: // its Acquire is issuing
		case !now.Before(e.due), !e.leaf.validAt(now):
			due = append(due, id)
		case e.due.Before(l.next):
			l.next = e.due
		}
	}
	return due, max(l.next.Sub(now), 0)
}

// renew issues new leaves, a few at a time. What fails has been postponed.
func (l *Leaves) renew(ctx context.Context, due []identity.Identity) {
	var group errgroup.Group
	group.SetLimit(l.cfg.Concurrency)
	for _, id := range due {
		group.Go(func() error {
			if _, err := l.issue(ctx, id); err != nil && ctx.Err() == nil {
				l.cfg.Log.Warn("certificate not renewed, will retry", "identity", id.String(), "error", err)
			}
			return nil
		})
	}
	_ = group.Wait() // the functions return nil
}

// Len is the number of identities in use.
func (l *Leaves) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.entries)
}

// current returns the profile, and how often all leaves were to be replaced until now.
func (l *Leaves) current() (Profile, int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.profile, l.reissue.count
}

// now is the wall clock without its monotonic reading.
func (l *Leaves) now() time.Time { return l.cfg.Now().Round(0) }

// Identity is whose leaf it is.
func (s *Lease) Identity() identity.Identity { return s.id }

// Current returns the newest leaf. It is never nil between Acquire and Release.
func (s *Lease) Current() *Leaf {
	s.leaves.mu.Lock()
	defer s.leaves.mu.Unlock()
	return s.entry.leaf
}

// Changed receives after Current has changed; changes in quick succession are received once.
// Reading Current after each receive misses nothing. The channel is never closed.
func (s *Lease) Changed() <-chan struct{} { return s.changed }

// Release ends the lease. Further calls do nothing.
func (s *Lease) Release() {
	l := s.leaves
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(s.entry.leases, s)
	if len(s.entry.leases) == 0 && l.entries[s.id] == s.entry {
		delete(l.entries, s.id)
	}
}

// poke fills a one-slot channel.
func poke(slot chan struct{}) {
	select {
	case slot <- struct{}{}:
	default:
	}
}

// logger returns log, or one that discards for nil.
func logger(log *slog.Logger) *slog.Logger {
	if log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return log
}
