package ca_test

import (
	"crypto/tls"
	"sync"
	"testing"
	"time"

	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
)

// server is a ServingCert on a clock that the test moves.
type server struct {
	cert      *ca.ServingCert
	clock     *wall
	authority *counting
	root      *ca.Root
	config    *tls.Config
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{clock: &wall{}}
	issuer, root := newIssuer(t, s.clock.now)
	s.root, s.authority = root, &counting{Authority: issuer}
	cert, err := ca.NewServingCert(t.Context(), ca.ServingConfig{
		Authority: s.authority,
		Identity:  identity.Identity{Namespace: "osm-system", ServiceAccount: "osm-injector"},
		DNSNames:  []string{"osm-injector.osm-system.svc"},
		Now:       s.clock.now,
	})
	must(t, err)
	s.cert, s.config = cert, cert.ServerTLS()
	return s
}

// serial makes a handshake, verified on the server's clock, and returns the certificate's number.
func (s *server) serial(t *testing.T) (string, error) {
	t.Helper()
	var serial string
	err := connect(s.config, &tls.Config{
		RootCAs: s.root.Trust().Pool(), ServerName: "osm-injector.osm-system.svc", Time: s.clock.now, MinVersion: tls.VersionTLS12,
		VerifyConnection: func(state tls.ConnectionState) error {
			serial = state.PeerCertificates[0].SerialNumber.String()
			if state.Version != tls.VersionTLS13 {
				t.Errorf("TLS version %x", state.Version)
			}
			return nil
		},
	})
	return serial, err
}

func TestServingCertRenewsItself(t *testing.T) {
	s := newServer(t)
	steps := []struct {
		name    string
		jump    time.Duration
		away    bool
		renewed bool
		fails   bool
	}{
		{name: "fresh"},
		{name: "before half of its life", jump: 11 * time.Hour},
		{name: "after 70 %", jump: 6 * time.Hour, renewed: true},
		{name: "the authority is away", jump: 18 * time.Hour, away: true},
		{name: "and back, after a pause", jump: time.Minute, renewed: true},
		{name: "after three days asleep", jump: 72 * time.Hour, renewed: true},
		{name: "expired, and the authority is away", jump: 72 * time.Hour, away: true, fails: true},
		{name: "expired, and back", renewed: true},
	}
	last, err := s.serial(t)
	must(t, err)
	for _, step := range steps {
		s.clock.jump(step.jump)
		s.authority.away.Store(step.away)
		got, err := s.serial(t)
		if step.fails {
			if err == nil {
				t.Errorf("%s: the handshake succeeded", step.name)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if (got != last) != step.renewed {
			t.Errorf("%s: renewed %v, want %v", step.name, got != last, step.renewed)
		}
		last = got
	}
	if left := s.cert.NotAfter().Sub(s.clock.now()); left < 23*time.Hour {
		t.Errorf("%v left of a new certificate", left)
	}
}

// TestServingCertRenewsOnce: a storm of handshakes on an expired certificate signs one new one.
func TestServingCertRenewsOnce(t *testing.T) {
	s := newServer(t)
	s.clock.jump(72 * time.Hour)
	before := s.authority.issued.Load()
	var clients sync.WaitGroup
	for range 50 {
		clients.Go(func() {
			if _, err := s.serial(t); err != nil {
				t.Error(err)
			}
		})
	}
	clients.Wait()
	if n := s.authority.issued.Load() - before; n != 1 {
		t.Errorf("%d certificates signed", n)
	}
}

// TestMutualTLS: the xDS server takes proxies of its own root and nobody else.
func TestMutualTLS(t *testing.T) {
	s := newServer(t)
	s.config = s.cert.MutualTLS()
	stranger, _ := newIssuer(t, s.clock.now)
	client := func(authority ca.Authority, usage ca.Usage) error {
		config := &tls.Config{RootCAs: s.root.Trust().Pool(), ServerName: "osm-injector.osm-system.svc", MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}}
		if authority != nil {
			leaf, err := authority.Issue(t.Context(), ca.Request{Identity: workload("a"), Usage: usage})
			must(t, err)
			config.Certificates = []tls.Certificate{leaf.TLS()}
		}
		return connect(s.config, config)
	}
	must(t, client(s.authority, ca.UsageProxy))
	if client(nil, "") == nil {
		t.Error("a client without a certificate was let in")
	}
	if client(stranger, ca.UsageProxy) == nil {
		t.Error("a client of another root was let in")
	}
	if client(s.authority, ca.UsageServing) == nil {
		t.Error("a serving certificate was taken for a client's")
	}
}

func TestNewServingCertFails(t *testing.T) {
	if _, err := ca.NewServingCert(t.Context(), ca.ServingConfig{}); err == nil {
		t.Error("accepted no authority")
	}
	if _, err := ca.NewServingCert(t.Context(), ca.ServingConfig{Authority: failing{}}); err == nil {
		t.Error("started without a certificate")
	}
}
