package vault_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/ca/vault"
)

// TestOutages checks that each error says how to fix it, and that recovery needs no restart.
func TestOutages(t *testing.T) {
	t.Parallel()
	m := newMeshOn(t, newBao(t))
	m.durable()
	m.start()
	m.initialise()
	m.setUp()
	a := m.loaded(func(c *vault.Config) { c.Timeout = 500 * time.Millisecond })
	run(t, a)
	answer := func(status int, body string) func() {
		return func() {
			m.front.inject(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(status)
				_, _ = io.WriteString(w, body)
			})
		}
	}
	heal := func() { m.front.inject(nil) }
	for _, c := range []struct {
		name          string
		spoil, repair func()
		want          []string
	}{
		{"sealed", m.seal, m.unseal, []string{"503 Vault is sealed", "unseal the server"}},
		{"crashed", m.stop, func() { m.start(); m.unseal() }, []string{"502", "wait until the server is ready"}},
		{"503", answer(503, "no healthy upstream"), heal, []string{"503 no healthy upstream", "wait until the server is ready"}},
		{"429", answer(429, `{"errors":["request path \"pki/sign\": rate limit quota exceeded"]}`), heal, []string{"429 request path", "raise the server's rate limit quota"}},
		{"500 without a body", answer(500, ""), heal, []string{"500 Internal Server Error"}},
		{"a page", answer(200, "<html>welcome</html>"), heal, []string{"invalid character '<'"}},
		{"a long page", answer(502, "<html>"+strings.Repeat("x", 9000)), heal, []string{"502 <html>xxx", "xxx...: wait until the server is ready"}},
		{"an empty object", answer(200, "{}"), heal, []string{"the provider's response is empty"}},
		{"hanging", func() { m.front.inject(hang) }, heal, []string{"no response within 500ms", "NetworkPolicies"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.spoil()
			_, err := a.Issue(t.Context(), service("buyer"))
			contains(t, err, append(c.want, "issue service certificate for bookstore/buyer", m.front.server.URL, signPath)...)
			c.repair()
			recovers(t, a)
		})
	}
	if n := m.front.logins(); n != 1 {
		t.Errorf("%d logins, want 1: no outage is the token's fault", n)
	}
}

// TestWrongRole checks that errors name what a role lacks, and that recovery needs no restart.
func TestWrongRole(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	a := m.loaded(nil)
	serving := service("buyer")
	serving.Addresses = []net.IP{net.IPv4(10, 0, 0, 1)}
	for _, c := range []struct {
		name string
		role map[string]any
		req  ca.Request
		want []string
	}{
		{"removed", nil, service("buyer"), []string{"400 unknown role: openservicemesh", `create the role "openservicemesh"`}},
		{"key type", map[string]any{"key_type": "rsa"}, service("buyer"), []string{"400 role requires keys of type rsa", "set key_type=any in pki/roles/openservicemesh"}},
		{"key bits", map[string]any{"key_type": "rsa", "key_bits": 4096}, ca.Request{Identity: workload("buyer"), Usage: ca.UsageService, KeyBits: 2048}, []string{"400 role requires a minimum of", "key_bits=0 in pki/roles/openservicemesh"}},
		{"no SPIFFE", map[string]any{"allowed_uri_sans": ""}, service("buyer"), []string{`set allowed_uri_sans="spiffe://cluster.local/*" in pki/roles/openservicemesh`}},
		{"no names", map[string]any{"allow_any_name": false}, service("buyer"), []string{"not allowed by this role", "set allow_any_name=true in pki/roles/openservicemesh"}},
		{"no addresses", map[string]any{"allow_ip_sans": false}, serving, []string{"IP Subject Alternative Name", "set allow_ip_sans=true in pki/roles/openservicemesh"}},
		{"names of its own", map[string]any{"use_csr_common_name": false, "require_cn": false}, service("buyer"), []string{"has other common name than", "let the provider take its names from the signing request"}},
		{"servers only", map[string]any{"client_flag": false}, service("buyer"), []string{"lacks extended key usage clientAuth"}},
		{"other CA", map[string]any{"issuer_ref": "other"}, service("buyer"), []string{"does not lead to the trusted CA"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.role == nil {
				m.remove("pki/roles/" + pkiRole)
			} else {
				if c.role["issuer_ref"] == "other" {
					m.write("pki/root/generate/internal", map[string]any{"common_name": "other", "key_type": "ec", "issuer_name": "other"})
				}
				m.setRole(c.role)
			}
			leaf, err := a.Issue(t.Context(), c.req)
			if leaf != nil {
				t.Error("got a leaf")
			}
			contains(t, err, append(c.want, signPath)...)
			m.setRole(nil)
			recovers(t, a)
		})
	}
}

// TestWaitsForTheRole creates the role last.
func TestWaitsForTheRole(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	m.remove("pki/roles/" + pkiRole)
	a := m.authority(nil)
	loaded := make(chan error, 1)
	go func() { loaded <- m.load(a) }()
	wait(t, "the log to name the role", func() bool { return strings.Contains(m.journal.String(), "create the role") })
	m.setRole(nil)
	must(t, <-loaded)
	mustIssue(t, a, service("buyer"))
}

