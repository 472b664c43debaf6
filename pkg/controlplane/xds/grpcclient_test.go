package xds

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	managerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	grpcpeer "google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/xds"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/osm-edge/osm/pkg/controlplane/envoy"
)

// referenceClient is gRPC's own xDS client: a connection that finds its backends by state-of-the-world ADS
// over mTLS. It is an independent implementation of the protocol.
type referenceClient struct {
	t    *testing.T
	rig  *rig
	conn *grpc.ClientConn
}

// backend is a gRPC server; its address shows which one responded.
func backend(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(server, grpc_health_v1.UnimplementedHealthServer{})
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return listener.Addr().String()
}

func newReferenceClient(t *testing.T, r *rig, target string) *referenceClient {
	t.Helper()
	leaf := r.leaf("store")
	dir := t.TempDir()
	files := map[string][]byte{"ca.pem": r.issuer.Trust().Bundle, "cert.pem": leaf.CertPEM, "key.pem": leaf.KeyPEM()}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, port, _ := net.SplitHostPort(r.address)
	bootstrap, err := json.Marshal(map[string]any{
		"xds_servers": []any{map[string]any{
			"server_uri": "localhost:" + port, "server_features": []string{"xds_v3"},
			"channel_creds": []any{map[string]any{"type": "tls", "config": map[string]string{
				"ca_certificate_file": filepath.Join(dir, "ca.pem"), "certificate_file": filepath.Join(dir, "cert.pem"), "private_key_file": filepath.Join(dir, "key.pem"),
			}}},
		}},
		"node": map[string]string{"id": "shop/store-0"},
	})
	if err != nil {
		t.Fatal(err)
	}
	resolver, err := xds.NewXDSResolverWithConfigForTesting(bootstrap)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient("xds:///"+target, grpc.WithResolvers(resolver), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &referenceClient{t, r, conn}
}

// call makes a call and returns the address that answered.
func (c *referenceClient) call(wait bool) (string, error) {
	ctx, cancel := context.WithTimeout(c.t.Context(), 10*time.Second)
	defer cancel()
	var answered grpcpeer.Peer
	_, err := grpc_health_v1.NewHealthClient(c.conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{}, grpc.Peer(&answered), grpc.WaitForReady(wait))
	switch {
	case status.Code(err) == codes.Unimplemented: // the response of a backend
		return answered.Addr.String(), nil
	case strings.Contains(status.Convert(err).Message(), "unknown cluster selected for RPC"):
		// The client uses a new route shortly before its balancer knows the route's cluster. It does
		// so even if no cluster is ever removed.
		return "", nil
	}
	return "", err
}

// eventually calls until the wanted backend responds; no call may fail.
func (c *referenceClient) eventually(want string) {
	c.t.Helper()
	for deadline := time.Now().Add(15 * time.Second); ; {
		got, err := c.call(true)
		if err != nil {
			c.t.Fatalf("a call failed: %v", err)
		}
		if got == want {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("%s responds, want %s", got, want)
		}
	}
}

// proxyless is a configuration for gRPC clients: listener -> route -> cluster -> endpoint.
type proxyless struct {
	listener, route, cluster string
	endpoints                map[string]string // cluster -> address
	bad                      bool              // gRPC cannot use the listener
}

func (p proxyless) view(t *testing.T) envoy.View {
	t.Helper()
	add := map[envoy.Kind][]*envoy.Resource{}
	resource := func(k envoy.Kind, name string, m proto.Message) {
		r, err := envoy.NewResource(name, m)
		if err != nil {
			t.Fatal(err)
		}
		add[k] = append(add[k], r)
	}
	if p.listener != "" {
		resource(envoy.Listeners, p.listener, p.listenerFor(t))
	}
	resource(envoy.Routes, p.route, &routev3.RouteConfiguration{Name: p.route, VirtualHosts: []*routev3.VirtualHost{{
		Name: "all", Domains: []string{"*"},
		Routes: []*routev3.Route{{
			Match:  &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: ""}},
			Action: &routev3.Route_Route{Route: &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: p.cluster}}},
		}},
	}}})
	for name, address := range p.endpoints {
		resource(envoy.Clusters, name, &clusterv3.Cluster{
			Name: name, ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
			EdsClusterConfig: &clusterv3.Cluster_EdsClusterConfig{EdsConfig: overADS(), ServiceName: name},
		})
		resource(envoy.Endpoints, name, endpointAt(name, address))
	}
	own := envoy.NewLayer(nil)
	return envoy.View{Shared: envoy.NewLayer(add), Own: own}
}

