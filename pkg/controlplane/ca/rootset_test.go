package ca_test

import (
	"bytes"
	"context"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/tests/catest"
)

// TestRootsAreTheSameEverywhere: the order in which a replica learnt of its roots has no effect,
// and the bundle of a set with one root is that root's own bundle.
func TestRootsAreTheSameEverywhere(t *testing.T) {
	a, _ := catest.NewIssuer(t, catest.At(catest.Today()))
	b, _ := catest.NewIssuer(t, catest.At(catest.Today()))
	c, _ := catest.NewIssuer(t, catest.At(catest.Today()))
	first := catest.NewRootSet(t, a, b, c).Trust()
	for _, other := range []*ca.RootSet{catest.NewRootSet(t, a, c, b), catest.NewRootSet(t, a, b, a, c, c), catest.NewRootSet(t, a, catest.NewRootSet(t, b, c))} {
		if got := other.Trust(); !bytes.Equal(got.Bundle, first.Bundle) || got.Fingerprint != first.Fingerprint || !got.NotAfter.Equal(first.NotAfter) {
			t.Errorf("got %+v, want %+v", got, first)
		}
	}
	if got := catest.NewRootSet(t, b, a, c).Trust(); got.BundleFingerprint() != first.BundleFingerprint() || got.Fingerprint != b.Trust().Fingerprint {
		t.Errorf("another signer of the same set: bundle %s, signer %s", got.BundleFingerprint(), got.Fingerprint)
	}
	if alone := catest.NewRootSet(t, a).Trust(); !bytes.Equal(alone.Bundle, a.Trust().Bundle) {
		t.Error("the bundle of one root differs from the root's own")
	}
	want := []string{a.Trust().Fingerprint, b.Trust().Fingerprint, c.Trust().Fingerprint}
	slices.Sort(want)
	if got := first.Fingerprints(); !slices.Equal(got, want) {
		t.Errorf("fingerprints %v, want %v", got, want)
	}
}

// TestSignerOf finds the CA of a leaf, directly or through intermediates, and returns "" if there is none.
func TestSignerOf(t *testing.T) {
	a, _ := catest.NewIssuer(t, catest.At(catest.Today()))
	b, _ := catest.NewIssuer(t, catest.At(catest.Today()))
	stranger, _ := catest.NewIssuer(t, catest.At(catest.Today()))
	trust := catest.NewRootSet(t, a, b).Trust()
	for want, authority := range map[string]ca.Authority{a.Trust().Fingerprint: a, b.Trust().Fingerprint: b, "": stranger} {
		if got := trust.SignerOf(catest.Issue(t, authority, "w").Chain()); got != want {
			t.Errorf("signer %q, want %q", got, want)
		}
	}
	top := catest.NewCA(t, catest.ECKey(t, elliptic.P256()), nil, nil)
	middle := catest.NewCA(t, catest.ECKey(t, elliptic.P256()), &top, nil)
	leaf := catest.NewCA(t, catest.ECKey(t, elliptic.P256()), &middle, func(c *x509.Certificate) { c.IsCA = false; c.KeyUsage = x509.KeyUsageDigitalSignature })
	known, err := ca.ParseTrust(top.CertPEM(), catest.Today())
	must(t, err)
	if got := known.SignerOf([]*x509.Certificate{leaf.Cert, middle.Cert}); got != known.Fingerprint {
		t.Errorf("through an intermediate: %q", got)
	}
	if got := known.SignerOf([]*x509.Certificate{leaf.Cert}); got != "" {
		t.Errorf("without its intermediate: %q", got)
	}
}

