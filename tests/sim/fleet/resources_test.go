package fleet

import (
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

func packed(t testing.TB, m proto.Message) *anypb.Any {
	t.Helper()
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func ads() *corev3.ConfigSource {
	return &corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}}}
}

// edsCluster returns a cluster with endpoints from EDS and its certificate, "leaf", from SDS.
func edsCluster(t testing.TB, name string) *clusterv3.Cluster {
	t.Helper()
	return &clusterv3.Cluster{
		Name: name, ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		EdsClusterConfig: &clusterv3.Cluster_EdsClusterConfig{EdsConfig: ads()},
		TransportSocket: &corev3.TransportSocket{Name: "tls", ConfigType: &corev3.TransportSocket_TypedConfig{
			TypedConfig: packed(t, &tlsv3.UpstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{
				TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{{Name: "leaf", SdsConfig: ads()}, {Name: "from a file"}},
			}}),
		}},
	}
}

func staticCluster(name string) *clusterv3.Cluster {
	return &clusterv3.Cluster{Name: name, ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}}
}

// routedListener returns a listener with routes from RDS.
func routedListener(t testing.TB, name string, routes ...string) *listenerv3.Listener {
	t.Helper()
	l := &listenerv3.Listener{Name: name}
	for _, route := range routes {
		l.FilterChains = append(l.FilterChains, &listenerv3.FilterChain{Filters: []*listenerv3.Filter{{
			ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: packed(t, &hcmv3.HttpConnectionManager{
				RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{ConfigSource: ads(), RouteConfigName: route}},
			})},
		}}})
	}
	return l
}

func assignment(name string, addresses ...string) *endpointv3.ClusterLoadAssignment {
	a := &endpointv3.ClusterLoadAssignment{ClusterName: name}
	for _, address := range addresses {
		a.Endpoints = append(a.Endpoints, &endpointv3.LocalityLbEndpoints{LbEndpoints: []*endpointv3.LbEndpoint{{
			HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{
				Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{Address: address}}},
			}},
		}}})
	}
	return a
}

func TestLearn(t *testing.T) {
	renamed := edsCluster(t, "c")
	renamed.EdsClusterConfig.ServiceName = "service"
	tests := map[string]struct {
		kind    Kind
		message proto.Message
		want    references
	}{
		"cluster":          {CDS, edsCluster(t, "c"), references{endpoints: "c", secrets: []string{"leaf"}}},
		"renamed":          {CDS, renamed, references{endpoints: "service", secrets: []string{"leaf"}}},
		"static cluster":   {CDS, staticCluster("c"), references{}},
		"listener":         {LDS, routedListener(t, "l", "b", "a", "b"), references{routes: []string{"a", "b"}}},
		"endpoints":        {EDS, assignment("c", "10.0.0.2", "10.0.0.1"), references{addresses: []string{"10.0.0.1", "10.0.0.2"}}},
		"without any":      {EDS, assignment("c"), references{}},
		"route: no matter": {RDS, staticCluster("anything"), references{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := learn(tt.kind, marshalled(t, tt.message))
			if err != nil {
				t.Fatal(err)
			}
			if got.endpoints != tt.want.endpoints || !equal(got.secrets, tt.want.secrets) || !equal(got.routes, tt.want.routes) || !equal(got.addresses, tt.want.addresses) {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
	if _, err := learn(CDS, []byte{0xff}); err == nil {
		t.Error("learned from something that is not a cluster")
	}
}

func equal(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

func TestCatalog(t *testing.T) {
	c := NewCatalog()
	one := element{name: []byte("c"), version: []byte("1"), body: marshalled(t, assignment("c", "10.0.0.1"))}
	first, err := c.resource(EDS, one)
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := c.resource(EDS, one); again != first {
		t.Error("the same version was decoded twice")
	}
	if whole, _ := c.resource(EDS, element{name: one.name, body: one.body}); whole != first {
		t.Error("the same content without a version was decoded again")
	}
	if !first.has("10.0.0.1") || first.has("10.0.0.2") {
		t.Error("addresses of the endpoints are wrong")
	}
	if n := c.endpointsOf("10.0.0.1"); n != first.name {
		t.Errorf("endpointsOf returns %v", n)
	}
	if n := c.endpointsOf("10.0.0.9"); n != nil {
		t.Errorf("endpointsOf returns %v for an unknown address", n)
	}
	if c.Conflicts() != 0 {
		t.Error("reports conflicts without any")
	}
	other := element{name: one.name, version: one.version, body: marshalled(t, assignment("c", "10.0.0.2"))}
	if r, _ := c.resource(EDS, other); r == first || c.Conflicts() != 1 {
		t.Errorf("another content under a used version: %d conflicts, want 1", c.Conflicts())
	}
	for range 3 * keepVersions {
		c.name(EDS, one.name).versions = append(c.name(EDS, one.name).versions, first)
	}
	if _, err := c.resource(EDS, element{name: one.name, version: []byte("9"), body: marshalled(t, assignment("c"))}); err != nil {
		t.Fatal(err)
	}
	if n := len(c.name(EDS, one.name).versions); n > keepVersions {
		t.Errorf("%d versions are kept, want at most %d", n, keepVersions)
	}
}
