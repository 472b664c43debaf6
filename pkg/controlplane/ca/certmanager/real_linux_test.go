package certmanager_test

import (
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/ca/certmanager"
)

// TestRealCertManager runs against cert-manager's own controllers and a real API server.
func TestRealCertManager(t *testing.T) {
	c := newCluster(t)
	c.grant()
	t.Run("working", func(t *testing.T) {
		manager := c.startCertManager(t)
		for _, kind := range []string{certmanager.KindIssuer, certmanager.KindClusterIssuer} {
			t.Run(kind, func(t *testing.T) { testIssue(t, c, kind) })
		}
		t.Run("intermediate", func(t *testing.T) { testIntermediate(t, c) })
		t.Run("short CA", func(t *testing.T) { testShortCA(t, c) })
		t.Run("issuer comes late", func(t *testing.T) { testLateIssuer(t, c) })
		t.Run("issuer goes away", func(t *testing.T) { testLostIssuer(t, c) })
		t.Run("self-signed", func(t *testing.T) { testSelfSigned(t, c) })
		t.Run("failed", func(t *testing.T) { testFailed(t, c) })
		t.Run("changed CA", func(t *testing.T) { testChangedCA(t, c) })
		t.Run("leftovers", func(t *testing.T) { testLeftovers(t, c) })
		t.Run("thousand", func(t *testing.T) { testThousand(t, c) })
		t.Run("killed", func(t *testing.T) { testKilled(t, c, manager) })
	})
	t.Run("without approver", func(t *testing.T) {
		c.startCertManager(t, "--approver=false")
		t.Run("never answered", func(t *testing.T) { testNeverAnswered(t, c) })
		t.Run("denied", func(t *testing.T) { testDenied(t, c) })
	})
	t.Run("API server down", func(t *testing.T) { testServerDown(t, c) })
}

func testIssue(t *testing.T, c *cluster, kind string) {
	root := newAuthority(t, "root", nil, 10*365*24*time.Hour)
	provider := c.loaded(t, kind, root)
	if got := provider.Trust().Fingerprint; got != root.fingerprint() {
		t.Fatalf("trusts %s, want the root %s", got, root.fingerprint())
	}
	server, client := x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth
	for _, row := range []struct {
		usage ca.Usage
		bits  int
		keys  x509.KeyUsage
		want  []x509.ExtKeyUsage
	}{
		{ca.UsageService, 0, x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{server, client}},
		{ca.UsageProxy, 0, x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{client}},
		{ca.UsageServing, 2048, x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment, []x509.ExtKeyUsage{server}},
	} {
		leaf, err := provider.Issue(t.Context(), ca.Request{Identity: workload("bookbuyer"), Usage: row.usage, KeyBits: row.bits})
		if err != nil {
			t.Fatal(err)
		}
		cert := leaf.TLS().Leaf
		if cert.KeyUsage != row.keys || !slices.Equal(cert.ExtKeyUsage, row.want) {
			t.Errorf("%s: key usages %b %v, want %b %v", row.usage, cert.KeyUsage, cert.ExtKeyUsage, row.keys, row.want)
		}
		if cert.Subject.CommonName != "bookbuyer.bookstore.cluster.local" || len(cert.URIs) != 1 || cert.URIs[0].String() != "spiffe://cluster.local/ns/bookstore/sa/bookbuyer" {
			t.Errorf("%s: named %q %v", row.usage, cert.Subject.CommonName, cert.URIs)
		}
		if lifetime := leaf.NotAfter.Sub(leaf.Issued); lifetime < 23*time.Hour || lifetime > 25*time.Hour {
			t.Errorf("%s: lifetime %v, want a day", row.usage, lifetime)
		}
		if err := cert.CheckSignatureFrom(root.cert); err != nil {
			t.Errorf("%s: %v", row.usage, err)
		}
	}
	c.wantNone(t)
}

