package ca_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/ca/leafcache"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/tests/catest"
)

func TestNewRoot(t *testing.T) {
	root, err := ca.NewRoot(catest.Today())
	must(t, err)
	pool := root.Trust().Pool()
	cert := catest.FirstCertificate(t, root.Bundle())
	if cert.Subject.CommonName != "osm-ca.openservicemesh.io" || cmp.Diff(cert.Subject.Organization, []string{"Open Service Mesh"}) != "" {
		t.Errorf("subject %s", cert.Subject)
	}
	if key, ok := cert.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
		t.Errorf("key %T, want ECDSA P-256", cert.PublicKey)
	}
	if !cert.NotBefore.Before(catest.Today()) || cert.NotAfter.Year() != catest.Today().Year()+10 || !cert.NotAfter.Equal(root.NotAfter()) {
		t.Errorf("valid from %v to %v", cert.NotBefore, cert.NotAfter)
	}
	if !cert.IsCA || cert.MaxPathLen != 0 || cert.KeyUsage != x509.KeyUsageCertSign|x509.KeyUsageCRLSign || len(cert.SubjectKeyId) == 0 {
		t.Errorf("IsCA %v, path length %d, key usage %v, subject key id %x", cert.IsCA, cert.MaxPathLen, cert.KeyUsage, cert.SubjectKeyId)
	}
	_, err = cert.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: catest.Today()})
	must(t, err)
}

func TestIssue(t *testing.T) {
	issuer, root := catest.NewIssuer(t, catest.At(catest.Today()))
	both := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	client, server := both[1:], both[:1]
	tests := map[string]struct {
		req     ca.Request
		dns     []string
		usage   []x509.ExtKeyUsage
		refused x509.ExtKeyUsage
		life    time.Duration
		rsaBits int
	}{
		"service":       {req: ca.Request{Identity: catest.Workload("buyer"), Usage: ca.UsageService}, dns: []string{"buyer.bookstore.cluster.local"}, usage: both, life: 24 * time.Hour},
		"proxy":         {req: ca.Request{Identity: catest.Workload("buyer"), Usage: ca.UsageProxy, TTL: time.Hour}, dns: []string{"buyer.bookstore.cluster.local"}, usage: client, refused: server[0], life: time.Hour},
		"serving":       {req: ca.Request{Identity: catest.Workload("buyer"), Usage: ca.UsageServing, DNSNames: []string{"z.svc", "a.svc", "z.svc"}}, dns: []string{"a.svc", "buyer.bookstore.cluster.local", "z.svc"}, usage: server, refused: client[0], life: 24 * time.Hour},
		"RSA":           {req: ca.Request{Identity: catest.Workload("buyer"), Usage: ca.UsageService, KeyBits: 2048}, dns: []string{"buyer.bookstore.cluster.local"}, usage: both, life: 24 * time.Hour, rsaBits: 2048},
		"dotted name":   {req: ca.Request{Identity: catest.Workload("buyer.prod"), Usage: ca.UsageService}, dns: []string{"buyer.prod.bookstore.cluster.local"}, usage: both, life: 24 * time.Hour},
		"too long name": {req: ca.Request{Identity: catest.Workload(strings.Repeat("a2345678.", 27) + "b"), Usage: ca.UsageService}, usage: both, life: 24 * time.Hour},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			leaf, err := issuer.Issue(t.Context(), tt.req)
			must(t, err)
			cert := catest.FirstCertificate(t, leaf.CertPEM)
			for _, usage := range tt.usage {
				_, err := cert.Verify(x509.VerifyOptions{Roots: root.Trust().Pool(), CurrentTime: catest.Today(), KeyUsages: []x509.ExtKeyUsage{usage}})
				must(t, err)
			}
			if tt.refused != 0 {
				if _, err := cert.Verify(x509.VerifyOptions{Roots: root.Trust().Pool(), CurrentTime: catest.Today(), KeyUsages: []x509.ExtKeyUsage{tt.refused}}); err == nil {
					t.Errorf("also valid for usage %v", tt.refused)
				}
			}
			if want := tt.req.Identity.CommonName(catest.Domain); cert.Subject.CommonName != want {
				t.Errorf("common name %q, want %q", cert.Subject.CommonName, want)
			}
			if diff := cmp.Diff(tt.dns, cert.DNSNames); diff != "" {
				t.Error(diff)
			}
			if len(cert.URIs) != 1 {
				t.Fatalf("URI SANs %v, want one", cert.URIs)
			}
			if id, err := identity.Parse(cert.URIs[0].String(), catest.Domain); err != nil || id != tt.req.Identity {
				t.Errorf("URI SAN names %v (%v), want %v", id, err, tt.req.Identity)
			}
			if life := cert.NotAfter.Sub(catest.Today().Truncate(time.Second)); life != tt.life || !cert.NotAfter.Equal(leaf.NotAfter) {
				t.Errorf("lives for %v until %v, want %v", life, leaf.NotAfter, tt.life)
			}
			if back := catest.Today().Sub(cert.NotBefore); back < 5*time.Minute || back > 5*time.Minute+time.Second {
				t.Errorf("back-dated by %v, want 5 minutes", back)
			}
			if share := leaf.RenewAt.Sub(leaf.Issued).Seconds() / leaf.NotAfter.Sub(leaf.Issued).Seconds(); share < 0.5 || share > 0.7 {
				t.Errorf("renewed at %.2f of its lifetime", share)
			}
			if key, ok := cert.PublicKey.(*rsa.PublicKey); ok != (tt.rsaBits > 0) || ok && key.N.BitLen() != tt.rsaBits {
				t.Errorf("key %T, want RSA of %d bits, or ECDSA for 0", cert.PublicKey, tt.rsaBits)
			}
			if cert.IsCA || string(cert.AuthorityKeyId) != string(catest.FirstCertificate(t, root.Bundle()).SubjectKeyId) {
				t.Errorf("IsCA %v, authority key id %x", cert.IsCA, cert.AuthorityKeyId)
			}
			// The PEM certificate and key that proxies get belong together.
			_, err = tls.X509KeyPair(leaf.CertPEM, leaf.KeyPEM())
			must(t, err)
		})
	}
}

