package vault_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/osm-edge/osm/pkg/controlplane/ca/vault"
)

// The names that the operator of the tests uses.
const (
	pkiRole   = "openservicemesh"
	loginRole = "osm"
	signPath  = "pki/sign/" + pkiRole
)

// mesh is a server set up for a mesh, and the ServiceAccount token of a control plane.
type mesh struct {
	*bao
	front     *front
	key       *ecdsa.PrivateKey // signs ServiceAccount tokens
	tokenFile string
	journal   *journal
	reports   *reports
}

// newMesh sets up a running server: a CA, a role that signs, a policy and a login.
func newMesh(t *testing.T) *mesh {
	m := newMeshOn(t, running(t))
	m.setUp()
	return m
}

// newMeshOn prepares what the control plane has, without contacting the server.
func newMeshOn(t *testing.T, b *bao) *mesh {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	m := &mesh{bao: b, front: newFront(t, b), key: key, tokenFile: filepath.Join(t.TempDir(), "token"), journal: &journal{}, reports: &reports{}}
	m.writeToken("system:serviceaccount:osm-system:osm-controller")
	return m
}

func (m *mesh) setUp() {
	m.write("sys/mounts/pki", map[string]any{"type": "pki", "config": map[string]any{"max_lease_ttl": "87600h"}})
	m.newCA("87600h")
	m.setRole(nil)
	m.write("sys/policies/acl/osm", map[string]any{"policy": `path "` + signPath + `" { capabilities = ["update"] }`})
	m.enableLogin()
}

func (m *mesh) enableLogin() {
	m.write("sys/auth/jwt", map[string]any{"type": "jwt"})
	public, err := x509.MarshalPKIXPublicKey(m.key.Public())
	must(m.t, err)
	m.write("auth/jwt/config", map[string]any{"jwt_validation_pubkeys": []string{string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}))}})
	m.setLogin(nil)
}

func (m *mesh) newCA(ttl string) (id string) {
	m.t.Helper()
	answer := m.write("pki/root/generate/internal", map[string]any{"common_name": "osm-ca", "key_type": "ec", "ttl": ttl})
	id, _ = answer["issuer_id"].(string)
	m.write("pki/config/issuers", map[string]any{"default": id})
	return id
}

// setRole writes the role that signs, with changes to what the documentation requires.
func (m *mesh) setRole(change map[string]any) {
	m.t.Helper()
	role := map[string]any{"allow_any_name": true, "allowed_uri_sans": "spiffe://" + string(domain) + "/*", "key_type": "any", "max_ttl": "720h", "no_store": true}
	maps.Copy(role, change)
	m.write("pki/roles/"+pkiRole, role)
}

// setLogin writes the role of the login.
func (m *mesh) setLogin(change map[string]any) {
	m.t.Helper()
	role := map[string]any{
		"role_type": "jwt", "user_claim": "sub", "bound_audiences": "vault", "bound_subject": "system:serviceaccount:osm-system:osm-controller",
		"token_policies": "osm", "token_ttl": "1h",
	}
	maps.Copy(role, change)
	m.write("auth/jwt/role/"+loginRole, role)
}

// writeToken writes a token as Kubernetes does for a ServiceAccount.
func (m *mesh) writeToken(subject string) {
	m.t.Helper()
	part := func(v any) string {
		text, err := json.Marshal(v)
		must(m.t, err)
		return base64.RawURLEncoding.EncodeToString(text)
	}
	signed := part(map[string]string{"alg": "ES256", "typ": "JWT"}) + "." + part(map[string]any{
		"sub": subject, "aud": "vault", "exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix(),
	})
	digest := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, m.key, digest[:])
	must(m.t, err)
	signature := append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	must(m.t, os.WriteFile(m.tokenFile, []byte(signed+"."+base64.RawURLEncoding.EncodeToString(signature)+"\n"), 0o600))
}

// config is the configuration of a control plane that logs in.
func (m *mesh) config() vault.Config {
	return vault.Config{
		Address: m.front.server.URL, Role: pkiRole, TrustDomain: domain,
		Login:  vault.Login{Mount: "jwt", Role: loginRole, TokenFile: m.tokenFile},
		Report: m.reports.report, Log: m.journal.logger(),
	}
}

// authority returns an Authority that is not loaded.
func (m *mesh) authority(change func(*vault.Config)) *vault.Authority {
	m.t.Helper()
	config := m.config()
	if change != nil {
		change(&config)
	}
	a, err := vault.New(config)
	must(m.t, err)
	return a
}

// loaded returns an Authority that is loaded.
func (m *mesh) loaded(change func(*vault.Config)) *vault.Authority {
	m.t.Helper()
	a := m.authority(change)
	must(m.t, m.load(a))
	return a
}

func (m *mesh) load(a *vault.Authority) error {
	ctx, cancel := context.WithTimeout(m.t.Context(), processTimeout)
	defer cancel()
	return a.Load(ctx)
}

// front is a reverse proxy before a server. It counts requests by path, and responds itself on demand.
type front struct {
	server *httptest.Server
	proxy  *httputil.ReverseProxy

	mu     sync.Mutex
	counts map[string]int
	fault  http.HandlerFunc
}

func newFront(t *testing.T, b *bao) *front {
	target, err := url.Parse(b.address())
	must(t, err)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	f := &front{counts: map[string]int{}, proxy: &httputil.ReverseProxy{
		Transport: transport,
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target) },
	}}
	f.server = httptest.NewServer(f)
	t.Cleanup(f.server.Close)
	return f
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.counts[r.URL.Path]++
	fault := f.fault
	f.mu.Unlock()
	if fault != nil {
		fault(w, r)
		return
	}
	f.proxy.ServeHTTP(w, r)
}

// inject handles all requests with fault; nil forwards them again.
func (f *front) inject(fault http.HandlerFunc) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = fault
}

func (f *front) count(path string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.counts["/v1/"+path]
}

func (f *front) logins() int { return f.count("auth/jwt/login") }