// testIntermediate has a company's root above the CA that signs: with and without it in the Secret.
func testIntermediate(t *testing.T, c *cluster) {
	root := newAuthority(t, "company root", nil, 10*365*24*time.Hour)
	signer := newAuthority(t, "mesh CA", root, 365*24*time.Hour)
	for _, row := range []struct {
		name string
		root []byte
	}{{"status.ca is the intermediate", nil}, {"status.ca is the root", root.pem()}} {
		t.Run(row.name, func(t *testing.T) {
			c.putCA(t, certmanager.KindIssuer, signer, row.root)
			c.putIssuer(t, certmanager.KindIssuer)
			one, other := c.newProvider(t, certmanager.KindIssuer), c.newProvider(t, certmanager.KindIssuer)
			if got := load(t, one).Fingerprint; got != signer.fingerprint() || load(t, other).Fingerprint != got {
				t.Errorf("trusts %s, want the signing CA %s alone, on every replica", got, signer.fingerprint())
			}
			leaf, err := one.Issue(t.Context(), serviceRequest("bookbuyer"))
			if err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(string(leaf.CertPEM), "BEGIN CERTIFICATE"); n != 2 {
				t.Errorf("the chain has %d certificates, want leaf and intermediate", n)
			}
			if _, err := leaf.TLS().Leaf.Verify(x509.VerifyOptions{Roots: other.Trust().Pool()}); err != nil {
				t.Errorf("another replica's trust refuses it: %v", err)
			}
		})
	}
	c.wantNone(t)
}

// testShortCA checks that no leaf outlives the CA. cert-manager itself would sign one.
func testShortCA(t *testing.T, c *cluster) {
	root := newAuthority(t, "root", nil, 30*time.Minute)
	leaf, err := c.loaded(t, certmanager.KindIssuer, root).Issue(t.Context(), serviceRequest("bookbuyer"))
	if err != nil {
		t.Fatal(err)
	}
	if end := leaf.TLS().Leaf.NotAfter; end.After(root.cert.NotAfter) {
		t.Errorf("the leaf ends at %v, after its CA at %v", end, root.cert.NotAfter)
	}
	if leaf.RenewAt.After(root.cert.NotAfter) {
		t.Errorf("the leaf is to be renewed at %v, after its CA ends", leaf.RenewAt)
	}
}

// testLateIssuer starts the mesh first, and then creates the issuer and its CA.
func testLateIssuer(t *testing.T, c *cluster) {
	var log logged
	provider := c.newProvider(t, certmanager.KindIssuer, timeout(500*time.Millisecond), logTo(&log))
	done := make(chan error, 1)
	go func() {
		done <- provider.Load(t.Context())
	}()
	heard := func(text string) {
		eventually(t, "the log to say "+text, func() error {
			if !strings.Contains(log.String(), text) {
				return fmt.Errorf("it says: %s", log.String())
			}
			return nil
		})
	}
	heard("does not exist in namespace osm-system")
	c.putIssuer(t, certmanager.KindIssuer)
	heard("is not ready in namespace osm-system")
	begin := time.Now()
	c.putCA(t, certmanager.KindIssuer, newAuthority(t, "root", nil, 24*time.Hour), nil)
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(processTimeout):
		t.Fatal("not loaded although the issuer exists")
	}
	t.Logf("loaded %v after the issuer was complete; log:\n%s", time.Since(begin), log.String())
	if n := strings.Count(log.String(), "waiting for the first certificate"); n > 4 {
		t.Errorf("logged %d times that it waits, want each problem logged once", n)
	}
	c.wantNone(t)
}

// testLostIssuer loses the issuer while the mesh runs, and gets it back while a request waits.
func testLostIssuer(t *testing.T, c *cluster) {
	root := newAuthority(t, "root", nil, 24*time.Hour)
	provider := c.loaded(t, certmanager.KindIssuer, root, timeout(time.Second))
	c.dropIssuer(certmanager.KindIssuer)
	eventually(t, "cert-manager to see that", func() error {
		if _, err := provider.Issue(t.Context(), serviceRequest("bookbuyer")); err == nil {
			return fmt.Errorf("still signed")
		}
		return nil
	})
	_, err := provider.Issue(t.Context(), serviceRequest("bookbuyer"))
	wantReason(t, err, certmanager.Unanswered, `Issuer "osm-ca" does not exist`, "Pending", "create it")
	c.wantNone(t)

	patient := c.newProvider(t, certmanager.KindIssuer)
	done := make(chan struct{})
	go func() {
		defer close(done)
		load(t, patient)
	}()
	eventually(t, "a request to wait", func() error {
		if c.count(t) == 0 {
			return fmt.Errorf("there is none")
		}
		return nil
	})
	c.putIssuer(t, certmanager.KindIssuer)
	<-done
	if _, err := provider.Issue(t.Context(), serviceRequest("bookbuyer")); err != nil {
		t.Errorf("not recovered: %v", err)
	}
	c.wantNone(t)
}

