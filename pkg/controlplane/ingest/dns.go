package ingest

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

// dnsPort is where DNS is asked over TCP: again, if the answer does not fit into UDP.
const dnsPort = 53

// dnsName is the Service that the kubelet writes into pods' resolv.conf. Its namespace can never be a member of
// a mesh, and only the cluster's administrator writes there.
func dnsName() mesh.ServiceName {
	return mesh.ServiceName{Namespace: metav1.NamespaceSystem, Name: "kube-dns"}
}

// clusterDNS returns where the cluster's DNS answers over TCP; the zero value if it does not.
func (s *State) clusterDNS() netip.AddrPort {
	name := dnsName()
	in := s.spaces[name.Namespace]
	if in == nil || in.services[name.Name] == nil {
		return netip.AddrPort{}
	}
	service := in.services[name.Name]
	for _, port := range service.Spec.Ports {
		if port.Port != dnsPort || port.Protocol != "" && port.Protocol != corev1.ProtocolTCP {
			continue
		}
		for _, ip := range clusterIPs(service) {
			if addr, reason := reachable(ip); reason == "" && addr.Is4() {
				return netip.AddrPortFrom(addr, dnsPort)
			}
		}
	}
	return netip.AddrPort{}
}
