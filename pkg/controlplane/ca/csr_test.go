package ca_test

import (
	"bytes"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/tests/catest"
)

// TestSigningRequestNamesWhatAnIssuerNames: a leaf has the same names whoever signs it.
func TestSigningRequestNamesWhatAnIssuerNames(t *testing.T) {
	issuer, _ := catest.NewIssuer(t, catest.At(catest.Today()))
	long := identity.Identity{Namespace: strings.Repeat("n", 63), ServiceAccount: strings.Repeat("a.b", 80)}
	for name, req := range map[string]ca.Request{
		"service":   {Identity: catest.Workload("buyer"), Usage: ca.UsageService},
		"rsa":       {Identity: catest.Workload("buyer"), Usage: ca.UsageProxy, KeyBits: 2048},
		"serving":   {Identity: catest.Workload("buyer"), Usage: ca.UsageServing, DNSNames: []string{"z.svc", "a.svc", "z.svc"}, Addresses: []net.IP{net.IPv6loopback}},
		"long name": {Identity: long, Usage: ca.UsageService},
	} {
		t.Run(name, func(t *testing.T) {
			leaf, err := issuer.Issue(t.Context(), req)
			must(t, err)
			want := leaf.TLS().Leaf
			csrPEM, key, err := ca.NewSigningRequest(req, catest.Domain)
			must(t, err)
			csr := parseCSR(t, csrPEM)
			if csr.Subject.CommonName != want.Subject.CommonName || !slices.Equal(csr.DNSNames, want.DNSNames) ||
				!slices.EqualFunc(csr.IPAddresses, want.IPAddresses, net.IP.Equal) || len(csr.URIs) != 1 || csr.URIs[0].String() != want.URIs[0].String() {
				t.Errorf("request names %v %v %v %v, issuer %v %v %v %v", csr.Subject, csr.DNSNames, csr.IPAddresses, csr.URIs, want.Subject, want.DNSNames, want.IPAddresses, want.URIs)
			}
			if bits, isRSA := csr.PublicKey.(*rsa.PublicKey); isRSA != (req.KeyBits != 0) || isRSA && bits.N.BitLen() != req.KeyBits {
				t.Errorf("key %T for %d bits", csr.PublicKey, req.KeyBits)
			}
			if bytes.Contains(csrPEM, []byte("PRIVATE")) || !bytes.Contains(key.PEM(), []byte("PRIVATE")) {
				t.Error("the private key is in the wrong place")
			}
		})
	}
}

func TestSigningRequestRefuses(t *testing.T) {
	for want, req := range map[string]ca.Request{
		`usage ""`:      {Identity: catest.Workload("buyer")},
		"does not name": {Identity: catest.Workload("Not A Name"), Usage: ca.UsageService},
		"100 bits":      {Identity: catest.Workload("buyer"), Usage: ca.UsageService, KeyBits: 100},
		"SPIFFE id":     {Identity: identity.Identity{Namespace: "a%b", ServiceAccount: "c"}, Usage: ca.UsageService},
	} {
		if _, _, err := ca.NewSigningRequest(req, catest.Domain); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: error %v, want %q", req, err, want)
		}
	}
}

func TestTTL(t *testing.T) {
	for _, c := range []struct {
		name        string
		asked, left time.Duration
		want        time.Duration
		fails       bool
	}{
		{name: "default", left: 1000 * time.Hour, want: ca.DefaultTTL},
		{name: "as asked", asked: time.Hour, left: 1000 * time.Hour, want: time.Hour},
		{name: "capped", asked: time.Hour, left: 10 * time.Minute, want: 10*time.Minute - 30*time.Second},
		{name: "just short", asked: time.Hour, left: time.Hour, want: time.Hour - 30*time.Second},
		{name: "short CA", asked: time.Hour, left: 10 * time.Second, want: 9 * time.Second},
		{name: "hardly any", asked: time.Hour, left: time.Second, fails: true},
		{name: "CA over", asked: time.Hour, left: -time.Hour, fails: true},
		{name: "negative", asked: -time.Hour, left: time.Hour, fails: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			now := catest.Today().Truncate(time.Second).Add(700 * time.Millisecond)
			got, err := ca.TTL(ca.Request{TTL: c.asked}, ca.Trust{NotAfter: now.Add(c.left)}, now)
			if (err != nil) != c.fails || got != c.want {
				t.Errorf("TTL %v, error %v; want %v", got, err, c.want)
			}
		})
	}
}

