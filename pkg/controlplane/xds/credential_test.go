package xds

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/ca/leafcache"
	"github.com/osm-edge/osm/pkg/controlplane/envoy"
	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

// authority issues and counts the workloads' certificates, and can be broken.
type authority struct {
	ca.Authority
	issued atomic.Int64
	broken atomic.Bool
}

func (a *authority) Issue(ctx context.Context, req ca.Request) (*ca.Leaf, error) {
	if a.broken.Load() {
		return nil, errors.New("broken")
	}
	if req.Usage == ca.UsageService {
		a.issued.Add(1)
	}
	return a.Authority.Issue(ctx, req)
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	root, err := ca.NewRoot(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := ca.NewIssuer(ca.IssuerConfig{Root: root, TrustDomain: trustDomain})
	if err != nil {
		t.Fatal(err)
	}
	return &authority{Authority: issuer}
}

// replica is a Server without a network whose certificates come from the authority.
func replica(t testing.TB, a *authority, trust func() ca.Trust) *inMemory {
	t.Helper()
	leaves, err := leafcache.New(leafcache.Config{Authority: a})
	if err != nil {
		t.Fatal(err)
	}
	return newInMemory(t, func(cfg *Config) { cfg.Leaves, cfg.Trust = leaves, trust })
}

// askSecrets opens a stream and asks for the secrets; holds are the versions of those that the proxy has.
func (m *inMemory) askSecrets(ctx context.Context, pod string, holds map[string]string) *memoryDelta {
	d := m.open(ctx, pod)
	d.ask(envoy.Secrets, holds, envoy.SecretWorkload, envoy.SecretTrustBundle)
	return d
}

// quiet fails the test if a response is on its way to the proxy.
func (d *memoryDelta) quiet(t *testing.T) {
	t.Helper()
	synctest.Wait()
	select {
	case resp := <-d.responses:
		t.Errorf("%s was sent %q", d.pod, summary(decodeDelta(t, resp)))
	default:
	}
}

func versionsOf(resp *discoveryv3.DeltaDiscoveryResponse) map[string]string {
	versions := map[string]string{}
	for _, r := range resp.GetResources() {
		versions[r.GetName()] = r.GetVersion()
	}
	return versions
}

func TestBroughtCertificateIsKeptUntilItIsDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t)
		first, second := replica(t, a, a.Trust), replica(t, a, a.Trust)
		config := built(t, envoy.NewBuilder(nil), regular(1, 1, 1))
		first.Publish(config)
		second.Publish(config)
		d := first.askSecrets(t.Context(), "service0-0", nil)
		holds := versionsOf(d.take(t))
		d.close()

		time.Sleep(time.Hour)
		d = second.askSecrets(t.Context(), "service0-0", holds)
		d.quiet(t)
		if n := a.issued.Load(); n != 1 {
			t.Errorf("%d certificates issued, want 1: the proxy brought a valid one", n)
		}
		h, ok := parseCertVersion(holds[envoy.SecretWorkload])
		at, pod, known := second.EarliestExpiry()
		if !ok || !known || !at.Equal(h.notAfter) || pod != (mesh.PodName{Namespace: "shop", Name: "service0-0"}) {
			t.Errorf("earliest expiry %v of %v (%v), want %v (%v)", at, pod, known, h.notAfter, ok)
		}
		if left := time.Until(h.renewAt); left < 10*time.Hour || left > 16*time.Hour {
			t.Errorf("renewed in %v, want between half and 70 %% of a day after it was issued", left)
		}

		time.Sleep(time.Until(h.renewAt) + time.Second)
		resp := d.takeNow(t)
		if got := summary(resp); got != "sds workload" {
			t.Errorf("got %q when it was due, want the workload's new certificate", got)
		}
		synctest.Wait()
		renewed, _ := parseCertVersion(resp.GetResources()[0].GetVersion())
		if at, _, _ := second.EarliestExpiry(); !at.Equal(renewed.notAfter) || !renewed.notAfter.After(h.notAfter) {
			t.Errorf("earliest expiry %v after the renewal, want %v", at, renewed.notAfter)
		}
		d.close()
		if _, _, known := second.EarliestExpiry(); known {
			t.Error("a disconnected proxy has an expiry")
		}
	})
}