// TestRootsRotate goes through a rotation and back: at each step, leaves issued before and after it
// verify each other under the trust bundles before and after it, and subscribers learn what to do.
func TestRootsRotate(t *testing.T) {
	a, rootA := catest.NewIssuer(t, catest.At(catest.Today()))
	b, rootB := catest.NewIssuer(t, catest.At(catest.Today()))
	roots := catest.NewRootSet(t, a)
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
	before := catest.Issue(t, roots, "before")
	for _, step := range steps {
		heard = nil
		must(t, roots.Set(step.signer, step.passive...))
		if !slices.Equal(heard, step.heard) {
			t.Errorf("%s: heard %v, want %v", step.name, heard, step.heard)
		}
		now := catest.Issue(t, roots, "now")
		if got := roots.Trust().SignerOf(now.Chain()); got != step.by.Fingerprint() {
			t.Errorf("%s: signed by %s, want %s", step.name, got, step.by.Fingerprint())
		}
		if err := handshakeUnder(now, before, roots.Trust()); (err != nil) != (step.name == "drop the old one" && roots.Trust().SignerOf(before.Chain()) == "") {
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
		Certificates: []tls.Certificate{server.TLS()}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: trust.Pool(), Time: catest.At(catest.Today()), MinVersion: tls.VersionTLS13,
	}, &tls.Config{
		Certificates: []tls.Certificate{client.TLS()}, RootCAs: trust.Pool(), ServerName: server.TLS().Leaf.DNSNames[0], Time: catest.At(catest.Today()), MinVersion: tls.VersionTLS13,
	})
}

// TestRootsAnnounceTheBundleFirst: even when the signer is replaced in one step, subscribers learn
// of a bundle with both before the first leaf of the new signer exists.
func TestRootsAnnounceTheBundleFirst(t *testing.T) {
	a, _ := catest.NewIssuer(t, catest.At(catest.Today()))
	b, _ := catest.NewIssuer(t, catest.At(catest.Today()))
	roots := catest.NewRootSet(t, a)
	announced := [][]string{a.Trust().Fingerprints()}
	roots.Subscribe(func(c ca.Change) {
		leaf := catest.Issue(t, roots, "w")
		last := announced[len(announced)-1]
		if c.Trust {
			announced = append(announced, roots.Trust().Fingerprints())
		}
		if !c.Signer && !slices.Contains(last, roots.Trust().SignerOf(leaf.Chain())) {
			t.Error("a leaf of a signer whose bundle was not announced")
		}
		if c.Signer && len(last) != 2 {
			t.Errorf("the signer changed after a bundle of %d", len(last))
		}
	})
	must(t, roots.Set(b))
	if len(announced) != 3 || len(announced[1]) != 2 || len(announced[2]) != 1 {
		t.Errorf("announced bundles %v, want one with both and then the new one", announced)
	}
}

// TestRootsNeverOutOfDate races Set with Issue: the signer of a leaf was the signer at some time
// after Issue was called, and its CA was in Trust already.
func TestRootsNeverOutOfDate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, rootA := catest.NewIssuer(t, time.Now)
		b, rootB := catest.NewIssuer(t, time.Now)
		slow := &catest.Counting{Authority: a, Delay: time.Second}
		roots := catest.NewRootSet(t, slow, b)
		var issuing sync.WaitGroup
		issuing.Go(func() {
			if leaf := catest.Issue(t, roots, "w"); roots.Trust().SignerOf(leaf.Chain()) != rootB.Fingerprint() {
				t.Error("handed out a leaf of the former signer")
			}
		})
		synctest.Wait()
		must(t, roots.Set(b, slow))
		issuing.Wait()
		if roots.Trust().Fingerprint == rootA.Fingerprint() {
			t.Error("the signer has not changed")
		}
		// A failure of the former signer does not count either.
		away := &catest.Counting{Authority: a, Delay: time.Second}
		away.Away.Store(true)
		must(t, roots.Set(away, b))
		issuing.Go(func() { catest.Issue(t, roots, "w") })
		synctest.Wait()
		must(t, roots.Set(b, away))
		issuing.Wait()
		// A caller that gave up does not wait forever.
		must(t, roots.Set(away, b))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := roots.Issue(ctx, ca.Request{Identity: catest.Workload("w"), Usage: ca.UsageService}); err == nil {
			t.Error("issued after the caller gave up")
		}
	})
}

func TestRootsRefuse(t *testing.T) {
	a, _ := catest.NewIssuer(t, catest.At(catest.Today()))
	if _, err := ca.NewRootSet(nil, nil); err == nil {
		t.Error("accepted no signer")
	}
	roots := catest.NewRootSet(t, a)
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

// TestRootsMetrics: the metrics show the fingerprints of the signer and of all trusted roots.
func TestRootsMetrics(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	metrics, err := ca.NewMetrics(registry)
	must(t, err)
	a, _ := catest.NewIssuer(t, catest.At(catest.Today()))
	b, _ := catest.NewIssuer(t, catest.At(catest.Today()))
	roots, err := ca.NewRootSet(metrics, a, b)
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
