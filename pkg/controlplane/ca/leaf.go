package ca

import (
	"crypto/tls"
	"crypto/x509"
	"hash/fnv"
	"log/slog"
	"time"

	"github.com/osm-edge/osm/pkg/controlplane/identity"
)

// A leaf is renewed at a point of its life between these two.
const (
	renewFrom = 0.5
	renewTo   = 0.7
)

// Leaf is a certificate with its key. It is immutable and shared.
type Leaf struct {
	// Identity is whom it names.
	Identity identity.Identity
	// CertPEM is the chain as PEM: the leaf first, then intermediates but not the root. Read only.
	CertPEM []byte
	// Key is the private key; see Key.PEM.
	Key Key
	// Serial is the serial number in hex.
	Serial string
	// Issued, NotAfter and RenewAt are wall-clock times. RenewAt lies between 50 and 70 % of the
	// time from Issued to NotAfter, at a point that depends on the identity alone.
	Issued, NotAfter, RenewAt time.Time

	chain []*x509.Certificate
}

// newLeaf describes a signed chain, leaf first.
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

// renewAt is when a leaf with this life is due.
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

// validAt says whether the leaf is valid by the wall clock. It is not when the clock was set back
// to before it was issued: peers, whose clock is right, refuse it.
func (l *Leaf) validAt(now time.Time) bool {
	return now.Before(l.NotAfter) && !now.Before(l.Issued.Add(-leafBackdate))
}

// LogValue logs what tells leaves apart.
func (l *Leaf) LogValue() slog.Value {
	return slog.GroupValue(slog.String("identity", l.Identity.String()), slog.String("serial", l.Serial), slog.Time("notAfter", l.NotAfter))
}

// jitter maps an identity to [0, 1), evenly over many identities and always to the same point.
func jitter(id identity.Identity) float64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(id.String())) // a hash never fails
	return float64(mix(h.Sum64())>>11) / (1 << 53)
}

// mix spreads FNV's weak high bits (the finaliser of SplitMix64): names that differ only in
// their last letters would land side by side otherwise.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// fraction is a share of a duration.
func fraction(d time.Duration, share float64) time.Duration {
	return time.Duration(float64(d) * share)
}
