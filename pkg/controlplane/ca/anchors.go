package ca

import (
	"crypto/x509"
	"time"
)

// Anchors verify clients of earlier handshakes against a trust that may have changed since.
type Anchors struct {
	fingerprints map[string]*x509.Certificate
	pool         *x509.CertPool
}

// Anchors returns the CAs in the bundle as anchors.
func (t Trust) Anchors() *Anchors {
	return &Anchors{fingerprints: certificatesIn(t.Bundle), pool: t.Pool()}
}

// Vouch reports whether one of the verified chains of a client, leaf first, leads to a CA that is
// trusted now. A CA renewed with the same key also verifies what its older certificate signed.
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
