package catest

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
	"testing"
	"time"

	"github.com/osm-edge/osm/pkg/api"
)

// CA is a certificate with its key, made without the code under test.
type CA struct {
	Cert *x509.Certificate
	Key  crypto.Signer
}

// CertPEM is the certificate as PEM.
func (s CA) CertPEM() []byte { return PEM("CERTIFICATE", s.Cert.Raw) }

// KeyPEM is the key as PEM.
func (s CA) KeyPEM(t testing.TB) []byte {
	der, err := x509.MarshalPKCS8PrivateKey(s.Key)
	must(t, err)
	return PEM("PRIVATE KEY", der)
}

// SecretData is the data of a root's Secret.
func SecretData(cert, key []byte) map[string][]byte {
	return map[string][]byte{api.CAKeyCert: cert, api.CAKeyPrivate: key}
}

// Secret is the data of a root's Secret that holds the CA.
func (s CA) Secret(t testing.TB) map[string][]byte { return SecretData(s.CertPEM(), s.KeyPEM(t)) }

// NewCA makes a CA certificate that is signed by itself or by a parent. change, which may be nil,
// edits the certificate before it is signed.
func NewCA(t testing.TB, key crypto.Signer, parent *CA, change func(*x509.Certificate)) CA {
	t.Helper()
	name := "test root"
	if parent != nil {
		name = "test intermediate"
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: Today().Add(-time.Hour), NotAfter: Today().AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	if change != nil {
		change(template)
	}
	signer := CA{template, key}
	if parent != nil {
		signer = *parent
	}
	der, err := x509.CreateCertificate(rand.Reader, template, signer.Cert, key.Public(), signer.Key)
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	return CA{cert, key}
}

// ECKey makes an ECDSA key.
func ECKey(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	must(t, err)
	return key
}

// RSAKey makes an RSA key.
func RSAKey(t testing.TB, bits int) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	must(t, err)
	return key
}

// EdKey makes an Ed25519 key.
func EdKey(t testing.TB) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	return key
}

// PEM encodes one block.
func PEM(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// FirstCertificate is the first certificate in PEM data.
func FirstCertificate(t testing.TB, data []byte) *x509.Certificate {
	t.Helper()
	found, _ := pem.Decode(data)
	if found == nil {
		t.Fatalf("no PEM block in %q", data)
	}
	cert, err := x509.ParseCertificate(found.Bytes)
	must(t, err)
	return cert
}
