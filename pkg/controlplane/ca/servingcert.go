package ca

import (
	"cmp"
	"context"
	"crypto/tls"
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
	// TTL is the lifetime of the certificate; zero means DefaultTTL.
	TTL time.Duration
	// Now is the wall clock; nil means time.Now.
	Now func() time.Time
	// Log receives failed renewals; nil discards them.
	Log *slog.Logger
}

// ServingCert is a server's certificate. A handshake renews it when it is due or when its CA no longer
// signs, so that it needs no goroutine and no timer that a sleeping host could stop.
type ServingCert struct {
	cfg ServingConfig

	renewing sync.Mutex // held by the handshake that renews

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
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	cfg.TTL = cmp.Or(cfg.TTL, DefaultTTL)
	s := &ServingCert{cfg: cfg}
	if err := s.renew(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// Certificate is for tls.Config.GetCertificate. When renewal is due, one handshake renews; the others
// use the old certificate as long as it is valid.
func (s *ServingCert) Certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	return s.certificate(hello.Context())
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

// current returns the certificate, whether to try to renew it now, and whether it is invalid.
func (s *ServingCert) current() (cert *tls.Certificate, due, expired bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	expired = !s.leaf.ValidAt(now)
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

// Refresh renews the certificate if it is due, without a handshake.
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