// TestEngine checks the errors about the engine itself.
func TestEngine(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	m.write("sys/mounts/empty", map[string]any{"type": "pki"})
	m.write("empty/roles/"+pkiRole, map[string]any{"allow_any_name": true, "allowed_uri_sans": "spiffe://*", "key_type": "any"})
	m.write("sys/policies/acl/osm", map[string]any{"policy": `path "+/sign/*" { capabilities = ["update"] }`})
	for mount, want := range map[string]string{
		"none":  `mount the engine at "none"`,
		"empty": `generate or import a CA in the PKI engine "empty"`,
	} {
		a := m.authority(func(c *vault.Config) { c.Mount = mount })
		loaded := make(chan error, 1)
		go func() { loaded <- m.load(a) }()
		wait(t, "the log to say "+want, func() bool { return m.journal.contains(want) })
		if mount == "none" {
			m.write("sys/mounts/none", map[string]any{"type": "pki"})
			m.write("none/roles/"+pkiRole, map[string]any{"allow_any_name": true, "allowed_uri_sans": "spiffe://*", "key_type": "any"})
		}
		m.write(mount+"/root/generate/internal", map[string]any{"common_name": mount, "key_type": "ec"})
		must(t, <-loaded)
		mustIssue(t, a, ca.Request{Identity: workload("buyer"), Usage: ca.UsageService, TTL: time.Minute})
	}
}

// TestAnotherCA checks that leaves of another CA are rejected, that the replica reports the change whether or
// not it requests leaves, and that it recovers when the old CA is back.
func TestAnotherCA(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	config := m.request("GET", "pki/config/issuers", nil)
	a := m.loaded(func(c *vault.Config) { c.Poll = 300 * time.Millisecond })
	quiet := m.loaded(func(c *vault.Config) { c.Poll, c.Report = time.Hour, (&reports{}).report })
	run(t, a)
	before := a.Trust()
	signed := m.front.count(signPath)
	reads := m.front.count("pki/cert/ca")
	wait(t, "three checks of the CA", func() bool { return m.front.count("pki/cert/ca") >= reads+3 })
	if n := m.front.count(signPath); n != signed {
		t.Errorf("%d leaves were signed to see that nothing changed", n-signed)
	}

	m.newCA("87600h")
	wait(t, "the difference to be reported", func() bool { return m.reports.last().State == ca.RootDiffers })
	status := m.reports.last()
	if status.State != ca.RootDiffers || status.Ready() || status.Loaded != before.Fingerprint || status.Found == before.Fingerprint || len(status.Found) != 64 {
		t.Errorf("reported %+v", status)
	}
	if text := status.String(); !strings.Contains(text, "Vault at "+m.front.server.URL+", PKI engine pki holds a different root CA") {
		t.Errorf("reported %q", text)
	}
	_, err := quiet.Issue(t.Context(), service("buyer"))
	contains(t, err, "does not lead to the trusted CA (sha256:"+before.Fingerprint, "restart the control plane")

	m.write("pki/config/issuers", map[string]any{"default": config["default"]})
	wait(t, "its end to be reported", func() bool { return m.reports.last().State == ca.RootSame })
	recovers(t, a)
	recovers(t, quiet)
	if after := a.Trust(); after.Fingerprint != before.Fingerprint {
		t.Error("the trust changed")
	}
}

// TestRenewedCA checks that a renewed CA certificate for the same key does not count as another CA, but is logged.
func TestRenewedCA(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	first := m.request("GET", "pki/issuer/default", nil)
	a := m.loaded(nil)
	renewed := m.write("pki/root/generate/existing", map[string]any{"common_name": "osm-ca", "key_ref": first["key_id"], "ttl": "80000h"})
	m.write("pki/config/issuers", map[string]any{"default": renewed["issuer_id"]})
	for range 3 {
		mustIssue(t, a, service("buyer"))
	}
	if n := strings.Count(m.journal.String(), "the CA's certificate was renewed"); n != 1 {
		t.Errorf("logged %d times:\n%s", n, m.journal)
	}
	if got := m.reports.states(); len(got) != 1 {
		t.Errorf("reported %v", got)
	}
}

// TestTLS checks that the bundle verifies the server, and the errors when it does not.
func TestTLS(t *testing.T) {
	t.Parallel()
	authority := newAuthority(t, time.Now().Add(time.Hour))
	b := newBao(t)
	b.withTLS(authority.server(t, "vault.example", net.IPv4(127, 0, 0, 1)))
	b.start()
	b.initialise()
	m := newMeshOn(t, b)
	m.setUp()
	a := m.loaded(func(c *vault.Config) { c.Address, c.CABundle = b.address(), authority.pem() })
	mustIssue(t, a, service("buyer"))

	other := newAuthority(t, time.Now().Add(time.Hour))
	for _, c := range []struct {
		name, address string
		bundle        []byte
		want          string
	}{
		{"system's CAs", b.address(), nil, "configure the CA bundle"},
		{"other CA", b.address(), other.pem(), "configure the CA bundle"},
		{"other name", "https://localhost:" + b.port, authority.pem(), "use a host name that the server's certificate is valid for"},
		{"http to https", "http://127.0.0.1:" + b.port, nil, "use protocol https"},
		{"https to http", strings.Replace(httpServer(t), "http:", "https:", 1), nil, "use protocol http"},
		{"no such host", "https://vault.invalid:8200", nil, "correct the host name"},
	} {
		t.Run(c.name, func(t *testing.T) {
			log := &journal{}
			a := m.authority(func(config *vault.Config) {
				config.Address, config.CABundle, config.Log = c.address, c.bundle, log.logger()
			})
			go func() { _ = a.Load(t.Context()) }()
			wait(t, "the log to say "+c.want, func() bool { return strings.Contains(log.String(), c.want) })
		})
	}
}

func httpServer(t *testing.T) string {
	server := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	return server.URL
}

// hang responds only after the client has disconnected.
func hang(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // otherwise the server does not notice
	<-r.Context().Done()
}
