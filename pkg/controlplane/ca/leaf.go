package ca

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"time"

	"github.com/osm-edge/osm/pkg/controlplane/identity"
)

// A leaf is renewed when this share of its lifetime has passed, between these two.
const (
	renewFrom = 0.5
	renewTo   = 0.7
)

// Leaf is a certificate with its key. It is immutable and shared.
type Leaf struct {
	// Identity is the identity that the leaf names.
	Identity identity.Identity
	// CertPEM is the chain as PEM: the leaf first, then intermediates but not the root. Read only.
	CertPEM []byte
	// Key is the private key; see Key.PEM.
	Key Key
	// Serial is the serial number in hex.
	Serial string
	// Issued, NotAfter and RenewAt are wall-clock times. RenewAt lies between 50 and 70 % of the
	// lifetime, at a point that depends on the identity alone.
	Issued, NotAfter, RenewAt time.Time

	chain []*x509.Certificate
}

// Chain returns the leaf and its intermediates. The caller must not change them.
func (l *Leaf) Chain() []*x509.Certificate { return l.chain }

// newLeaf returns the leaf of a signed chain, leaf first.
func newLeaf(id identity.Identity, chain []*x509.Certificate, key Key, issued time.Time) *Leaf {
	notAfter := chain[0].NotAfter
	return &Leaf{
		Identity: id,
		CertPEM:  encodeCertificates(chain),
		Key:      key,
		Serial:   chain[0].SerialNumber.Text(16),
		Issued:   issued,
		NotAfter: notAfter,
		RenewAt:  renewAt(id, issued, notAfter),
		chain:    chain,
	}
}

// renewAt is when a leaf with this lifetime is due for renewal.
func renewAt(id identity.Identity, issued, notAfter time.Time) time.Time {
	return issued.Add(fraction(notAfter.Sub(issued), renewFrom+(renewTo-renewFrom)*jitter(id)))
}

// KeyPEM returns the private key as PKCS #8 PEM. The caller must not change it.
func (l *Leaf) KeyPEM() []byte { return l.Key.PEM() }

// TLS returns the leaf for crypto/tls, with Leaf parsed.
func (l *Leaf) TLS() tls.Certificate {
	raw := make([][]byte, len(l.chain))
	for i, cert := range l.chain {
		raw[i] = cert.Raw
	}
	return tls.Certificate{Certificate: raw, PrivateKey: l.Key.signer(), Leaf: l.chain[0]}
}

// ValidAt reports whether the leaf is valid by the wall clock. A leaf issued in the future, before the
// clock was set back, is not valid: peers whose clock is right refuse it.
func (l *Leaf) ValidAt(now time.Time) bool {
	return now.Before(l.NotAfter) && !now.Before(l.Issued.Add(-Backdate))
}

// LogValue logs the identity, the serial number and the expiry.
func (l *Leaf) LogValue() slog.Value {
	return slog.GroupValue(slog.String("identity", l.Identity.String()), slog.String("serial", l.Serial), slog.Time("notAfter", l.NotAfter))
}
