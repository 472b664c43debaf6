package ingest

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

// apiServerName is the Service through which pods reach the API server. Only it may lead there: the author
// of a slice must not be able to send the clients of another Service to the API server.
func apiServerName() mesh.ServiceName {
	return mesh.ServiceName{Namespace: corev1.NamespaceDefault, Name: "kubernetes"}
}

// updateAPIServer updates the API server's addresses after its Service or one of its slices changed.
func (s *State) updateAPIServer() {
	if !s.changedServices[apiServerName()] {
		return
	}
	before := s.apiServer
	s.apiServer = distinct(s.apiServerPorts(), netip.AddrPort.Compare)
	if slices.Equal(before, s.apiServer) {
		return
	}
	for _, at := range slices.Concat(before, s.apiServer) {
		s.markDependents(at.Addr())
	}
}

func (s *State) apiServerPorts() []netip.AddrPort {
	name := apiServerName()
	in := s.spaces[name.Namespace]
	if in == nil || in.services[name.Name] == nil {
		return nil
	}
	var ports []netip.AddrPort
	add := func(ip string, port int32) {
		if addr, reason := reachable(ip); reason == "" && port > 0 && port <= 65535 {
			ports = append(ports, netip.AddrPortFrom(addr, uint16(port)))
		}
	}
	service := in.services[name.Name]
	for _, ip := range clusterIPs(service) {
		for _, port := range service.Spec.Ports {
			add(ip, port.Port)
		}
	}
	for _, slice := range in.slicesOf[name.Name] {
		for _, endpoint := range slice.Endpoints {
			for _, ip := range endpoint.Addresses {
				for _, port := range slice.Ports {
					if port.Port != nil {
						add(ip, *port.Port)
					}
				}
			}
		}
	}
	return ports
}

// isAPIServer reports whether at is the API server and service is not the API server's own Service.
func (s *State) isAPIServer(service mesh.ServiceName, at netip.AddrPort) bool {
	if service == apiServerName() {
		return false
	}
	_, found := slices.BinarySearchFunc(s.apiServer, at, netip.AddrPort.Compare)
	return found
}
