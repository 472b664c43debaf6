package ingest

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

// service is a Service of the mesh and what was learnt of it.
type service struct {
	result *mesh.Service
	// serves are the ports of workloads that it leads to, in the order of its own ports.
	serves []serve
	// addresses are all of its endpoints', sorted.
	addresses []netip.Addr
}

// serve says that a service leads to a port of a pod.
type serve struct {
	pod      mesh.PodName
	port     uint16
	protocol mesh.Protocol
}

// updateService looks at a service again, and puts it into changed if it is not as it was.
func (s *State) updateService(name mesh.ServiceName, changed map[mesh.ServiceName]*mesh.Service) {
	before := s.services[name]
	var now *service
	var problems []Problem
	if object := s.objectOf(name); object != nil {
		now, problems = s.serviceOf(object)
	}
	s.problems.set("Service "+name.String(), problems...)
	if before == nil && now == nil {
		return
	}
	s.index(name, before, now)
	if now == nil {
		delete(s.services, name)
		changed[name] = nil
		return
	}
	s.services[name] = now
	if before != nil && sameService(before.result, now.result) {
		now.result = before.result
		return
	}
	changed[name] = now.result
}

// objectOf is the Service that the mesh has under the name, nil if it has none.
func (s *State) objectOf(name mesh.ServiceName) *corev1.Service {
	in := s.spaces[name.Namespace]
	if in == nil || !in.member {
		return nil
	}
	object := in.services[name.Name]
	if object == nil || object.Spec.Type == corev1.ServiceTypeExternalName {
		return nil
	}
	return object
}

// index keeps what leads from addresses and workloads to a service, and notes the workloads that it
// leads to in another way than before.
func (s *State) index(name mesh.ServiceName, before, now *service) {
	if before == nil {
		before = &service{}
	}
	if now == nil {
		now = &service{}
	}
	if !slices.Equal(before.addresses, now.addresses) {
		for _, addr := range before.addresses {
			if delete(s.users[addr], name); len(s.users[addr]) == 0 {
				delete(s.users, addr)
			}
		}
		for _, addr := range now.addresses {
			if s.users[addr] == nil {
				s.users[addr] = map[mesh.ServiceName]bool{}
			}
			s.users[addr][name] = true
		}
	}
	if slices.Equal(before.serves, now.serves) {
		return
	}
	for _, serve := range before.serves {
		if w := s.workloads[serve.pod]; w != nil {
			delete(w.servedBy, name)
		}
		s.changedWorkloads[serve.pod] = true
	}
	for _, serve := range now.serves {
		s.workloads[serve.pod].servedBy[name] = true
		s.changedWorkloads[serve.pod] = true
	}
}

func sameService(a, b *mesh.Service) bool {
	return a.Name == b.Name && slices.Equal(a.Addresses, b.Addresses) && slices.EqualFunc(a.Ports, b.Ports, func(p, q mesh.ServicePort) bool {
		return p.Number == q.Number && p.Protocol == q.Protocol && slices.Equal(p.Endpoints, q.Endpoints) &&
			slices.Equal(p.Identities, q.Identities) && slices.Equal(p.Pods, q.Pods)
	})
}

func (s *State) serviceOf(object *corev1.Service) (*service, []Problem) {
	result := &mesh.Service{Name: mesh.ServiceName{Namespace: object.Namespace, Name: object.Name}}
	for _, ip := range clusterIPs(object) {
		if addr, err := netip.ParseAddr(ip); err == nil { // "None" marks a headless service
			result.Addresses = append(result.Addresses, addr)
		}
	}
	slices.SortFunc(result.Addresses, netip.Addr.Compare)
	now := &service{result: result}
	var problems []Problem
	for _, port := range object.Spec.Ports {
		if port.Protocol != "" && port.Protocol != corev1.ProtocolTCP {
			continue
		}
		protocol, known := protocolOf(port)
		if !known {
			problems = append(problems, problemOf("Service", object.Namespace, object.Name,
				"port %d: appProtocol %q is not one that osm looks into (http, https, grpc, h2c, ws, tcp, tcp-server-first, tls): its bytes are passed on as TCP", port.Port, *port.AppProtocol))
		}
		result.Ports = append(result.Ports, s.servicePort(now, object, port, protocol))
	}
	slices.SortFunc(result.Ports, func(p, q mesh.ServicePort) int { return int(p.Number) - int(q.Number) })
	slices.SortFunc(now.addresses, netip.Addr.Compare)
	now.addresses = slices.Compact(now.addresses)
	return now, problems
}

