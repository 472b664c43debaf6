package collect_test

import (
	"context"
	"net"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/rebalance"
	"github.com/osm-edge/osm/pkg/controlplane/rotation/collect"
	"github.com/osm-edge/osm/tests/catest"
)

// A replica that answers is in the result with its load, one that does not with an error.
func TestLoads(t *testing.T) {
	root := catest.New(t)
	roots, err := ca.NewRootSet(nil, root)
	if err != nil {
		t.Fatal(err)
	}
	controller := identity.Identity{Namespace: "osm-system", ServiceAccount: "osm-controller"}
	serving, err := ca.NewServingCert(t.Context(), ca.ServingConfig{Authority: roots, Identity: controller, DNSNames: []string{"osm-controller.osm-system.svc"}})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(collect.Handler("osm-system", "cluster.local", roots.Trust, collect.Pages{
		collect.LoadPath: func(context.Context) any { return collect.Load{Proxies: 7, Draining: true} },
	}))
	server.TLS = serving.MutualTLS()
	server.StartTLS()
	defer server.Close()
	_, number, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(number)
	if err != nil {
		t.Fatal(err)
	}
	c := &collect.Collector{Namespace: "osm-system", TrustDomain: "cluster.local", Roots: root, Port: port, Now: time.Now}
	// 127.0.0.1 is the server; nothing listens at the other address.
	peers, err := c.Loads(t.Context(), map[string]string{"first": "127.0.0.1", "second": "127.0.0.2"})
	if err != nil || len(peers) != 2 {
		t.Fatalf("%+v, %v", peers, err)
	}
	for _, p := range peers {
		switch {
		case p.Name == "first" && p != (rebalance.Peer{Name: "first", Proxies: 7, Draining: true}):
			t.Errorf("the replica that answers is %+v", p)
		case p.Name == "second" && p.Err == nil:
			t.Errorf("the replica that does not answer is %+v", p)
		}
	}
	if peers, err := c.Loads(t.Context(), nil); len(peers) != 0 || err != nil {
		t.Errorf("nobody is asked: %+v, %v", peers, err)
	}
}
