package envoy

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/mesh"
	"github.com/osm-edge/osm/pkg/controlplane/policy"
)

// Connections to pods' own addresses are matched by blocks of addresses, not by address, so that a pod
// that comes or goes seldom changes the outbound listener.

// The size of a block: large enough that there are few, small enough to be sent when a pod in it comes
// or goes.
const (
	blockBits4 = 22
	blockBits6 = 118
)

// blockOf is the address's block.
func blockOf(addr netip.Addr) netip.Prefix {
	bits := blockBits6
	if addr.Is4() {
		bits = blockBits4
	}
	return netip.PrefixFrom(addr, bits).Masked()
}

// reachedPods are the pods that a group may connect to at their own addresses.
type reachedPods struct {
	// blocks are where they are, sorted. Connections into a block go over mTLS to whatever workload
	// answers, if the group accepts it.
	blocks []netip.Prefix
	// unproxied are ports that bypass the pods' proxies, where mTLS would find nobody to speak it; sorted.
	unproxied []netip.AddrPort
}

// podIndex is where the pods of a snapshot are.
type podIndex struct {
	workloads []*mesh.Workload
	// members are the addresses of all pods in each block, sorted. With egress the other addresses of the
	// block are the outside world. Without egress there is nothing else to be reached, and the lists are empty:
	// what is in the block and not in the mesh fails to prove an identity, as it should.
	members map[netip.Prefix][]netip.Addr
	// byIdentity is nil until a group asks for some identities' pods.
	byIdentity map[identity.Identity]*reachedPods
}

func newPodIndex(workloads []*mesh.Workload, egress bool) *podIndex {
	x := &podIndex{workloads: workloads, members: map[netip.Prefix][]netip.Addr{}}
	for _, w := range workloads {
		for _, addr := range w.Addresses {
			block := blockOf(addr)
			members := x.members[block]
			if egress {
				members = append(members, addr)
			}
			x.members[block] = members
		}
	}
	for block, members := range x.members {
		slices.SortFunc(members, netip.Addr.Compare)
		x.members[block] = slices.Compact(members)
	}
	return x
}

// has reports whether there is a pod in the block.
func (x *podIndex) has(block netip.Prefix) bool {
	_, found := x.members[block]
	return found
}

// reachedBy are the pods of the servers.
func (x *podIndex) reachedBy(servers policy.Principals) reachedPods {
	return policy.VisitPrincipals(servers, podsOf{x})
}

// podsOf are the pods of each kind of Principals.
type podsOf struct{ *podIndex }

func (x podsOf) Nobody() reachedPods { return reachedPods{} }

func (x podsOf) AnyWorkload() reachedPods {
	pods := reachedPods{blocks: slices.SortedFunc(maps.Keys(x.members), netip.Prefix.Compare)}
	for _, w := range x.workloads {
		pods.unproxied = append(pods.unproxied, unproxied(w)...)
	}
	return pods.sorted()
}

func (x podsOf) Only(servers []identity.Identity) reachedPods {
	if x.byIdentity == nil {
		x.byIdentity = map[identity.Identity]*reachedPods{}
		for _, w := range x.workloads {
			x.add(w)
		}
	}
	var pods reachedPods
	for _, id := range servers {
		if of := x.byIdentity[id]; of != nil {
			pods.blocks = append(pods.blocks, of.blocks...)
			pods.unproxied = append(pods.unproxied, of.unproxied...)
		}
	}
	return pods.sorted()
}

func (x podsOf) add(w *mesh.Workload) {
	of := x.byIdentity[w.Identity]
	if of == nil {
		of = &reachedPods{}
		x.byIdentity[w.Identity] = of
	}
	for _, addr := range w.Addresses {
		if block := blockOf(addr); !slices.Contains(of.blocks, block) {
			of.blocks = append(of.blocks, block)
		}
	}
	of.unproxied = append(of.unproxied, unproxied(w)...)
}

// unproxied are the workload's ports that bypass its proxy, at each of its addresses.
func unproxied(w *mesh.Workload) []netip.AddrPort {
	var ports []netip.AddrPort
	for _, addr := range w.Addresses {
		for _, port := range w.Unproxied {
			ports = append(ports, netip.AddrPortFrom(addr, port))
		}
	}
	return ports
}

// sorted sorts the lists in place and drops what is in them twice.
func (p reachedPods) sorted() reachedPods {
	slices.SortFunc(p.blocks, netip.Prefix.Compare)
	slices.SortFunc(p.unproxied, netip.AddrPort.Compare)
	return reachedPods{slices.Compact(p.blocks), slices.Compact(p.unproxied)}
}
