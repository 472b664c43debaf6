package xds

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/ca/leafcache"
	"github.com/osm-edge/osm/pkg/controlplane/envoy"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/tests/reach"
)

func TestRetrust(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before, after := newAuthority(t), newAuthority(t)
		var trust atomic.Pointer[ca.Trust]
		set := func(t ca.Trust) { trust.Store(&t) }
		set(before.Trust())
		roots := &authority{Authority: before}
		m := replica(t, roots, func() ca.Trust { return *trust.Load() })
		m.Publish(built(t, envoy.NewBuilder(nil), regular(2, 2, 1)))
		served := m.askSecrets(t.Context(), "service0-0", nil)
		served.take(t)
		brought := m.askSecrets(t.Context(), "service1-1", nil)
		holds := versionsOf(brought.take(t))
		brought.close()
		brought = m.askSecrets(t.Context(), "service1-1", holds)
		brought.quiet(t)

		if err := m.Retrust(); err != nil { // nothing changed
			t.Fatal(err)
		}
		served.quiet(t)
		brought.quiet(t)

		both := before.Trust()
		both.Bundle = append(both.Bundle[:len(both.Bundle):len(both.Bundle)], after.Trust().Bundle...)
		set(both)
		if err := m.Retrust(); err != nil {
			t.Fatal(err)
		}
		for _, d := range []*memoryDelta{served, brought} {
			if got := summary(d.takeNow(t)); got != "sds trust-bundle" {
				t.Errorf("%s was sent %q, want the new bundle", d.pod, got)
			}
		}
		brought.quiet(t)

		both.Fingerprint = after.Trust().Fingerprint
		set(both)
		roots.Authority = after
		if err := m.Retrust(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(respread)
		if got := summary(brought.takeNow(t)); got != "sds workload" {
			t.Errorf("got %q after another root signs, want a certificate of it", got)
		}
		served.quiet(t) // Leaves replaces this one
		served.close()
		brought.close()
	})
}

// A certificate of a new root never arrives before the bundle with that root.
func TestRenewedCertificateComesWithItsRoot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before, after := newAuthority(t), newAuthority(t)
		roots := &authority{Authority: before}
		leaves, err := leafcache.New(leafcache.Config{Authority: roots})
		if err != nil {
			t.Fatal(err)
		}
		m := newInMemory(t, func(cfg *Config) { cfg.Leaves, cfg.Trust = leaves, before.Trust })
		m.proofs = []ca.Trust{before.Trust(), after.Trust()}
		m.Publish(built(t, envoy.NewBuilder(nil), regular(1, 1, 1)))
		d := m.askSecrets(t.Context(), "service0-0", nil)
		d.take(t)

		roots.Authority = after
		now, err := newTrusted(after.Trust())
		if err != nil {
			t.Fatal(err)
		}
		m.trust.Store(now) // the stream has not had a turn yet
		leaves.Reissue(0)
		ctx, stop := context.WithCancel(t.Context())
		go func() { _ = leaves.Run(ctx) }()
		if got := summary(d.takeNow(t)); got != "sds trust-bundle workload" {
			t.Errorf("got %q, want the new root and the certificate that it signed", got)
		}
		stop()
		d.close()
	})
}

func TestReissueReplacesWhatProxiesBrought(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t)
		m := replica(t, a, a.Trust)
		m.Publish(built(t, envoy.NewBuilder(nil), regular(1, 1, 1)))
		d := m.askSecrets(t.Context(), "service0-0", nil)
		holds := versionsOf(d.take(t))
		d.close()
		d = m.askSecrets(t.Context(), "service0-0", holds)
		d.quiet(t)
		trust := a.Trust()
		trust.Fingerprint = "another CA signs, which the bundle holds already"
		m.cfg.Trust = func() ca.Trust { return trust }
		m.Reissue(10 * time.Minute)
		if root := m.trust.Load().root; root != truncate(trust.Fingerprint, rootPrefix) {
			t.Errorf("certificates of %q count as valid after Reissue", root)
		}
		time.Sleep(10 * time.Minute)
		if got := summary(d.takeNow(t)); got != "sds workload" || a.issued.Load() != 2 {
			t.Errorf("got %q after Reissue, %d certificates in total", got, a.issued.Load())
		}
		d.close()
	})
}

// While the authority is unavailable, the proxy gets everything but its certificate.
func TestAuthorityIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t)
		m := replica(t, a, a.Trust)
		m.Publish(built(t, envoy.NewBuilder(nil), regular(1, 1, 1)))
		a.broken.Store(true)
		d := m.askSecrets(t.Context(), "service0-0", nil)
		d.quiet(t)
		d.ask(envoy.Clusters, nil)
		if got := d.take(t); got.GetTypeUrl() != envoy.Clusters.TypeURL() {
			t.Errorf("got %q, want clusters", summary(got))
		}
		time.Sleep(10 * time.Minute)
		d.quiet(t)
		a.broken.Store(false)
		time.Sleep(acquireRetryLast)
		if got := summary(d.takeNow(t)); got != "sds trust-bundle workload" {
			t.Errorf("got %q after the authority came back", got)
		}
		d.close()
	})
}

