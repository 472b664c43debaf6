package ca

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
)

// Truster is a trusted CA. Every Authority is one, but a CA whose key is lost may be one as well.
type Truster interface {
	Trust() Trust
}

// Change describes what a new set of roots changes.
type Change struct {
	// Trust: the bundle has changed. Distribute it to all verifiers.
	Trust bool
	// Signer: a different CA signs. Replace the certificates of the previous one.
	Signer bool
}

// RootSet combines several CAs, as a rotation needs them: one signs, all are trusted. It is an Authority
// itself, so that nothing else has to know how many roots there are.
//
// Subscribers learn of a bundle with a new signer's CA before that signer issues the first leaf. Leaves
// of the previous signer stay valid for as long as it remains in the set.
type RootSet struct {
	metrics *Metrics
	state   atomic.Pointer[members]

	setting     sync.Mutex // one Set at a time; guards subscribers
	subscribers []*subscriber
}

// members are the CAs at one moment. The value is immutable.
type members struct {
	signer Authority
	trust  Trust
}

type subscriber struct{ notify func(Change) }

// NewRootSet returns a set of one signer and any number of CAs that are only trusted. Metrics, which
// may be nil, then show the roots of the set instead of those of its members.
func NewRootSet(metrics *Metrics, signer Authority, passive ...Truster) (*RootSet, error) {
	r := &RootSet{metrics: metrics}
	next, err := newMembers(signer, passive)
	if err != nil {
		return nil, fmt.Errorf("new set of roots: %w", err)
	}
	r.store(next)
	return r, nil
}

func newMembers(signer Authority, passive []Truster) (*members, error) {
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
	return &members{signer, trust}, nil
}

// Set replaces the roots and then tells the subscribers. The caller must know that every peer is ready
// for it: see package rotation. If a different CA signs, the subscribers learn first of a bundle that
// holds the previous and the new signer, and then of the new signer. On an error nothing changes.
func (r *RootSet) Set(signer Authority, passive ...Truster) error {
	r.setting.Lock()
	defer r.setting.Unlock()
	next, err := newMembers(signer, passive)
	if err != nil {
		return fmt.Errorf("set roots: %w", err)
	}
	before := r.state.Load()
	if before.trust.Fingerprint != next.trust.Fingerprint {
		both, err := newMembers(before.signer, append(slices.Clone(passive), signer))
		if err != nil {
			return fmt.Errorf("set roots: %w", err)
		}
		r.replace(both)
	}
	r.replace(next)
	return nil
}

// replace stores a set and tells the subscribers what has changed. r.setting is held.
func (r *RootSet) replace(next *members) {
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

func (r *RootSet) store(next *members) {
	r.state.Store(next)
	r.metrics.rootLoaded(next.trust)
}

// Subscribe calls notify after each change, in the order of the changes and of the subscriptions, until
// cancel is called. Trust and Issue already reflect the change. notify must not block, since it delays
// the change of the signer, and must not call Set, Subscribe or cancel.
func (r *RootSet) Subscribe(notify func(Change)) (cancel func()) {
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

// Trust returns the union of all members, with the fingerprint and the expiry of the signer.
func (r *RootSet) Trust() Trust { return r.state.Load().trust }

// Issue lets the signer issue. If the signer changes meanwhile, the new one issues again, so that no
// caller gets a stale leaf.
func (r *RootSet) Issue(ctx context.Context, req Request) (*Leaf, error) {
	for {
		set := r.state.Load()
		leaf, err := set.signer.Issue(ctx, req)
		if err != nil && ctx.Err() != nil || r.state.Load().trust.Fingerprint == set.trust.Fingerprint {
			return leaf, err
		}
	}
}
