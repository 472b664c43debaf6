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
	// A failed attempt to get a certificate is retried after acquireRetryFirst, doubling up to acquireRetryLast.
	acquireRetryFirst = time.Second
	acquireRetryLast  = time.Minute
	// respread is the time over which a changed root replaces the certificates that proxies brought.
	respread = time.Minute
)

// credential is the workload certificate of a stream's proxy. A proxy that brings a good certificate
// from its last stream costs nothing until that is due for renewal: only then is a leaf acquired. It is
// guarded by the stream's mu until the stream is closed.
type credential struct {
	leaf     *leafcache.Handle
	brought  *certVersion      // what the proxy holds, while that is good and no leaf was acquired
	coming   chan acquiredLeaf // not nil while a leaf is being acquired
	due      *time.Timer       // when a leaf is to be acquired
	dueAt    time.Time         // by the wall clock
	failures int
}

type acquiredLeaf struct {
	leaf *leafcache.Handle
	err  error
}

// changed receives after the acquired leaf was renewed.
func (c *credential) changed() <-chan struct{} {
	if c.leaf == nil {
		return nil
	}
	return c.leaf.Changed()
}

// waiting receives when a leaf is due.
func (c *credential) waiting() <-chan time.Time {
	if c.due == nil {
		return nil
	}
	return c.due.C
}

// firstSecrets decides, when a stream first asks for secrets, whether the certificate that the proxy
// reports to hold is still good.
func (st *stream) firstSecrets(ctx context.Context, holds map[string]string) {
	st.retrust(st.server.trust.Load()) // what the proxy holds may be the newest bundle
	st.reported(holds, st.server.cfg.Now())
	h, ok := parseCertVersion(holds[envoy.SecretWorkload])
	if !ok || !h.good(st.trust.root, st.server.cfg.Now()) {
		st.acquire(ctx)
		return
	}
	st.cred.brought = &h
	st.offer.workload = placeholder(h)
	st.expires.Store(h.notAfter.Unix())
	st.setDue(h.renewAt)
}

// setDue schedules a leaf to be acquired at a time of the wall clock.
func (st *stream) setDue(at time.Time) {
	c := &st.cred
	if c.leaf != nil || c.coming != nil {
		return
	}
	c.stopTimer()
	c.dueAt = at
	c.due = time.NewTimer(min(max(at.Sub(st.server.cfg.Now()), 0), dueTick))
	st.changed.Wake()
}

// onDue acquires a leaf if it is also due by the wall clock.
func (st *stream) onDue(ctx context.Context) {
	st.cred.stopTimer()
	if st.server.cfg.Now().Before(st.cred.dueAt) {
		st.setDue(st.cred.dueAt)
		return
	}
	st.acquire(ctx)
}

// acquire gets a leaf in the background: an unavailable authority must not keep the rest of the
// configuration from the proxy. ctx must end with the stream.
func (st *stream) acquire(ctx context.Context) {
	c := &st.cred
	if c.leaf != nil || c.coming != nil {
		return
	}
	c.stopTimer()
	coming := make(chan acquiredLeaf, 1)
	c.coming = coming
	st.changed.Wake()
	go func() {
		leaf, err := st.server.cfg.Leaves.Acquire(ctx, st.peer.identity)
		coming <- acquiredLeaf{leaf, err}
	}()
}

// acquired handles the result of acquire. After a failure the proxy keeps what it has until the next attempt.
func (st *stream) acquired(got acquiredLeaf) {
	c := &st.cred
	c.coming = nil
	if got.err != nil {
		delay := min(acquireRetryFirst<<min(c.failures, 10), acquireRetryLast)
		c.failures++
		st.setDue(st.server.cfg.Now().Add(delay/2 + st.spread(delay/2)))
		st.server.cfg.Log.Error("cannot get a certificate for a proxy, will retry", "pod", st.peer.pod.String(), "identity", st.peer.identity.String(), "error", got.err)
		return
	}
	c.leaf, c.brought, c.failures = got.leaf, nil, 0
	st.renewed()
}

// renewed offers the current leaf, never without the bundle that contains its CA.
func (st *stream) renewed() {
	st.retrust(st.server.trust.Load())
	known, err := st.server.leafSets.of(st.cred.leaf.Current(), st.trust.Trust)
	if err != nil {
		st.server.cfg.Log.Error("cannot encode a certificate, the proxy keeps the last one", "pod", st.peer.pod.String(), "error", err)
		return
	}
	st.offer.workload, st.offered = known.set, known.cert
}

// retrust offers the current trust bundle. A certificate that the proxy brought and that another root
// signed is replaced, at a time that spreads the work. A stream whose client certificate that trust does
// not cover is offered nothing more: Server.Retrust ends it.
func (st *stream) retrust(now *trusted) {
	if st.trust == now {
		return
	}
	if !now.anchors.Vouch(st.peer.chains, st.server.cfg.Now()) {
		st.closed = true
		return
	}
	st.trust, st.offer.trust = now, now.set
	if brought := st.cred.brought; brought != nil && brought.root != now.root {
		st.renewWithin(respread)
	}
}

// renewWithin replaces a certificate that the proxy brought within the given time.
func (st *stream) renewWithin(within time.Duration) {
	if st.cred.brought == nil {
		return
	}
	if at := st.server.cfg.Now().Add(st.spread(within)); at.Before(st.cred.dueAt) {
		st.setDue(at)
	}
}

// ensureSendable acquires a leaf if the proxy asks for the certificate that it reported to hold: of that
// certificate, only the version is known here.
func (st *stream) ensureSendable(ctx context.Context) {
	if st.cred.brought != nil && st.protocol.lacks(envoy.Secrets, envoy.SecretWorkload, st.offer) {
		st.cred.brought, st.offer.workload = nil, nil
		st.acquire(ctx)
	}
}

func (c *credential) stopTimer() {
	if c.due != nil {
		c.due.Stop()
		c.due = nil
	}
}

// release releases the leaf. The context of acquire must have ended.
func (c *credential) release() {
	c.stopTimer()
	if c.coming != nil {
		c.leaf = (<-c.coming).leaf
	}
	if c.leaf != nil {
		c.leaf.Release()
	}
}

// spread returns a part of the time that depends only on the proxy's identity: all proxies of an identity
// get the same certificate, so they may ask at the same time.
func (st *stream) spread(within time.Duration) time.Duration {
	h := fnv.New32a()
	_, _ = h.Write([]byte(st.peer.identity.String())) // a hash never fails
	return time.Duration(float64(within) * float64(h.Sum32()%1000) / 1000)
}
