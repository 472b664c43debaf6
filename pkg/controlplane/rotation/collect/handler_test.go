package collect_test

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/rotation"
	"github.com/osm-edge/osm/pkg/controlplane/rotation/collect"
	"github.com/osm-edge/osm/tests/catest"
)

// An open connection gives no evidence to a client whose root is no longer trusted, or whose certificate has
// expired, and a proxy of the mesh gets none either.
func TestHandlerAuthenticatesEachRequest(t *testing.T) {
	old, after := catest.New(t), catest.New(t)
	roots, err := ca.NewRootSet(nil, old)
	if err != nil {
		t.Fatal(err)
	}
	controller := identity.Identity{Namespace: "osm-system", ServiceAccount: "osm-controller"}
	serving, err := ca.NewServingCert(t.Context(), ca.ServingConfig{Authority: roots, Identity: controller, DNSNames: []string{"localhost"}})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(collect.Handler("osm-system", "cluster.local", roots.Trust, collect.Pages{
		collect.Path:     func(context.Context) any { return rotation.Replica{Name: "secret"} },
		collect.LoadPath: func(context.Context) any { return collect.Load{Proxies: 7} },
	}))
	server.TLS = serving.MutualTLS()
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	client := func(id identity.Identity, ttl time.Duration) *http.Client {
		leaf, err := old.Issue(t.Context(), ca.Request{Identity: id, Usage: ca.UsageProxy, TTL: ttl})
		if err != nil {
			t.Fatal(err)
		}
		transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{
			RootCAs: old.Trust().Pool(), ServerName: "localhost", Certificates: []tls.Certificate{leaf.TLS()}, MinVersion: tls.VersionTLS13,
		}}
		t.Cleanup(transport.CloseIdleConnections)
		return &http.Client{Transport: transport}
	}
	page := collect.Path
	ask := func(c *http.Client) int {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+page, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode
	}
	peer, brief := client(controller, time.Hour), client(controller, 2*time.Second)
	if got := ask(peer); got != http.StatusOK {
		t.Fatalf("a controller gets status %d", got)
	}
	if got := ask(brief); got != http.StatusOK {
		t.Fatalf("a controller gets status %d", got)
	}
	for _, page = range []string{collect.LoadPath, collect.Path} {
		if got := ask(client(identity.Identity{Namespace: "shop", ServiceAccount: "store"}, time.Hour)); got != http.StatusForbidden {
			t.Errorf("a proxy gets status %d for %s, want 403", got, page)
		}
	}
	for deadline := time.Now().Add(20 * time.Second); ask(brief) != http.StatusUnauthorized; {
		if time.Now().After(deadline) {
			t.Fatal("an expired certificate is still accepted")
		}
	}
	if err := roots.Set(after); err != nil {
		t.Fatal(err)
	}
	if got := ask(peer); got != http.StatusUnauthorized {
		t.Errorf("a request on a connection of the dropped root gets status %d, want 401", got)
	}
}
