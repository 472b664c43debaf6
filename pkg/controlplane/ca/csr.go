package ca

import (
	"cmp"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"net/url"
	"time"

	"github.com/osm-edge/osm/pkg/controlplane/identity"
)

// blockCSR is the PEM type of a certificate signing request.
const blockCSR = "CERTIFICATE REQUEST"

// maxMargin is the maximum that TTL leaves between the expiry of a leaf and of its CA: providers add the
// lifetime to a clock that is not ours, and refuse a leaf that would outlive the CA.
const maxMargin = 30 * time.Second

// NewSigningRequest makes a new key and a signing request, as PEM, that names what an Issuer would
// name. The key stays here: a provider only ever sees its public half.
func NewSigningRequest(req Request, domain identity.TrustDomain) (csrPEM []byte, key Key, err error) {
	if _, err := extKeyUsage(req.Usage); err != nil {
		return nil, Key{}, err
	}
	names, err := namesOf(req, domain)
	if err != nil {
		return nil, Key{}, err
	}
	if key, err = generateKey(req.KeyBits); err != nil {
		return nil, Key{}, err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject:     pkix.Name{CommonName: names.common},
		DNSNames:    names.dns,
		IPAddresses: req.Addresses,
		URIs:        []*url.URL{names.uri},
	}, key.signer())
	if err != nil {
		return nil, Key{}, fmt.Errorf("make signing request: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: blockCSR, Bytes: der}), key, nil
}

// TTL returns the lifetime to request from a provider, in whole seconds: the request's, but ending a little before
// the CA expires.
func TTL(req Request, trust Trust, now time.Time) (time.Duration, error) {
	left := trust.NotAfter.Sub(now.Round(0))
	left -= min(maxMargin, max(left/10, 0))
	if _, err := notAfter(now, req.TTL, now.Add(left)); err != nil {
		return 0, err
	}
	return min(cmp.Or(req.TTL, DefaultTTL), left).Truncate(time.Second), nil
}
