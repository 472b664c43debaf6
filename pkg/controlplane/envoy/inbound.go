package envoy

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tlsinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/mesh"
	"github.com/osm-edge/osm/pkg/controlplane/policy"
)

// inboundListener lets in what comes over the mesh's mTLS, and nothing else: a connection without
// it finds no filter chain and is closed.
//
// Both parts of a peer's TLS handshake have a time limit: the first bytes, which choose the filter chain,
// and the rest. That is safe for protocols where the server speaks first, because with TLS the client
// always begins.
func inboundListener(settings mesh.Settings, proxy policy.Proxy) *listenerv3.Listener {
	td, limits := settings.TrustDomain, settings.Limits.WithDefaults()
	l := listener(ListenerInbound, api.PortEnvoyInbound, corev3.TrafficDirection_INBOUND)
	l.ListenerFilters = append(l.ListenerFilters, &listenerv3.ListenerFilter{
		Name:       "envoy.filters.listener.tls_inspector",
		ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: packed(&tlsinspectorv3.TlsInspector{})},
	})
	l.ListenerFiltersTimeout = durationpb.New(limits.Handshake)
	l.PerConnectionBufferLimitBytes = wrapperspb.UInt32(inboundBuffer)
	for _, port := range proxy.Inbound {
		// Also one that accepts nobody: without it, the chain of all other ports would take its connections.
		l.FilterChains = append(l.FilterChains, portChain(td, limits, port))
	}
	if !proxy.OtherPorts.AcceptNobody() {
		l.FilterChains = append(l.FilterChains, meshChain(td, limits, proxy.OtherPorts, chainOtherPorts, 0, tcpProxy("inbound", clusterLocalAny)))
	}
	// A peer that asks for the proxy's own outbound port would be sent round in circles.
	l.FilterChains = append(l.FilterChains, &listenerv3.FilterChain{
		Name:             chainBlackhole,
		FilterChainMatch: &listenerv3.FilterChainMatch{DestinationPort: wrapperspb.UInt32(api.PortEnvoyOutbound)},
		Filters:          []*listenerv3.Filter{tcpProxy("blackhole", clusterBlackhole)},
	})
	return l
}

func portChain(td identity.TrustDomain, limits mesh.Limits, port policy.Inbound) *listenerv3.FilterChain {
	filter := tcpProxy("inbound", localCluster(port.Number))
	if port.Protocol.IsHTTP() {
		filter = inboundHTTP(inboundRoute(port.Number), limits)
	}
	return meshChain(td, limits, port.From, inboundChain(port.Number), port.Number, filter)
}

// meshChain takes connections of the accepted clients to a port, over the mesh's mTLS; 0 is any port
// without a chain of its own.
func meshChain(td identity.TrustDomain, limits mesh.Limits, clients policy.Principals, name string, port uint16, filter *listenerv3.Filter) *listenerv3.FilterChain {
	match := &listenerv3.FilterChainMatch{
		TransportProtocol:    "tls",
		ApplicationProtocols: []string{alpnMesh},
	}
	if port != 0 {
		match.DestinationPort = wrapperspb.UInt32(uint32(port))
	}
	return &listenerv3.FilterChain{
		Name:                          name,
		FilterChainMatch:              match,
		TransportSocket:               downstreamTLS(td, clients),
		TransportSocketConnectTimeout: durationpb.New(limits.Handshake),
		Filters:                       []*listenerv3.Filter{filter},
	}
}
