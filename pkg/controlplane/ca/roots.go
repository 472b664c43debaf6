package ca

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
)

// Truster is a CA that is trusted. Every Authority is one; one that has lost its key may be too.
type Truster interface {
	Trust() Trust
}

// Change says what a new set of roots means to those who use them.
type Change struct {
	// Trust: the bundle is another one. Hand it to whoever verifies.
	Trust bool
	// Signer: another CA signs. Replace what the former one signed.
	Signer bool
}

// Roots is several CAs at once, as a rotation needs them: one signs, all are trusted. It is an
// Authority itself, so that nothing else has to know how many roots there are.
//
// A leaf of a new signer is never handed out before subscribers were told of a bundle that holds
// its CA. Leaves of the former signer stay usable for as long as it remains in the set.
type Roots struct {
	metrics *Metrics
	state   atomic.Pointer[rootSet]

	setting     sync.Mutex // one Set at a time; guards what follows
	subscribers []*subscriber
}

// rootSet is one moment's set. It is immutable.
type rootSet struct {
	signer Authority
	trust  Trust
}

type subscriber struct{ notify func(Change) }

// NewRoots returns a set of one signer and any number of CAs that are only trusted. With metrics,
// which may be nil, it shows its roots instead of those that its members were made with.
func NewRoots(metrics *Metrics, signer Authority, passive ...Truster) (*Roots, error) {
	r := &Roots{metrics: metrics}
	next, err := newRootSet(signer, passive)
	if err != nil {
		return nil, fmt.Errorf("new set of roots: %w", err)
	}
	r.store(next)
	return r, nil
}

func newRootSet(signer Authority, passive []Truster) (*rootSet, error) {
	if signer == nil {
		return nil, errors.New("a signing authority is required")
	}
	trusts := []Trust{signer.Trust()}
	for _, member := range passive {
		trusts = append(trusts, member.Trust())
	}
	trust, err := union(trusts)
	if err != nil {
		return nil, err
	}
	return &rootSet{signer, trust}, nil
}

// Set replaces the roots and then tells the subscribers. Whether every peer is ready for it is for
// the caller to know: see package rotation. When another CA signs, the subscribers are told of the
// bundle first, which holds the former signer and the new one, and of the signer afterwards. On an
// error nothing has changed.
func (r *Roots) Set(signer Authority, passive ...Truster) error {
	r.setting.Lock()
	defer r.setting.Unlock()
	next, err := newRootSet(signer, passive)
	if err != nil {
		return fmt.Errorf("set roots: %w", err)
	}
	before := r.state.Load()
	if before.trust.Fingerprint != next.trust.Fingerprint {
		both, err := newRootSet(before.signer, append(slices.Clone(passive), signer))
		if err != nil {
			return fmt.Errorf("set roots: %w", err)
		}
		r.replace(both)
	}
	r.replace(next)
	return nil
}

// replace stores a set and tells the subscribers how it differs. r.setting is held.
func (r *Roots) replace(next *rootSet) {
	before := r.state.Load()
	r.store(next)
	change := Change{
		Trust:  before.trust.BundleFingerprint() != next.trust.BundleFingerprint(),
		Signer: before.trust.Fingerprint != next.trust.Fingerprint,
	}
	if change == (Change{}) {
		return
	}
	for _, s := range r.subscribers {
		s.notify(change)
	}
}

func (r *Roots) store(next *rootSet) {
	r.state.Store(next)
	r.metrics.rootLoaded(next.trust)
}

// Subscribe has notify called after each change, in the order of the changes and of the
// subscriptions, until cancel is called. Trust and Issue have changed by then. It must not block,
// since it holds up the signer's change, nor call Set, Subscribe or cancel.
func (r *Roots) Subscribe(notify func(Change)) (cancel func()) {
	r.setting.Lock()
	defer r.setting.Unlock()
	s := &subscriber{notify}
	r.subscribers = append(r.subscribers, s)
	return func() {
		r.setting.Lock()
		defer r.setting.Unlock()
		r.subscribers = slices.DeleteFunc(r.subscribers, func(other *subscriber) bool { return other == s })
	}
}

// Trust returns the union of all members, with the signer's fingerprint and end.
func (r *Roots) Trust() Trust { return r.state.Load().trust }

// Issue lets the signer issue. If another took its place meanwhile, the new one issues: nobody is
// given a leaf that was out of date before he had it.
func (r *Roots) Issue(ctx context.Context, req Request) (*Leaf, error) {
	for {
		set := r.state.Load()
		leaf, err := set.signer.Issue(ctx, req)
		if err != nil && ctx.Err() != nil || r.state.Load().trust.Fingerprint == set.trust.Fingerprint {
			return leaf, err
		}
	}
}
