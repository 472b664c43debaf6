package ca_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
)

// TestMain finds goroutines that a test leaves behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const domain identity.TrustDomain = "cluster.local"

// today is when the tests take place, unless they run in a synctest bubble.
var today = time.Date(2026, 3, 4, 5, 6, 7, 890, time.UTC)

func at(t time.Time) func() time.Time { return func() time.Time { return t } }

func workload(name string) identity.Identity {
	return identity.Identity{Namespace: "bookstore", ServiceAccount: name}
}

// wall is a wall clock that the tests move; it carries no monotonic reading of its own.
type wall struct {
	mu     sync.Mutex
	offset time.Duration
}

func (w *wall) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Add(w.offset)
}

func (w *wall) jump(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.offset += d
}

// signed is a certificate with its key, made by the tests and not by the code under test.
type signed struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func (s signed) certPEM() []byte { return block("CERTIFICATE", s.cert.Raw) }

func (s signed) keyPEM(t testing.TB) []byte {
	der, err := x509.MarshalPKCS8PrivateKey(s.key)
	must(t, err)
	return block("PRIVATE KEY", der)
}

// secret is the data of a root's Secret.
func secret(cert, key []byte) map[string][]byte {
	return map[string][]byte{api.CAKeyCert: cert, api.CAKeyPrivate: key}
}

func (s signed) secret(t testing.TB) map[string][]byte { return secret(s.certPEM(), s.keyPEM(t)) }

// authority signs a CA certificate, by itself or by a parent, after change has had its way with it.
func authority(t testing.TB, key crypto.Signer, parent *signed, change func(*x509.Certificate)) signed {
	t.Helper()
	name := "test root"
	if parent != nil {
		name = "test intermediate"
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: today.Add(-time.Hour), NotAfter: today.AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	if change != nil {
		change(template)
	}
	signer := signed{template, key}
	if parent != nil {
		signer = *parent
	}
	der, err := x509.CreateCertificate(rand.Reader, template, signer.cert, key.Public(), signer.key)
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	return signed{cert, key}
}

func ecKey(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	must(t, err)
	return key
}

func rsaKey(t testing.TB, bits int) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	must(t, err)
	return key
}

func edKey(t testing.TB) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	return key
}

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newIssuer returns an issuer with a new root made at the clock's time.
func newIssuer(t testing.TB, now func() time.Time) (*ca.Issuer, *ca.Root) {
	t.Helper()
	root, err := ca.NewRoot(now())
	must(t, err)
	issuer, err := ca.NewIssuer(ca.IssuerConfig{Root: root, TrustDomain: domain, Now: now})
	must(t, err)
	return issuer, root
}