func (p proxyless) listenerFor(t *testing.T) *listenerv3.Listener {
	manager := &managerv3.HttpConnectionManager{
		RouteSpecifier: &managerv3.HttpConnectionManager_Rds{Rds: &managerv3.Rds{ConfigSource: overADS(), RouteConfigName: p.route}},
		HttpFilters:    []*managerv3.HttpFilter{{Name: "router", ConfigType: &managerv3.HttpFilter_TypedConfig{TypedConfig: anyOf(t, &routerv3.Router{})}}},
		StatPrefix:     "x",
	}
	if p.bad {
		manager.HttpFilters = nil
	}
	return &listenerv3.Listener{Name: p.listener, ApiListener: &listenerv3.ApiListener{ApiListener: anyOf(t, manager)}}
}

func overADS() *corev3.ConfigSource {
	return &corev3.ConfigSource{ResourceApiVersion: corev3.ApiVersion_V3, ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}}}
}

func anyOf(t *testing.T, m proto.Message) *anypb.Any {
	t.Helper()
	packed, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return packed
}

func endpointAt(cluster, address string) *endpointv3.ClusterLoadAssignment {
	host, port, _ := net.SplitHostPort(address)
	var number uint32
	_, _ = fmt.Sscan(port, &number)
	return &endpointv3.ClusterLoadAssignment{ClusterName: cluster, Endpoints: []*endpointv3.LocalityLbEndpoints{{
		Locality: &corev3.Locality{Region: "here"}, LoadBalancingWeight: wrapperspb.UInt32(1),
		LbEndpoints: []*endpointv3.LbEndpoint{{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: &corev3.Address{
			Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{Address: host, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: number}}},
		}}}}},
	}}}
}

// TestGRPCClient checks the state-of-the-world variant with gRPC's xDS client: every change arrives,
// no call fails while clusters are replaced, deleted resources disappear, and a rejected one is rejected once.
func TestGRPCClient(t *testing.T) {
	r := newRig(t)
	publish := func(p proxyless) {
		r.server.publish(&table{views: map[string]envoy.View{"store-0": p.view(t)}})
	}
	one, two := backend(t), backend(t)
	publish(proxyless{listener: "greeter", route: "r", cluster: "a", endpoints: map[string]string{"a": one}})
	c := newReferenceClient(t, r, "greeter")
	c.eventually(one)
	publish(proxyless{listener: "greeter", route: "r", cluster: "a", endpoints: map[string]string{"a": two}})
	c.eventually(two)

	// Each step routes to another cluster, while calls are made. A cluster stays for ten more steps:
	// the client acknowledges a route before its last call with the old one has picked its endpoint.
	stop, failed := c.keepCalling()
	endpoints, names := map[string]string{"a": two}, []string{"a"}
	for i := range 30 {
		name, address := fmt.Sprintf("c%d", i), []string{one, two}[i%2]
		if names = append(names, name); len(names) > 10 {
			delete(endpoints, names[0])
			names = names[1:]
		}
		endpoints[name] = address
		publish(proxyless{listener: "greeter", route: "r", cluster: name, endpoints: endpoints})
		c.eventually(address)
	}
	stop()
	if n := failed.Load(); n > 0 {
		t.Errorf("%d calls failed while clusters were replaced", n)
	}

	publish(proxyless{listener: "greeter", route: "r", cluster: "a", endpoints: map[string]string{"a": one}, bad: true})
	awaitMetric(t, "rejected listeners", func() bool { return testutil.ToFloat64(r.metrics.nacks[envoy.Listeners]) == 1 })
	c.eventually(one) // with the listener that it had
	if n := testutil.ToFloat64(r.metrics.nacks[envoy.Listeners]); n != 1 {
		t.Errorf("%v rejections of one listener", n)
	}
	publish(proxyless{listener: "greeter", route: "r", cluster: "a", endpoints: map[string]string{"a": two}})
	c.eventually(two)
	awaitMetric(t, "no rejected resources", func() bool { return testutil.ToFloat64(r.metrics.rejected) == 0 })

	publish(proxyless{route: "r", cluster: "a", endpoints: map[string]string{"a": two}})
	awaitMetric(t, "calls that fail without a listener", func() bool {
		_, err := c.call(false)
		return status.Code(err) == codes.Unavailable
	})
}

// keepCalling makes calls until it is stopped, and counts those that fail.
func (c *referenceClient) keepCalling() (stop func(), failed *atomic.Int64) {
	failed = &atomic.Int64{}
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			default:
				if _, err := c.call(false); err != nil {
					failed.Add(1)
				}
			}
		}
	}()
	return func() {
		close(done)
		<-ended
	}, failed
}

// awaitMetric waits for an effect of another process or goroutine.
func awaitMetric(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ticker, deadline := time.NewTicker(10*time.Millisecond), time.After(20*time.Second)
	defer ticker.Stop()
	for !holds() {
		select {
		case <-ticker.C:
		case <-deadline:
			t.Fatalf("never happened: %s", what)
		}
	}
}
