package ca

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"slices"
	"time"
)

// The root that NewRoot makes.
const (
	rootCommonName   = "osm-ca.openservicemesh.io"
	rootOrganization = "Open Service Mesh"
	rootYears        = 10
	// rootBackdate lets proxies on nodes whose clock is behind accept a new root.
	rootBackdate = time.Hour
)

// Root is a certificate authority with its key: it signs the leaves of a mesh. It is immutable.
type Root struct {
	cert        *x509.Certificate
	parents     []*x509.Certificate // signers of cert, nearest first, when it is an intermediate
	key         Key
	bundle      []byte
	fingerprint string
}

// NewRoot makes a new self-signed ECDSA P-256 root that is valid for ten years.
func NewRoot(now time.Time) (*Root, error) {
	key, err := generateKey(0)
	if err != nil {
		return nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	now = now.Round(0).UTC().Truncate(time.Second)
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: rootCommonName, Organization: []string{rootOrganization}},
		NotBefore:             now.Add(-rootBackdate),
		NotAfter:              now.AddDate(rootYears, 0, 0),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.signer().Public(), key.signer())
	if err != nil {
		return nil, fmt.Errorf("sign root certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("parse root certificate: %w", err)
	}
	return newRoot([]*x509.Certificate{cert}, key), nil
}

// newRoot derives the constant fields from a checked chain, signer first.
func newRoot(chain []*x509.Certificate, key Key) *Root {
	return &Root{
		cert:        chain[0],
		parents:     chain[1:],
		key:         key,
		bundle:      encodeCertificates(chain[:1]),
		fingerprint: sum(chain[0].Raw),
	}
}

// Fingerprint returns the SHA-256 of the signing certificate's DER form, in hex.
func (r *Root) Fingerprint() string { return r.fingerprint }

// Bundle returns the trust bundle as PEM: only the signing certificate. The parents of an intermediate
// are left out, so that a mesh never trusts what else a company's CA signs.
func (r *Root) Bundle() []byte { return slices.Clone(r.bundle) }

// NotAfter returns when the root expires.
func (r *Root) NotAfter() time.Time { return r.cert.NotAfter }

// Trust returns what peers need to know about the root.
func (r *Root) Trust() Trust {
	return Trust{Bundle: r.Bundle(), Fingerprint: r.fingerprint, NotAfter: r.cert.NotAfter}
}

// Outlives returns an error if the root expires before a certificate issued now with a lifetime of ttl,
// whose lifetime would be shortened.
func (r *Root) Outlives(now time.Time, ttl time.Duration) error {
	if end := now.Round(0).Add(ttl); r.cert.NotAfter.Before(end) {
		return keyError(keyCert, fmt.Sprintf("holds a CA that expires at %s, before a certificate of %v issued now would", stamp(r.cert.NotAfter), ttl),
			"rotate the root CA or shorten the certificates' validity")
	}
	return nil
}

// SecretData returns the root as the data of its Secret: the certificates and the private key.
func (r *Root) SecretData() map[string][]byte {
	chain := append([]*x509.Certificate{r.cert}, r.parents...)
	return map[string][]byte{keyCert: encodeCertificates(chain), keyPrivate: bytes.Clone(r.key.PEM())}
}

// String returns the subject and the fingerprint.
func (r *Root) String() string {
	return fmt.Sprintf("root %q sha256:%s", r.cert.Subject.CommonName, r.fingerprint)
}

// LogValue keeps slog from walking into the root.
func (r *Root) LogValue() slog.Value { return slog.StringValue(r.String()) }

// encodeCertificates returns certificates as normalized PEM: no comments, one kind of newline.
func encodeCertificates(certs []*x509.Certificate) []byte {
	var out bytes.Buffer
	for _, cert := range certs {
		out.Write(pem.EncodeToMemory(&pem.Block{Type: blockCertificate, Bytes: cert.Raw}))
	}
	return out.Bytes()
}

// newSerial returns a positive random number of at most 128 bits.
func newSerial() (*big.Int, error) {
	limit := new(big.Int).Lsh(big.NewInt(1), 128)
	for {
		serial, err := rand.Int(rand.Reader, limit)
		if err != nil {
			return nil, fmt.Errorf("draw serial number: %w", err)
		}
		if serial.Sign() > 0 {
			return serial, nil
		}
	}
}

// stamp formats a time for messages.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
