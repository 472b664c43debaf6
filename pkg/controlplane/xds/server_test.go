package xds

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/ca/leafcache"
	"github.com/osm-edge/osm/pkg/controlplane/envoy"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

const trustDomain = identity.TrustDomain("cluster.local")

// rig is a real Server on loopback with a real root.
type rig struct {
	t       testing.TB
	server  *Server
	issuer  *authority
	address string
	metrics *Metrics
	builder *envoy.Builder
}

func newRig(t testing.TB) *rig {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() {
		// gRPC's own xDS client never stops the watchers of its credentials' files.
		goleak.VerifyNone(t, before, goleak.IgnoreTopFunction("google.golang.org/grpc/credentials/tls/certprovider/pemfile.(*watcher).run"))
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := newReplica(t, newAuthority(t))
	r.publish(1, "store-0", "buyer-0")
	r.serve(listener)
	return r
}

// newReplica creates a rig that serves nothing yet.
func newReplica(t testing.TB, issuer *authority, limits ...Limits) *rig {
	t.Helper()
	r := &rig{t: t, issuer: issuer, metrics: NewMetrics(prometheus.NewRegistry()), builder: envoy.NewBuilder(nil)}
	leaves, err := leafcache.New(leafcache.Config{Authority: r.issuer})
	if err != nil {
		t.Fatal(err)
	}
	serving, err := ca.NewServingCert(t.Context(), ca.ServingConfig{
		Authority: r.issuer, Identity: identity.Identity{Namespace: "osm-system", ServiceAccount: "osm-controller"}, DNSNames: []string{"localhost"},
	})
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{TrustDomain: trustDomain, TLS: serving.MutualTLS(), Leaves: leaves, Trust: r.issuer.Trust,
		Metrics: r.metrics, Log: slog.New(slog.DiscardHandler), Patience: 2 * time.Second, GracePeriod: 300 * time.Millisecond}
	for _, l := range limits {
		cfg.Limits = l
	}
	r.server, err = New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// serve serves until the test ends or stop is called.
func (r *rig) serve(listener net.Listener) (stop func()) {
	r.address = listener.Addr().String()
	served := make(chan error, 1)
	go func() { served <- r.server.Serve(listener) }()
	stop = sync.OnceFunc(func() {
		r.server.Close()
		if err := <-served; err != nil {
			r.t.Error(err)
		}
	})
	r.t.Cleanup(stop)
	return stop
}

// publish publishes a mesh with the given pods, each of the ServiceAccount before its dash, behind one
// Service whose only endpoint is 10.0.0.<host>.
func (r *rig) publish(host byte, pods ...string) {
	r.t.Helper()
	var workloads []*mesh.Workload
	for i, pod := range pods {
		account := pod[:len(pod)-2]
		workloads = append(workloads, &mesh.Workload{
			Name:      mesh.PodName{Namespace: "shop", Name: pod},
			Identity:  identity.Identity{Namespace: "shop", ServiceAccount: account},
			Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 1, byte(i)})},
		})
	}
	service := &mesh.Service{
		Name:      mesh.ServiceName{Namespace: "shop", Name: "store"},
		Addresses: []netip.Addr{netip.MustParseAddr("10.1.0.1")},
		Ports: []mesh.ServicePort{{Number: 80, Protocol: mesh.HTTP, Endpoints: []mesh.Endpoint{
			{Address: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, host}), 8080), Meshed: true},
		}}},
	}
	config, err := r.builder.Build(mesh.New(mesh.Settings{TrustDomain: trustDomain, Permissive: true, Egress: true}, []*mesh.Service{service}, workloads))
	if err != nil {
		r.t.Fatal(err)
	}
	r.server.Publish(config)
}

type deltaClient = grpc.BidiStreamingClient[discoveryv3.DeltaDiscoveryRequest, discoveryv3.DeltaDiscoveryResponse]

// dial opens a delta stream with a client certificate of the account.
func (r *rig) dial(account string) deltaClient {
	r.t.Helper()
	return r.dialWith(r.certificate(account))
}

func (r *rig) certificate(account string) tls.Certificate {
	r.t.Helper()
	return r.leaf(account).TLS()
}

func (r *rig) leaf(account string) *ca.Leaf {
	r.t.Helper()
	leaf, err := r.issuer.Issue(r.t.Context(), ca.Request{Identity: identity.Identity{Namespace: "shop", ServiceAccount: account}, Usage: ca.UsageProxy})
	if err != nil {
		r.t.Fatal(err)
	}
	return leaf
}