// provider signs requests as an external provider does, without the code under test.
type provider struct {
	signer catest.CA
	change func(*x509.Certificate)
}

func (p provider) sign(t testing.TB, csrPEM []byte) []byte {
	t.Helper()
	csr := parseCSR(t, csrPEM)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: csr.Subject, DNSNames: csr.DNSNames, URIs: csr.URIs, IPAddresses: csr.IPAddresses,
		NotBefore: catest.Today().Add(-30 * time.Second), NotAfter: catest.Today().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if p.change != nil {
		p.change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, p.signer.Cert, csr.PublicKey, p.signer.Key)
	must(t, err)
	return catest.PEM("CERTIFICATE", der)
}

func TestLeafFromPEM(t *testing.T) {
	root := catest.NewCA(t, catest.ECKey(t, elliptic.P256()), nil, nil)
	middle := catest.NewCA(t, catest.ECKey(t, elliptic.P256()), &root, func(c *x509.Certificate) { c.NotAfter = catest.Today().Add(30 * time.Minute) })
	req := ca.Request{Identity: catest.Workload("buyer"), Usage: ca.UsageProxy, TTL: 10 * time.Minute}
	csr, key, err := ca.NewSigningRequest(req, catest.Domain)
	must(t, err)
	for _, c := range []struct {
		name     string
		provider provider
		answer   func(leaf []byte) []byte
		trust    []byte
		end      time.Time
		chain    int
	}{
		{name: "root", provider: provider{signer: root}, trust: root.CertPEM(), end: catest.Today().Add(time.Hour), chain: 1},
		{name: "root repeated", provider: provider{signer: root}, trust: root.CertPEM(), end: catest.Today().Add(time.Hour), chain: 1,
			answer: func(leaf []byte) []byte { return slices.Concat(leaf, root.CertPEM()) }},
		{name: "intermediate trusted", provider: provider{signer: middle}, trust: middle.CertPEM(), end: catest.Today().Add(30 * time.Minute), chain: 2,
			answer: func(leaf []byte) []byte { return slices.Concat(leaf, middle.CertPEM(), root.CertPEM()) }},
		{name: "root trusted, signed by an intermediate", provider: provider{signer: middle}, trust: root.CertPEM(), end: catest.Today().Add(30 * time.Minute), chain: 2,
			answer: func(leaf []byte) []byte { return slices.Concat(leaf, middle.CertPEM()) }},
		{name: "outlives its CA", trust: middle.CertPEM(), end: catest.Today().Add(30 * time.Minute), chain: 1,
			provider: provider{middle, func(c *x509.Certificate) { c.NotAfter = catest.Today().AddDate(0, 0, 9) }}},
		{name: "clock a little ahead", trust: root.CertPEM(), end: catest.Today().Add(time.Hour), chain: 1,
			provider: provider{root, func(c *x509.Certificate) { c.NotBefore = catest.Today().Add(time.Minute) }}},
	} {
		t.Run(c.name, func(t *testing.T) {
			answer := c.provider.sign(t, csr)
			if c.answer != nil {
				answer = c.answer(answer)
			}
			trust, err := ca.ParseTrust(c.trust, catest.Today())
			must(t, err)
			leaf, err := ca.LeafFromPEM(req, catest.Domain, answer, key, trust, catest.Today())
			must(t, err)
			if want := c.end.Truncate(time.Second); !leaf.NotAfter.Equal(want) {
				t.Errorf("ends at %v, want %v", leaf.NotAfter, want)
			}
			if from, to := leaf.Issued.Add(5*time.Minute), leaf.Issued.Add(7*time.Minute); leaf.RenewAt.Before(from) || leaf.RenewAt.After(to) {
				t.Errorf("renewed at %v, want between %v and %v as asked", leaf.RenewAt, from, to)
			}
			if n := bytes.Count(leaf.CertPEM, []byte("BEGIN")); n != c.chain || len(leaf.TLS().Certificate) != n {
				t.Errorf("%d certificates, want %d", n, c.chain)
			}
		})
	}
}

