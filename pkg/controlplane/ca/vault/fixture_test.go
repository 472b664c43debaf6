package vault_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/ca/vault"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
)

// TestMain finds leaked goroutines.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const domain identity.TrustDomain = "cluster.local"

func workload(name string) identity.Identity {
	return identity.Identity{Namespace: "bookstore", ServiceAccount: name}
}

func service(name string) ca.Request {
	return ca.Request{Identity: workload(name), Usage: ca.UsageService, TTL: time.Hour}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// contains fails the test if an error lacks one of the texts.
func contains(t *testing.T, err error, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("error %v\nwant it to contain %q", err, text)
		}
	}
}

// accepted returns an error unless a peer that trusts the authority accepts a leaf.
func accepted(leaf *ca.Leaf, trust ca.Trust) error {
	chain := leaf.TLS()
	intermediates := x509.NewCertPool()
	for _, der := range chain.Certificate[1:] {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return err
		}
		intermediates.AddCert(cert)
	}
	_, err := chain.Leaf.Verify(x509.VerifyOptions{Roots: trust.Pool(), Intermediates: intermediates, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	return err
}

// mustIssue issues a leaf that peers accept.
func mustIssue(t *testing.T, a *vault.Authority, req ca.Request) *ca.Leaf {
	t.Helper()
	leaf, err := a.Issue(t.Context(), req)
	must(t, err)
	must(t, accepted(leaf, a.Trust()))
	return leaf
}

// run runs an authority until the test ends.
func run(t *testing.T, a *vault.Authority) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run ended with %v", err)
		}
	})
}

// journal collects what is logged.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// contains reports whether a text was logged. The log escapes its quotes.
func (j *journal) contains(text string) bool {
	return strings.Contains(strings.ReplaceAll(j.String(), `\"`, `"`), text)
}

func (j *journal) logger() *slog.Logger { return slog.New(slog.NewTextHandler(j, nil)) }

// reports collects what is reported about the CA.
type reports struct {
	mu  sync.Mutex
	all []ca.RootStatus
}

func (r *reports) report(s ca.RootStatus) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, s)
}

func (r *reports) last() ca.RootStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all[len(r.all)-1]
}

func (r *reports) states() (states []ca.RootState) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.all {
		states = append(states, s.State)
	}
	return states
}

// authority is a CA of the tests.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func newAuthority(t testing.TB, end time.Time) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "test root"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: end,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	return authority{cert, key}
}

func (a authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// server signs a server's certificate and returns it with its key.
func (a authority) server(t testing.TB, dns string, addresses ...net.IP) (certPEM, keyPEM []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{dns}, IPAddresses: addresses,
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	must(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}
