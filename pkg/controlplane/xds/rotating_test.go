package xds

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/ca/leafcache"
	"github.com/osm-edge/osm/pkg/controlplane/envoy"
	"github.com/osm-edge/osm/pkg/controlplane/rotation"
)

// rotating is a replica whose roots a test changes.
type rotating struct {
	*inMemory
	t             *testing.T
	before, after *authority
	signs         *authority
	leaves        *leafcache.Cache
	mu            sync.Mutex
	trust         ca.Trust
}

func newRotating(t *testing.T) *rotating {
	t.Helper()
	r := &rotating{t: t, before: newAuthority(t), after: newAuthority(t)}
	r.signs, r.trust = &authority{Authority: r.before}, r.before.Trust()
	var err error
	if r.leaves, err = leafcache.New(leafcache.Config{Authority: r.signs}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = r.leaves.Run(ctx) // returns the cause of ctx
	}()
	t.Cleanup(func() {
		stop()
		<-ended
	})
	r.inMemory = newInMemory(t, func(cfg *Config) { cfg.Leaves, cfg.Trust = r.leaves, r.trusted })
	r.proofs = []ca.Trust{r.before.Trust(), r.after.Trust()}
	r.Publish(built(t, envoy.NewBuilder(nil), regular(2, 2, 1)))
	return r
}

func (r *rotating) trusted() ca.Trust {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.trust
}

// trustIn makes the control plane trust the roots, of which the first signs.
func (r *rotating) trustIn(roots ...*authority) {
	r.t.Helper()
	r.mu.Lock()
	r.trust = ca.Trust{Fingerprint: roots[0].Trust().Fingerprint}
	for _, root := range roots {
		r.trust.Bundle = append(r.trust.Bundle, root.Trust().Bundle...)
	}
	r.mu.Unlock()
	if err := r.Retrust(); err != nil {
		r.t.Fatal(err)
	}
}

// reissue makes the other root sign, and replaces all certificates.
func (r *rotating) reissue() {
	r.signs.Authority = r.after
	r.leaves.Reissue(0)
	r.Reissue(0)
}

// only returns the evidence of the only stream.
func (r *rotating) only() rotation.Proxy {
	r.t.Helper()
	synctest.Wait()
	all := r.Evidence()
	if len(all) != 1 {
		r.t.Fatalf("evidence of %d streams, want one", len(all))
	}
	e := all[0]
	if e.Pod != "shop/service0-0" || e.Identity != "shop/service0" {
		r.t.Errorf("evidence of %s as %s", e.Pod, e.Identity)
	}
	return e
}

// wants compares the evidence of the only stream: the CAs that it trusts and the one that signed.
func (r *rotating) wants(when string, root *authority, trusts ...*authority) rotation.Proxy {
	r.t.Helper()
	e := r.only()
	var fingerprints []string
	for _, ca := range trusts {
		fingerprints = append(fingerprints, ca.Trust().Fingerprint)
	}
	slices.Sort(fingerprints)
	if d := cmp.Diff(fingerprints, e.Trusts); d != "" {
		r.t.Errorf("%s: trusted CAs differ:\n%s", when, d)
	}
	signer := ""
	if root != nil {
		signer = root.Trust().Fingerprint
	}
	if e.Root != signer || (e.Serial == "") != (root == nil) || e.NotAfter.IsZero() != (root == nil) {
		r.t.Errorf("%s: certificate %q of CA %q until %v, want one of %q", when, e.Serial, e.Root, e.NotAfter, signer)
	}
	return e
}
