package ingest

import (
	"cmp"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

// service is a Service of the mesh and what is derived from it.
type service struct {
	result *mesh.Service
	// serves are the workload ports behind it, in the order of its own ports.
	serves []serve
	// addresses are the reachable addresses in its slices, sorted.
	addresses []netip.Addr
	// names are the pods that its slices name for addresses that no workload has, sorted.
	names []mesh.PodName
	// spare is whether a port has no ready endpoint.
	spare bool
}

// serve records that a service leads to a port of a pod.
type serve struct {
	pod      mesh.PodName
	port     uint16
	protocol mesh.Protocol
}

// updateService recomputes a service and adds it to changed if the result differs.
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

// objectOf returns the Service of that name, nil if the mesh has none.
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

// index updates the indexes from addresses and pods to a service, and marks the workloads whose ports it
// serves differently.
func (s *State) index(name mesh.ServiceName, before, now *service) {
	if before == nil {
		before = &service{}
	}
	if now == nil {
		now = &service{}
	}
	reindex(s.servicesAt, name, before.addresses, now.addresses)
	reindex(s.awaitedBy, name, before.names, now.names)
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

// reindex updates an index from keys to the services that have them.
func reindex[K comparable](in map[K]map[mesh.ServiceName]bool, name mesh.ServiceName, before, now []K) {
	if slices.Equal(before, now) {
		return
	}
	for _, key := range before {
		if delete(in[key], name); len(in[key]) == 0 {
			delete(in, key)
		}
	}
	for _, key := range now {
		if in[key] == nil {
			in[key] = map[mesh.ServiceName]bool{}
		}
		in[key][name] = true
	}
}

func sameService(a, b *mesh.Service) bool {
	return a.Name == b.Name && a.Sticky == b.Sticky && slices.Equal(a.Addresses, b.Addresses) && slices.Equal(a.External, b.External) && slices.EqualFunc(a.Ports, b.Ports, func(p, q mesh.ServicePort) bool {
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
	result.Sticky = object.Spec.SessionAffinity == corev1.ServiceAffinityClientIP && !result.Headless()
	now := &service{result: result}
	problems := unsupported(object)
	faults := map[faultKey][]string{}
	for _, port := range object.Spec.Ports {
		if port.Protocol != "" && port.Protocol != corev1.ProtocolTCP {
			continue
		}
		protocol, known := protocolOf(port)
		if !known {
			problems = append(problems, problemOf("Service", object.Namespace, object.Name,
				"port %d: unsupported appProtocol %q is treated as TCP; supported are http, https, grpc, h2c, ws, tcp, tcp-server-first and tls", port.Port, *port.AppProtocol))
		}
		result.Ports = append(result.Ports, s.servicePort(now, object, port, protocol, faults))
	}
	slices.SortFunc(result.Ports, func(p, q mesh.ServicePort) int { return int(p.Number) - int(q.Number) })
	external, refused := s.external(object, result.Ports)
	result.External = external
	problems = append(problems, refused...)
	now.addresses = distinct(now.addresses, netip.Addr.Compare)
	now.names = distinct(now.names, mesh.PodName.Compare)
	return now, append(problems, sliceProblems(object, faults)...)
}

// unsupported returns the problems of what a Service asks for and osm does not do.
func unsupported(object *corev1.Service) []Problem {
	var problems []Problem
	report := func(format string, args ...any) {
		problems = append(problems, problemOf("Service", object.Namespace, object.Name, format, args...))
	}
	if families := object.Spec.IPFamilies; len(families) > 0 && !slices.Contains(families, corev1.IPv4Protocol) {
		report("has IPv6 addresses only, and proxies listen on IPv4 only: no pod of the mesh reaches it; add IPv4 to ipFamilies")
	}
	if policy := object.Spec.InternalTrafficPolicy; policy != nil && *policy == corev1.ServiceInternalTrafficPolicyLocal && object.Spec.ClusterIP != corev1.ClusterIPNone {
		report("internalTrafficPolicy Local has no effect: pods of the mesh use the endpoints of all nodes; remove it, or let clients dial the pods of a headless Service")
	}
	return problems
}

func clusterIPs(service *corev1.Service) []string {
	if len(service.Spec.ClusterIPs) > 0 {
		return service.Spec.ClusterIPs
	}
	return []string{service.Spec.ClusterIP}
}

// distinct sorts a list in place and removes duplicates.
func distinct[T comparable](list []T, compare func(a, b T) int) []T {
	slices.SortFunc(list, compare)
	return slices.Compact(list)
}

func (s serve) compare(o serve) int {
	return cmp.Or(s.pod.Compare(o.pod), cmp.Compare(s.port, o.port), cmp.Compare(s.protocol, o.protocol))
}