func TestBroughtCertificateThatWillNotDo(t *testing.T) {
	now := time.Now()
	good := certVersion{root: "ROOT", notAfter: now.Add(time.Hour), renewAt: now.Add(time.Minute), serial: "1"}
	cases := map[string]func(h *certVersion) string{
		"another root":             func(h *certVersion) string { h.root = "0000"; return h.String() },
		"due":                      func(h *certVersion) string { h.renewAt = now.Add(-time.Second); return h.String() },
		"expired":                  func(h *certVersion) string { h.notAfter, h.renewAt = now, now.Add(-time.Minute); return h.String() },
		"renewal after its expiry": func(h *certVersion) string { h.renewAt = h.notAfter.Add(time.Second); return h.String() },
		"a content hash":           func(*certVersion) string { return "0123456789abcdef0123456789abcdef" },
		"no numbers":               func(h *certVersion) string { return h.root + ".a.b.c" },
		"too long":                 func(h *certVersion) string { h.serial = strings.Repeat("1", 1000); return h.String() },
		"none":                     func(*certVersion) string { return "" },
	}
	a := newAuthority(t)
	m := replica(t, a, a.Trust)
	m.Publish(built(t, envoy.NewBuilder(nil), regular(1, 1, 1)))
	good.root = truncate(a.Trust().Fingerprint, rootPrefix)
	if h, ok := parseCertVersion(good.String()); !ok || !h.good(good.root, now) {
		t.Fatalf("%+v is not valid", h)
	}
	for name, spoil := range cases {
		t.Run(name, func(t *testing.T) {
			h := good
			d := m.askSecrets(t.Context(), "service0-0", map[string]string{envoy.SecretWorkload: spoil(&h)})
			if resp := d.take(t); len(resp.GetResources()) != 2 {
				t.Errorf("got %q, want both secrets", summary(resp))
			}
			d.close()
		})
	}
}

// A proxy that asks for a certificate that it reported to hold gets one.
func TestBroughtCertificateThatIsAskedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t)
		m := replica(t, a, a.Trust)
		m.Publish(built(t, envoy.NewBuilder(nil), regular(1, 1, 1)))
		d := m.askSecrets(t.Context(), "service0-0", nil)
		holds := versionsOf(d.take(t))
		d.close()
		d = m.askSecrets(t.Context(), "service0-0", holds)
		d.quiet(t)
		d.ask(envoy.Secrets, nil, envoy.SecretWorkload)
		resp := d.take(t)
		var secret tlsv3.Secret
		if err := resp.GetResources()[0].GetResource().UnmarshalTo(&secret); err != nil {
			t.Fatal(err)
		}
		tlsCertificate := secret.GetTlsCertificate()
		if _, err := tls.X509KeyPair(tlsCertificate.GetCertificateChain().GetInlineBytes(), tlsCertificate.GetPrivateKey().GetInlineBytes()); err != nil {
			t.Errorf("the response holds no certificate with its key: %v", err)
		}
		d.close()
	})
}

// TestRestartIssuesNoCertificates restarts every replica with 1000 proxies at 30 % of their
// certificates' lifetime, with the same root and with another one.
func TestRestartIssuesNoCertificates(t *testing.T) {
	for _, change := range []bool{false, true} {
		t.Run(fmt.Sprintf("root changed=%v", change), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const proxies = 1000
				config := built(t, envoy.NewBuilder(nil), regular(proxies, proxies, 1))
				a := newAuthority(t)
				holds := connectAll(t, replica(t, a, a.Trust), config, proxies, nil)
				if n := a.issued.Load(); n != proxies {
					t.Fatalf("%d certificates for %d identities", n, proxies)
				}
				time.Sleep(ca.DefaultTTL * 3 / 10)
				if change {
					a = newAuthority(t)
				}
				a.issued.Store(0)
				connectAll(t, replica(t, a, a.Trust), config, proxies, holds)
				switch n := a.issued.Load(); {
				case change && n != proxies:
					t.Errorf("%d certificates after the root changed, want %d", n, proxies)
				case !change && n >= proxies/100:
					t.Errorf("%d certificates in the first minute, want less than %d", n, proxies/100)
				}
			})
		})
	}
}

// connectAll connects all proxies for a minute, and returns the versions of their secrets.
func connectAll(t *testing.T, m *inMemory, config *envoy.Config, proxies int, holds []map[string]string) []map[string]string {
	t.Helper()
	m.Publish(config)
	if holds == nil {
		holds = make([]map[string]string, proxies)
	}
	streams, now := make([]*memoryDelta, proxies), make([]map[string]string, proxies)
	for i := range streams {
		streams[i] = m.askSecrets(t.Context(), fmt.Sprintf("service%d-%d", i, i), holds[i])
	}
	time.Sleep(time.Minute)
	for i, d := range streams {
		if len(d.responses) > 0 {
			now[i] = versionsOf(d.take(t))
		}
		d.close()
	}
	return now
}

// The forecast is the first expiry of any connected proxy, not the last one, and not that of a proxy that has left.
func TestEarliestExpiryIsTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t)
		r := replica(t, a, a.Trust)
		r.Publish(built(t, envoy.NewBuilder(nil), regular(3, 3, 1)))
		open := func(pod string) *memoryDelta {
			d := r.askSecrets(t.Context(), pod, nil)
			d.take(t)
			return d
		}
		expect := func(want string) {
			t.Helper()
			if _, pod, known := r.EarliestExpiry(); !known || pod.Name != want {
				t.Errorf("the first to expire is %q (%v), want %q", pod.Name, known, want)
			}
		}
		first := open("service0-0")
		time.Sleep(time.Hour) // another identity, so a later certificate
		second := open("service1-1")
		time.Sleep(time.Hour)
		third := open("service2-2")
		expect("service0-0")
		first.close()
		expect("service1-1")
		second.close()
		third.close()
	})
}