func clusterIPs(service *corev1.Service) []string {
	if len(service.Spec.ClusterIPs) > 0 {
		return service.Spec.ClusterIPs
	}
	return []string{service.Spec.ClusterIP}
}

// servicePort collects the endpoints of one port from all slices of its service, and notes in now
// the workloads behind it.
func (s *State) servicePort(now *service, object *corev1.Service, port corev1.ServicePort, protocol mesh.Protocol) mesh.ServicePort {
	result := mesh.ServicePort{Number: uint16(port.Port), Protocol: protocol}
	endpoints := map[netip.AddrPort]mesh.Endpoint{}
	var serves []serve
	for _, slice := range s.spaces[object.Namespace].slicesOf[object.Name] {
		target, ok := targetPort(slice, port.Name)
		if !ok || !sameFamily(object, slice) {
			continue
		}
		for _, endpoint := range slice.Endpoints {
			for _, address := range endpoint.Addresses {
				addr, err := netip.ParseAddr(address)
				if err != nil {
					continue
				}
				now.addresses = append(now.addresses, addr)
				at := netip.AddrPortFrom(addr, target)
				w := s.owner(addr)
				meshed := w != nil && !slices.Contains(w.Unproxied, target)
				if w != nil {
					result.Identities = append(result.Identities, w.Identity)
					serves = append(serves, serve{pod: w.Name, port: target, protocol: protocol})
				}
				if meshed && now.result.Headless() {
					result.Pods = append(result.Pods, at)
				}
				if endpoint.Conditions.Ready == nil || *endpoint.Conditions.Ready {
					endpoints[at] = mesh.Endpoint{Address: at, Meshed: meshed}
				}
			}
		}
	}
	now.serves = append(now.serves, distinct(serves, serve.compare)...)
	result.Endpoints = slices.SortedFunc(maps.Values(endpoints), func(p, q mesh.Endpoint) int { return p.Address.Compare(q.Address) })
	result.Identities = distinct(result.Identities, identity.Compare)
	result.Pods = distinct(result.Pods, netip.AddrPort.Compare)
	return result
}

// distinct sorts a list and keeps each item once.
func distinct[T comparable](list []T, compare func(a, b T) int) []T {
	slices.SortFunc(list, compare)
	return slices.Compact(list)
}

func (s serve) compare(o serve) int {
	return cmp.Or(s.pod.Compare(o.pod), cmp.Compare(s.port, o.port), cmp.Compare(s.protocol, o.protocol))
}

// targetPort is the number that a slice gives to the service port of that name.
func targetPort(slice *discoveryv1.EndpointSlice, name string) (uint16, bool) {
	for _, port := range slice.Ports {
		sameName := port.Name != nil && *port.Name == name || port.Name == nil && name == ""
		if sameName && port.Port != nil && *port.Port > 0 && *port.Port <= 65535 {
			return uint16(*port.Port), true
		}
	}
	return 0, false
}

// sameFamily keeps a dual-stack service from listing every pod twice: only the slices of its
// primary address family count.
func sameFamily(object *corev1.Service, slice *discoveryv1.EndpointSlice) bool {
	if len(object.Spec.IPFamilies) == 0 {
		return slice.AddressType != discoveryv1.AddressTypeFQDN
	}
	return string(slice.AddressType) == string(object.Spec.IPFamilies[0])
}
