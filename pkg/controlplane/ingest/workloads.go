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
			Unproxied: unproxied(pod),
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

// unproxied are the inbound ports that the redirect of the pod leaves alone. They are read from the
// redirect's own arguments, which cannot change while the pod lives, as its rules cannot: what the
// MeshConfig or an annotation says now holds for pods to come.
func unproxied(pod *corev1.Pod) []uint16 {
	var ports []uint16
	for _, container := range pod.Spec.InitContainers {
		if container.Name != api.ContainerInit {
			continue
		}
		for _, arg := range container.Args {
			list, ok := strings.CutPrefix(arg, redirectExclusion)
			if !ok {
				continue
			}
			for field := range strings.SplitSeq(list, ",") {
				if port, err := strconv.ParseUint(field, 10, 16); err == nil && port > 0 {
					ports = append(ports, uint16(port))
				}
			}
		}
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}

// redirectExclusion is how the injector spells the list in the redirect's arguments.
const redirectExclusion = "--exclude-inbound-ports="

func sortedInbound(ports map[uint16]mesh.Protocol) []mesh.InboundPort {
	var inbound []mesh.InboundPort
	for number, protocol := range ports {
		inbound = append(inbound, mesh.InboundPort{Number: number, Protocol: protocol})
	}
	slices.SortFunc(inbound, func(a, b mesh.InboundPort) int { return int(a.Number) - int(b.Number) })
	return inbound
}
