package ingest

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

// How far the external addresses of a Service are trusted. externalIPs is a field that a namespace's user may
// write, and any address can be in it. kube-proxy leads it to the Service, for all clients of the cluster; osm
// does the same, but not for an address that belongs to somebody else: another Service's cluster IP, a workload's
// address, the API server. Of Services that want the same address and port, the one whose load balancer has the
// address wins, then the older one, whatever mesh they are in.

// maxExternal is how many external addresses of one Service count. A Service may list a hundred thousand, and every
// address costs every proxy.
const maxExternal = 64

// claim is an address outside the cluster's ranges that a Service claims.
type claim struct {
	addr netip.Addr
	// assigned reports that a load balancer has the address; it was not written by the Service's user.
	assigned bool
	// elsewhere reports that connections to the address pass a load balancer or a firewall first.
	elsewhere bool
}

// claims are the addresses that a Service lists, when it was last looked at.
type claims struct {
	object    *corev1.Service
	addresses []netip.Addr // cluster IPs included, sorted
	external  map[netip.Addr]claim
}

// claimant is a Service with its claim of one address.
type claimant struct {
	service *corev1.Service
	claim   claim
}

// claimsIn returns the external addresses of a Service, at most maxExternal, and whether it has cluster IPs:
// without, it has neither.
func claimsIn(object *corev1.Service) (external []claim, virtual bool) {
	if object == nil || object.Spec.Type == corev1.ServiceTypeExternalName || !slices.ContainsFunc(clusterIPs(object), isAddress) {
		return nil, false
	}
	for _, ip := range object.Spec.ExternalIPs[:min(maxExternal, len(object.Spec.ExternalIPs))] {
		if addr, err := netip.ParseAddr(ip); err == nil {
			external = append(external, claim{addr: addr})
		}
	}
	for _, ingress := range object.Status.LoadBalancer.Ingress[:min(maxExternal, len(object.Status.LoadBalancer.Ingress))] {
		if addr, err := netip.ParseAddr(ingress.IP); err == nil {
			proxied := ingress.IPMode != nil && *ingress.IPMode == corev1.LoadBalancerIPModeProxy
			external = append(external, claim{addr: addr, assigned: true, elsewhere: proxied || len(object.Spec.LoadBalancerSourceRanges) > 0})
		}
	}
	return external, true
}

func isAddress(ip string) bool {
	_, err := netip.ParseAddr(ip)
	return err == nil
}

// updateClaims updates the index of the changed Services' addresses, and marks their rivals as changed.
func (s *State) updateClaims() {
	var rivals []netip.Addr
	for name := range s.changedServices {
		object := s.anyService(name)
		before := s.claimsOf[name]
		if before.object == object {
			continue
		}
		now := claims{object: object, external: map[netip.Addr]claim{}}
		if external, virtual := claimsIn(object); virtual {
			for _, c := range external {
				now.addresses = append(now.addresses, c.addr)
				if known, ok := now.external[c.addr]; !ok || c.assigned && !known.assigned {
					now.external[c.addr] = c
				}
			}
			for _, ip := range clusterIPs(object) {
				if addr, err := netip.ParseAddr(ip); err == nil {
					now.addresses = append(now.addresses, addr)
				}
			}
			now.addresses = distinct(now.addresses, netip.Addr.Compare)
		}
		rivals = append(append(rivals, before.addresses...), now.addresses...)
		reindex(s.claimsAt, name, before.addresses, now.addresses)
		if s.claimsOf[name] = now; object == nil {
			delete(s.claimsOf, name)
		}
	}
	for _, addr := range rivals {
		delete(s.winnersAt, addr)
		for name := range s.claimsAt[addr] {
			s.changedServices[name] = true
		}
	}
}

// anyService returns the Service of that name in any namespace of the cluster, nil if there is none.
func (s *State) anyService(name mesh.ServiceName) *corev1.Service {
	if in := s.spaces[name.Namespace]; in != nil {
		return in.services[name.Name]
	}
	return nil
}

