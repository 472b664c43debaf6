package policy

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

// Principals are the peers that may connect. The zero value is nobody.
type Principals struct{ anyWorkload bool }

// AnyWorkload is every workload that proves an identity of the mesh's trust domain.
func AnyWorkload() Principals { return Principals{anyWorkload: true} }

// Nobody says whether no peer at all may connect.
func (p Principals) Nobody() bool { return !p.anyWorkload }

// Inbound is a port of the workload that peers may connect to.
type Inbound struct {
	mesh.InboundPort
	From Principals
}

// Outbound is what workloads may send to. Workloads with the same rights share one.
type Outbound struct {
	// Services, sorted by name.
	Services []*mesh.Service
	// Pods are where connections to pods' own addresses go over mTLS to whatever workload of the mesh
	// answers, sorted. With egress they are the very pods' addresses: elsewhere is the world. Without
	// egress there is nothing else to be reached, and they are whole blocks of addresses around the
	// pods, which seldom change when pods do: what is in a block and not in the mesh fails to prove
	// an identity, as it should.
	Pods []netip.Prefix
	// Unproxied are pods' ports that bypass their proxies, where mTLS would find nobody to speak it.
	Unproxied []netip.AddrPort
	// Egress says whether destinations outside the mesh may be reached.
	Egress bool

	of *mesh.Snapshot
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
		outbound.Pods, outbound.Unproxied = last.Pods, last.Unproxied
	} else {
		outbound.Pods, outbound.Unproxied = pods(snapshot.Workloads(), settings.Egress)
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

// The blocks of addresses that stand for the pods in them.
const (
	blockBits4 = 24
	blockBits6 = 120
)

// pods lists where workloads are, and their ports that bypass their proxies.
func pods(workloads []*mesh.Workload, exactly bool) ([]netip.Prefix, []netip.AddrPort) {
	where := map[netip.Prefix]struct{}{}
	var unproxied []netip.AddrPort
	for _, w := range workloads {
		for _, addr := range w.Addresses {
			where[around(addr, exactly)] = struct{}{}
			for _, port := range w.Unproxied {
				unproxied = append(unproxied, netip.AddrPortFrom(addr, port))
			}
		}
	}
	slices.SortFunc(unproxied, netip.AddrPort.Compare)
	return slices.SortedFunc(maps.Keys(where), netip.Prefix.Compare), slices.Compact(unproxied)
}

// around is the address itself or its block.
func around(addr netip.Addr, exactly bool) netip.Prefix {
	bits := addr.BitLen()
	switch {
	case exactly:
	case addr.Is4():
		bits = blockBits4
	default:
		bits = blockBits6
	}
	return netip.PrefixFrom(addr, bits).Masked()
}