func (r *rig) dialWith(certificates ...tls.Certificate) deltaClient {
	r.t.Helper()
	stream, err := r.open(certificates...)
	if err != nil {
		r.t.Fatal(err)
	}
	return stream
}

func (r *rig) open(certificates ...tls.Certificate) (deltaClient, error) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	r.t.Cleanup(cancel)
	return discoveryv3.NewAggregatedDiscoveryServiceClient(r.connect(certificates)).DeltaAggregatedResources(ctx)
}

// connect opens a connection of its own.
func (r *rig) connect(certificates []tls.Certificate, options ...grpc.DialOption) *grpc.ClientConn {
	r.t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(r.issuer.Trust().Bundle)
	conn, err := grpc.NewClient(r.address, append(options, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
		RootCAs: roots, ServerName: "localhost", Certificates: certificates,
	})))...)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			r.t.Error(err)
		}
	})
	return conn
}

func ask(t *testing.T, c deltaClient, pod, url string, names ...string) {
	t.Helper()
	req := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: url, ResourceNamesSubscribe: names}
	if pod != "" {
		req.Node = &corev3.Node{Id: pod}
	}
	if err := c.Send(req); err != nil {
		t.Fatal(err)
	}
}

func receiveAndAck(t *testing.T, c deltaClient) *discoveryv3.DeltaDiscoveryResponse {
	t.Helper()
	resp, err := c.Recv()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: resp.GetTypeUrl(), ResponseNonce: resp.GetNonce()}); err != nil {
		t.Fatal(err)
	}
	return resp
}

func TestServerConfiguresAndUpdates(t *testing.T) {
	r := newRig(t)
	c := r.dial("store")
	ask(t, c, "shop/store-0", envoy.TypeCluster)
	if resp := receiveAndAck(t, c); len(resp.GetResources()) == 0 {
		t.Fatal("no clusters")
	}
	ask(t, c, "", envoy.TypeEndpoint, "shop/store|80")
	first := receiveAndAck(t, c)
	ask(t, c, "", envoy.TypeSecret, envoy.SecretWorkload, envoy.SecretTrustBundle)
	if resp := receiveAndAck(t, c); len(resp.GetResources()) != 2 {
		t.Fatalf("%d secrets, want certificate and trust bundle", len(resp.GetResources()))
	}
	r.publish(2, "store-0", "buyer-0")
	second := receiveAndAck(t, c)
	if got := second.GetResources()[0]; second.GetTypeUrl() != envoy.TypeEndpoint || got.GetVersion() == first.GetResources()[0].GetVersion() {
		t.Errorf("got %s %s after a change of an endpoint", second.GetTypeUrl(), got.GetVersion())
	}
	if n := testutil.ToFloat64(r.metrics.connected); n != 1 {
		t.Errorf("%v proxies counted, want 1", n)
	}
}

