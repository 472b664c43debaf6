package envoy

import (
	"net/netip"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	rawbufferv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/mesh"
	"github.com/osm-edge/osm/pkg/controlplane/policy"
)

const (
	httpOptions  = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
	socketMatch  = "envoy.transport_socket_match"
	plaintextKey = "plaintext"
)

// serviceClusterFor balances over a Service port's endpoints. mTLS is the default; an endpoint
// without a proxy has to say so by itself.
func serviceClusterFor(td identity.TrustDomain, s *mesh.Service, p *mesh.ServicePort, egress bool) *clusterv3.Cluster {
	c := cluster(serviceCluster(s.Name, p.Number), clusterv3.Cluster_EDS)
	c.EdsClusterConfig = &clusterv3.Cluster_EdsClusterConfig{EdsConfig: ads()}
	ejectUnreachable(c)
	// Not round robin: a client whose requests come in a fixed pattern would hit the same endpoint
	// with the same kind of request for ever.
	c.LbPolicy = clusterv3.Cluster_LEAST_REQUEST
	if s.Sticky {
		c.LbPolicy = clusterv3.Cluster_RING_HASH
	}
	c.TransportSocket = upstreamTLS(td, policy.ServersOf(p))
	if egress {
		c.TransportSocketMatches = []*clusterv3.Cluster_TransportSocketMatch{{
			Name:            plaintextKey,
			Match:           plaintext(),
			TransportSocket: rawBuffer(),
		}}
	}
	if p.Protocol.IsHTTP() {
		closeSilent(c)
	}
	return c
}

// headlessClusterFor goes to the very pod that the client dialled and accepts only the service's
// identities there.
func headlessClusterFor(td identity.TrustDomain, s *mesh.Service, p *mesh.ServicePort) *clusterv3.Cluster {
	c := originalDestination(serviceCluster(s.Name, p.Number))
	c.TransportSocket = upstreamTLS(td, policy.ServersOf(p))
	return c
}

// podsCluster goes to the very pod that the client dialled and accepts whichever of the servers is
// there: a bare address says no more.
func podsCluster(td identity.TrustDomain, servers policy.Principals) *clusterv3.Cluster {
	c := originalDestination(clusterPods)
	c.TransportSocket = upstreamTLS(td, servers)
	return c
}

// localClusterFor hands traffic to the application: at 127.0.0.1, or where the client dialled,
// which for inbound traffic is the pod's own address.
func localClusterFor(port mesh.InboundPort, onPodIP bool) *clusterv3.Cluster {
	name := localCluster(port.Number)
	c := localDestination(name)
	if !onPodIP {
		c = cluster(name, clusterv3.Cluster_STATIC)
		loopback := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port.Number)
		c.LoadAssignment = loadAssignment(name, []*endpointv3.LbEndpoint{lbEndpoint(loopback)})
	}
	if port.Protocol.IsHTTP() {
		c.TypedExtensionProtocolOptions = downstreamHTTPVersion(&corev3.Http2ProtocolOptions{})
	}
	return c
}

// localDestination reaches the application at the pod's own address. It binds to an address that the
// redirect knows, because without it the redirect would take the connection for a peer's.
func localDestination(name string) *clusterv3.Cluster {
	c := originalDestination(name)
	c.UpstreamBindConfig = &corev3.BindConfig{SourceAddress: &corev3.SocketAddress{
		Address:       api.InboundBind,
		PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 0},
	}}
	return c
}

func originalDestination(name string) *clusterv3.Cluster {
	c := cluster(name, clusterv3.Cluster_ORIGINAL_DST)
	c.LbPolicy = clusterv3.Cluster_CLUSTER_PROVIDED
	return c
}

// blackhole has no endpoints: a connection to it is closed.
func blackhole() *clusterv3.Cluster {
	c := cluster(clusterBlackhole, clusterv3.Cluster_STATIC)
	c.LoadAssignment = loadAssignment(clusterBlackhole, nil)
	return c
}

func cluster(name string, discovery clusterv3.Cluster_DiscoveryType) *clusterv3.Cluster {
	// The defaults (1024 connections, requests and so on) are for an edge proxy; what an
	// application's upstream bears is not the mesh's to guess.
	unlimited := wrapperspb.UInt32(1<<32 - 1)
	return &clusterv3.Cluster{
		Name:                 name,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: discovery},
		ConnectTimeout:       durationpb.New(onlyTimeout),
		CircuitBreakers: &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{
			MaxConnections: unlimited, MaxPendingRequests: unlimited, MaxRequests: unlimited, MaxRetries: unlimited,
		}}},
	}
}

// downstreamHTTPVersion speaks HTTP/2 to the server when the client did, HTTP/1.1 otherwise.
func downstreamHTTPVersion(http2 *corev3.Http2ProtocolOptions) map[string]*anypb.Any {
	return map[string]*anypb.Any{httpOptions: packed(&httpv3.HttpProtocolOptions{
		UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_UseDownstreamProtocolConfig{
			UseDownstreamProtocolConfig: &httpv3.HttpProtocolOptions_UseDownstreamHttpConfig{
				HttpProtocolOptions:  &corev3.Http1ProtocolOptions{},
				Http2ProtocolOptions: http2,
			},
		},
	})}
}

// endpointsFor lists a Service port's endpoints. Without egress those that have no proxy are left
// out: plaintext is traffic that leaves the mesh.
func endpointsFor(s *mesh.Service, p *mesh.ServicePort, egress bool) *endpointv3.ClusterLoadAssignment {
	var endpoints []*endpointv3.LbEndpoint
	for _, e := range p.Endpoints {
		if !e.Meshed && !egress {
			continue
		}
		endpoint := lbEndpoint(e.Address)
		metadata := map[string]*structpb.Struct{}
		if !e.Meshed {
			metadata[socketMatch] = plaintext()
		}
		if s.Sticky {
			metadata[loadBalancer] = placeOnRing(e.Address.Addr())
		}
		if len(metadata) > 0 {
			endpoint.Metadata = &corev3.Metadata{FilterMetadata: metadata}
		}
		endpoints = append(endpoints, endpoint)
	}
	return loadAssignment(serviceCluster(s.Name, p.Number), endpoints)
}

func loadAssignment(name string, endpoints []*endpointv3.LbEndpoint) *endpointv3.ClusterLoadAssignment {
	assignment := &endpointv3.ClusterLoadAssignment{ClusterName: name}
	if len(endpoints) > 0 {
		assignment.Endpoints = []*endpointv3.LocalityLbEndpoints{{LbEndpoints: endpoints}}
	}
	return assignment
}

func lbEndpoint(at netip.AddrPort) *endpointv3.LbEndpoint {
	return &endpointv3.LbEndpoint{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{
		Endpoint: &endpointv3.Endpoint{Address: address(at)},
	}}
}

func address(at netip.AddrPort) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address:       at.Addr().String(),
		PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(at.Port())},
	}}}
}

func plaintext() *structpb.Struct {
	return &structpb.Struct{Fields: map[string]*structpb.Value{plaintextKey: structpb.NewBoolValue(true)}}
}

func rawBuffer() *corev3.TransportSocket {
	return &corev3.TransportSocket{
		Name:       "envoy.transport_sockets.raw_buffer",
		ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: packed(&rawbufferv3.RawBuffer{})},
	}
}
