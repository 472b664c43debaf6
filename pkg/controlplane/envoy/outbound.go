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
)

// outboundListener has one filter chain per Service port and one for pods' own addresses, chosen by
// where the application connected to. A matcher tree chooses, not the chains' own match conditions:
// those look at the port before the address and do not come back, so a Service's port 80 would hide
// port 80 of every pod; and a pod that comes or goes must not drain connections.
func outboundListener(services []*serviceParts, pods reachedPods, settings mesh.Settings) *listenerv3.Listener {
	l := listener(ListenerOutbound, api.PortEnvoyOutbound, corev3.TrafficDirection_OUTBOUND)
	var ranges []*xdsmatcherv3.IPMatcher_IPRangeMatcher
	dns, dnsInMesh := settings.DNS, false
	for _, p := range services {
		l.FilterChains = append(l.FilterChains, p.chains...)
		if p.service.Headless() || len(p.chains) == 0 {
			continue
		}
		ports := map[string]*xdsmatcherv3.Matcher_OnMatch{}
		for i := range p.service.Ports {
			ports[portString(p.service.Ports[i].Number)] = toChain(p.chains[i].Name)
		}
		if dns.IsValid() && slices.Contains(p.service.Addresses, dns.Addr()) {
			// The DNS Service itself, of a namespace that somebody has made a member of the mesh.
			ports[portString(dns.Port())], dnsInMesh = toChain(chainDNS), true
		}
		ranges = append(ranges, rangeMatcher(hosts(p.service.Addresses), nested(byPort(ports, nil))))
	}
	ranges = append(ranges, externalRanges(services)...)
	ranges = append(ranges, podRanges(services, pods, settings.Egress)...)
	if dns.IsValid() {
		l.FilterChains = append(l.FilterChains, chainOf(chainDNS, tcpProxy("dns", clusterPassthrough)))
	}
	if dns.IsValid() && !dnsInMesh {
		port := map[string]*xdsmatcherv3.Matcher_OnMatch{portString(dns.Port()): toChain(chainDNS)}
		ranges = append(ranges, rangeMatcher(hosts([]netip.Addr{dns.Addr()}), nested(byPort(port, nil))))
	}
	l.FilterChains = append(l.FilterChains,
		chainOf(chainPods, tcpProxy("outbound", clusterPods)),
		chainOf(chainUnproxied, tcpProxy("unproxied", clusterPassthrough)),
		chainOf(chainBlackhole, tcpProxy("blackhole", clusterBlackhole)))
	if settings.Egress {
		for _, block := range pods.blocks {
			l.FilterChains = append(l.FilterChains, blockChain(block))
		}
		l.DefaultFilterChain = chainOf(chainPassthrough, tcpProxy("passthrough", clusterPassthrough))
	}
	special := map[string]*xdsmatcherv3.Matcher_OnMatch{}
	if settings.Egress {
		special = scrapedPorts(services)
	}
	// A connection to the listener itself would be passed on to itself for ever.
	special[portString(api.PortEnvoyOutbound)] = toChain(chainBlackhole)
	var addresses *xdsmatcherv3.Matcher_OnMatch
	if len(ranges) > 0 {
		addresses = nested(byAddress(ranges))
	}
	l.FilterChainMatcher = byPort(special, addresses)
	return l
}

// scrapedPorts leaves connections to the ports alone on which proxies tell everybody how they are, in plain
// text: a Prometheus of the mesh dials them at pods' own addresses. Services may have ports of that number, too.
// Without egress, which nobody could then tell from a pod outside the mesh, the ports stay closed.
func scrapedPorts(services []*serviceParts) map[string]*xdsmatcherv3.Matcher_OnMatch {
	ports := map[string]*xdsmatcherv3.Matcher_OnMatch{}
	for _, number := range []uint16{api.PortEnvoyMetrics, api.PortEnvoyReadyProbe} {
		alone := toChain(chainUnproxied)
		var taken []*xdsmatcherv3.IPMatcher_IPRangeMatcher
		for _, p := range services {
			if i := slices.IndexFunc(p.service.Ports, func(port mesh.ServicePort) bool { return port.Number == number }); i >= 0 && !p.service.Headless() {
				taken = append(taken, rangeMatcher(hosts(append(externalAt(p.service, number), p.service.Addresses...)), toChain(p.chains[i].Name)))
			}
		}
		if ports[portString(number)] = alone; len(taken) > 0 {
			services := byAddress(taken)
			services.OnNoMatch = alone
			ports[portString(number)] = nested(services)
		}
	}
	return ports
}

// serviceChains are the chains of a service's ports, in their order. What goes to a headless
// service's pods is passed on as bytes: the client chose the pod itself.
func serviceChains(s *mesh.Service) []*listenerv3.FilterChain {
	var chains []*listenerv3.FilterChain
	for i := range s.Ports {
		name := serviceCluster(s.Name, s.Ports[i].Number)
		switch http := s.Ports[i].Protocol.IsHTTP() && !s.Headless(); {
		case http && s.Sticky:
			chains = append(chains, chainOf(name, noteClient(), outboundHTTP(serviceRoute(s.Name, s.Ports[i].Number))))
		case http:
			chains = append(chains, chainOf(name, outboundHTTP(serviceRoute(s.Name, s.Ports[i].Number))))
		case s.Headless():
			chains = append(chains, chainOf(name, tcpProxy("outbound", name)))
		default:
			chains = append(chains, chainOf(name, serviceTCP(s, name)))
		}
	}
	return chains
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