func TestServerRefuses(t *testing.T) {
	cases := []struct {
		name, account, pod string
		want               codes.Code
	}{
		{"a pod of another ServiceAccount", "buyer", "shop/store-0", codes.PermissionDenied},
		{"a pod that is not in the mesh", "store", "shop/store-9", codes.Unavailable},
		{"a node id that names no pod", "store", "sidecar~1", codes.InvalidArgument},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			stream := newRig(t).dial(c.account)
			ask(t, stream, c.pod, envoy.TypeCluster)
			if _, err := stream.Recv(); status.Code(err) != c.want {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestServerRefusesToBecomeAnotherPod(t *testing.T) {
	r := newRig(t)
	c := r.dial("store")
	ask(t, c, "shop/store-0", envoy.TypeCluster)
	receiveAndAck(t, c)
	ask(t, c, "shop/buyer-0", envoy.TypeSecret, envoy.SecretWorkload)
	for {
		resp, err := c.Recv()
		if status.Code(err) == codes.PermissionDenied {
			return
		}
		if err != nil || resp.GetTypeUrl() == envoy.TypeSecret {
			t.Fatalf("got %v, %v, want PermissionDenied", resp, err)
		}
	}
}

func TestServerRefusesWithoutCertificate(t *testing.T) {
	r := newRig(t)
	c, err := r.open()
	if err == nil {
		err = c.Send(&discoveryv3.DeltaDiscoveryRequest{Node: &corev3.Node{Id: "shop/store-0"}, TypeUrl: envoy.TypeCluster})
	}
	if err == nil {
		_, err = c.Recv()
	}
	if err == nil {
		t.Error("a client without a certificate was served")
	}
}

func TestServerDrainsAndRefusesNewStreams(t *testing.T) {
	r := newRig(t)
	c := r.dial("store")
	ask(t, c, "shop/store-0", envoy.TypeCluster)
	receiveAndAck(t, c)
	ends := r.server.BeginDrain()
	if len(ends) != 1 {
		t.Fatalf("%d streams to end, want 1", len(ends))
	}
	ends[0]()
	if _, err := c.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("the stream ended with %v, want Unavailable", err)
	}
	if _, err := r.open(r.certificate("buyer")); status.Code(err) != codes.Unavailable {
		t.Errorf("a new stream got %v, want Unavailable", err)
	}
}

// A proxy may connect before its pod is known.
func TestServerWaitsForTheNewsOfAPod(t *testing.T) {
	r := newRig(t)
	c := r.dial("late")
	ask(t, c, "shop/late-0", envoy.TypeCluster)
	r.publish(1, "store-0", "late-0")
	if resp := receiveAndAck(t, c); len(resp.GetResources()) == 0 {
		t.Error("no clusters")
	}
}

// The proxy of a pod that left the mesh keeps its last configuration for a while, and is updated again if the pod
// returns.
func TestServerKeepsAPodThatIsGoneForAWhile(t *testing.T) {
	r := newRig(t)
	c := r.dial("store")
	ask(t, c, "shop/store-0", envoy.TypeEndpoint, "shop/store|80")
	receiveAndAck(t, c)
	r.publish(7, "buyer-0")
	r.publish(8, "store-0", "buyer-0")
	if got := endpointOf(t, receiveAndAck(t, c)); got != "10.0.0.8" {
		t.Errorf("after the pod came back its proxy got endpoint %s, want 10.0.0.8 and nothing older", got)
	}
	r.publish(9, "buyer-0")
	if _, err := c.Recv(); status.Code(err) != codes.PermissionDenied {
		t.Errorf("the stream of a pod that stays away ended with %v, want PermissionDenied", err)
	}
}

func endpointOf(t *testing.T, resp *discoveryv3.DeltaDiscoveryResponse) string {
	t.Helper()
	var assignment endpointv3.ClusterLoadAssignment
	if err := resp.GetResources()[0].GetResource().UnmarshalTo(&assignment); err != nil {
		t.Fatal(err)
	}
	return assignment.GetEndpoints()[0].GetLbEndpoints()[0].GetEndpoint().GetAddress().GetSocketAddress().GetAddress()
}

// A stream ends when its certificate expires, even if the connection could continue.
func TestServerEndsAStreamWithItsCertificate(t *testing.T) {
	r := newRig(t)
	leaf, err := r.issuer.Issue(t.Context(), ca.Request{
		Identity: identity.Identity{Namespace: "shop", ServiceAccount: "store"}, Usage: ca.UsageProxy, TTL: 3 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	c := r.dialWith(leaf.TLS())
	ask(t, c, "shop/store-0", envoy.TypeCluster)
	receiveAndAck(t, c)
	if _, err := c.Recv(); status.Code(err) != codes.Unauthenticated {
		t.Errorf("the stream ended with %v, want Unauthenticated", err)
	}
}

// A proxy that is drained opens a new connection: on the old one it would come back to the same replica.
func TestServerSendsProxiesToOtherReplicas(t *testing.T) {
	r := newRig(t)
	conn := r.connect([]tls.Certificate{r.certificate("store")})
	client := discoveryv3.NewAggregatedDiscoveryServiceClient(conn)
	c, err := client.DeltaAggregatedResources(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ask(t, c, "shop/store-0", envoy.TypeCluster)
	receiveAndAck(t, c)
	ends := r.server.BeginDrain()
	asked, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for conn.GetState() == connectivity.Ready {
		if !conn.WaitForStateChange(asked, connectivity.Ready) {
			t.Fatal("the proxy was not asked to leave the connection")
		}
	}
	ends[0]()
	if _, err := c.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("the stream ended with %v, want Unavailable", err)
	}
}
