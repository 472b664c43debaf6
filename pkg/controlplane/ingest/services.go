package ingest

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

// services are those of the member namespaces that have an address or endpoints of their own.
func (b *builder) services() []*mesh.Service {
	slicesOf := map[mesh.ServiceName][]*discoveryv1.EndpointSlice{}
	for _, slice := range b.objects.EndpointSlices {
		if service := slice.Labels[discoveryv1.LabelServiceName]; service != "" && b.members[slice.Namespace] {
			name := mesh.ServiceName{Namespace: slice.Namespace, Name: service}
			slicesOf[name] = append(slicesOf[name], slice)
		}
	}
	var services []*mesh.Service
	for _, object := range sortedServices(b.objects.Services) {
		if !b.members[object.Namespace] || object.Spec.Type == corev1.ServiceTypeExternalName {
			continue
		}
		services = append(services, b.service(object, slicesOf))
	}
	return services
}

// sortedServices fixes which of several disagreeing Services a Problem names.
func sortedServices(objects []*corev1.Service) []*corev1.Service {
	return slices.SortedFunc(slices.Values(objects), func(a, b *corev1.Service) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
}

func (b *builder) service(object *corev1.Service, slicesOf map[mesh.ServiceName][]*discoveryv1.EndpointSlice) *mesh.Service {
	service := &mesh.Service{Name: mesh.ServiceName{Namespace: object.Namespace, Name: object.Name}}
	for _, ip := range clusterIPs(object) {
		if addr, err := netip.ParseAddr(ip); err == nil { // "None" marks a headless service
			service.Addresses = append(service.Addresses, addr)
		}
	}
	slices.SortFunc(service.Addresses, netip.Addr.Compare)
	for _, port := range object.Spec.Ports {
		if port.Protocol != "" && port.Protocol != corev1.ProtocolTCP {
			continue
		}
		protocol, known := protocolOf(port)
		if !known {
			b.problem("Service", object.Namespace, object.Name,
				"port %d: appProtocol %q is not one that osm looks into (http, https, grpc, h2c, ws, tcp, tcp-server-first, tls): its bytes are passed on as TCP", port.Port, *port.AppProtocol)
		}
		service.Ports = append(service.Ports, b.servicePort(object, port, protocol, slicesOf[service.Name]))
	}
	slices.SortFunc(service.Ports, func(p, q mesh.ServicePort) int { return int(p.Number) - int(q.Number) })
	return service
}

func clusterIPs(service *corev1.Service) []string {
	if len(service.Spec.ClusterIPs) > 0 {
		return service.Spec.ClusterIPs
	}
	return []string{service.Spec.ClusterIP}
}

// servicePort collects the endpoints of one port from all slices of its service, and tells the
// workloads behind it that they serve it.
func (b *builder) servicePort(object *corev1.Service, port corev1.ServicePort, protocol mesh.Protocol, all []*discoveryv1.EndpointSlice) mesh.ServicePort {
	result := mesh.ServicePort{Number: uint16(port.Port), Protocol: protocol}
	endpoints := map[netip.AddrPort]mesh.Endpoint{}
	for _, slice := range all {
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
				workload := b.byIP[addr]
				if workload != nil {
					result.Identities = append(result.Identities, workload.Identity)
					b.serves(workload, target, protocol, object)
				}
				if endpoint.Conditions.Ready == nil || *endpoint.Conditions.Ready {
					at := netip.AddrPortFrom(addr, target)
					meshed := workload != nil && !slices.Contains(workload.Unproxied, target)
					endpoints[at] = mesh.Endpoint{Address: at, Meshed: meshed}
				}
			}
		}
	}
	for _, endpoint := range endpoints {
		result.Endpoints = append(result.Endpoints, endpoint)
	}
	slices.SortFunc(result.Endpoints, func(p, q mesh.Endpoint) int { return p.Address.Compare(q.Address) })
	slices.SortFunc(result.Identities, identity.Compare)
	result.Identities = slices.Compact(result.Identities)
	return result
}

// serves records that a Service leads to that port of the workload. Where two Services disagree
// about the protocol, TCP is what both can live with.
func (b *builder) serves(workload *mesh.Workload, port uint16, protocol mesh.Protocol, by *corev1.Service) {
	ports := b.inbound[workload]
	if ports == nil {
		ports = map[uint16]mesh.Protocol{}
		b.inbound[workload] = ports
	}
	known, seen := ports[port]
	switch {
	case !seen, known == protocol:
		ports[port] = protocol
	case known.IsHTTP() && protocol.IsHTTP():
		ports[port] = mesh.HTTP
	default:
		ports[port] = mesh.TCP
		b.problem("Service", by.Namespace, by.Name,
			"port %d of pod %s is served as TCP, because the Services that lead to it disagree about its protocol: give their ports the same appProtocol", port, workload.Name)
	}
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
