package ingest

import (
	"net/netip"
	"slices"

	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

// claim records that a workload shows an address.
func (s *State) claim(addr netip.Addr, w *workload) {
	list := s.claims[addr]
	i, _ := slices.BinarySearchFunc(list, w, func(a, b *workload) int { return a.Name.Compare(b.Name) })
	s.claims[addr] = slices.Insert(list, i, w)
	s.touch(addr)
}

func (s *State) disclaim(addr netip.Addr, w *workload) {
	s.touch(addr)
	list := slices.DeleteFunc(s.claims[addr], func(other *workload) bool { return other == w })
	if s.claims[addr] = list; len(list) == 0 {
		delete(s.claims, addr)
	}
}

// touch marks everything that depends on the owner of an address as changed.
func (s *State) touch(addr netip.Addr) {
	for service := range s.users[addr] {
		s.changedServices[service] = true
	}
	for _, w := range s.claims[addr] {
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
			s.touch(addr)
		}
	}
	for _, addr := range before {
		if s.hosts[addr]--; s.hosts[addr] == 0 {
			delete(s.hosts, addr)
			s.touch(addr)
		}
	}
	if s.hostsOf[pod] = now; len(now) == 0 {
		delete(s.hostsOf, pod)
	}
}

// holder is the workload that has the address, nil if none does. If several pods show the address, it
// belongs to the one that is not being deleted, since the deletion of the others may be seen late. If that does
// not leave exactly one, the address is disputed and belongs to none.
func (s *State) holder(addr netip.Addr) (w *workload, disputed bool) {
	if s.hosts[addr] > 0 {
		return nil, false
	}
	claims := s.claims[addr]
	if len(claims) == 1 {
		return claims[0], false
	}
	for _, claim := range claims {
		switch {
		case claim.terminating:
		case w != nil:
			return nil, true
		default:
			w = claim
		}
	}
	return w, w == nil && len(claims) > 0
}

// own returns the addresses at which clients reach a workload, and those of them that are disputed. At a
// disputed address clients accept any identity of the mesh over mTLS, and nothing in plain text.
func (s *State) own(w *workload) (addresses, disputed []netip.Addr) {
	if !slices.ContainsFunc(w.Addresses, func(addr netip.Addr) bool {
		holder, _ := s.holder(addr)
		return holder != w
	}) {
		return w.Addresses, nil
	}
	for _, addr := range w.Addresses {
		switch holder, contested := s.holder(addr); {
		case contested:
			disputed = append(disputed, addr)
			addresses = append(addresses, addr)
		case holder == w:
			addresses = append(addresses, addr)
		}
	}
	return addresses, disputed
}
