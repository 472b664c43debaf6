package envoy

import (
	"net/netip"
	"slices"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	originaldstv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/original_dst/v3"
	networkv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/common_inputs/network/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/controlplane/mesh"
	"github.com/osm-edge/osm/pkg/controlplane/policy"
)

// outboundListener has one filter chain per Service port and one per identity (for pod addresses),
// chosen by where the application connected to. A matcher tree chooses, not the chains' own match
// conditions: those look at the port before the address and do not come back, so a Service's port
// 80 would hide port 80 of every pod; and a pod that comes or goes must not drain connections.
func outboundListener(out *policy.Outbound) *listenerv3.Listener {
	chains := map[string]*listenerv3.FilterChain{}
	var ranges []*xdsmatcherv3.IPMatcher_IPRangeMatcher
	for _, s := range out.Services {
		ports := map[string]*xdsmatcherv3.Matcher_OnMatch{}
		for i := range s.Ports {
			chain := serviceChain(s, &s.Ports[i])
			chains[chain.Name] = chain
			ports[portString(s.Ports[i].Number)] = toChain(chain.Name)
		}
		if len(s.Addresses) > 0 && len(ports) > 0 {
			ranges = append(ranges, rangeMatcher(s.Addresses, byPort(ports, nil)))
		}
	}
	for _, peer := range out.Peers {
		name := peerCluster(peer.Identity)
		chains[name] = chainOf(name, tcpProxy("outbound", name))
		ranges = append(ranges, peerRanges(peer)...)
	}
	chains[chainUnproxied] = chainOf(chainUnproxied, tcpProxy("unproxied", clusterPassthrough))
	chains[chainBlackhole] = chainOf(chainBlackhole, tcpProxy("blackhole", clusterBlackhole))

	l := listener(ListenerOutbound, api.PortEnvoyOutbound, corev3.TrafficDirection_OUTBOUND)
	if out.Egress {
		l.DefaultFilterChain = chainOf(chainPassthrough, tcpProxy("passthrough", clusterPassthrough))
	}
	for _, name := range sortedKeys(chains) {
		l.FilterChains = append(l.FilterChains, chains[name])
	}
	l.FilterChainMatcher = outboundMatcher(ranges)
	return l
}

// outboundMatcher refuses a connection to the listener itself, which would be passed on to itself
// for ever, and then asks for the address.
func outboundMatcher(ranges []*xdsmatcherv3.IPMatcher_IPRangeMatcher) *xdsmatcherv3.Matcher {
	var addresses *xdsmatcherv3.Matcher_OnMatch
	if len(ranges) > 0 {
		addresses = nested(byAddress(ranges))
	}
	return byPort(map[string]*xdsmatcherv3.Matcher_OnMatch{
		portString(api.PortEnvoyOutbound): toChain(chainBlackhole),
	}, addresses)
}

func serviceChain(s *mesh.Service, p *mesh.ServicePort) *listenerv3.FilterChain {
	name := serviceCluster(s.Name, p.Number)
	if p.Protocol.IsHTTP() {
		return chainOf(name, outboundHTTP(serviceRoute(s.Name, p.Number)))
	}
	return chainOf(name, tcpProxy("outbound", name))
}

// peerRanges sends all ports of the peer's pods through mTLS, but for ports that bypass their proxies.
func peerRanges(peer policy.Peer) []*xdsmatcherv3.IPMatcher_IPRangeMatcher {
	toPeer := toChain(peerCluster(peer.Identity))
	plain := map[netip.Addr][]uint16{}
	for port, addresses := range peer.Unproxied {
		for _, a := range addresses {
			plain[a] = append(plain[a], port)
		}
	}
	var common []netip.Addr
	var ranges []*xdsmatcherv3.IPMatcher_IPRangeMatcher
	for _, a := range peer.Addresses {
		if len(plain[a]) == 0 {
			common = append(common, a)
			continue
		}
		ports := map[string]*xdsmatcherv3.Matcher_OnMatch{}
		for _, port := range plain[a] {
			ports[portString(port)] = toChain(chainUnproxied)
		}
		ranges = append(ranges, rangeMatcher([]netip.Addr{a}, byPort(ports, toPeer)))
	}
	if len(common) > 0 {
		ranges = append(ranges, &xdsmatcherv3.IPMatcher_IPRangeMatcher{Ranges: cidrs(common), OnMatch: toPeer})
	}
	return ranges
}

