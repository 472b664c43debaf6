package ca_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/tests/catest"
	"github.com/osm-edge/osm/tests/reach"
)

// sameKey is a key that is the same in every process: fuzzing spreads inputs over processes, and an
// input that was signed for another process's key could never be accepted.
type sameKey struct{ *ecdsa.PrivateKey }

// Sign returns a deterministic signature (RFC 6979).
func (k sameKey) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return k.PrivateKey.Sign(nil, digest, opts)
}

func newSameKey(t testing.TB, number byte) sameKey {
	t.Helper()
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), bytes.Repeat([]byte{number}, 32))
	must(t, err)
	return sameKey{key}
}

func keyOf(t testing.TB, number byte) []byte {
	return catest.CA{Key: newSameKey(t, number).PrivateKey}.KeyPEM(t)
}

// sameRoot is a root that is the same in every process.
func sameRoot(t testing.TB, number byte, parent *catest.CA) catest.CA {
	t.Helper()
	return catest.NewCA(t, newSameKey(t, number), parent, func(c *x509.Certificate) { c.Subject.CommonName += string('a' + rune(number)) })
}

// exchange is a signing request whose responses are fuzzed.
type exchange struct {
	req     ca.Request
	key     ca.Key
	public  crypto.PublicKey
	trust   ca.Trust
	subject pkix.Name
	uri     *url.URL
	dns     []string
}

func newExchange(t testing.TB, root catest.CA) exchange {
	t.Helper()
	own := newSameKey(t, 9)
	key, err := ca.KeyOf(own.PrivateKey)
	must(t, err)
	trust, err := ca.ParseTrust(root.CertPEM(), catest.Today())
	must(t, err)
	q := exchange{req: ca.Request{Identity: catest.Workload("buyer"), Usage: ca.UsageService}, key: key, public: own.Public(), trust: trust}
	csr, _, err := ca.NewSigningRequest(q.req, catest.Domain) // for its names
	must(t, err)
	asked := parseCSR(t, csr)
	q.subject, q.uri, q.dns = asked.Subject, asked.URIs[0], asked.DNSNames
	return q
}

// certificate is what a provider should return.
func (q exchange) certificate() *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: q.subject, DNSNames: q.dns, URIs: []*url.URL{q.uri},
		NotBefore: catest.Today().Add(-30 * time.Second), NotAfter: catest.Today().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
}

func (q exchange) signedBy(t testing.TB, signer catest.CA, template *x509.Certificate) []byte {
	t.Helper()
	der, err := x509.CreateCertificate(nil, template, signer.Cert, q.public, signer.Key)
	if err != nil {
		t.Skip("not a valid certificate: ", err)
	}
	return catest.PEM("CERTIFICATE", der)
}

// FuzzLeafFromPEM: every response of a provider yields a leaf or an error, never a panic. A leaf is
// for the requested key and names, whatever else the response holds.
func FuzzLeafFromPEM(f *testing.F) {
	root := sameRoot(f, 1, nil)
	middle := sameRoot(f, 2, &root)
	q := newExchange(f, root)
	good := q.signedBy(f, root, q.certificate())
	extraName := q.certificate()
	extraName.URIs = append(extraName.URIs, &url.URL{Scheme: "spiffe", Host: string(catest.Domain), Path: "/ns/bookstore/sa/extra"})
	for _, answer := range [][]byte{
		good,
		crlf(good),
		slices.Concat(good, root.CertPEM()),
		slices.Concat(q.signedBy(f, middle, q.certificate()), middle.CertPEM()),
		q.signedBy(f, middle, q.certificate()),
		slices.Concat(root.CertPEM(), good),
		q.signedBy(f, root, extraName),
		slices.Concat(good, keyOf(f, 1)),
		good[:len(good)-30],
		[]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
	} {
		f.Add(answer)
	}
	outcomes := reach.Both(f)
	f.Fuzz(func(t *testing.T, answer []byte) {
		leaf, err := ca.LeafFromPEM(q.req, catest.Domain, answer, q.key, q.trust, catest.Today())
		outcomes.Error(err)
		if (leaf == nil) == (err == nil) {
			t.Fatalf("leaf %v, error %v", leaf, err)
		}
		if leaf != nil {
			q.check(t, leaf)
		}
	})
}

// check checks what must hold for every leaf.
func (q exchange) check(t *testing.T, leaf *ca.Leaf) {
	t.Helper()
	cert := leaf.TLS().Leaf
	switch {
	case !q.public.(*ecdsa.PublicKey).Equal(cert.PublicKey):
		t.Error("for a different key")
	case len(cert.URIs) != 1 || cert.URIs[0].String() != q.uri.String():
		t.Errorf("names %v", cert.URIs)
	case cert.IsCA:
		t.Error("a CA")
	case leaf.NotAfter.After(q.trust.NotAfter), !leaf.NotAfter.After(catest.Today()), leaf.RenewAt.After(leaf.NotAfter):
		t.Errorf("ends at %v, renewed at %v, its CA ends at %v", leaf.NotAfter, leaf.RenewAt, q.trust.NotAfter)
	case bytes.Contains(leaf.CertPEM, []byte("PRIVATE")):
		t.Error("the chain holds a private key")
	}
}