// external returns where a Service is reached besides its cluster IPs, and a problem if some of its addresses are
// not used.
func (s *State) external(object *corev1.Service, ports []mesh.ServicePort) (external []netip.AddrPort, problems []Problem) {
	var refused []string
	all, _ := claimsIn(object)
	for _, c := range all {
		if c.elsewhere || !c.addr.Is4() || slices.Contains(clusterIPs(object), c.addr.String()) {
			continue
		}
		if why := s.ownedByOther(object, c.addr); why != "" {
			refused = append(refused, fmt.Sprintf("%s %s", c.addr, why))
			continue
		}
		for i := range ports {
			at := netip.AddrPortFrom(c.addr, ports[i].Number)
			if s.isAPIServer(mesh.ServiceName{Namespace: object.Namespace, Name: object.Name}, at) {
				refused = append(refused, fmt.Sprintf("%s is the API server", at))
			} else if winner := s.winners(c.addr)[at.Port()].service; winner != nil && winner != object {
				refused = append(refused, fmt.Sprintf("%s belongs to Service %s/%s", at, winner.Namespace, winner.Name))
			} else {
				external = append(external, at)
			}
		}
	}
	if listed := max(len(object.Spec.ExternalIPs), len(object.Status.LoadBalancer.Ingress)); listed > maxExternal {
		problems = append(problems, problemOf("Service", object.Namespace, object.Name,
			"it lists %d external addresses: pods of the mesh reach it at the first %d only; use fewer, or several Services", listed, maxExternal))
	}
	if len(refused) > 0 {
		example := refused[0]
		if len(refused) > 1 {
			example += fmt.Sprintf(" (and %d more)", len(refused)-1)
		}
		problems = append(problems, problemOf("Service", object.Namespace, object.Name,
			"external address %s: pods of the mesh do not reach this Service there; use an address that nobody else has", example))
	}
	return distinct(external, netip.AddrPort.Compare), problems
}

// ownedByOther says whose an address is that no Service may claim, "" if it is nobody's.
func (s *State) ownedByOther(object *corev1.Service, addr netip.Addr) string {
	if _, reason := reachable(addr.String()); reason != "" {
		return "is " + reason
	}
	for name := range s.claimsAt[addr] {
		if owner := s.anyService(name); owner != nil && owner != object && slices.Contains(clusterIPs(owner), addr.String()) {
			return "is the cluster IP of Service " + name.String()
		}
	}
	if len(s.podsAt[addr]) > 0 {
		return "is the address of pod " + s.podNamesAt(addr)
	}
	return ""
}

// winners are the Services with the best claim of an external address, by TCP port. They are kept until a Service
// that claims the address changes: a thousand Services may claim the same one.
func (s *State) winners(addr netip.Addr) map[uint16]claimant {
	if known, ok := s.winnersAt[addr]; ok {
		return known
	}
	best := map[uint16]claimant{}
	for name := range s.claimsAt[addr] {
		rival := claimant{s.anyService(name), s.claimsOf[name].external[addr]}
		if rival.service == nil || !rival.claim.addr.IsValid() {
			continue
		}
		for _, port := range tcpPorts(rival.service) {
			if present, ok := best[port]; !ok || compareClaims(rival.service, rival.claim, present.service, present.claim) < 0 {
				best[port] = rival
			}
		}
	}
	s.winnersAt[addr] = best
	return best
}

// compareClaims is negative if the first Service's claim is the better one.
func compareClaims(a *corev1.Service, claimA claim, b *corev1.Service, claimB claim) int {
	if claimA.assigned != claimB.assigned {
		return map[bool]int{true: -1, false: 1}[claimA.assigned]
	}
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

func tcpPorts(service *corev1.Service) []uint16 {
	var ports []uint16
	for _, p := range service.Spec.Ports {
		if p.Protocol == "" || p.Protocol == corev1.ProtocolTCP {
			ports = append(ports, uint16(p.Port)) //nolint:gosec // the API server keeps it below 65536
		}
	}
	return ports
}
