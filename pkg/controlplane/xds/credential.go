package xds

import (
	"context"
	"hash/fnv"
	"time"

	"github.com/osm-edge/osm/pkg/controlplane/ca/leafcache"

	"github.com/osm-edge/osm/pkg/controlplane/envoy"
)

const (
	// dueTick bounds how late a jump of the wall clock is noticed.
	dueTick = 10 * time.Minute
	// Attempts to get a certificate are repeated after leaseRetryFirst, doubling up to leaseRetryLast.
	leaseRetryFirst = time.Second
	leaseRetryLast  = time.Minute
	// respread is the time over which a changed root replaces the certificates that proxies brought.
	respread = time.Minute
)

// credential is a stream's hold on its proxy's workload certificate. A proxy that brings a good one
// from its last stream costs nothing until that one is due: there is no lease until then. The
// stream's mu is held for all that is done to it, until the stream is closed.
type credential struct {
	lease    *leafcache.Handle
	brought  *held       // what the proxy holds, while that is good and there is no lease
	coming   chan leased // not nil while a lease is being acquired
	due      *time.Timer // when a lease is to be acquired
	dueAt    time.Time   // by the wall clock
	failures int
}

type leased struct {
	lease *leafcache.Handle
	err   error
}

// changed receives after the leased certificate was renewed.
func (c *credential) changed() <-chan struct{} {
	if c.lease == nil {
		return nil
	}
	return c.lease.Changed()
}

// waiting receives when a lease is due.
func (c *credential) waiting() <-chan time.Time {
	if c.due == nil {
		return nil
	}
	return c.due.C
}

// firstSecrets decides, when a stream first asks for secrets, whether the proxy's certificate, if
// it reports one, will do.
func (s *Server) firstSecrets(ctx context.Context, st *stream, holds map[string]string) {
	s.retrust(st, s.trust.Load()) // what the proxy holds may be the newest bundle
	st.reported(holds, s.cfg.Now())
	h, ok := parseHeld(holds[envoy.SecretWorkload])
	if !ok || !h.good(st.trust.root, s.cfg.Now()) {
		s.acquire(ctx, st)
		return
	}
	st.cred.brought = &h
	st.offer.workload = placeholder(h)
	st.expires.Store(h.notAfter.Unix())
	s.setDue(st, h.renewAt)
}

// setDue has the lease acquired at a time of the wall clock.
func (s *Server) setDue(st *stream, at time.Time) {
	c := &st.cred
	if c.lease != nil || c.coming != nil {
		return
	}
	c.stopTimer()
	c.dueAt = at
	c.due = time.NewTimer(min(max(at.Sub(s.cfg.Now()), 0), dueTick))
	st.changed.Wake()
}

// onDue acquires the lease if it is time by the wall clock, too.
func (s *Server) onDue(ctx context.Context, st *stream) {
	st.cred.stopTimer()
	if s.cfg.Now().Before(st.cred.dueAt) {
		s.setDue(st, st.cred.dueAt)
		return
	}
	s.acquire(ctx, st)
}

// acquire gets a lease beside the stream, which goes on: an authority that is away must not keep
// the rest of the configuration from the proxy. ctx must end with the stream.
func (s *Server) acquire(ctx context.Context, st *stream) {
	c := &st.cred
	if c.lease != nil || c.coming != nil {
		return
	}
	c.stopTimer()
	coming := make(chan leased, 1)
	c.coming = coming
	st.changed.Wake()
	go func() {
		lease, err := s.cfg.Leaves.Acquire(ctx, st.peer.identity)
		coming <- leased{lease, err}
	}()
}

// acquired takes the result. A proxy that has no certificate yet, or an old one, waits for the next attempt.
func (s *Server) acquired(st *stream, got leased) {
	c := &st.cred
	c.coming = nil
	if got.err != nil {
		delay := min(leaseRetryFirst<<min(c.failures, 10), leaseRetryLast)
		c.failures++
		s.setDue(st, s.cfg.Now().Add(delay/2+spread(st, delay/2)))
		s.cfg.Log.Error("no certificate for a proxy, will retry", "pod", st.peer.pod.String(), "identity", st.peer.identity.String(), "error", got.err)
		return
	}
	c.lease, c.brought, c.failures = got.lease, nil, 0
	s.renewed(st)
}

// renewed offers the lease's current certificate, never without the bundle that its CA is in.
func (s *Server) renewed(st *stream) {
	s.retrust(st, s.trust.Load())
	known, err := s.leafSets.of(st.cred.lease.Current(), st.trust.Trust)
	if err != nil {
		s.cfg.Log.Error("certificate cannot be encoded, the proxy keeps the last one", "pod", st.peer.pod.String(), "error", err)
		return
	}
	st.offer.workload, st.leased = known.set, known.cert
}

// retrust offers the trust bundle in force. A certificate that the proxy brought and that is not of
// the root in force is replaced, at a moment that spreads the work. A stream whose client certificate is
// not of that trust is offered nothing any more: Retrust ends it.
func (s *Server) retrust(st *stream, now *trusted) {
	if st.trust == now {
		return
	}
	if !now.anchors.Vouch(st.peer.chains, s.cfg.Now()) {
		st.closed = true
		return
	}
	st.trust, st.offer.trust = now, now.set
	if brought := st.cred.brought; brought != nil && brought.root != now.root {
		s.sooner(st, respread)
	}
}

// sooner has a brought certificate replaced within the time.
func (s *Server) sooner(st *stream, within time.Duration) {
	if st.cred.brought == nil {
		return
	}
	if at := s.cfg.Now().Add(spread(st, within)); at.Before(st.cred.dueAt) {
		s.setDue(st, at)
	}
}

// ensureSendable replaces a certificate that the proxy said it holds, and now asks for.
func (s *Server) ensureSendable(ctx context.Context, st *stream) {
	if st.cred.brought != nil && st.protocol.lacks(envoy.Secrets, envoy.SecretWorkload, st.offer) {
		st.cred.brought, st.offer.workload = nil, nil
		s.acquire(ctx, st)
	}
}

func (c *credential) stopTimer() {
	if c.due != nil {
		c.due.Stop()
		c.due = nil
	}
}

// release ends the hold, when ctx of acquire has ended.
func (c *credential) release() {
	c.stopTimer()
	if c.coming != nil {
		c.lease = (<-c.coming).lease
	}
	if c.lease != nil {
		c.lease.Release()
	}
}

// spread is a share of the time that depends on the proxy's identity alone: all proxies of an
// identity get the same certificate, so they may as well ask at once.
func spread(st *stream, within time.Duration) time.Duration {
	h := fnv.New32a()
	_, _ = h.Write([]byte(st.peer.identity.String())) // a hash never fails
	return time.Duration(float64(within) * float64(h.Sum32()%1000) / 1000)
}
