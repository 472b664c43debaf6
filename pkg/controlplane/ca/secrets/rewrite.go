package secrets

import (
	"time"

	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
)

// target is what all Secrets have to hold, since when, and over how long they are rewritten.
type target struct {
	trust  ca.Trust
	bundle string // fingerprint of the whole bundle
	since  time.Time
	over   time.Duration
}

// retarget sets a new target when the roots have changed. Each account is rewritten at a time of its
// own, so that the load on the API server is bounded.
func (p *ProxyController) retarget(accounts int) {
	next := target{trust: p.cfg.Authority.Trust(), since: p.now()}
	next.bundle = next.trust.BundleFingerprint()
	next.over = time.Duration(accounts) * time.Second / time.Duration(p.cfg.RewritesPerSecond)
	if next.bundle != p.target.bundle || next.trust.Fingerprint != p.target.trust.Fingerprint {
		p.target = next
	}
}

// rewriteAt is when an account's Secret is rewritten.
func (t target) rewriteAt(id identity.Identity) time.Time {
	return t.since.Add(ca.Spread(id, t.over))
}

// met reports whether a Secret holds what it has to hold.
func (t target) met(holds contents) bool {
	return holds.bundle == t.bundle && holds.Signer == t.trust.Fingerprint
}
