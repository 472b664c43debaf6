package ca_test

import (
	"bytes"
	"context"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/osm-edge/osm/pkg/controlplane/ca"
)

func newRoots(t testing.TB, signer ca.Authority, passive ...ca.Truster) *ca.Roots {
	t.Helper()
	roots, err := ca.NewRoots(nil, signer, passive...)
	must(t, err)
	return roots
}

func issue(t testing.TB, authority ca.Authority, name string) *ca.Leaf {
	t.Helper()
	leaf, err := authority.Issue(t.Context(), ca.Request{Identity: workload(name), Usage: ca.UsageService})
	must(t, err)
	return leaf
}

// TestRootsAreTheSameEverywhere: the order in which a replica learnt of its roots shows nowhere,
// and the one root of a mesh that does not rotate gives the bundle that it gives alone.
func TestRootsAreTheSameEverywhere(t *testing.T) {
	a, _ := newIssuer(t, at(today))
	b, _ := newIssuer(t, at(today))
	c, _ := newIssuer(t, at(today))
	first := newRoots(t, a, b, c).Trust()
	for _, other := range []*ca.Roots{newRoots(t, a, c, b), newRoots(t, a, b, a, c, c), newRoots(t, a, newRoots(t, b, c))} {
		if got := other.Trust(); !bytes.Equal(got.Bundle, first.Bundle) || got.Fingerprint != first.Fingerprint || !got.NotAfter.Equal(first.NotAfter) {
			t.Errorf("got %+v, want %+v", got, first)
		}
	}
	if got := newRoots(t, b, a, c).Trust(); got.BundleFingerprint() != first.BundleFingerprint() || got.Fingerprint != b.Trust().Fingerprint {
		t.Errorf("another signer of the same set: bundle %s, signer %s", got.BundleFingerprint(), got.Fingerprint)
	}
	if alone := newRoots(t, a).Trust(); !bytes.Equal(alone.Bundle, a.Trust().Bundle) {
		t.Error("the bundle of one root differs from the root's own")
	}
	want := []string{a.Trust().Fingerprint, b.Trust().Fingerprint, c.Trust().Fingerprint}
	slices.Sort(want)
	if got := first.Fingerprints(); !slices.Equal(got, want) {
		t.Errorf("fingerprints %v, want %v", got, want)
	}
}

// TestSignerOf finds the CA of a leaf, through intermediates too, and says when there is none.
func TestSignerOf(t *testing.T) {
	a, _ := newIssuer(t, at(today))
	b, _ := newIssuer(t, at(today))
	stranger, _ := newIssuer(t, at(today))
	trust := newRoots(t, a, b).Trust()
	for want, authority := range map[string]ca.Authority{a.Trust().Fingerprint: a, b.Trust().Fingerprint: b, "": stranger} {
		if got := trust.SignerOf(chainOf(t, issue(t, authority, "w"))); got != want {
			t.Errorf("signer %q, want %q", got, want)
		}
	}
	top := authority(t, ecKey(t, elliptic.P256()), nil, nil)
	middle := authority(t, ecKey(t, elliptic.P256()), &top, nil)
	leaf := authority(t, ecKey(t, elliptic.P256()), &middle, func(c *x509.Certificate) { c.IsCA = false; c.KeyUsage = x509.KeyUsageDigitalSignature })
	known, err := ca.ParseTrust(top.certPEM(), today)
	must(t, err)
	if got := known.SignerOf([]*x509.Certificate{leaf.cert, middle.cert}); got != known.Fingerprint {
		t.Errorf("through an intermediate: %q", got)
	}
	if got := known.SignerOf([]*x509.Certificate{leaf.cert}); got != "" {
		t.Errorf("without its intermediate: %q", got)
	}
}

func chainOf(t testing.TB, leaf *ca.Leaf) (chain []*x509.Certificate) {
	for _, der := range leaf.TLS().Certificate {
		cert, err := x509.ParseCertificate(der)
		must(t, err)
		chain = append(chain, cert)
	}
	return chain
}

