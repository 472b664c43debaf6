package ca

import (
	"cmp"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Trust is what peers need to know about an authority. It is immutable.
type Trust struct {
	// Bundle holds the CA certificates to trust as PEM, and only those: the signing one, and during
	// a rotation the others too. Equal sets of CAs are equal bytes on every replica. Read only.
	Bundle []byte
	// Fingerprint is the SHA-256 of the signing CA's DER form, in hex.
	Fingerprint string
	// NotAfter is when the signing CA expires.
	NotAfter time.Time
}

// Pool returns the bundle for use with crypto/x509 and crypto/tls.
func (t Trust) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(t.Bundle)
	return pool
}

// BundleFingerprint is the SHA-256 of the whole bundle, in hex: what tells two sets of CAs apart.
func (t Trust) BundleFingerprint() string { return sum(t.Bundle) }

// Fingerprints are those of all CAs in the bundle, sorted.
func (t Trust) Fingerprints() []string { return slices.Sorted(maps.Keys(certificatesIn(t.Bundle))) }

// SignerOf is the fingerprint of the CA in the bundle that signed a chain, leaf first; empty when
// it is none of them. Of two certificates for one CA key the signing CA's counts.
func (t Trust) SignerOf(chain []*x509.Certificate) string {
	if len(chain) == 0 {
		return ""
	}
	cas := certificatesIn(t.Bundle)
	order := slices.SortedFunc(maps.Keys(cas), func(a, b string) int {
		return cmp.Or(compareBool(b == t.Fingerprint, a == t.Fingerprint), cmp.Compare(a, b))
	})
	child := chain[0]
	for range chain { // each turn goes up by one intermediate at least
		for _, fingerprint := range order {
			if child.CheckSignatureFrom(cas[fingerprint]) == nil {
				return fingerprint
			}
		}
		up := slices.IndexFunc(chain, func(c *x509.Certificate) bool { return c != child && child.CheckSignatureFrom(c) == nil })
		if up < 0 {
			return ""
		}
		child = chain[up]
	}
	return ""
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// union is the trust in several authorities: the first of them signs.
func union(trusts []Trust) (Trust, error) {
	all := map[string]*x509.Certificate{}
	for _, trust := range trusts {
		certs := certificatesIn(trust.Bundle)
		if certs[trust.Fingerprint] == nil {
			return Trust{}, fmt.Errorf("the bundle of CA sha256:%s does not hold that CA", trust.Fingerprint)
		}
		maps.Copy(all, certs)
	}
	if len(trusts) == 0 {
		return Trust{}, errors.New("no CA to trust")
	}
	sorted := make([]*x509.Certificate, 0, len(all))
	for _, fingerprint := range slices.Sorted(maps.Keys(all)) {
		sorted = append(sorted, all[fingerprint])
	}
	return Trust{Bundle: encodeCertificates(sorted), Fingerprint: trusts[0].Fingerprint, NotAfter: trusts[0].NotAfter}, nil
}

// certificatesIn returns the certificates of a bundle by their fingerprints.
func certificatesIn(bundle []byte) map[string]*x509.Certificate {
	found := map[string]*x509.Certificate{}
	for block, rest := pem.Decode(bundle); block != nil; block, rest = pem.Decode(rest) {
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil {
			found[sum(block.Bytes)] = cert
		}
	}
	return found
}

// sum is a fingerprint: SHA-256 in hex.
func sum(data []byte) string {
	digest := sha256.Sum256(data)
	return hex.EncodeToString(digest[:])
}

// Anchors verify what a handshake proved against a trust that may have changed since.
type Anchors struct {
	fingerprints map[string]*x509.Certificate
	pool         *x509.CertPool
}

// Anchors makes them of the CAs in the bundle.
func (t Trust) Anchors() *Anchors {
	return &Anchors{fingerprints: certificatesIn(t.Bundle), pool: t.Pool()}
}

// Vouch says whether one of the chains that a handshake verified a client by, leaf first, leads to a CA
// that is trusted now. A CA that was renewed with its key vouches for what the older one signed.
func (a *Anchors) Vouch(chains [][]*x509.Certificate, now time.Time) bool {
	for _, chain := range chains {
		if len(chain) > 0 && a.fingerprints[sum(chain[len(chain)-1].Raw)] != nil {
			return true
		}
	}
	for _, chain := range chains {
		if len(chain) == 0 {
			continue
		}
		between := x509.NewCertPool()
		for _, cert := range chain[1:] {
			between.AddCert(cert)
		}
		_, err := chain[0].Verify(x509.VerifyOptions{
			Roots: a.pool, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		})
		if err == nil {
			return true
		}
	}
	return false
}