// FuzzProviderNames: a certificate with other names, another lifetime or another purpose than
// requested is never accepted. The certificate itself is always well formed: fuzzing its
// bytes would fail at the signature.
func FuzzProviderNames(f *testing.F) {
	root := sameRoot(f, 1, nil)
	q := newExchange(f, root)
	name, uri, dns := q.subject.CommonName, q.uri.String(), strings.Join(q.dns, ",")
	f.Add(name, uri, dns, "", int64(-30), int64(3600), false)
	f.Add(name, uri, dns+","+q.dns[0], "", int64(0), int64(1<<40), false)
	f.Add(name, uri+"x", dns, "", int64(-30), int64(3600), false)
	f.Add(name, uri+"/", dns, "", int64(-30), int64(3600), false)
	f.Add(name, strings.ToUpper(uri), dns, "", int64(-30), int64(3600), false)
	f.Add(name, strings.Replace(uri, "sa/", "sa/%2e%2e/", 1), dns, "", int64(-30), int64(3600), false)
	f.Add(name, uri, "*", "127.0.0.1", int64(-30), int64(3600), false)
	f.Add(name+"\x00", uri, dns, "", int64(-30), int64(3600), true)
	f.Add(name, uri, dns, "", int64(3600), int64(1), false)
	outcomes := reach.Both(f)
	f.Fuzz(func(t *testing.T, common, uri, dns, address string, from, to int64, isCA bool) {
		template := q.certificate()
		template.Subject.CommonName, template.IsCA, template.BasicConstraintsValid = common, isCA, isCA
		template.NotBefore, template.NotAfter = catest.Today().Add(seconds(from)), catest.Today().Add(seconds(to))
		template.DNSNames, template.IPAddresses = nil, nil
		if dns != "" {
			template.DNSNames = strings.Split(dns, ",")
		}
		if ip := net.ParseIP(address); ip != nil {
			template.IPAddresses = []net.IP{ip}
		}
		parsed, err := url.Parse(uri)
		if err != nil {
			t.Skip("no URI")
		}
		template.URIs = []*url.URL{parsed}
		leaf, err := ca.LeafFromPEM(q.req, catest.Domain, q.signedBy(t, root, template), q.key, q.trust, catest.Today())
		outcomes.Error(err)
		if err != nil {
			return
		}
		q.check(t, leaf)
		wanted := slices.Compact(slices.Sorted(slices.Values(template.DNSNames)))
		if common != name || isCA || address != "" && template.IPAddresses != nil || !slices.Equal(wanted, slices.Sorted(slices.Values(q.dns))) {
			t.Errorf("accepted with names %q, %q, %q, CA %t", common, dns, address, isCA)
		}
	})
}

// seconds keeps times within the range of a certificate.
func seconds(n int64) time.Duration { return time.Duration(n%(1<<31)) * time.Second }

// FuzzTrust: a provider's CA bundle is either trusted unchanged or rejected. Trust holds one
// certificate, a CA, and describes it correctly.
func FuzzTrust(f *testing.F) {
	root := sameRoot(f, 1, nil)
	middle := sameRoot(f, 2, &root)
	q := newExchange(f, root)
	leaf := q.signedBy(f, root, q.certificate())
	f.Add(leaf, root.CertPEM())
	f.Add(slices.Concat(leaf, root.CertPEM()), []byte(nil))
	f.Add(q.signedBy(f, middle, q.certificate()), slices.Concat(middle.CertPEM(), root.CertPEM()))
	f.Add(leaf, slices.Concat(root.CertPEM(), middle.CertPEM()))
	f.Add(leaf, leaf)
	f.Add(root.CertPEM(), []byte("x"))
	f.Add([]byte(nil), keyOf(f, 1))
	outcomes := reach.All(f, "bundle", "no bundle", "signer", "no signer")
	f.Fuzz(func(t *testing.T, chain, bundle []byte) {
		fromBundle, err := ca.ParseTrust(bundle, catest.Today())
		outcomes.Note(either(err == nil, "bundle", "no bundle"))
		checkTrust(t, fromBundle, err)
		ofSigner, err := ca.SignerTrust(chain, bundle, catest.Today())
		outcomes.Note(either(err == nil, "signer", "no signer"))
		checkTrust(t, ofSigner, err)
	})
}

func either(yes bool, one, other string) string {
	if yes {
		return one
	}
	return other
}

func checkTrust(t *testing.T, trust ca.Trust, err error) {
	t.Helper()
	if err != nil {
		if len(trust.Bundle) > 0 || strings.Contains(err.Error(), "ca.crt") || strings.Contains(err.Error(), "PRIVATE KEY-----") {
			t.Errorf("got both trust %v and error %v", trust, err)
		}
		return
	}
	again, err := ca.ParseTrust(trust.Bundle, catest.Today())
	must(t, err)
	if bytes.Count(trust.Bundle, []byte("BEGIN")) != 1 || again.Fingerprint != trust.Fingerprint || !slices.Equal(again.Fingerprints(), []string{trust.Fingerprint}) {
		t.Errorf("trust %v is read back as %v", trust, again)
	}
}
