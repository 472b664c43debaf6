package envoy

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"

	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

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
		ranges = append(ranges, rangeMatcher(hosts(group.addresses), nested(byPort(group.onMatch(), toPods))))
	}
	return ranges
}

// externalRanges leads the external addresses of Services to the chains of their ports. Several Services may share
// an address.
func externalRanges(services []*serviceParts) []*xdsmatcherv3.IPMatcher_IPRangeMatcher {
	chains := map[netip.Addr]map[uint16]string{}
	for _, p := range services {
		for _, at := range p.service.External {
			if chains[at.Addr()] == nil {
				chains[at.Addr()] = map[uint16]string{}
			}
			chains[at.Addr()][at.Port()] = serviceCluster(p.service.Name, at.Port())
		}
	}
	var ranges []*xdsmatcherv3.IPMatcher_IPRangeMatcher
	for _, group := range groupedPorts(chains) {
		ranges = append(ranges, rangeMatcher(hosts(group.addresses), nested(byPort(group.onMatch(), nil))))
	}
	return ranges
}

// externalAt are the external addresses at which a Service has a port.
func externalAt(s *mesh.Service, port uint16) []netip.Addr {
	var addresses []netip.Addr
	for _, at := range s.External {
		if at.Port() == port {
			addresses = append(addresses, at.Addr())
		}
	}
	return addresses
}

// portGroup is addresses whose ports lead to the same chains.
type portGroup struct {
	addresses []netip.Addr
	chains    map[uint16]string
}

func (g *portGroup) onMatch() map[string]*xdsmatcherv3.Matcher_OnMatch {
	ports := map[string]*xdsmatcherv3.Matcher_OnMatch{}
	for port, chain := range g.chains {
		ports[portString(port)] = toChain(chain)
	}
	return ports
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
	return groupedPorts(chains)
}

// groupedPorts groups addresses whose ports lead to the same chains, in the order of their first address.
func groupedPorts(chains map[netip.Addr]map[uint16]string) []*portGroup {
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
