package ingest

import (
	"net/netip"
	"slices"

	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

// addAddress records that a workload's status lists an address.
func (s *State) addAddress(addr netip.Addr, w *workload) {
	list := s.podsAt[addr]
	i, _ := slices.BinarySearchFunc(list, w, func(a, b *workload) int { return a.Name.Compare(b.Name) })
	s.podsAt[addr] = slices.Insert(list, i, w)
	s.markDependents(addr)
}

func (s *State) removeAddress(addr netip.Addr, w *workload) {
	s.markDependents(addr)
	list := slices.DeleteFunc(s.podsAt[addr], func(other *workload) bool { return other == w })
	if s.podsAt[addr] = list; len(list) == 0 {
		delete(s.podsAt, addr)
	}
}

// markDependents marks everything that depends on the owner of an address as changed.
func (s *State) markDependents(addr netip.Addr) {
	for service := range s.servicesAt[addr] {
		s.changedServices[service] = true
	}
	for service := range s.claimsAt[addr] {
		s.changedServices[service] = true
	}
	for _, w := range s.podsAt[addr] {
		s.changedWorkloads[w.Name] = true
	}
}

// setHosts records the addresses of a pod's node.
func (s *State) setHosts(pod mesh.PodName, now []netip.Addr) {
	before := s.hostsOf[pod]
	if slices.Equal(before, now) {
		return
	}
	for _, addr := range now {
		if s.hosts[addr]++; s.hosts[addr] == 1 {
			s.markDependents(addr)
		}
	}
	for _, addr := range before {
		if s.hosts[addr]--; s.hosts[addr] == 0 {
			delete(s.hosts, addr)
			s.markDependents(addr)
		}
	}
	if s.hostsOf[pod] = now; len(now) == 0 {
		delete(s.hostsOf, pod)
	}
}

// owner returns the workload that has the address, nil if none does. If several pods list the address, it
// belongs to the only one that is not being deleted, since we may see deletions late: a pod of a lost node is
// terminating for as long as the node is. If all are being deleted, it belongs to the one that was created
// last. Otherwise the address is disputed and belongs to none.
func (s *State) owner(addr netip.Addr) (w *workload, disputed bool) {
	if s.hosts[addr] > 0 {
		return nil, false
	}
	for _, pod := range s.podsAt[addr] {
		switch order := pod.compareClaim(w); {
		case order > 0:
			w, disputed = pod, false
		case order == 0:
			disputed = true
		}
	}
	if disputed {
		return nil, true
	}
	return w, false
}

// compareClaim is positive if the workload and not the other one has an address that both list, 0 if it cannot
// be told. other may be nil.
func (w *workload) compareClaim(other *workload) int {
	switch {
	case other == nil, !w.terminating && other.terminating:
		return 1
	case w.terminating && !other.terminating:
		return -1
	case !w.terminating:
		return 0
	default:
		return w.created.Compare(other.created)
	}
}

// ownAddresses returns the addresses at which clients reach a workload, and which of them are disputed. At
// a disputed address clients accept any identity of the mesh over mTLS, and no plain text.
func (s *State) ownAddresses(w *workload) (addresses, disputed []netip.Addr) {
	if !slices.ContainsFunc(w.Addresses, func(addr netip.Addr) bool {
		owner, _ := s.owner(addr)
		return owner != w
	}) {
		return w.Addresses, nil
	}
	for _, addr := range w.Addresses {
		switch owner, contested := s.owner(addr); {
		case contested:
			disputed = append(disputed, addr)
			addresses = append(addresses, addr)
		case owner == w:
			addresses = append(addresses, addr)
		}
	}
	return addresses, disputed
}
