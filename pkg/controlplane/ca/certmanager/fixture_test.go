package certmanager_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"iter"
	"log/slog"
	"maps"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/ca/certmanager"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
)

// TestMain finds leaked goroutines.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	namespace                      = "osm-system"
	domain    identity.TrustDomain = "cluster.local"
)

func workload(name string) identity.Identity {
	return identity.Identity{Namespace: "bookstore", ServiceAccount: name}
}

func serviceRequest(name string) ca.Request {
	return ca.Request{Identity: workload(name), Usage: ca.UsageService}
}

// authority is a test CA, independent of the code under test.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// newAuthority returns a CA with the given lifetime, signed by parent or by itself.
func newAuthority(t *testing.T, name string, parent *authority, lifetime time.Duration) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return (&authority{t: t, key: key}).renewed(name, parent, lifetime)
}

// renewed returns the same CA with a new certificate for its key.
func (a *authority) renewed(name string, parent *authority, lifetime time.Duration) *authority {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(lifetime),
		KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true,
	}
	signer, signerKey := template, a.key
	if parent != nil {
		signer, signerKey = parent.cert, parent.key
	}
	return &authority{t: a.t, key: a.key, cert: sign(a.t, template, signer, &a.key.PublicKey, signerKey)}
}

func sign(t *testing.T, template, parent *x509.Certificate, public any, key *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func (a *authority) pem() []byte { return certPEM(a.cert) }

func certPEM(cert *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
}

func (a *authority) keyPEM() []byte {
	der, err := x509.MarshalECPrivateKey(a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
}

func (a *authority) fingerprint() string {
	sum := sha256.Sum256(a.cert.Raw)
	return hex.EncodeToString(sum[:])
}

// answer signs a request as an issuer that copies the names does.
func (a *authority) answer(csr []byte, lifetime time.Duration) []byte {
	block, _ := pem.Decode(csr)
	if block == nil {
		a.t.Error("the signing request is not PEM")
		return nil
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		a.t.Error(err)
		return nil
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: request.Subject,
		DNSNames: request.DNSNames, URIs: request.URIs, IPAddresses: request.IPAddresses,
		NotBefore: time.Now(), NotAfter: time.Now().Add(lifetime),
		KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	return certPEM(sign(a.t, template, a.cert, request.PublicKey, a.key))
}

// wantReason fails unless the error has the reason and contains every text.
func wantReason(t *testing.T, err error, reason certmanager.Reason, texts ...string) {
	t.Helper()
	failed, ok := errors.AsType[*certmanager.RequestError](err)
	if !ok {
		t.Fatalf("got error %v, want a *RequestError", err)
	}
	if failed.Reason != reason {
		t.Errorf("the reason is %q, want %q; the error says: %v", failed.Reason, reason, err)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("the error does not contain %q: %v", text, err)
		}
	}
	t.Logf("said: %v", err)
}

// statuses collects what is reported.
type statuses chan ca.RootStatus

// next returns the next report.
func (s statuses) next(t *testing.T) ca.RootStatus {
	t.Helper()
	select {
	case status := <-s:
		return status
	case <-time.After(time.Minute):
		t.Fatal("no report")
		return ca.RootStatus{}
	}
}

// logged is a log that tests read.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *logged) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, nil))
}

// sortedKeys iterates over the keys of a map in order.
func sortedKeys[V any](m map[string]V) iter.Seq[string] {
	return slices.Values(slices.Sorted(maps.Keys(m)))
}

// load loads the CA, which must succeed soon.
func load(t *testing.T, authority *certmanager.Authority) ca.Trust {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := authority.Load(ctx); err != nil {
		t.Fatal(err)
	}
	return authority.Trust()
}

func timeout(d time.Duration) func(*certmanager.Config) {
	return func(cfg *certmanager.Config) { cfg.Timeout = d }
}

func logTo(log *logged) func(*certmanager.Config) {
	return func(cfg *certmanager.Config) { cfg.Log = log.logger() }
}

// finish cancels a running function, and fails unless it returns the cancellation.
func finish(t *testing.T, cancel context.CancelFunc, done <-chan error) {
	t.Helper()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("returned %v, want the end of its context", err)
	}
}
