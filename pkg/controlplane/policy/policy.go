package policy

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

// Inbound is a port of the workload that peers may connect to.
type Inbound struct {
	mesh.InboundPort
	From Principals
}

// Outbound is what workloads may send to. Workloads with the same rights share one.
type Outbound struct {
	// Services, sorted by name.
	Services []*mesh.Service
	// Blocks are where the mesh's pods are, sorted: connections to pods' own addresses go over mTLS to
	// whatever workload answers. Blocks seldom change when pods do.
	Blocks []Block
	// Unproxied are pods' ports that bypass their proxies, where mTLS would find nobody to speak it.
	Unproxied []netip.AddrPort
	// Egress says whether destinations outside the mesh may be reached.
	Egress bool

	of *mesh.Snapshot
}

// Block is a range of addresses with pods of the mesh in it.
type Block struct {
	Prefix netip.Prefix
	// Pods are the addresses of the mesh's pods in it, sorted: with egress the others are the outside
	// world. Without egress there is nothing else to be reached, and the list is empty: what is in the
	// block and not in the mesh fails to prove an identity, as it should.
	Pods []netip.Addr
}

// Proxy is everything that the proxies of one class do, but for Outbound.
type Proxy struct {
	Identity identity.Identity
	// Inbound, sorted by port.
	Inbound []Inbound
	// OtherPorts are the peers that may connect to ports that no Service leads to.
	OtherPorts Principals
}

// OutboundOf is what every workload may send to: permissive mode does not tell them apart, and
// without it nobody may send anything inside the mesh. last, which may be nil, is the Outbound of an
// earlier snapshot with the same settings: it spares work, and changes nothing.
func OutboundOf(snapshot *mesh.Snapshot, last *Outbound) *Outbound {
	settings := snapshot.Settings()
	outbound := &Outbound{Egress: settings.Egress, of: snapshot}
	if !settings.Permissive {
		return outbound
	}
	outbound.Services = snapshot.Services()
	if last != nil && snapshot.SameWorkloads(last.of) {
		outbound.Blocks, outbound.Unproxied = last.Blocks, last.Unproxied
	} else {
		outbound.Blocks, outbound.Unproxied = blocks(snapshot.Workloads(), settings.Egress)
	}
	return outbound
}

// For returns the decisions for the workload's class: all workloads of a class get equal ones.
func For(settings mesh.Settings, w *mesh.Workload) Proxy {
	proxy := Proxy{Identity: w.Identity}
	if !settings.Permissive {
		return proxy
	}
	proxy.OtherPorts = AnyWorkload()
	for _, port := range w.Inbound {
		proxy.Inbound = append(proxy.Inbound, Inbound{InboundPort: port, From: AnyWorkload()})
	}
	return proxy
}

// PlaintextEndpoints counts the addresses of a service's endpoints that clients reach in plain text: those
// without a proxy, where egress is allowed.
func PlaintextEndpoints(settings mesh.Settings, service *mesh.Service) int {
	if !settings.Permissive || !settings.Egress || service.Headless() {
		return 0
	}
	addresses := map[netip.Addr]bool{}
	for _, port := range service.Ports {
		for _, e := range port.Endpoints {
			if !e.Meshed {
				addresses[e.Address.Addr()] = true
			}
		}
	}
	return len(addresses)
}

// The size of a Block: large enough for few of them, small enough to be sent when a pod in it comes
// or goes.
const (
	blockBits4 = 22
	blockBits6 = 118
)

// blocks lists where workloads are, and their ports that bypass their proxies.
func blocks(workloads []*mesh.Workload, exactly bool) ([]Block, []netip.AddrPort) {
	members := map[netip.Prefix][]netip.Addr{}
	var unproxied []netip.AddrPort
	for _, w := range workloads {
		for _, addr := range w.Addresses {
			prefix := around(addr)
			if list := members[prefix]; exactly || list == nil {
				members[prefix] = append(list, addr)
			}
			for _, port := range w.Unproxied {
				unproxied = append(unproxied, netip.AddrPortFrom(addr, port))
			}
		}
	}
	slices.SortFunc(unproxied, netip.AddrPort.Compare)
	sorted := make([]Block, 0, len(members))
	for _, prefix := range slices.SortedFunc(maps.Keys(members), netip.Prefix.Compare) {
		block := Block{Prefix: prefix}
		if exactly {
			slices.SortFunc(members[prefix], netip.Addr.Compare)
			block.Pods = slices.Compact(members[prefix])
		}
		sorted = append(sorted, block)
	}
	return sorted, slices.Compact(unproxied)
}

// around is the address's block.
func around(addr netip.Addr) netip.Prefix {
	bits := blockBits6
	if addr.Is4() {
		bits = blockBits4
	}
	return netip.PrefixFrom(addr, bits).Masked()
}

// ServersOf are the peers that a client accepts behind a Service's port.
func ServersOf(port *mesh.ServicePort) Principals { return Only(port.Identities...) }
