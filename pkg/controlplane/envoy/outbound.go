package envoy

import (
	"fmt"
	"maps"
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
)

// outboundListener has one filter chain per Service port and one for pods' own addresses, chosen by
// where the application connected to. A matcher tree chooses, not the chains' own match conditions:
// those look at the port before the address and do not come back, so a Service's port 80 would hide
// port 80 of every pod; and a pod that comes or goes must not drain connections.
func outboundListener(services []*serviceParts, pods reachedPods, egress bool) *listenerv3.Listener {
	l := listener(ListenerOutbound, api.PortEnvoyOutbound, corev3.TrafficDirection_OUTBOUND)
	var ranges []*xdsmatcherv3.IPMatcher_IPRangeMatcher
	for _, p := range services {
		l.FilterChains = append(l.FilterChains, p.chains...)
		if p.service.Headless() || len(p.chains) == 0 {
			continue
		}
		ports := map[string]*xdsmatcherv3.Matcher_OnMatch{}
		for i := range p.service.Ports {
			ports[portString(p.service.Ports[i].Number)] = toChain(p.chains[i].Name)
		}
		ranges = append(ranges, rangeMatcher(hosts(p.service.Addresses), nested(byPort(ports, nil))))
	}
	ranges = append(ranges, podRanges(services, pods, egress)...)
	l.FilterChains = append(l.FilterChains,
		chainOf(chainPods, tcpProxy("outbound", clusterPods)),
		chainOf(chainUnproxied, tcpProxy("unproxied", clusterPassthrough)),
		chainOf(chainBlackhole, tcpProxy("blackhole", clusterBlackhole)))
	if egress {
		for _, block := range pods.blocks {
			l.FilterChains = append(l.FilterChains, blockChain(block))
		}
		l.DefaultFilterChain = chainOf(chainPassthrough, tcpProxy("passthrough", clusterPassthrough))
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

// serviceChains are the chains of a service's ports, in their order. What goes to a headless
// service's pods is passed on as bytes: the client chose the pod itself.
func serviceChains(s *mesh.Service) []*listenerv3.FilterChain {
	var chains []*listenerv3.FilterChain
	for i := range s.Ports {
		name := serviceCluster(s.Name, s.Ports[i].Number)
		filter := tcpProxy("outbound", name)
		if s.Ports[i].Protocol.IsHTTP() && !s.Headless() {
			filter = outboundHTTP(serviceRoute(s.Name, s.Ports[i].Number))
		}
		chains = append(chains, chainOf(name, filter))
	}
	return chains
}

// podRanges leads pods' own addresses to mTLS: with the identities of the headless service whose pod
// it is, else with any that the group accepts. Ports that bypass the pods' proxies are left alone.
func podRanges(services []*serviceParts, pods reachedPods, egress bool) []*xdsmatcherv3.IPMatcher_IPRangeMatcher {
	toPods := toChain(chainPods)
	var ranges []*xdsmatcherv3.IPMatcher_IPRangeMatcher
	for _, block := range pods.blocks {
		target := toPods
		if egress {
			target = toChain(blockName(block))
		}
		ranges = append(ranges, rangeMatcher([]netip.Prefix{block}, target))
	}
	for _, group := range dialledPorts(services, pods.unproxied) {
		ports := map[string]*xdsmatcherv3.Matcher_OnMatch{}
		for port, chain := range group.chains {
			ports[portString(port)] = toChain(chain)
		}
		ranges = append(ranges, rangeMatcher(hosts(group.addresses), nested(byPort(ports, toPods))))
	}
	return ranges
}

// portGroup is pods whose ports lead to the same chains.
type portGroup struct {
	addresses []netip.Addr
	chains    map[uint16]string
}

// dialledPorts groups the pods that have a port with a chain of its own, by these ports, in the order
// of their first address. Where two headless services share a pod's port, the first name has it.
func dialledPorts(services []*serviceParts, unproxied []netip.AddrPort) []*portGroup {
	chains := map[netip.Addr]map[uint16]string{}
	lead := func(at netip.AddrPort, chain string) {
		ports := chains[at.Addr()]
		if ports == nil {
			ports = map[uint16]string{}
			chains[at.Addr()] = ports
		}
		if ports[at.Port()] == "" {
			ports[at.Port()] = chain
		}
	}
	for _, at := range unproxied {
		lead(at, chainUnproxied)
	}
	for _, p := range services {
		for i := range p.service.Ports {
			port := &p.service.Ports[i]
			for _, at := range port.Pods {
				lead(at, serviceCluster(p.service.Name, port.Number))
			}
		}
	}
	var groups []*portGroup
	byChains := map[string]*portGroup{}
	for _, addr := range slices.SortedFunc(maps.Keys(chains), netip.Addr.Compare) {
		key := fmt.Sprint(chains[addr]) // maps are printed sorted
		group := byChains[key]
		if group == nil {
			group = &portGroup{chains: chains[addr]}
			byChains[key] = group
			groups = append(groups, group)
		}
		group.addresses = append(group.addresses, addr)
	}
	return groups
}

func listener(name string, port uint16, direction corev3.TrafficDirection) *listenerv3.Listener {
	return &listenerv3.Listener{
		Name:             name,
		Address:          address(netip.AddrPortFrom(netip.IPv4Unspecified(), port)),
		TrafficDirection: direction,
		ListenerFilters:  []*listenerv3.ListenerFilter{originalDestinationFilter()},
	}
}

func originalDestinationFilter() *listenerv3.ListenerFilter {
	return &listenerv3.ListenerFilter{
		Name:       "envoy.filters.listener.original_dst",
		ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: packed(&originaldstv3.OriginalDst{})},
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

func rangeMatcher(prefixes []netip.Prefix, to *xdsmatcherv3.Matcher_OnMatch) *xdsmatcherv3.IPMatcher_IPRangeMatcher {
	m := &xdsmatcherv3.IPMatcher_IPRangeMatcher{OnMatch: to}
	for _, p := range prefixes {
		m.Ranges = append(m.Ranges, &xdscorev3.CidrRange{AddressPrefix: p.Addr().String(), PrefixLen: wrapperspb.UInt32(uint32(p.Bits()))}) //nolint:gosec // 0 to 128
	}
	return m
}

// hosts are the prefixes that stand for one address each.
func hosts(addresses []netip.Addr) []netip.Prefix {
	prefixes := make([]netip.Prefix, len(addresses))
	for i, a := range addresses {
		prefixes[i] = netip.PrefixFrom(a, a.BitLen())
	}
	return prefixes
}

func extension(name string, config proto.Message) *xdscorev3.TypedExtensionConfig {
	return &xdscorev3.TypedExtensionConfig{Name: name, TypedConfig: packed(config)}
}
