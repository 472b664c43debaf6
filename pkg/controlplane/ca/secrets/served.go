package secrets

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/controlplane/ca"
)

// Served is a serving certificate as its server reads it from the Secret. It is immutable.
type Served struct {
	// Certificate has its Leaf parsed.
	Certificate tls.Certificate
	// Trust is the bundle in the Secret, with the CA that signed the certificate as the signer.
	Trust ca.Trust
}

// ParseServed reads the data of a Secret that a ServingController wrote. It refuses a certificate that
// clients would not accept for the host.
func ParseServed(data map[string][]byte, host string, now time.Time) (*Served, error) {
	pair, err := tls.X509KeyPair(data[corev1.TLSCertKey], data[corev1.TLSPrivateKeyKey])
	if err != nil {
		return nil, fmt.Errorf("%s and %s: %w", corev1.TLSCertKey, corev1.TLSPrivateKeyKey, err)
	}
	chain, err := ca.ParseChain(data[corev1.TLSCertKey])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", corev1.TLSCertKey, err)
	}
	trust := ca.TrustOf(data[api.CAKeyCert], chain)
	_, err = chain[0].Verify(x509.VerifyOptions{
		DNSName: host, Roots: trust.Pool(), Intermediates: ca.Pool(chain[1:]), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", corev1.TLSCertKey, err)
	}
	pair.Leaf = chain[0]
	return &Served{Certificate: pair, Trust: trust}, nil
}