// testSelfSigned has an issuer that no mesh can use: each leaf is its own CA.
func testSelfSigned(t *testing.T, c *cluster) {
	object := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "cert-manager.io/v1", "kind": "Issuer", "metadata": map[string]any{"name": issuerName},
		"spec": map[string]any{"selfSigned": map[string]any{}},
	}}
	if _, err := c.resource("issuers").Namespace(namespace).Create(t.Context(), object, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.dropIssuer(certmanager.KindIssuer) })
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	err := c.newProvider(t, certmanager.KindIssuer).Load(ctx)
	wantReason(t, err, certmanager.Failed, "private-key-secret-name")
	c.wantNone(t)
}

// testFailed has an issuer that is ready but cannot sign: the root in its Secret is a different one.
func testFailed(t *testing.T, c *cluster) {
	root := newAuthority(t, "root", nil, 24*time.Hour)
	provider := c.loaded(t, certmanager.KindIssuer, root)
	c.putCA(t, certmanager.KindIssuer, root, newAuthority(t, "stranger", nil, 24*time.Hour).pem())
	var err error
	eventually(t, "cert-manager to see that", func() error {
		if _, err = provider.Issue(t.Context(), serviceRequest("bookbuyer")); err == nil {
			return fmt.Errorf("still signed")
		}
		return nil
	})
	wantReason(t, err, certmanager.Failed, "chain is malformed or broken", "fix the issuer")
	c.wantNone(t)

	c.putCA(t, certmanager.KindIssuer, root, nil)
	eventually(t, "recovery", func() error {
		_, err := provider.Issue(t.Context(), serviceRequest("bookbuyer"))
		return err
	})
	c.wantNone(t)
}

// testChangedCA gives the issuer another CA, then the first one again, then the first one renewed.
func testChangedCA(t *testing.T, c *cluster) {
	var log logged
	root := newAuthority(t, "root", nil, 24*time.Hour)
	reports := make(statuses, 16)
	provider := c.loaded(t, certmanager.KindIssuer, root, func(cfg *certmanager.Config) {
		cfg.ProbeInterval = 200 * time.Millisecond
	}, logTo(&log), collect(reports))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- provider.Run(ctx) }()
	if first := reports.next(t); !first.Ready() || first.Found != root.fingerprint() || first.String() != "" {
		t.Errorf("at first reports %+v", first)
	}

	// Only Run's own probes are issued here.
	other := newAuthority(t, "another root", nil, 24*time.Hour)
	c.putCA(t, certmanager.KindIssuer, other, nil)
	status := reports.next(t)
	if status.State != ca.RootDiffers || status.Loaded != root.fingerprint() || status.Found != other.fingerprint() {
		t.Errorf("with another CA reports %+v", status)
	}
	t.Logf("said: %s", status)
	_, err := provider.Issue(t.Context(), serviceRequest("bookbuyer"))
	wantReason(t, err, certmanager.Unusable, "does not lead to the trusted CA", "restart")

	c.putCA(t, certmanager.KindIssuer, root, nil)
	if status := reports.next(t); status.State != ca.RootSame {
		t.Errorf("with the first CA again reports %+v", status)
	}
	renewed := root.renewed("root", nil, 48*time.Hour)
	c.putCA(t, certmanager.KindIssuer, renewed, nil)
	eventually(t, "the log to mention the renewed CA", func() error {
		if !strings.Contains(log.String(), renewed.fingerprint()) {
			return fmt.Errorf("it says: %s", log.String())
		}
		return nil
	})
	leaf, err := provider.Issue(t.Context(), serviceRequest("bookbuyer"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := leaf.TLS().Leaf.Verify(x509.VerifyOptions{Roots: provider.Trust().Pool()}); err != nil {
		t.Error(err)
	}
	finish(t, cancel, done)
	if len(reports) != 0 {
		t.Errorf("a renewed CA is reported as %+v: peers accept it", <-reports)
	}
	c.wantNone(t)
}
