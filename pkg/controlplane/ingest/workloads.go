package ingest

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/api/membership"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

// workload is an injected pod of the mesh that has not finished.
type workload struct {
	mesh.Workload // without Inbound; Addresses are those in the pod's status
	uid           types.UID
	terminating   bool
	answers       bool // as Answers says
	created       time.Time
	// current is the workload in the last snapshot, with Inbound; nil before the first.
	current *mesh.Workload
	// servedBy are the services with a port that leads to it.
	servedBy map[mesh.ServiceName]bool
}

// is reports whether a reference is to this workload, not to an earlier pod of the same name.
func (w *workload) is(pod mesh.PodName, uid types.UID) bool {
	return w.Name == pod && (uid == "" || w.uid == "" || uid == w.uid)
}

func (w *workload) same(o *workload) bool {
	return sameWorkload(&w.Workload, &o.Workload) && w.uid == o.uid && w.terminating == o.terminating && w.created.Equal(o.created)
}

// updatePod recomputes a pod's workload. If it changed, it marks every service that uses one of its
// addresses or names the pod.
func (s *State) updatePod(name mesh.PodName) {
	pod := s.labelledPod(name)
	s.setHosts(name, hostAddresses(pod))
	before, now := s.workloads[name], s.workloadOf(name, pod)
	switch {
	case before == nil && now == nil:
		return
	case before != nil && now != nil && before.same(now):
		s.setAnswers(before, now.answers)
		return
	}
	if before != nil {
		for _, addr := range before.Addresses {
			s.removeAddress(addr, before)
		}
		delete(s.workloads, name)
	}
	if now != nil {
		if before != nil {
			now.current, now.servedBy = before.current, before.servedBy
		}
		s.workloads[name] = now
		for _, addr := range now.Addresses {
			s.addAddress(addr, now)
		}
	}
	for service := range s.awaitedBy[name] {
		s.changedServices[service] = true
	}
	s.changedWorkloads[name] = true
}

// setAnswers notes what the kubelet says of a workload. It only matters to Services of which no endpoint is ready.
func (s *State) setAnswers(w *workload, answers bool) {
	if w.answers == answers {
		return
	}
	w.answers = answers
	for _, addr := range w.Addresses {
		for name := range s.servicesAt[addr] {
			if s.services[name].spare {
				s.changedServices[name] = true
			}
		}
	}
}

// Answers reports whether a pod's kubelet says that the pod is ready: all its containers are, and so are its readiness
// gates. The condition Ready may be false all the same. When a node has not been heard from, Kubernetes makes all its pods
// unready by that condition alone, and if the API server was away for long, it does so with all nodes at once.
func Answers(pod *corev1.Pod) bool {
	for _, gate := range pod.Spec.ReadinessGates {
		if !conditionIsTrue(pod, gate.ConditionType) {
			return false
		}
	}
	return conditionIsTrue(pod, corev1.ContainersReady)
}

func conditionIsTrue(pod *corev1.Pod, kind corev1.PodConditionType) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == kind && c.Status == corev1.ConditionTrue
	})
}

// labelledPod returns a pod of the mesh's namespaces that is labelled as injected and has not finished, nil
// for any other.
func (s *State) labelledPod(name mesh.PodName) *corev1.Pod {
	in := s.spaces[name.Namespace]
	if in == nil || !in.member {
		return nil
	}
	pod := in.pods[name.Name]
	if pod == nil || pod.Labels[api.LabelProxyUUID] == "" || finished(pod) {
		return nil
	}
	return pod
}

// workloadOf returns the pod's workload, nil if the pod is not in the mesh.
func (s *State) workloadOf(name mesh.PodName, pod *corev1.Pod) *workload {
	part := "label of Pod " + name.String()
	if pod == nil {
		s.problems.set(part)
		return nil
	}
	if why := membership.NotInjected(pod); why != "" {
		s.problems.set(part, problemOf("Pod", name.Namespace, name.Name,
			"has the label %s but %s: the pod is not in the mesh; remove the label, or let the injector add the sidecar", api.LabelProxyUUID, why))
		return nil
	}
	s.problems.set(part)
	return &workload{Workload: mesh.Workload{
		Name:      name,
		Identity:  identity.Identity{Namespace: pod.Namespace, ServiceAccount: ServiceAccount(pod)},
		Addresses: podAddresses(pod),
		Unproxied: unproxied(pod),
	}, uid: pod.UID, terminating: pod.DeletionTimestamp != nil, answers: Answers(pod), created: pod.CreationTimestamp.Time, servedBy: map[mesh.ServiceName]bool{}}
}

func sameWorkload(a, b *mesh.Workload) bool {
	return a.Name == b.Name && a.Identity == b.Identity && slices.Equal(a.Addresses, b.Addresses) &&
		slices.Equal(a.Inbound, b.Inbound) && slices.Equal(a.Unproxied, b.Unproxied)
}

// updateWorkload recomputes a workload's addresses and inbound ports, and adds it to changed if the result
// differs.
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
	addresses, disputed := s.ownAddresses(w)
	if now.Addresses = addresses; len(disputed) > 0 {
		now.Unproxied = nil // plain text to them could reach another pod
		problems = append(problems, problemOf("Pod", name.Namespace, name.Name,
			"several pods report the address %s (%s): no Service uses it until only one pod does", disputed[0], s.podNamesAt(disputed[0])))
	}
	s.problems.set(part, problems...)
	if w.current == nil || !sameWorkload(w.current, &now) {
		w.current = &now
		changed[name] = &now
	}
}

// inbound merges the ports that the services of a workload's namespace give it, in the order of their names.
// If two disagree, the port is HTTP: with TCP, a client's own x-forwarded-client-cert header would reach the
// application.
func (s *State) inbound(w *workload) ([]mesh.InboundPort, []Problem) {
	ports := map[uint16]mesh.Protocol{}
	saidBy := map[uint16]mesh.ServiceName{}
	var problems []Problem
	for _, name := range slices.SortedFunc(maps.Keys(w.servedBy), mesh.ServiceName.Compare) {
		for _, serve := range s.services[name].serves {
			if serve.pod != w.Name {
				continue
			}
			known, seen := ports[serve.port]
			switch {
			case !seen:
				ports[serve.port], saidBy[serve.port] = serve.protocol, name
			case known == serve.protocol:
			case known.IsHTTP() && serve.protocol.IsHTTP():
				ports[serve.port] = mesh.HTTP
			default:
				ports[serve.port] = mesh.HTTP
				problems = append(problems, problemOf("Service", name.Namespace, name.Name,
					"port %d of pod %s is treated as HTTP, because this Service says %s and Service %s says %s; give both ports the same appProtocol",
					serve.port, w.Name, serve.protocol, saidBy[serve.port], known))
			}
		}
	}
	return sortedInbound(ports), problems
}

// finished reports whether the pod has ended and its address may be reused.
func finished(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// ServiceAccount returns the name of the pod's ServiceAccount, "default" if it names none.
func ServiceAccount(pod *corev1.Pod) string {
	if pod.Spec.ServiceAccountName == "" {
		return "default"
	}
	return pod.Spec.ServiceAccountName
}

// unproxied returns the inbound ports that bypass the pod's sidecar. It reads them from the arguments of the
// pod's init container, because the pod's redirect rules never change: the MeshConfig and annotations, which
// can, only apply to new pods.
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
