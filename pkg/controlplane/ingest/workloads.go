package ingest

import (
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

// workload is an injected pod of the mesh that still owns its addresses.
type workload struct {
	mesh.Workload // without Inbound
	// current is what the last snapshot says, with Inbound; nil before the first.
	current *mesh.Workload
	// servedBy are the services that lead to it.
	servedBy map[mesh.ServiceName]bool
}

// updatePod looks at a pod again. When its workload is another one, so may be every service that
// leads to one of its addresses.
func (s *State) updatePod(name mesh.PodName) {
	before, now := s.workloads[name], s.workloadOf(name)
	if before != nil && now != nil && sameWorkload(&before.Workload, &now.Workload) {
		return
	}
	if before == nil && now == nil {
		return
	}
	if before != nil {
		for _, addr := range before.Addresses {
			s.disclaim(addr, before)
		}
		delete(s.workloads, name)
	}
	if now != nil {
		if before != nil {
			now.current, now.servedBy = before.current, before.servedBy
		}
		s.workloads[name] = now
		for _, addr := range now.Addresses {
			s.claim(addr, now)
		}
	}
	s.changedWorkloads[name] = true
}

// workloadOf returns the pod's workload, nil when it is none of the mesh's.
func (s *State) workloadOf(name mesh.PodName) *workload {
	in := s.spaces[name.Namespace]
	if in == nil || !in.member {
		return nil
	}
	pod := in.pods[name.Name]
	if pod == nil || pod.Labels[api.LabelProxyUUID] == "" || finished(pod) {
		return nil
	}
	w := &workload{Workload: mesh.Workload{
		Name:      name,
		Identity:  identity.Identity{Namespace: pod.Namespace, ServiceAccount: ServiceAccount(pod)},
		Unproxied: unproxied(pod),
	}, servedBy: map[mesh.ServiceName]bool{}}
	for _, ip := range pod.Status.PodIPs {
		if addr, err := netip.ParseAddr(ip.IP); err == nil {
			w.Addresses = append(w.Addresses, addr)
		}
	}
	slices.SortFunc(w.Addresses, netip.Addr.Compare)
	return w
}

func sameWorkload(a, b *mesh.Workload) bool {
	return a.Name == b.Name && a.Identity == b.Identity && slices.Equal(a.Addresses, b.Addresses) &&
		slices.Equal(a.Inbound, b.Inbound) && slices.Equal(a.Unproxied, b.Unproxied)
}

// claim records that a workload shows an address. Two live pods can show one for a moment, when a
// pod's end is seen late: the smaller name wins, so that all replicas agree whatever the order of
// events.
func (s *State) claim(addr netip.Addr, w *workload) {
	list := s.claims[addr]
	i, _ := slices.BinarySearchFunc(list, w, func(a, b *workload) int { return a.Name.Compare(b.Name) })
	s.claims[addr] = slices.Insert(list, i, w)
	s.touchUsers(addr)
}

func (s *State) disclaim(addr netip.Addr, w *workload) {
	list := slices.DeleteFunc(s.claims[addr], func(other *workload) bool { return other == w })
	if s.claims[addr] = list; len(list) == 0 {
		delete(s.claims, addr)
	}
	s.touchUsers(addr)
}

func (s *State) touchUsers(addr netip.Addr) {
	for service := range s.users[addr] {
		s.changedServices[service] = true
	}
}

// owner is the workload that has the address, nil when no workload of the mesh does.
func (s *State) owner(addr netip.Addr) *workload {
	if list := s.claims[addr]; len(list) > 0 {
		return list[0]
	}
	return nil
}

// updateWorkload works out the ports on which services lead to a workload, and puts the workload
// into changed if it is not as it was.
func (s *State) updateWorkload(name mesh.PodName, changed map[mesh.PodName]*mesh.Workload) {
	part := "Pod " + name.String()
	w := s.workloads[name]
	if w == nil {
		s.problems.set(part)
		if s.last != nil && s.last.Workload(name) != nil {
			changed[name] = nil
		}
		return
	}
	now := w.Workload
	inbound, problems := s.inbound(w)
	now.Inbound = inbound
	s.problems.set(part, problems...)
	if w.current == nil || !sameWorkload(w.current, &now) {
		w.current = &now
		changed[name] = &now
	}
}

// inbound folds what the services say about a workload's ports, in the order of their names. Where
// two disagree about the protocol, TCP is what both can live with.
func (s *State) inbound(w *workload) ([]mesh.InboundPort, []Problem) {
	ports := map[uint16]mesh.Protocol{}
	var problems []Problem
	for _, name := range slices.SortedFunc(maps.Keys(w.servedBy), mesh.ServiceName.Compare) {
		for _, serve := range s.services[name].serves {
			if serve.pod != w.Name {
				continue
			}
			known, seen := ports[serve.port]
			switch {
			case !seen, known == serve.protocol:
				ports[serve.port] = serve.protocol
			case known.IsHTTP() && serve.protocol.IsHTTP():
				ports[serve.port] = mesh.HTTP
			default:
				ports[serve.port] = mesh.TCP
				problems = append(problems, problemOf("Service", name.Namespace, name.Name,
					"port %d of pod %s is served as TCP, because the Services that lead to it disagree about its protocol: give their ports the same appProtocol", serve.port, w.Name))
			}
		}
	}
	return sortedInbound(ports), problems
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