func TestLeafFromPEMRefuses(t *testing.T) {
	root, other := catest.NewCA(t, catest.ECKey(t, elliptic.P256()), nil, nil), catest.NewCA(t, catest.ECKey(t, elliptic.P256()), nil, nil)
	serverOnly := catest.NewCA(t, catest.ECKey(t, elliptic.P256()), &root, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
	trust, err := ca.ParseTrust(root.CertPEM(), catest.Today())
	must(t, err)
	req := ca.Request{Identity: catest.Workload("buyer"), Usage: ca.UsageService}
	csr, key, err := ca.NewSigningRequest(req, catest.Domain)
	must(t, err)
	_, otherKey, err := ca.NewSigningRequest(req, catest.Domain)
	must(t, err)
	spiffe, err := url.Parse(catest.Workload("extraName").SPIFFE(catest.Domain))
	must(t, err)
	change := func(f func(*x509.Certificate)) []byte { return provider{root, f}.sign(t, csr) }
	for _, c := range []struct {
		name, want string
		answer     []byte
		key        ca.Key
	}{
		{name: "empty", answer: []byte(" \n"), want: "is empty"},
		{name: "no PEM", answer: []byte("<html>"), want: "no PEM block"},
		{name: "key in answer", answer: slices.Concat(change(nil), root.KeyPEM(t)), want: "holds a private key"},
		{name: "other key", answer: change(nil), key: otherKey, want: "for a different key"},
		{name: "no key", answer: change(nil), key: ca.Key{}, want: "no private key"},
		{name: "common name", answer: change(func(c *x509.Certificate) { c.Subject = pkix.Name{CommonName: "x"} }), want: "other common name"},
		{name: "no URI", answer: change(func(c *x509.Certificate) { c.URIs = nil }), want: "other URI SANs than requested: has [], want [spiffe://"},
		{name: "URI more", answer: change(func(c *x509.Certificate) { c.URIs = append(c.URIs, spiffe) }), want: "other URI SANs"},
		{name: "DNS more", answer: change(func(c *x509.Certificate) { c.DNSNames = append(c.DNSNames, "x.y") }), want: "other DNS SANs"},
		{name: "IP more", answer: change(func(c *x509.Certificate) { c.IPAddresses = []net.IP{{1, 2, 3, 4}} }), want: "other IP SANs"},
		{name: "mail", answer: change(func(c *x509.Certificate) { c.EmailAddresses = []string{"a@b.c"} }), want: "other e-mail SANs"},
		{name: "CA", answer: change(func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }), want: "itself a CA"},
		{name: "key usage", answer: change(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyAgreement }), want: "lacks key usage digitalSignature"},
		{name: "usage", answer: change(func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[:1] }), want: "lacks extended key usage clientAuth"},
		{name: "future", answer: change(func(c *x509.Certificate) { c.NotBefore = catest.Today().Add(6 * time.Minute) }), want: "not valid before"},
		{name: "over", answer: change(func(c *x509.Certificate) { c.NotAfter = catest.Today() }), want: "which is now or in the past"},
		{name: "other CA", answer: provider{signer: other}.sign(t, csr), want: "does not lead to the trusted CA"},
		{name: "missing intermediate", answer: provider{signer: serverOnly}.sign(t, csr), want: "return its intermediates"},
		{name: "intermediate for servers", answer: slices.Concat(provider{signer: serverOnly}.sign(t, csr), serverOnly.CertPEM()), want: "does not lead"},
	} {
		t.Run(c.name, func(t *testing.T) {
			used := key
			if c.name == "other key" || c.name == "no key" {
				used = c.key
			}
			leaf, err := ca.LeafFromPEM(req, catest.Domain, c.answer, used, trust, catest.Today())
			if err == nil || !strings.Contains(err.Error(), c.want) || leaf != nil {
				t.Errorf("leaf %v, error %v; want %q", leaf, err, c.want)
			}
		})
	}
}

