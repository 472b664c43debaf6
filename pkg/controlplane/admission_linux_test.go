package controlplane_test

import (
	"bufio"
	"crypto/tls"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

// TestEnvoyAdmitsExactlyTheRule asks a real Envoy, with a rule that lets two identities in, who may talk
// to its application: at a Service's port and at a port that no Service leads to.
func TestEnvoyAdmitsExactlyTheRule(t *testing.T) {
	rule := &mesh.Rule{
		To:   identity.Identity{Namespace: "bank", ServiceAccount: "vault"},
		From: []identity.Identity{{Namespace: "shop", ServiceAccount: "buyer"}, {Namespace: "shop", ServiceAccount: "clerk.v2"}},
	}
	p := startPod(t, bank(), mesh.PodName{Namespace: "bank", Name: "vault-0"}, rule)
	p.serveApp(8080)
	p.serveAppAt(livePodIP, 9090)
	for id, want := range map[string]bool{
		"spiffe://cluster.local/ns/shop/sa/buyer":         true,
		"spiffe://cluster.local/ns/shop/sa/clerk.v2":      true,
		"spiffe://cluster.local/ns/shop/sa/buyer-2":       false,
		"spiffe://cluster.local/ns/shop/sa/buye":          false,
		"spiffe://cluster.local/ns/shop/sa/clerkxv2":      false,
		"spiffe://cluster.local/ns/bank/sa/buyer":         false,
		"spiffe://cluster.local/ns/bank/sa/vault":         false,
		"spiffe://cluster.local.evil/ns/shop/sa/buyer":    false,
		"spiffe://cluster.local/ns/shop/sa/buyer/sa/more": false,
		"spiffe://cluster.local/nobody":                   false,
	} {
		p.become(id)
		for _, port := range []int{8080, 9090} {
			if got := p.admitted(port); got != want {
				t.Errorf("%s on port %d: admitted: %t, want %t", id, port, got, want)
			}
		}
	}
}

// admitted reports whether the application answers a request of the client's.
func (p *livePod) admitted(port int) bool {
	p.t.Helper()
	conn := tls.Client(p.plain(port), p.tlsConfig())
	defer func() { _ = conn.Close() }()
	must(p.t, conn.SetDeadline(time.Now().Add(30*time.Second)))
	// With TLS 1.3 a client learns with the first read that its certificate is refused.
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: bank\r\nConnection: close\r\n\r\n"); err != nil {
		return false
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return false
	}
	defer func() { _ = response.Body.Close() }()
	return response.StatusCode == http.StatusOK
}
