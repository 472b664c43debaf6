package xds

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/ca/leafcache"
	"github.com/osm-edge/osm/pkg/controlplane/envoy"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
)

// rotatingRig is a real server whose roots can be replaced, wired as the controller wires it.
type rotatingRig struct {
	*rig
	roots    *ca.RootSet
	old, new *authority
}

func newRotatingRig(t *testing.T) *rotatingRig {
	t.Helper()
	r := &rotatingRig{old: newAuthority(t), new: newAuthority(t)}
	var err error
	if r.roots, err = ca.NewRootSet(nil, r.old); err != nil {
		t.Fatal(err)
	}
	leaves, err := leafcache.New(leafcache.Config{Authority: r.roots})
	if err != nil {
		t.Fatal(err)
	}
	serving, err := ca.NewServingCert(t.Context(), ca.ServingConfig{
		Authority: r.roots, Identity: identity.Identity{Namespace: "osm-system", ServiceAccount: "osm-controller"}, DNSNames: []string{"localhost"},
	})
	if err != nil {
		t.Fatal(err)
	}
	r.rig = &rig{t: t, issuer: r.old, metrics: NewMetrics(prometheus.NewRegistry()), builder: envoy.NewBuilder(nil)}
	r.server, err = New(Config{TrustDomain: trustDomain, TLS: serving.MutualTLS(), Leaves: leaves, Trust: r.roots.Trust, Metrics: r.metrics, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	r.roots.Subscribe(func(c ca.Change) {
		if c.Trust {
			if err := r.server.Retrust(); err != nil {
				t.Error(err)
			}
		}
		if c.Signer {
			leaves.Reissue(0)
			r.server.Reissue(0)
		}
	})
	ctx, stop := context.WithCancel(t.Context())
	t.Cleanup(stop)
	go func() { _ = leaves.Run(ctx) }()
	r.publish(1, "store-0", "buyer-0")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.serve(listener)
	return r
}

// connectAs makes a connection with a client certificate that a root signed.
func (r *rotatingRig) connectAs(by *authority, account string) *grpc.ClientConn {
	r.t.Helper()
	leaf, err := by.Issue(r.t.Context(), ca.Request{Identity: identity.Identity{Namespace: "shop", ServiceAccount: account}, Usage: ca.UsageProxy})
	if err != nil {
		r.t.Fatal(err)
	}
	both := x509.NewCertPool()
	for _, a := range []*authority{r.old, r.new} {
		both.AppendCertsFromPEM(a.Trust().Bundle)
	}
	conn, err := grpc.NewClient(r.address, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
		RootCAs: both, ServerName: "localhost", Certificates: []tls.Certificate{leaf.TLS()},
	})))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func openOn(t *testing.T, conn *grpc.ClientConn) deltaClient {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	c, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A stream that was opened with a certificate of the dropped root gets no leaf of the new root, neither on
// itself nor on its connection, and ends. A stream of the new root continues.
func TestServerDropsStreamsOfADroppedRoot(t *testing.T) {
	r := newRotatingRig(t)
	conn := r.connectAs(r.old, "store")
	forged := openOn(t, conn)
	ask(t, forged, "shop/store-0", envoy.TypeSecret, envoy.SecretWorkload, envoy.SecretTrustBundle)
	receiveAndAck(t, forged)

	if err := r.roots.Set(r.old, r.new); err != nil {
		t.Fatal(err)
	}
	receiveAndAck(t, forged) // the bundle with both
	honest := openOn(t, r.connectAs(r.new, "buyer"))
	ask(t, honest, "shop/buyer-0", envoy.TypeSecret, envoy.SecretWorkload, envoy.SecretTrustBundle)
	receiveAndAck(t, honest)
	if err := r.roots.Set(r.new); err != nil { // the old one is no longer trusted, and the new one signs
		t.Fatal(err)
	}
	for {
		resp, err := forged.Recv()
		if err != nil {
			if status.Code(err) != codes.Unauthenticated {
				t.Errorf("the stream ended with %v, want Unauthenticated", err)
			}
			break
		}
		t.Errorf("the stream of the dropped root was sent %s", summary(resp))
	}
	// The connection is the same, and must not lead to another stream.
	if again, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(t.Context()); err == nil {
		err = again.Send(&discoveryv3.DeltaDiscoveryRequest{Node: &corev3.Node{Id: "shop/store-0"}, TypeUrl: envoy.TypeSecret, ResourceNamesSubscribe: []string{envoy.SecretWorkload}})
		if err == nil {
			_, err = again.Recv()
		}
		if err == nil {
			t.Error("a new stream on the connection of the dropped root was served")
		}
	}
	for got := ""; got != envoy.SecretWorkload; {
		resp := receiveAndAck(t, honest)
		for _, secret := range resp.GetResources() {
			got = secret.GetName()
		}
	}
	if n := testutil.ToFloat64(r.metrics.refused.WithLabelValues("untrusted")); n < 1 {
		t.Errorf("%v streams counted as untrusted", n)
	}
}

// A handshake that began before the root was dropped leads to no stream afterwards.
func TestServerJudgesConnectionsByTheTrustOfNow(t *testing.T) {
	r := newRotatingRig(t)
	conn := r.connectAs(r.old, "store")
	c := openOn(t, conn) // sends nothing yet
	awaitMetric(t, "the connection is established", func() bool { return testutil.ToFloat64(r.metrics.pending) == 1 })
	if err := r.roots.Set(r.new); err != nil {
		t.Fatal(err)
	}
	ask(t, c, "shop/store-0", envoy.TypeSecret, envoy.SecretWorkload)
	if resp, err := c.Recv(); status.Code(err) != codes.Unauthenticated {
		t.Errorf("got %v, %v, want Unauthenticated", summary(resp), err)
	}
}

// A CA that is renewed with the same key has another certificate, but is the same CA.
func TestVouch(t *testing.T) {
	a, b := newAuthority(t), newAuthority(t)
	leaf, err := a.Issue(t.Context(), ca.Request{Identity: identity.Identity{Namespace: "shop", ServiceAccount: "store"}, Usage: ca.UsageProxy})
	if err != nil {
		t.Fatal(err)
	}
	chains, err := leaf.TLS().Leaf.Verify(x509.VerifyOptions{Roots: a.Trust().Pool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := [][]*x509.Certificate{{chains[0][0], {Raw: []byte("an older certificate of the same CA")}}}
	now := time.Now()
	for _, c := range []struct {
		name   string
		trust  ca.Trust
		chains [][]*x509.Certificate
		at     time.Time
		want   bool
	}{
		{"its CA", a.Trust(), chains, now, true},
		{"another CA", b.Trust(), chains, now, false},
		{"its CA in another certificate", a.Trust(), elsewhere, now, true},
		{"the same, expired", a.Trust(), elsewhere, leaf.NotAfter.Add(time.Second), false},
		{"no chain", a.Trust(), nil, now, false},
	} {
		if got := c.trust.Anchors().Vouch(c.chains, c.at); got != c.want {
			t.Errorf("%s: %t, want %t", c.name, got, c.want)
		}
	}
}