// TestRootsRotate goes through a rotation and back: at each step leaves of before and after verify
// each other under the trust of before and after, and subscribers hear what they must do.
func TestRootsRotate(t *testing.T) {
	a, rootA := newIssuer(t, at(today))
	b, rootB := newIssuer(t, at(today))
	roots := newRoots(t, a)
	var heard []string
	cancel := roots.Subscribe(func(c ca.Change) {
		trust := roots.Trust()
		heard = append(heard, fmt.Sprintf("trust=%v signer=%v cas=%d", c.Trust, c.Signer, len(trust.Fingerprints())))
	})
	steps := []struct {
		name    string
		signer  ca.Authority
		passive []ca.Truster
		by      *ca.Root
		heard   []string
	}{
		{"trust both", a, []ca.Truster{b}, rootA, []string{"trust=true signer=false cas=2"}},
		{"again", a, []ca.Truster{b}, rootA, nil},
		{"sign with the new one", b, []ca.Truster{a}, rootB, []string{"trust=false signer=true cas=2"}},
		{"abort", a, []ca.Truster{b}, rootA, []string{"trust=false signer=true cas=2"}},
		{"sign with the new one again", b, []ca.Truster{a}, rootB, []string{"trust=false signer=true cas=2"}},
		{"drop the old one", b, nil, rootB, []string{"trust=true signer=false cas=1"}},
	}
	before := issue(t, roots, "before")
	for _, step := range steps {
		heard = nil
		must(t, roots.Set(step.signer, step.passive...))
		if !slices.Equal(heard, step.heard) {
			t.Errorf("%s: heard %v, want %v", step.name, heard, step.heard)
		}
		now := issue(t, roots, "now")
		if got := roots.Trust().SignerOf(chainOf(t, now)); got != step.by.Fingerprint() {
			t.Errorf("%s: signed by %s, want %s", step.name, got, step.by.Fingerprint())
		}
		if err := handshakeUnder(now, before, roots.Trust()); (err != nil) != (step.name == "drop the old one" && roots.Trust().SignerOf(chainOf(t, before)) == "") {
			t.Errorf("%s: handshake: %v", step.name, err)
		}
		before = now
	}
	cancel()
	heard = nil
	must(t, roots.Set(a))
	if heard != nil {
		t.Error("heard after cancel")
	}
}

func handshakeUnder(server, client *ca.Leaf, trust ca.Trust) error {
	return connect(&tls.Config{
		Certificates: []tls.Certificate{server.TLS()}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: trust.Pool(), Time: at(today), MinVersion: tls.VersionTLS13,
	}, &tls.Config{
		Certificates: []tls.Certificate{client.TLS()}, RootCAs: trust.Pool(), ServerName: server.TLS().Leaf.DNSNames[0], Time: at(today), MinVersion: tls.VersionTLS13,
	})
}

// TestRootsTellTheBundleFirst: even when the signer is replaced in one step, subscribers are told
// of a bundle with both before the first leaf of the new signer exists.
func TestRootsTellTheBundleFirst(t *testing.T) {
	a, _ := newIssuer(t, at(today))
	b, _ := newIssuer(t, at(today))
	roots := newRoots(t, a)
	told := [][]string{a.Trust().Fingerprints()}
	roots.Subscribe(func(c ca.Change) {
		leaf := issue(t, roots, "w")
		last := told[len(told)-1]
		if c.Trust {
			told = append(told, roots.Trust().Fingerprints())
		}
		if !c.Signer && !slices.Contains(last, roots.Trust().SignerOf(chainOf(t, leaf))) {
			t.Error("a leaf of a signer whose bundle nobody was told of")
		}
		if c.Signer && len(last) != 2 {
			t.Errorf("the signer changed after a bundle of %d", len(last))
		}
	})
	must(t, roots.Set(b))
	if len(told) != 3 || len(told[1]) != 2 || len(told[2]) != 1 {
		t.Errorf("told of bundles %v, want one with both and then the new one", told)
	}
}

// TestRootsNeverOutOfDate races Set with Issue: the signer of a leaf was the signer at some time
// after Issue was called, and its CA was in Trust already.
func TestRootsNeverOutOfDate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, rootA := newIssuer(t, time.Now)
		b, rootB := newIssuer(t, time.Now)
		slow := &counting{Authority: a, delay: time.Second}
		roots := newRoots(t, slow, b)
		var issuing sync.WaitGroup
		issuing.Go(func() {
			if leaf := issue(t, roots, "w"); roots.Trust().SignerOf(chainOf(t, leaf)) != rootB.Fingerprint() {
				t.Error("handed out a leaf of the former signer")
			}
		})
		synctest.Wait()
		must(t, roots.Set(b, slow))
		issuing.Wait()
		if roots.Trust().Fingerprint == rootA.Fingerprint() {
			t.Error("the signer has not changed")
		}
		// The former signer's failure does not count either.
		away := &counting{Authority: a, delay: time.Second}
		away.away.Store(true)
		must(t, roots.Set(away, b))
		issuing.Go(func() { issue(t, roots, "w") })
		synctest.Wait()
		must(t, roots.Set(b, away))
		issuing.Wait()
		// Nor does a caller that gave up wait for ever.
		must(t, roots.Set(away, b))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := roots.Issue(ctx, ca.Request{Identity: workload("w"), Usage: ca.UsageService}); err == nil {
			t.Error("issued after the caller had gone")
		}
	})
}

