package vault_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/ca/vault"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
)

func TestIssue(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	a := m.loaded(nil)
	for name, req := range map[string]ca.Request{
		"service": service("buyer"),
		"rsa":     {Identity: workload("buyer"), Usage: ca.UsageProxy, KeyBits: 2048},
		"serving": {Identity: workload("osm-controller"), Usage: ca.UsageServing, DNSNames: []string{"osm-controller.osm-system.svc"}, Addresses: []net.IP{net.IPv4(127, 0, 0, 1)}},
		"long":    {Identity: identity.Identity{Namespace: strings.Repeat("n", 63), ServiceAccount: strings.Repeat("a", 63)}, Usage: ca.UsageService},
	} {
		t.Run(name, func(t *testing.T) {
			leaf := mustIssue(t, a, req)
			cert := leaf.TLS().Leaf
			if got := cert.URIs; len(got) != 1 || got[0].String() != req.Identity.SPIFFE(domain) {
				t.Errorf("URI SANs %v", got)
			}
			if cert.Subject.CommonName != req.Identity.CommonName(domain) || !slices.Contains(cert.DNSNames, cert.Subject.CommonName) {
				t.Errorf("common name %q, DNS SANs %v", cert.Subject.CommonName, cert.DNSNames)
			}
			wanted := req.TTL
			if wanted == 0 {
				wanted = ca.DefaultTTL
			}
			if lifetime := leaf.NotAfter.Sub(leaf.Issued); lifetime < wanted-10*time.Second || lifetime > wanted+10*time.Second {
				t.Errorf("lifetime %v, want %v", lifetime, wanted)
			}
			if n := bytes.Count(leaf.CertPEM, []byte("BEGIN")); n != 1 {
				t.Errorf("%d certificates for proxies, want the leaf alone: the CA signs for itself", n)
			}
		})
	}
	if n := m.front.logins(); n != 1 {
		t.Errorf("%d logins, want 1", n)
	}
	if got := m.reports.states(); !slices.Equal(got, []ca.RootState{ca.RootSame}) {
		t.Errorf("reported %v", got)
	}
}

// TestIntermediate checks that the mesh trusts an intermediate alone, not everything that its root signs.
func TestIntermediate(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	m.write("sys/mounts/int", map[string]any{"type": "pki"})
	request := m.write("int/intermediate/generate/internal", map[string]any{"common_name": "mesh", "key_type": "ec"})
	signed := m.write("pki/root/sign-intermediate", map[string]any{"csr": request["csr"], "common_name": "mesh", "ttl": "700h"})
	root := m.request("GET", "pki/cert/ca", nil)["certificate"].(string)
	m.write("int/intermediate/set-signed", map[string]any{"certificate": signed["certificate"].(string) + "\n" + root})
	m.write("int/roles/mesh", map[string]any{"allow_any_name": true, "allowed_uri_sans": "spiffe://*", "key_type": "any", "max_ttl": "720h"})
	m.write("sys/policies/acl/osm", map[string]any{"policy": `path "int/sign/mesh" { capabilities = ["update"] }`})
	a := m.loaded(func(c *vault.Config) { c.Mount, c.Role = "int", "mesh" })
	leaf := mustIssue(t, a, service("buyer"))
	if n := bytes.Count(leaf.CertPEM, []byte("BEGIN")); n != 2 {
		t.Errorf("%d certificates, want the leaf and the intermediate", n)
	}
	if bytes.Contains(a.Trust().Bundle, []byte(strings.TrimSpace(root))) || bytes.Count(a.Trust().Bundle, []byte("BEGIN")) != 1 {
		t.Error("the company's root is trusted by the mesh")
	}
	if pool := x509.NewCertPool(); pool.AppendCertsFromPEM([]byte(root)) {
		must(t, accepted(leaf, ca.Trust{Bundle: []byte(root)}))
	}
}

// TestStartsBeforeTheServer checks that everything may start in any order, and that the log says at each
// stage what the control plane waits for.
func TestStartsBeforeTheServer(t *testing.T) {
	t.Parallel()
	m := newMeshOn(t, newBao(t))
	a := m.authority(func(c *vault.Config) { c.Address = m.address() })
	_, err := a.Issue(t.Context(), service("buyer"))
	contains(t, err, "not loaded yet")
	loaded := make(chan error, 1)
	go func() { loaded <- m.load(a) }()
	logged := func(text string) {
		t.Helper()
		eventually(t, "the log to say "+text, func() error {
			if !strings.Contains(m.journal.String(), text) {
				return errors.New(m.journal.String())
			}
			return nil
		})
	}
	logged("check host, port and protocol")
	m.start()
	logged("unseal the server")
	m.initialise()
	logged("enable the auth method at auth/jwt")
	m.setUp()
	must(t, <-loaded)
	mustIssue(t, a, service("buyer"))
	if n := strings.Count(m.journal.String(), "connection refused"); n > 1 {
		t.Errorf("the same failure was logged %d times", n)
	}
}

// TestLoadEnds checks that a canceled Load says what it was waiting for.
func TestLoadEnds(t *testing.T) {
	t.Parallel()
	m := newMeshOn(t, newBao(t))
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	err := m.authority(func(c *vault.Config) { c.Address = m.address() }).Load(ctx)
	contains(t, err, "load root CA from Vault at "+m.address(), "connection refused")
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v is not the context's", err)
	}
}

// TestShortLivedCA checks that a leaf never outlives the CA.
func TestShortLivedCA(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	m.newCA("10m")
	a := m.loaded(nil)
	leaf := mustIssue(t, a, ca.Request{Identity: workload("buyer"), Usage: ca.UsageService})
	if left := a.Trust().NotAfter.Sub(leaf.NotAfter); left < 0 || left > time.Minute {
		t.Errorf("the leaf ends %v before its CA, want shortly before", left)
	}
	if leaf.NotAfter.Sub(leaf.Issued) < 9*time.Minute {
		t.Errorf("the leaf expires as early as %v", leaf.NotAfter)
	}
}

// TestRoleShortensLeaves checks that a role whose max_ttl is shorter than the validity still works, and that the
// log says so.
func TestRoleShortensLeaves(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	m.setRole(map[string]any{"max_ttl": "20m"})
	a := m.loaded(nil)
	for range 3 {
		leaf := mustIssue(t, a, service("buyer"))
		if lifetime := leaf.NotAfter.Sub(leaf.Issued); lifetime > 21*time.Minute {
			t.Errorf("lifetime %v", lifetime)
		}
	}
	if n := strings.Count(m.journal.String(), "raise max_ttl"); n != 1 {
		t.Errorf("logged %d times:\n%s", n, m.journal)
	}
}
