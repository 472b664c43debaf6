package ca

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/osm-edge/osm/pkg/controlplane/identity"
)

// renewRetry is the pause after a failed renewal of a serving certificate.
const renewRetry = 10 * time.Second

// ServingConfig describes a server's own certificate.
type ServingConfig struct {
	// Authority and Identity are required; Identity becomes common name, DNS SAN and URI SAN.
	Authority Authority
	Identity  identity.Identity
	// DNSNames are further names that clients use, such as osm-injector.osm-system.svc.
	DNSNames []string
	// Addresses are IP SANs, for clients that dial an address.
	Addresses []net.IP
	// TTL is the certificate's life; zero means DefaultTTL.
	TTL time.Duration
	// Now is the wall clock; nil means time.Now.
	Now func() time.Time
	// Log hears of failed renewals; nil discards them.
	Log *slog.Logger
}

// ServingCert is a server's certificate, which renews itself when a handshake finds it due or of a
// CA that no longer signs: no goroutine, and no timer that a sleeping host could stop.
type ServingCert struct {
	cfg ServingConfig

	renewing sync.Mutex // held by the one handshake that renews

	mu      sync.Mutex
	leaf    *Leaf
	cert    *tls.Certificate
	signer  string // fingerprint of the CA that signed it
	retryAt time.Time
}

// NewServingCert issues the first certificate.
func NewServingCert(ctx context.Context, cfg ServingConfig) (*ServingCert, error) {
	if cfg.Authority == nil {
		return nil, errors.New("new serving certificate: an authority is required")
	}
	cfg.Now = clock(cfg.Now)
	cfg.Log = logger(cfg.Log)
	cfg.TTL = cmp.Or(cfg.TTL, DefaultTTL)
	s := &ServingCert{cfg: cfg}
	if err := s.renew(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// Certificate is for tls.Config.GetCertificate. When renewal is due, one handshake renews and the
// others go on with the old certificate as long as it is valid.
func (s *ServingCert) Certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	return s.certificate(hello.Context())
}

// MutualTLS returns a server's configuration that demands a client certificate signed by a CA that
// the authority trusts at the time of the handshake, over HTTP/2 and TLS 1.3, which the bootstrap of osm's
// proxies names: without it an Envoy stops at TLS 1.2 as a client. Who the client is, ClientIdentity tells.
func (s *ServingCert) MutualTLS() *tls.Config {
	cfg := s.ServerTLS()
	cfg.ClientAuth = tls.RequireAndVerifyClientCert
	cfg.NextProtos = []string{"h2"}
	cfg.Time = func() time.Time { return s.now() }
	// A resumed session is not verified again: it would outlive a CA that is no longer trusted.
	cfg.SessionTicketsDisabled = true
	clients := &clientTrust{base: cfg.Clone(), authority: s.cfg.Authority}
	cfg.GetConfigForClient = clients.config
	cfg.ClientCAs = x509.NewCertPool() // trusts nobody, should a caller lose GetConfigForClient
	return cfg
}

// ClientIdentity is the identity that a client of MutualTLS has proved: the one SPIFFE id of its
// verified certificate. The proof is good until the certificate expires.
func ClientIdentity(state *tls.ConnectionState, td identity.TrustDomain) (id identity.Identity, until time.Time, err error) {
	if state == nil || len(state.VerifiedChains) == 0 {
		return id, until, errors.New("no verified client certificate")
	}
	leaf := state.VerifiedChains[0][0]
	if len(leaf.URIs) != 1 {
		return id, until, fmt.Errorf("the client certificate has %d URI names, want one SPIFFE id", len(leaf.URIs))
	}
	id, err = identity.Parse(leaf.URIs[0].String(), td)
	return id, leaf.NotAfter, err
}

// clientTrust makes the configuration of a handshake out of the trust in force, once per bundle.
type clientTrust struct {
	base      *tls.Config
	authority Truster

	mu     sync.Mutex
	bundle []byte
	made   *tls.Config
}

func (c *clientTrust) config(*tls.ClientHelloInfo) (*tls.Config, error) {
	trust := c.authority.Trust()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.made == nil || !bytes.Equal(c.bundle, trust.Bundle) {
		c.bundle, c.made = trust.Bundle, c.base.Clone()
		c.made.ClientCAs = trust.Pool()
	}
	return c.made, nil
}

// ServerTLS returns a server's configuration that asks for no client certificate, over TLS 1.3.
func (s *ServingCert) ServerTLS() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, GetCertificate: s.Certificate}
}

func (s *ServingCert) certificate(ctx context.Context) (*tls.Certificate, error) {
	cert, due, expired := s.current()
	if !due {
		return cert, nil
	}
	if !expired && !s.renewing.TryLock() {
		return cert, nil
	}
	if expired {
		s.renewing.Lock()
	}
	defer s.renewing.Unlock()
	if cert, due, expired = s.current(); !due {
		return cert, nil // renewed while this handshake waited
	}
	err := s.renew(ctx)
	if err == nil {
		cert, _, _ = s.current()
		return cert, nil
	}
	s.postpone()
	if expired {
		return nil, err
	}
	s.cfg.Log.Warn("serving certificate not renewed, will retry", "identity", s.cfg.Identity.String(), "error", err)
	return cert, nil
}

// current returns the certificate, whether an attempt to renew it is due, and whether it is invalid.
func (s *ServingCert) current() (cert *tls.Certificate, due, expired bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	expired = !s.leaf.validAt(now)
	replace := !now.Before(s.leaf.RenewAt) || s.signer != s.cfg.Authority.Trust().Fingerprint
	due = expired || replace && !now.Before(s.retryAt)
	return s.cert, due, expired
}

// renew replaces the certificate.
func (s *ServingCert) renew(ctx context.Context) error {
	signer := s.cfg.Authority.Trust().Fingerprint // if it changes meanwhile, the next handshake renews again
	leaf, err := s.cfg.Authority.Issue(ctx, Request{
		Identity: s.cfg.Identity, DNSNames: s.cfg.DNSNames, Addresses: s.cfg.Addresses, TTL: s.cfg.TTL, Usage: UsageServing,
	})
	if err != nil {
		return fmt.Errorf("renew serving certificate: %w", err)
	}
	cert := leaf.TLS()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leaf, s.cert, s.signer, s.retryAt = leaf, &cert, signer, time.Time{}
	return nil
}

// Refresh renews the certificate if it is due, for a server that no handshake reminds: the
// evidence of a rotation asks for it.
func (s *ServingCert) Refresh(ctx context.Context) error {
	if _, err := s.certificate(ctx); err != nil {
		return fmt.Errorf("refresh serving certificate: %w", err)
	}
	return nil
}

// Signer is the fingerprint of the CA that signed the current certificate.
func (s *ServingCert) Signer() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.signer
}

func (s *ServingCert) postpone() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retryAt = s.now().Add(renewRetry)
}

// NotAfter is when the current certificate expires.
func (s *ServingCert) NotAfter() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.leaf.NotAfter
}

func (s *ServingCert) now() time.Time { return s.cfg.Now().Round(0) }