func TestRootsRefuse(t *testing.T) {
	a, _ := newIssuer(t, at(today))
	if _, err := ca.NewRoots(nil, nil); err == nil {
		t.Error("accepted no signer")
	}
	roots := newRoots(t, a)
	if err := roots.Set(nil); err == nil {
		t.Error("accepted no signer")
	}
	if err := roots.Set(a, truster{ca.Trust{Fingerprint: "x"}}); err == nil {
		t.Error("accepted a member without a certificate")
	}
	if got := roots.Trust(); got.Fingerprint != a.Trust().Fingerprint || len(got.Fingerprints()) != 1 {
		t.Error("changed by a Set that failed")
	}
}

type truster struct{ trust ca.Trust }

func (t truster) Trust() ca.Trust { return t.trust }

// TestRootsMetrics: the fingerprints of the signer and of all that is trusted are there to compare.
func TestRootsMetrics(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	metrics, err := ca.NewMetrics(registry)
	must(t, err)
	a, _ := newIssuer(t, at(today))
	b, _ := newIssuer(t, at(today))
	roots, err := ca.NewRoots(metrics, a, b)
	must(t, err)
	must(t, roots.Set(b, a))
	if n := count(t, registry, "osm_trusted_root_info"); n != 2 {
		t.Errorf("%d trusted roots shown, want 2", n)
	}
	must(t, roots.Set(b))
	if n := count(t, registry, "osm_trusted_root_info"); n != 1 {
		t.Errorf("%d trusted roots shown, want 1", n)
	}
	if n := count(t, registry, "osm_root_info"); n != 1 {
		t.Errorf("%d signing roots shown, want 1", n)
	}
}

func count(t testing.TB, registry *prometheus.Registry, name string) int {
	t.Helper()
	n, err := testutil.GatherAndCount(registry, name)
	must(t, err)
	return n
}

// TestLeavesFollowTheSigner: once another CA signs, all leaves in use are of it within five
// minutes, not all at once; one that was being issued at that moment does not escape.
func TestLeavesFollowTheSigner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := &wall{}
		a, _ := newIssuer(t, clock.now)
		b, rootB := newIssuer(t, clock.now)
		slow := &counting{Authority: a}
		roots := newRoots(t, slow, b)
		leaves, err := ca.NewLeaves(ca.LeavesConfig{Authority: handedOver{roots}, Now: clock.now})
		must(t, err)
		roots.Subscribe(func(c ca.Change) {
			if c.Signer {
				leaves.ReissueSoon()
			}
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- leaves.Run(ctx) }()
		var leases []*ca.Lease
		for i := range 100 {
			lease, err := leaves.Acquire(t.Context(), workload(fmt.Sprintf("w%d", i)))
			must(t, err)
			leases = append(leases, lease)
		}
		late := make(chan *ca.Lease, 1)
		go func() { // asks the old signer, and has the answer after the new one took over
			lease, err := leaves.Acquire(t.Context(), workload("late"))
			if err != nil {
				t.Error(err)
			}
			late <- lease
		}()
		synctest.Wait()
		must(t, roots.Set(b, slow))
		leases = append(leases, <-late)
		ofNew := func() (n int) {
			for _, lease := range leases {
				if roots.Trust().SignerOf(chainOf(t, lease.Current())) == rootB.Fingerprint() {
					n++
				}
			}
			return n
		}
		if n := ofNew(); n > 10 {
			t.Errorf("%d of 101 reissued at once", n)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := ofNew(); n < 5 || n > 50 {
			t.Errorf("%d of 101 reissued in the first of five minutes", n)
		}
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if n := ofNew(); n != 101 {
			t.Errorf("%d of 101 reissued after six minutes", n)
		}
		for _, lease := range leases {
			lease.Release()
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
	})
}

// handedOver is an authority whose answer for "late" takes a second on its way.
type handedOver struct{ ca.Authority }

func (h handedOver) Issue(ctx context.Context, req ca.Request) (*ca.Leaf, error) {
	leaf, err := h.Authority.Issue(ctx, req)
	if req.Identity == workload("late") {
		time.Sleep(time.Second)
	}
	return leaf, err
}
