package ca

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/osm-edge/osm/pkg/controlplane/identity"
)

// Issuer signs leaves with a root held in memory. It calls no other service and is safe for
// concurrent use.
type Issuer struct {
	root    *Root
	domain  identity.TrustDomain
	now     func() time.Time
	metrics *Metrics
}

// IssuerConfig says how an Issuer signs.
type IssuerConfig struct {
	// Root and TrustDomain are required.
	Root        *Root
	TrustDomain identity.TrustDomain
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Metrics may be nil.
	Metrics *Metrics
}

// NewIssuer returns an Issuer after it has signed and verified one leaf, so that a root whose
// constraints exclude this mesh is found at startup and not at the first handshake.
func NewIssuer(cfg IssuerConfig) (*Issuer, error) {
	if cfg.Root == nil || cfg.TrustDomain == "" {
		return nil, errors.New("new issuer: a root and a trust domain are required")
	}
	i := &Issuer{cfg.Root, cfg.TrustDomain, clock(cfg.Now), cfg.Metrics}
	if err := i.selfTest(); err != nil {
		return nil, fmt.Errorf("root %s cannot serve trust domain %q: %w", cfg.Root, cfg.TrustDomain, err)
	}
	i.metrics.rootLoaded(i.Trust())
	return i, nil
}

// Trust returns what peers need to verify this issuer's leaves.
func (i *Issuer) Trust() Trust { return i.root.Trust() }

// Issue signs a leaf for a new key.
func (i *Issuer) Issue(ctx context.Context, req Request) (*Leaf, error) {
	leaf, err := i.issue(ctx, req)
	i.metrics.issued(req.Usage, err)
	if err != nil {
		return nil, fmt.Errorf("issue %s certificate for %s: %w", req.Usage, req.Identity, err)
	}
	return leaf, nil
}

func (i *Issuer) issue(ctx context.Context, req Request) (*Leaf, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	now := i.now().Round(0).UTC()
	template, err := i.template(req, now)
	if err != nil {
		return nil, err
	}
	key, err := generateKey(req.KeyBits)
	if err != nil {
		return nil, err
	}
	if req.KeyBits != 0 {
		template.KeyUsage |= x509.KeyUsageKeyEncipherment // RSA key exchange of TLS 1.2
	}
	der, err := x509.CreateCertificate(rand.Reader, template, i.root.cert, key.signer().Public(), i.root.key.signer())
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	return i.leaf(req, der, key, now)
}

// template returns the certificate to sign.
func (i *Issuer) template(req Request, now time.Time) (*x509.Certificate, error) {
	usages, err := extKeyUsage(req.Usage)
	if err != nil {
		return nil, err
	}
	end, err := notAfter(now, req.TTL, i.root.cert.NotAfter)
	if err != nil {
		return nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	names, err := namesOf(req, i.domain)
	if err != nil {
		return nil, err
	}
	return &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: names.common},
		NotBefore:             now.Add(-Backdate).Truncate(time.Second),
		NotAfter:              end,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           usages,
		BasicConstraintsValid: true,
		DNSNames:              names.dns,
		IPAddresses:           req.Addresses,
		URIs:                  []*url.URL{names.uri},
	}, nil
}

// notAfter is now + ttl or the expiry of the root, whichever is first.
func notAfter(now time.Time, ttl time.Duration, rootEnd time.Time) (time.Time, error) {
	if ttl < 0 {
		return time.Time{}, fmt.Errorf("validity %v: want more than 0", ttl)
	}
	end := now.Add(cmp.Or(ttl, DefaultTTL))
	if rootEnd.Before(end) {
		end = rootEnd
	}
	end = end.Truncate(time.Second) // the resolution of certificates
	if end.Sub(now) < minLifetime {
		return time.Time{}, fmt.Errorf("a leaf would expire at %s, the root at %s: less than %v is left; ask for a longer validity or rotate the root CA",
			stamp(end), stamp(rootEnd), minLifetime)
	}
	return end, nil
}

// leaf combines a signed certificate with its key and its parents.
func (i *Issuer) leaf(req Request, der []byte, key Key, now time.Time) (*Leaf, error) {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("parse the signed certificate: %w", err)
	}
	chain := []*x509.Certificate{cert}
	for _, signer := range append([]*x509.Certificate{i.root.cert}, i.root.parents...) {
		if !selfSigned(signer) { // an intermediate: peers outside the mesh may know only its root
			chain = append(chain, signer)
		}
	}
	return newLeaf(req.Identity, chain, key, now), nil
}

func selfSigned(cert *x509.Certificate) bool { return bytes.Equal(cert.RawIssuer, cert.RawSubject) }

// selfTest signs a leaf in the same way as for a workload and verifies it in the same way as a peer.
func (i *Issuer) selfTest() error {
	now := i.now().Round(0)
	leaf, err := i.issue(context.Background(), Request{
		Identity: identity.Identity{Namespace: "osm-self-test", ServiceAccount: "osm-self-test"},
		Usage:    UsageService,
	})
	if err != nil {
		return err
	}
	cert := leaf.TLS().Leaf
	_, err = cert.Verify(x509.VerifyOptions{
		Roots:       i.Trust().Pool(),
		CurrentTime: now,
		KeyUsages:   []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return fmt.Errorf("verify a leaf signed by it: %w", err)
	}
	return nil
}