func TestIssueRefuses(t *testing.T) {
	issuer, _ := catest.NewIssuer(t, catest.At(catest.Today()))
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	tests := map[string]struct {
		ctx  context.Context
		req  ca.Request
		want string
	}{
		"no usage":              {req: ca.Request{Identity: catest.Workload("a")}, want: `usage ""`},
		"negative validity":     {req: ca.Request{Identity: catest.Workload("a"), Usage: ca.UsageProxy, TTL: -1}, want: "want more than 0"},
		"no lifetime":           {req: ca.Request{Identity: catest.Workload("a"), Usage: ca.UsageProxy, TTL: time.Millisecond}, want: "less than 1s is left"},
		"weak key":              {req: ca.Request{Identity: catest.Workload("a"), Usage: ca.UsageProxy, KeyBits: 1024}, want: "want 2048 to 8192"},
		"zero identity":         {req: ca.Request{Usage: ca.UsageProxy}, want: "does not name"},
		"identity with slashes": {req: ca.Request{Identity: catest.Workload("a/ns/b"), Usage: ca.UsageProxy}, want: "does not name"},
		"ended context":         {ctx: gone, req: ca.Request{Identity: catest.Workload("a"), Usage: ca.UsageProxy}, want: "canceled"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if tt.ctx == nil {
				tt.ctx = t.Context()
			}
			if _, err := issuer.Issue(tt.ctx, tt.req); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

// TestIssueNeverOutlivesRoot: towards its expiry the root signs shorter and shorter leaves, then none.
func TestIssueNeverOutlivesRoot(t *testing.T) {
	now := catest.Today()
	issuer, root := catest.NewIssuer(t, func() time.Time { return now })
	now = root.NotAfter().Add(-time.Hour)
	leaf, err := issuer.Issue(t.Context(), ca.Request{Identity: catest.Workload("a"), Usage: ca.UsageService, TTL: 24 * time.Hour})
	must(t, err)
	if !leaf.NotAfter.Equal(root.NotAfter()) {
		t.Errorf("leaf until %v, want the root's %v", leaf.NotAfter, root.NotAfter())
	}
	now = root.NotAfter()
	if _, err := issuer.Issue(t.Context(), ca.Request{Identity: catest.Workload("a"), Usage: ca.UsageService}); err == nil || !strings.Contains(err.Error(), "rotate the root CA") {
		t.Errorf("got %v, want an error that says to rotate the root", err)
	}
}

// TestReplicasTrustEachOther is HA-11: two replicas with one root issue different certificates for
// one name, and a handshake between these succeeds in both directions.
func TestReplicasTrustEachOther(t *testing.T) {
	root, err := ca.NewRoot(catest.Today())
	must(t, err)
	replica := func() *ca.Issuer {
		issuer, err := ca.NewIssuer(ca.IssuerConfig{Root: root, TrustDomain: catest.Domain, Now: catest.At(catest.Today())})
		must(t, err)
		return issuer
	}
	request := ca.Request{Identity: catest.Workload("buyer"), Usage: ca.UsageService}
	one, err := replica().Issue(t.Context(), request)
	must(t, err)
	two, err := replica().Issue(t.Context(), request)
	must(t, err)
	if one.Serial == two.Serial || one.TLS().Leaf.Subject.CommonName != two.TLS().Leaf.Subject.CommonName {
		t.Errorf("serials %s and %s, names %s and %s", one.Serial, two.Serial, one.TLS().Leaf.Subject, two.TLS().Leaf.Subject)
	}
	must(t, handshake(t, one, two, root))
	must(t, handshake(t, two, one, root))
	stranger, err := ca.NewRoot(catest.Today())
	must(t, err)
	if err := handshake(t, one, two, stranger); err == nil {
		t.Error("a handshake under another root succeeded")
	}
}

// TestIntermediateChain: peers that know only the parent of an intermediate can follow the chain,
// and the mesh's own bundle does not trust anything else that the parent signs.
func TestIntermediateChain(t *testing.T) {
	parent := catest.NewCA(t, catest.ECKey(t, elliptic.P256()), nil, nil)
	intermediate := catest.NewCA(t, catest.ECKey(t, elliptic.P256()), &parent, nil)
	foreign := catest.NewCA(t, catest.ECKey(t, elliptic.P256()), &parent, func(c *x509.Certificate) { c.SerialNumber = big.NewInt(2) })
	leafOf := func(s catest.CA) (*ca.Leaf, *ca.Root) {
		root, err := ca.ParseRoot(catest.SecretData(append(s.CertPEM(), parent.CertPEM()...), s.KeyPEM(t)), catest.Today())
		must(t, err)
		issuer, err := ca.NewIssuer(ca.IssuerConfig{Root: root, TrustDomain: catest.Domain, Now: catest.At(catest.Today())})
		must(t, err)
		leaf, err := issuer.Issue(t.Context(), ca.Request{Identity: catest.Workload("a"), Usage: ca.UsageService})
		must(t, err)
		return leaf, root
	}
	ours, root := leafOf(intermediate)
	theirs, _ := leafOf(foreign)
	if n := len(ours.TLS().Certificate); n != 2 {
		t.Fatalf("chain of %d, want leaf and intermediate without the root", n)
	}
	outside := x509.NewCertPool()
	outside.AddCert(parent.Cert)
	between := x509.NewCertPool()
	between.AddCert(intermediate.Cert)
	_, err := ours.TLS().Leaf.Verify(x509.VerifyOptions{Roots: outside, Intermediates: between, CurrentTime: catest.Today()})
	must(t, err)
	_, err = ours.TLS().Leaf.Verify(x509.VerifyOptions{Roots: root.Trust().Pool(), CurrentTime: catest.Today()})
	must(t, err)
	between.AddCert(foreign.Cert)
	if _, err := theirs.TLS().Leaf.Verify(x509.VerifyOptions{Roots: root.Trust().Pool(), Intermediates: between, CurrentTime: catest.Today()}); err == nil {
		t.Error("the mesh trusts a sibling of its own CA")
	}
}

// TestNewIssuerFindsConstraints: a CA that may not name this trust domain is found at start.
func TestNewIssuerFindsConstraints(t *testing.T) {
	constrained := catest.NewCA(t, catest.ECKey(t, elliptic.P256()), nil, func(c *x509.Certificate) {
		c.PermittedDNSDomainsCritical, c.PermittedDNSDomains = true, []string{"example.com"}
	})
	root, err := ca.ParseRoot(constrained.Secret(t), catest.Today())
	must(t, err)
	if _, err := ca.NewIssuer(ca.IssuerConfig{Root: root, TrustDomain: catest.Domain, Now: catest.At(catest.Today())}); err == nil || !strings.Contains(err.Error(), `"cluster.local"`) {
		t.Errorf("got %v, want an error that names the trust domain", err)
	}
}

// TestJitter: the time of renewal is the same for one identity, and evenly spread over many.
func TestJitter(t *testing.T) {
	issuer, _ := catest.NewIssuer(t, catest.At(catest.Today()))
	var buckets [4]int
	for i := range 400 {
		id := catest.Workload(fmt.Sprintf("workload-%d", i))
		request := ca.Request{Identity: id, Usage: ca.UsageService}
		one, err := issuer.Issue(t.Context(), request)
		must(t, err)
		if i == 0 {
			two, err := issuer.Issue(t.Context(), request)
			must(t, err)
			if !one.RenewAt.Equal(two.RenewAt) {
				t.Errorf("renewed at %v and %v", one.RenewAt, two.RenewAt)
			}
		}
		share := one.RenewAt.Sub(one.Issued).Seconds() / one.NotAfter.Sub(one.Issued).Seconds()
		buckets[int((share-0.5)/0.05)]++
	}
	for i, n := range buckets {
		if n < 60 || n > 140 { // 100 expected, standard deviation below 9
			t.Errorf("quarter %d holds %d of 400 identities: %v", i, n, buckets)
		}
	}
}

func TestKeysAreRedacted(t *testing.T) {
	issuer, root := catest.NewIssuer(t, catest.At(catest.Today()))
	leaf, err := issuer.Issue(t.Context(), ca.Request{Identity: catest.Workload("a"), Usage: ca.UsageService})
	must(t, err)
	scalar := leaf.TLS().PrivateKey.(*ecdsa.PrivateKey).D //nolint:staticcheck // what must not appear
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&out, verb+"\n", leaf.Key)
		fmt.Fprintf(&out, verb+"\n", *leaf)
		fmt.Fprintf(&out, verb+"\n", root)
		fmt.Fprintf(&out, verb+"\n", *root)
	}
	for _, log := range []*slog.Logger{slog.New(slog.NewTextHandler(&out, nil)), slog.New(slog.NewJSONHandler(&out, nil))} {
		log.Info("leaf", "leaf", leaf, "key", leaf.Key, "root", root)
	}
	for _, v := range []any{leaf, leaf.Key, root, struct{ Key ca.Key }{leaf.Key}} {
		data, err := json.Marshal(v)
		must(t, err)
		out.Write(data)
	}
	text := leaf.Key.String() + leaf.Key.GoString()
	marshalled, err := leaf.Key.MarshalText()
	must(t, err)
	if text+string(marshalled) != strings.Repeat("[redacted]", 3) {
		t.Errorf("prints as %s and %s", text, marshalled)
	}
	for _, secret := range []string{"PRIVATE KEY", scalar.String(), fmt.Sprintf("%x", scalar), fmt.Sprintf("%x", leaf.KeyPEM())} {
		if strings.Contains(out.String(), secret) {
			t.Errorf("the key is visible: %.40s...", secret)
		}
	}
}

func TestMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	metrics, err := ca.NewMetrics(registry)
	must(t, err)
	root, err := ca.NewRoot(catest.Today())
	must(t, err)
	issuer, err := ca.NewIssuer(ca.IssuerConfig{Root: root, TrustDomain: catest.Domain, Now: catest.At(catest.Today()), Metrics: metrics})
	must(t, err)
	leaves, err := leafcache.New(leafcache.Config{Authority: issuer, Now: catest.At(catest.Today()), Metrics: metrics})
	must(t, err)
	lease, err := leaves.Acquire(t.Context(), catest.Workload("a"))
	must(t, err)
	defer lease.Release()
	_, err = issuer.Issue(t.Context(), ca.Request{Usage: ca.UsageProxy})
	if err == nil {
		t.Fatal("a request without an identity was granted")
	}
	want := fmt.Sprintf(`# HELP osm_ca_expiry_timestamp_seconds When the CA that signs certificates expires, as Unix time.
# TYPE osm_ca_expiry_timestamp_seconds gauge
osm_ca_expiry_timestamp_seconds %s
# HELP osm_cert_issued_total Certificates requested, by usage (service, proxy, serving) and result (ok, error).
# TYPE osm_cert_issued_total counter
osm_cert_issued_total{result="error",usage="proxy"} 1
osm_cert_issued_total{result="ok",usage="service"} 1
# HELP osm_leaf_certificates Identities whose certificate this replica keeps current.
# TYPE osm_leaf_certificates gauge
osm_leaf_certificates 1
# HELP osm_root_info Always 1; the label is the SHA-256 of the CA that this replica signs with, equal on all replicas.
# TYPE osm_root_info gauge
osm_root_info{fingerprint=%[2]q} 1
# HELP osm_trusted_root_info Always 1; one series for each CA that this replica trusts, by the SHA-256 of the CA, equal on all replicas.
# TYPE osm_trusted_root_info gauge
osm_trusted_root_info{fingerprint=%[2]q} 1
`, strconv.FormatFloat(float64(root.NotAfter().Unix()), 'g', -1, 64), root.Fingerprint())
	scrape := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(scrape, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if diff := cmp.Diff(want, scrape.Body.String()); diff != "" {
		t.Error(diff)
	}
	if _, err := ca.NewMetrics(registry); err == nil {
		t.Error("registered twice without an error")
	}
}

// failing is an authority that is unavailable.
type failing struct{ ca.Authority }

func (failing) Issue(context.Context, ca.Request) (*ca.Leaf, error) { return nil, catest.ErrAway }
func (failing) Trust() ca.Trust                                     { return ca.Trust{} }

// TestTwoReplicasOneRoot: it does not matter which of two replicas with one root signs a leaf. Leaves of one
// common name authenticate each other, even after one replica has read the root
// back from the cluster.
func TestTwoReplicasOneRoot(t *testing.T) {
	first, root := catest.NewIssuer(t, catest.At(catest.Today()))
	again, err := ca.ParseRoot(root.SecretData(), catest.Today())
	must(t, err)
	second, err := ca.NewIssuer(ca.IssuerConfig{Root: again, TrustDomain: catest.Domain, Now: catest.At(catest.Today())})
	must(t, err)
	a, b := catest.Issue(t, first, "a"), catest.Issue(t, second, "a")
	if a.TLS().Leaf.Subject.CommonName != b.TLS().Leaf.Subject.CommonName || a.Serial == b.Serial {
		t.Fatalf("want one common name with two serials: %s and %s, %s and %s", a.TLS().Leaf.Subject.CommonName, b.TLS().Leaf.Subject.CommonName, a.Serial, b.Serial)
	}
	for _, trust := range []ca.Trust{first.Trust(), second.Trust()} {
		for _, pair := range [][2]*ca.Leaf{{a, b}, {b, a}, {a, a}} {
			if err := handshakeUnder(pair[0], pair[1], trust); err != nil {
				t.Error(err)
			}
		}
	}
	stranger, _ := catest.NewIssuer(t, catest.At(catest.Today()))
	if handshakeUnder(a, catest.Issue(t, stranger, "a"), first.Trust()) == nil {
		t.Error("a leaf of another root was accepted")
	}
}
