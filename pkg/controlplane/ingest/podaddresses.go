package ingest

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
)

// podAddresses are the addresses that a pod's status shows and a pod can have, sorted: not its node's, nor
// those that no pod can have. If several pods show one address, it belongs to the one that is not being
// deleted; if more than one is left, it belongs to none.
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
