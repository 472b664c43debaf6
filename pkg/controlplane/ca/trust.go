package ca

import (
	"bytes"
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
	// a rotation the other roots too. Equal sets of CAs are equal bytes on every replica. Read only.
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

// BundleFingerprint is the SHA-256 of the whole bundle, in hex. It identifies a set of CAs.
func (t Trust) BundleFingerprint() string { return sum(t.Bundle) }

// Fingerprints returns the fingerprints of all CAs in the bundle, sorted.
func (t Trust) Fingerprints() []string { return slices.Sorted(maps.Keys(certificatesIn(t.Bundle))) }

// SignerOf is the fingerprint of the CA in the bundle that signed a chain, leaf first. It is empty if
// none of them did. If two certificates share a CA key, the signing CA's takes precedence.
func (t Trust) SignerOf(chain []*x509.Certificate) string {
	if len(chain) == 0 {
		return ""
	}
	cas := certificatesIn(t.Bundle)
	order := slices.SortedFunc(maps.Keys(cas), func(a, b string) int {
		return cmp.Or(compareBool(b == t.Fingerprint, a == t.Fingerprint), cmp.Compare(a, b))
	})
	child := chain[0]
	for range chain { // each pass goes up by at least one intermediate
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

// union is the trust in several authorities, of which the first signs.
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

// TrustOf returns the trust in a bundle of CAs whose signing CA is the one that signed chain, leaf
// first. Without such a CA the fingerprint is empty.
func TrustOf(bundle []byte, chain []*x509.Certificate) Trust {
	trust := Trust{Bundle: bundle}
	trust.Fingerprint = trust.SignerOf(chain)
	if signer := certificatesIn(bundle)[trust.Fingerprint]; signer != nil {
		trust.NotAfter = signer.NotAfter
	}
	return trust
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

// ParseTrust reads a provider's CA certificates as PEM: the signing CA first, then its parents if
// it is an intermediate. Only the signing CA is trusted, as with a Root.
func ParseTrust(bundle []byte, now time.Time) (Trust, error) {
	chain, err := ParseChain(bundle)
	if err != nil {
		return Trust{}, fmt.Errorf("the provider's CA bundle %w", err)
	}
	if err := withoutKey(checkParents(chain, now.Round(0))); err != nil {
		return Trust{}, fmt.Errorf("the provider's CA bundle %w", err)
	}
	return trustIn(chain[0], now)
}

// SignerTrust finds the CA that signed a leaf and returns the trust in that CA alone. It searches the
// certificates that came with the leaf and the provider's CA bundle, which may be empty. If an
// intermediate changes more often than its root, use ParseTrust on the root.
func SignerTrust(chainPEM, caBundle []byte, now time.Time) (Trust, error) {
	chain, err := ParseChain(chainPEM)
	if err != nil {
		return Trust{}, fmt.Errorf("the provider's response %w", err)
	}
	candidates := chain[1:]
	if len(bytes.TrimSpace(caBundle)) > 0 {
		more, err := ParseChain(caBundle)
		if err != nil {
			return Trust{}, fmt.Errorf("the provider's CA bundle %w", err)
		}
		candidates = append(candidates, more...)
	}
	for _, signer := range candidates {
		if chain[0].CheckSignatureFrom(signer) == nil {
			return trustIn(signer, now)
		}
	}
	return Trust{}, fmt.Errorf("the provider's response does not hold the CA %q that signed the certificate: make the provider return its CA certificate", chain[0].Issuer)
}

// trustIn returns the trust in one CA, if it can sign leaves.
func trustIn(signer *x509.Certificate, now time.Time) (Trust, error) {
	if err := withoutKey(checkSigner(signer, now.Round(0))); err != nil {
		return Trust{}, fmt.Errorf("the provider's CA bundle %w", err)
	}
	return Trust{
		Bundle:      encodeCertificates([]*x509.Certificate{signer}),
		Fingerprint: sum(signer.Raw),
		NotAfter:    signer.NotAfter,
	}, nil
}