// slowLeaves returns a leaf only after its context has ended.
type slowLeaves struct{ Leaves }

func (l slowLeaves) Acquire(ctx context.Context, id identity.Identity) (*leafcache.Handle, error) {
	<-ctx.Done() // the stream's end
	return l.Leaves.Acquire(context.WithoutCancel(ctx), id)
}

// TestHandleAfterStreamEnd checks that a leaf that arrives after the stream has ended is released.
func TestHandleAfterStreamEnd(t *testing.T) {
	a := newAuthority(t)
	leaves, err := leafcache.New(leafcache.Config{Authority: a})
	if err != nil {
		t.Fatal(err)
	}
	m := newInMemory(t, func(cfg *Config) { cfg.Leaves, cfg.Trust = slowLeaves{leaves}, a.Trust })
	m.Publish(built(t, envoy.NewBuilder(nil), regular(1, 1, 1)))
	d := m.askSecrets(t.Context(), "service0-0", nil)
	d.ask(envoy.Clusters, nil)
	d.take(t)
	d.close()
	if n := leaves.Len(); n != 0 || a.issued.Load() != 1 {
		t.Errorf("%d handles left of %d", n, a.issued.Load())
	}
}

// A state-of-the-world proxy cannot report what it holds: it is sent everything.
func TestSotwProxyIsSentItsCertificate(t *testing.T) {
	m := newInMemory(t)
	m.Publish(built(t, envoy.NewBuilder(nil), regular(1, 1, 1)))
	ctx, stop := context.WithCancel(proven(t.Context(), m.clientCAs(), "service0", time.Now().Add(time.Hour), nil))
	w := &memoryWire[*discoveryv3.DiscoveryRequest]{ctx, make(chan *discoveryv3.DiscoveryRequest), make(chan *response, 4)}
	done := make(chan error, 1)
	go func() { done <- run(m.Server, w, &sotwSession{lists: m.lists}, variantSotw) }()
	w.requests <- &discoveryv3.DiscoveryRequest{Node: nodeOf("service0-0"), TypeUrl: envoy.TypeSecret, ResourceNames: []string{envoy.SecretWorkload, envoy.SecretTrustBundle}}
	if got := toldAll(t, decode(t, <-w.responses, &discoveryv3.DiscoveryResponse{})); got != "sds trust-bundle workload" {
		t.Errorf("got %q", got)
	}
	stop()
	if err := <-done; err == nil {
		t.Error("the stream ended without an error when its proxy disconnected")
	}
}

// A version is accepted if it has four fields with two numbers in the middle, in the only form in which such a
// version is written, and it is parsed into exactly these fields.
func FuzzParseHeld(f *testing.F) {
	for _, version := range []string{
		"0123456789abcdef.1700000000.1690000000.1f", ".0.-1.", "a.b.c.d", "a.1.2", "a.1.2.b.c", "a.01.2.b", "a.+1.2.b", "a.1.-0.b",
		"a.9223372036854775807.-9223372036854775808.b", "a.9223372036854775808.1.b", strings.Repeat("a", 95) + ".1.2.b", strings.Repeat("a", 94) + ".1.2.b",
	} {
		f.Add(version)
	}
	written := regexp.MustCompile(`^([^.]*)\.(0|-?[1-9][0-9]*)\.(0|-?[1-9][0-9]*)\.([^.]*)$`)
	outcomes := reach.Both(f)
	f.Fuzz(func(t *testing.T, version string) {
		h, ok := parseCertVersion(version)
		outcomes.OK(ok)
		fields := written.FindStringSubmatch(version)
		if want := len(version) <= 100 && fields != nil && isInt64(fields[2]) && isInt64(fields[3]); ok != want {
			t.Fatalf("%q is accepted: %t, want %t", version, ok, want)
		}
		if !ok {
			return
		}
		if got := []string{h.root, fmt.Sprint(h.notAfter.Unix()), fmt.Sprint(h.renewAt.Unix()), h.serial}; !slices.Equal(got, fields[1:]) {
			t.Errorf("%q is read as %q", version, got)
		}
		if h.String() != version {
			t.Errorf("%q is written as %q", version, h.String())
		}
	})
}

func isInt64(digits string) bool {
	_, err := strconv.ParseInt(digits, 10, 64)
	return err == nil
}
