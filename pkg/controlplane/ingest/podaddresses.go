package ingest

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
)

// podAddresses returns the addresses in a pod's status at which other pods could reach it, sorted. Whether
// the pod really has them, owner decides.
func podAddresses(pod *corev1.Pod) []netip.Addr {
	var addresses []netip.Addr
	for _, ip := range pod.Status.PodIPs {
		if addr, reason := reachable(ip.IP); reason == "" {
			addresses = append(addresses, addr)
		}
	}
	return distinct(addresses, netip.Addr.Compare)
}

// hostAddresses returns the addresses of the pod's node, sorted; none if pod is nil.
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
