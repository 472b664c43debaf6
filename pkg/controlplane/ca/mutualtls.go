package ca

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/osm-edge/osm/pkg/controlplane/identity"
)

// MutualTLS returns a server configuration that requires a client certificate signed by a CA that the
// authority trusts at the time of the handshake, over HTTP/2 and TLS 1.3. The bootstrap of osm's proxies
// allows TLS 1.3, which Envoy does not use as a client by default. ClientIdentity returns the client.
func (s *ServingCert) MutualTLS() *tls.Config {
	cfg := s.ServerTLS()
	cfg.ClientAuth = tls.RequireAndVerifyClientCert
	cfg.NextProtos = []string{"h2"}
	cfg.Time = func() time.Time { return s.now() }
	// A resumed session is not verified again: it would outlive the trust in its CA.
	cfg.SessionTicketsDisabled = true
	clients := &clientTrust{base: cfg.Clone(), authority: s.cfg.Authority}
	cfg.GetConfigForClient = clients.config
	cfg.ClientCAs = x509.NewCertPool() // trusts no client, in case a caller drops GetConfigForClient
	return cfg
}

// ClientIdentity returns the identity that a client of MutualTLS has proved: the SPIFFE id in its
// verified certificate. The proof is valid until the certificate expires.
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

// clientTrust builds the configuration of a handshake from the current trust, once per bundle.
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

// ServerTLS returns a server configuration that requires no client certificate, over TLS 1.3.
func (s *ServingCert) ServerTLS() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, GetCertificate: s.Certificate}
}