func listener(name string, port uint16, direction corev3.TrafficDirection) *listenerv3.Listener {
	return &listenerv3.Listener{
		Name:             name,
		Address:          address(netip.AddrPortFrom(netip.IPv4Unspecified(), port)),
		TrafficDirection: direction,
		ListenerFilters: []*listenerv3.ListenerFilter{{
			Name:       "envoy.filters.listener.original_dst",
			ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: packed(&originaldstv3.OriginalDst{})},
		}},
	}
}

func chainOf(name string, filters ...*listenerv3.Filter) *listenerv3.FilterChain {
	return &listenerv3.FilterChain{Name: name, Filters: filters}
}

func toChain(name string) *xdsmatcherv3.Matcher_OnMatch {
	return &xdsmatcherv3.Matcher_OnMatch{OnMatch: &xdsmatcherv3.Matcher_OnMatch_Action{
		Action: extension(name, wrapperspb.String(name)),
	}}
}

func nested(m *xdsmatcherv3.Matcher) *xdsmatcherv3.Matcher_OnMatch {
	return &xdsmatcherv3.Matcher_OnMatch{OnMatch: &xdsmatcherv3.Matcher_OnMatch_Matcher{Matcher: m}}
}

func byPort(ports map[string]*xdsmatcherv3.Matcher_OnMatch, otherwise *xdsmatcherv3.Matcher_OnMatch) *xdsmatcherv3.Matcher {
	return &xdsmatcherv3.Matcher{
		MatcherType: &xdsmatcherv3.Matcher_MatcherTree_{MatcherTree: &xdsmatcherv3.Matcher_MatcherTree{
			Input: extension("port", &networkv3.DestinationPortInput{}),
			TreeType: &xdsmatcherv3.Matcher_MatcherTree_ExactMatchMap{
				ExactMatchMap: &xdsmatcherv3.Matcher_MatcherTree_MatchMap{Map: ports},
			},
		}},
		OnNoMatch: otherwise,
	}
}

func byAddress(ranges []*xdsmatcherv3.IPMatcher_IPRangeMatcher) *xdsmatcherv3.Matcher {
	return &xdsmatcherv3.Matcher{
		MatcherType: &xdsmatcherv3.Matcher_MatcherTree_{MatcherTree: &xdsmatcherv3.Matcher_MatcherTree{
			Input: extension("address", &networkv3.DestinationIPInput{}),
			TreeType: &xdsmatcherv3.Matcher_MatcherTree_CustomMatch{
				CustomMatch: extension("address", &xdsmatcherv3.IPMatcher{RangeMatchers: ranges}),
			},
		}},
	}
}

func rangeMatcher(addresses []netip.Addr, m *xdsmatcherv3.Matcher) *xdsmatcherv3.IPMatcher_IPRangeMatcher {
	return &xdsmatcherv3.IPMatcher_IPRangeMatcher{Ranges: cidrs(addresses), OnMatch: nested(m)}
}

func cidrs(addresses []netip.Addr) []*xdscorev3.CidrRange {
	var ranges []*xdscorev3.CidrRange
	for _, a := range addresses {
		ranges = append(ranges, &xdscorev3.CidrRange{AddressPrefix: a.String(), PrefixLen: wrapperspb.UInt32(uint32(a.BitLen()))})
	}
	return ranges
}

func extension(name string, config proto.Message) *xdscorev3.TypedExtensionConfig {
	return &xdscorev3.TypedExtensionConfig{Name: name, TypedConfig: packed(config)}
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
