package policy

import (
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

// Peer is the workloads of one identity, for connections to a pod's own address: what headless
// services and StatefulSets do.
type Peer struct {
	Identity identity.Identity
	// Addresses of its pods, sorted.
	Addresses []netip.Addr
	// Unproxied are the pod ports that bypass the peers' proxies, by port the addresses where they
	// do, sorted; a connection to one of them must not be wrapped in mTLS.
	Unproxied map[uint16][]netip.Addr
}

// Outbound is what workloads may send to. Workloads with the same rights share one.
type Outbound struct {
	// Services, sorted by name.
	Services []*mesh.Service
	// Peers, sorted by identity.
	Peers []Peer
	// Egress says whether destinations outside the mesh may be reached.
	Egress bool
}

// Proxy is everything that the proxies of one class do.
type Proxy struct {
	Identity identity.Identity
	// Inbound, sorted by port.
	Inbound []Inbound
	// OtherPorts are the peers that may connect to ports that no Service leads to.
	OtherPorts Principals
	Outbound   *Outbound
}

// Policies are the decisions for one snapshot. Safe for concurrent use; make one with New.
type Policies struct {
	permissive bool
	outbound   *Outbound
}

// New prepares what all classes share.
func New(snapshot *mesh.Snapshot) *Policies {
	settings := snapshot.Settings()
	outbound := &Outbound{Egress: settings.Egress}
	if settings.Permissive {
		outbound.Services = snapshot.Services()
		outbound.Peers = peers(snapshot.Workloads())
	}
	return &Policies{permissive: settings.Permissive, outbound: outbound}
}

// Outbound is what every workload may send to: permissive mode does not tell them apart, and
// without it nobody may send anything inside the mesh.
func (p *Policies) Outbound() *Outbound { return p.outbound }

// For returns the decisions for the workload's class: all workloads of a class get equal ones.
func (p *Policies) For(w *mesh.Workload) Proxy {
	proxy := Proxy{Identity: w.Identity, Outbound: p.outbound}
	if !p.permissive {
		return proxy
	}
	proxy.OtherPorts = AnyWorkload()
	for _, port := range w.Inbound {
		proxy.Inbound = append(proxy.Inbound, Inbound{InboundPort: port, From: AnyWorkload()})
	}
	return proxy
}

// peers groups the workloads that have an address by identity.
func peers(workloads []*mesh.Workload) []Peer {
	byIdentity := map[identity.Identity]*Peer{}
	for _, w := range workloads {
		if len(w.Addresses) == 0 {
			continue
		}
		peer := byIdentity[w.Identity]
		if peer == nil {
			peer = &Peer{Identity: w.Identity, Unproxied: map[uint16][]netip.Addr{}}
			byIdentity[w.Identity] = peer
		}
		peer.Addresses = append(peer.Addresses, w.Addresses...)
		for _, port := range w.Unproxied {
			peer.Unproxied[port] = append(peer.Unproxied[port], w.Addresses...)
		}
	}
	var sorted []Peer
	for _, peer := range byIdentity {
		slices.SortFunc(peer.Addresses, netip.Addr.Compare)
		for _, addresses := range peer.Unproxied {
			slices.SortFunc(addresses, netip.Addr.Compare)
		}
		sorted = append(sorted, *peer)
	}
	slices.SortFunc(sorted, func(a, b Peer) int { return identity.Compare(a.Identity, b.Identity) })
	return sorted
}