func TestTrustOfProviders(t *testing.T) {
	root := catest.NewCA(t, catest.ECKey(t, elliptic.P256()), nil, nil)
	middle := catest.NewCA(t, catest.ECKey(t, elliptic.P256()), &root, nil)
	old := catest.NewCA(t, catest.ECKey(t, elliptic.P256()), nil, func(c *x509.Certificate) { c.NotAfter = catest.Today().Add(-time.Minute) })
	csr, _, err := ca.NewSigningRequest(ca.Request{Identity: catest.Workload("buyer"), Usage: ca.UsageService}, catest.Domain)
	must(t, err)
	leaf := provider{signer: middle}.sign(t, csr)

	for name, get := range map[string]func() (ca.Trust, error){
		"bundle": func() (ca.Trust, error) {
			return ca.ParseTrust(slices.Concat(middle.CertPEM(), root.CertPEM()), catest.Today())
		},
		"signer in chain": func() (ca.Trust, error) {
			return ca.SignerTrust(slices.Concat(leaf, middle.CertPEM()), root.CertPEM(), catest.Today())
		},
		"signer in bundle": func() (ca.Trust, error) {
			return ca.SignerTrust(leaf, slices.Concat(root.CertPEM(), middle.CertPEM()), catest.Today())
		},
	} {
		trust, err := get()
		if err != nil || !bytes.Equal(trust.Bundle, middle.CertPEM()) || !trust.NotAfter.Equal(middle.Cert.NotAfter) || len(trust.Fingerprint) != 64 {
			t.Errorf("%s: %v %v", name, trust, err)
		}
	}
	for want, get := range map[string]func() (ca.Trust, error){
		"CA bundle is empty": func() (ca.Trust, error) { return ca.ParseTrust(nil, catest.Today()) },
		"that is not a CA":   func() (ca.Trust, error) { return ca.ParseTrust(leaf, catest.Today()) },
		"that expired at":    func() (ca.Trust, error) { return ca.ParseTrust(old.CertPEM(), catest.Today()) },
		"did not sign the one before it": func() (ca.Trust, error) {
			return ca.ParseTrust(slices.Concat(root.CertPEM(), middle.CertPEM()), catest.Today())
		},
		"does not hold the CA":         func() (ca.Trust, error) { return ca.SignerTrust(leaf, root.CertPEM(), catest.Today()) },
		"response is empty":            func() (ca.Trust, error) { return ca.SignerTrust(nil, root.CertPEM(), catest.Today()) },
		"CA bundle holds no PEM block": func() (ca.Trust, error) { return ca.SignerTrust(leaf, []byte("x"), catest.Today()) },
	} {
		if _, err := get(); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "ca.crt") {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

func TestMeasuredCounts(t *testing.T) {
	issuer, _ := catest.NewIssuer(t, catest.At(catest.Today()))
	registry := prometheus.NewRegistry()
	metrics, err := ca.NewMetrics(registry)
	must(t, err)
	measured := ca.Measured(issuer, metrics)
	_, err = measured.Issue(t.Context(), ca.Request{Identity: catest.Workload("buyer"), Usage: ca.UsageService})
	must(t, err)
	_, err = measured.Issue(t.Context(), ca.Request{Identity: catest.Workload("buyer"), Usage: ca.UsageService, TTL: -1})
	if err == nil {
		t.Fatal("no error for a negative validity")
	}
	families, err := registry.Gather()
	must(t, err)
	seen := map[string]float64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			labels := family.GetName()
			for _, l := range m.GetLabel() {
				labels += " " + l.GetValue()
			}
			seen[labels] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	for _, want := range []string{"osm_cert_issued_total ok service", "osm_cert_issued_total error service", "osm_root_info " + issuer.Trust().Fingerprint} {
		if seen[want] != 1 {
			t.Errorf("%s is %v, want 1: %v", want, seen[want], seen)
		}
	}
}

func parseCSR(t testing.TB, csrPEM []byte) *x509.CertificateRequest {
	t.Helper()
	b, rest := pem.Decode(csrPEM)
	if b == nil || b.Type != "CERTIFICATE REQUEST" || len(rest) > 0 {
		t.Fatalf("not one signing request: %s", csrPEM)
	}
	csr, err := x509.ParseCertificateRequest(b.Bytes)
	must(t, err)
	must(t, csr.CheckSignature())
	return csr
}
