package ca_test

import (
	"crypto/tls"
	"sync"
	"testing"
	"time"

	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/tests/catest"
)

// server is a ServingCert on a clock that the test moves.
type server struct {
	cert      *ca.ServingCert
	clock     *catest.Clock
	authority *catest.Counting
	root      *ca.Root
	config    *tls.Config
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{clock: &catest.Clock{}}
	issuer, root := catest.NewIssuer(t, s.clock.Now)
	s.root, s.authority = root, &catest.Counting{Authority: issuer}
	cert, err := ca.NewServingCert(t.Context(), ca.ServingConfig{
		Authority: s.authority,
		Identity:  identity.Identity{Namespace: "osm-system", ServiceAccount: "osm-injector"},
		DNSNames:  []string{"osm-injector.osm-system.svc"},
		Now:       s.clock.Now,
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
		RootCAs: s.root.Trust().Pool(), ServerName: "osm-injector.osm-system.svc", Time: s.clock.Now, MinVersion: tls.VersionTLS12,
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
		{name: "before half of its lifetime", jump: 11 * time.Hour},
		{name: "after 70 %", jump: 6 * time.Hour, renewed: true},
		{name: "the authority is unavailable", jump: 18 * time.Hour, away: true},
		{name: "and back, after a pause", jump: time.Minute, renewed: true},
		{name: "after three days asleep", jump: 72 * time.Hour, renewed: true},
		{name: "expired, and the authority is unavailable", jump: 72 * time.Hour, away: true, fails: true},
		{name: "expired, and back", renewed: true},
	}
	last, err := s.serial(t)
	must(t, err)
	for _, step := range steps {
		s.clock.Jump(step.jump)
		s.authority.Away.Store(step.away)
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
	if left := s.cert.NotAfter().Sub(s.clock.Now()); left < 23*time.Hour {
		t.Errorf("%v left of a new certificate", left)
	}
}

// TestServingCertRenewsOnce: a storm of handshakes on an expired certificate signs one new one.
func TestServingCertRenewsOnce(t *testing.T) {
	s := newServer(t)
	s.clock.Jump(72 * time.Hour)
	before := s.authority.Issued.Load()
	var clients sync.WaitGroup
	for range 50 {
		clients.Go(func() {
			if _, err := s.serial(t); err != nil {
				t.Error(err)
			}
		})
	}
	clients.Wait()
	if n := s.authority.Issued.Load() - before; n != 1 {
		t.Errorf("%d certificates signed", n)
	}
}

// TestMutualTLS: the xDS server accepts proxies of its own root and no other client.
func TestMutualTLS(t *testing.T) {
	s := newServer(t)
	s.config = s.cert.MutualTLS()
	stranger, _ := catest.NewIssuer(t, s.clock.Now)
	client := func(authority ca.Authority, usage ca.Usage) error {
		config := &tls.Config{RootCAs: s.root.Trust().Pool(), ServerName: "osm-injector.osm-system.svc", MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}}
		if authority != nil {
			leaf, err := authority.Issue(t.Context(), ca.Request{Identity: catest.Workload("a"), Usage: usage})
			must(t, err)
			config.Certificates = []tls.Certificate{leaf.TLS()}
		}
		return connect(s.config, config)
	}
	must(t, client(s.authority, ca.UsageProxy))
	if client(nil, "") == nil {
		t.Error("a client without a certificate was accepted")
	}
	leaf, err := s.authority.Issue(t.Context(), ca.Request{Identity: catest.Workload("a"), Usage: ca.UsageProxy})
	must(t, err)
	old := &tls.Config{
		RootCAs: s.root.Trust().Pool(), ServerName: "osm-injector.osm-system.svc", MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12,
		NextProtos: []string{"h2"}, Certificates: []tls.Certificate{leaf.TLS()},
	}
	if connect(s.config, old) == nil {
		t.Error("a proxy was served over TLS 1.2")
	}
	if client(stranger, ca.UsageProxy) == nil {
		t.Error("a client of another root was accepted")
	}
	if client(s.authority, ca.UsageServing) == nil {
		t.Error("a serving certificate was accepted as a client's")
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

// TestServingDuringRotation: a server keeps up with the roots from handshake to handshake, without
// a restart, and existing connections stay open.
func TestServingDuringRotation(t *testing.T) {
	clock := &catest.Clock{}
	a, _ := catest.NewIssuer(t, clock.Now)
	b, _ := catest.NewIssuer(t, clock.Now)
	roots := catest.NewRootSet(t, a)
	cert, err := ca.NewServingCert(t.Context(), ca.ServingConfig{
		Authority: roots, Identity: identity.Identity{Namespace: "osm-system", ServiceAccount: "osm-controller"}, DNSNames: []string{"osm-controller"}, Now: clock.Now,
	})
	must(t, err)
	config := cert.MutualTLS()
	ofA, ofB := catest.Issue(t, a, "a"), catest.Issue(t, b, "b")
	sessions := tls.NewLRUClientSessionCache(10)
	resumed := false
	try := func(leaf *ca.Leaf, trusted ca.Truster) error {
		return connect(config, &tls.Config{
			RootCAs: trusted.Trust().Pool(), ServerName: "osm-controller", Certificates: []tls.Certificate{leaf.TLS()}, MinVersion: tls.VersionTLS12,
			NextProtos: []string{"h2"}, ClientSessionCache: sessions,
			VerifyConnection: func(s tls.ConnectionState) error { resumed = resumed || s.DidResume; return nil },
		})
	}
	steps := []struct {
		name                 string
		set                  func() error
		clientA, clientB     bool // may connect
		servedToA, servedToB bool // to a client that trusts only that root
	}{
		{"one root", func() error { return nil }, true, false, true, false},
		{"trust both", func() error { return roots.Set(a, b) }, true, true, true, false},
		{"sign with the new one", func() error { return roots.Set(b, a) }, true, true, false, true},
		{"drop the old one", func() error { return roots.Set(b) }, false, true, false, true},
	}
	for _, step := range steps {
		must(t, step.set())
		for _, c := range []struct {
			what    string
			leaf    *ca.Leaf
			trusted ca.Truster
			works   bool
		}{
			{"client of a", ofA, catest.NewRootSet(t, a, b), step.clientA},
			{"client of b", ofB, catest.NewRootSet(t, a, b), step.clientB},
			{"client that trusts a", catest.Issue(t, roots, "w"), a, step.servedToA},
			{"client that trusts b", catest.Issue(t, roots, "w"), b, step.servedToB},
		} {
			if err := try(c.leaf, c.trusted); (err == nil) != c.works {
				t.Errorf("%s, %s: connects %v, want %v (%v)", step.name, c.what, err == nil, c.works, err)
			}
		}
		if cert.Signer() != roots.Trust().Fingerprint {
			t.Errorf("%s: serves with %s", step.name, cert.Signer())
		}
	}
	if resumed {
		t.Error("a session was resumed: it would outlive a dropped root")
	}
}

// TestServingRefresh: a server without clients changes its certificate when its evidence is collected.
func TestServingRefresh(t *testing.T) {
	clock := &catest.Clock{}
	a, _ := catest.NewIssuer(t, clock.Now)
	b, rootB := catest.NewIssuer(t, clock.Now)
	roots := catest.NewRootSet(t, a, b)
	authority := &catest.Counting{Authority: roots}
	cert, err := ca.NewServingCert(t.Context(), ca.ServingConfig{Authority: authority, Identity: catest.Workload("x"), Now: clock.Now})
	must(t, err)
	must(t, roots.Set(b, a))
	must(t, cert.Refresh(t.Context()))
	must(t, cert.Refresh(t.Context()))
	if cert.Signer() != rootB.Fingerprint() || authority.Issued.Load() != 2 {
		t.Errorf("signed by %s after %d certificates", cert.Signer(), authority.Issued.Load())
	}
	// While the new signer is unavailable, the old certificate stays in use, and the attempts are bounded.
	must(t, roots.Set(a, b))
	authority.Away.Store(true)
	for range 10 {
		must(t, cert.Refresh(t.Context()))
	}
	if n := authority.Asked.Load(); n != 3 || cert.Signer() != rootB.Fingerprint() {
		t.Errorf("asked %d times, serves with %s", n, cert.Signer())
	}
	clock.Jump(time.Minute)
	authority.Away.Store(false)
	must(t, cert.Refresh(t.Context()))
	if cert.Signer() == rootB.Fingerprint() {
		t.Error("not renewed after the pause")
	}
}
