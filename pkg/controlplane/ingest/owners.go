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
// belongs to the only one that is not being deleted, since we may see deletions late. Unless that leaves
// exactly one, the address is disputed and belongs to none.
func (s *State) owner(addr netip.Addr) (w *workload, disputed bool) {
	if s.hosts[addr] > 0 {
		return nil, false
	}
	pods := s.podsAt[addr]
	if len(pods) == 1 {
		return pods[0], false
	}
	for _, pod := range pods {
		switch {
		case pod.terminating:
		case w != nil:
			return nil, true
		default:
			w = pod
		}
	}
	return w, w == nil && len(pods) > 0
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
