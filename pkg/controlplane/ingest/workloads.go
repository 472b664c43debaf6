package ingest

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

// workloads are the injected pods of the member namespaces that still own their addresses.
func (b *builder) workloads() []*mesh.Workload {
	var workloads []*mesh.Workload
	for _, pod := range b.objects.Pods {
		if !b.members[pod.Namespace] || pod.Labels[api.LabelProxyUUID] == "" || finished(pod) {
			continue
		}
		w := &mesh.Workload{
			Name:      mesh.PodName{Namespace: pod.Namespace, Name: pod.Name},
			Identity:  identity.Identity{Namespace: pod.Namespace, ServiceAccount: ServiceAccount(pod)},
			Unproxied: b.unproxied(pod),
		}
		for _, ip := range pod.Status.PodIPs {
			if addr, err := netip.ParseAddr(ip.IP); err == nil {
				w.Addresses = append(w.Addresses, addr)
			}
		}
		slices.SortFunc(w.Addresses, netip.Addr.Compare)
		workloads = append(workloads, w)
		for _, addr := range w.Addresses {
			b.claim(addr, w)
		}
	}
	return workloads
}

// claim records whose address it is. Two live pods can show one address for a moment, when a pod's
// end is seen late: the smaller name wins, so that all replicas agree whatever the order of events.
func (b *builder) claim(addr netip.Addr, w *mesh.Workload) {
	if other, taken := b.byIP[addr]; !taken || w.Name.Compare(other.Name) < 0 {
		b.byIP[addr] = w
	}
}

// finished says whether the pod gave its address back to the node.
func finished(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// ServiceAccount returns the name of the pod's ServiceAccount, "default" when it names none.
func ServiceAccount(pod *corev1.Pod) string {
	if pod.Spec.ServiceAccountName == "" {
		return "default"
	}
	return pod.Spec.ServiceAccountName
}

// unproxied are the inbound ports that the redirect of the pod leaves alone. The injector refused
// what does not parse, so anything odd here was put on the pod later and has no effect.
func (b *builder) unproxied(pod *corev1.Pod) []uint16 {
	var ports []uint16
	if config := b.objects.MeshConfig; config != nil {
		for _, port := range config.Spec.Traffic.InboundPortExclusionList {
			if port > 0 && port <= 65535 {
				ports = append(ports, uint16(port))
			}
		}
	}
	for field := range strings.SplitSeq(pod.Annotations[api.AnnotationInboundPortExclusion], ",") {
		if port, err := strconv.ParseUint(strings.TrimSpace(field), 10, 16); err == nil && port > 0 {
			ports = append(ports, uint16(port))
		}
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}

func sortedInbound(ports map[uint16]mesh.Protocol) []mesh.InboundPort {
	var inbound []mesh.InboundPort
	for number, protocol := range ports {
		inbound = append(inbound, mesh.InboundPort{Number: number, Protocol: protocol})
	}
	slices.SortFunc(inbound, func(a, b mesh.InboundPort) int { return int(a.Number) - int(b.Number) })
	return inbound
}
