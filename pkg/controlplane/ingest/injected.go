package ingest

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/osm-edge/osm/pkg/api"
)

// Which pod is a workload. The label osm-proxy-uuid only says where to look: whoever may write a pod
// may write it. A pod is a workload of the mesh if all of this holds:
//
//   - its namespace is a member of the mesh;
//   - it has the label, and has not finished;
//   - it has a network namespace of its own. A pod on the host's network has the node's address, and
//     the redirect of its traffic would be the node's;
//   - it has what the injector adds: the init container osm-init, which redirects its traffic, and the
//     container envoy with the proxy's certificate mounted. Neither can be added to an existing pod.
//
// Writing all of that by hand gains nothing: the mesh believes only the pod's address, which the kubelet
// reports, and its ServiceAccount, which admission checks.
//
// A workload has the addresses in its status, except for node addresses and those that no pod can have.
// If several pods show one address, it belongs to the one that is not being deleted; if more than one is
// left, it belongs to none.

// notInjected says why a pod with the label is no workload, "" for one that is.
func notInjected(pod *corev1.Pod) string {
	switch {
	case pod.Spec.HostNetwork:
		return "is on the host's network, whose addresses are the node's"
	case !slices.ContainsFunc(pod.Spec.InitContainers, func(c corev1.Container) bool { return c.Name == api.ContainerInit }):
		return "has no init container " + api.ContainerInit + ", so that nothing redirects its traffic"
	case !slices.ContainsFunc(pod.Spec.InitContainers, isProxy) && !slices.ContainsFunc(pod.Spec.Containers, isProxy):
		return "has no container " + api.ContainerEnvoy + " with the proxy's certificate at " + api.ProxyCertDir
	default:
		return ""
	}
}

func isProxy(c corev1.Container) bool {
	return c.Name == api.ContainerEnvoy && slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool {
		return m.MountPath == api.ProxyCertDir
	})
}

// podAddresses are the addresses that a pod's status shows and a pod can have, sorted.
func podAddresses(pod *corev1.Pod) []netip.Addr {
	var addresses []netip.Addr
	for _, ip := range pod.Status.PodIPs {
		if addr, fault := reachable(ip.IP); fault == "" {
			addresses = append(addresses, addr)
		}
	}
	return distinct(addresses, netip.Addr.Compare)
}

// hostAddresses are the addresses of the pod's node, sorted; none for nil.
func hostAddresses(pod *corev1.Pod) []netip.Addr {
	if pod == nil {
		return nil
	}
	var addresses []netip.Addr
	add := func(ip string) {
		if addr, err := netip.ParseAddr(ip); err == nil {
			addresses = append(addresses, addr)
		}
	}
	add(pod.Status.HostIP)
	for _, ip := range pod.Status.HostIPs {
		add(ip.IP)
	}
	if pod.Spec.HostNetwork {
		for _, ip := range pod.Status.PodIPs {
			add(ip.IP)
		}
	}
	return distinct(addresses, netip.Addr.Compare)
}
