//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/osm-edge/osm/tests/e2e/testapp/agent"
)

// meshNamespace creates a namespace of the mesh for one step.
func (s *story) meshNamespace(t *testing.T, name string) string {
	t.Helper()
	s.namespace(t, name)
	t.Cleanup(func() { s.deleteNamespace(t, name) })
	s.osm(t, "namespace", "add", name)
	return name
}

// probes tests every kind of probe on injected pods, while the application changes its state.
func (s *story) probes(t *testing.T) {
	namespace := s.meshNamespace(t, "e2e-probes")
	handlers := map[string]struct{ ready, live corev1.ProbeHandler }{
		"http": {httpProbe(agent.PathReady).ProbeHandler, httpProbe(agent.PathLive).ProbeHandler},
		"tcp":  {tcpHandler(agent.PortTCPReady), tcpHandler(agent.PortTCP)},
		"grpc": {grpcHandler(""), grpcHandler(agent.ServiceLive)},
	}
	for name, handler := range handlers {
		a := app{namespace: namespace, name: name}
		template := a.template(s.env.testapp, "serve", "--drain=0s")
		probed := &template.Spec.Containers[0]
		probed.StartupProbe = &corev1.Probe{ProbeHandler: handler.live, PeriodSeconds: 1, TimeoutSeconds: 5, FailureThreshold: 60}
		probed.LivenessProbe = &corev1.Probe{ProbeHandler: handler.live, PeriodSeconds: 1, TimeoutSeconds: 5, FailureThreshold: 3}
		probed.ReadinessProbe = &corev1.Probe{ProbeHandler: handler.ready, PeriodSeconds: 1, TimeoutSeconds: 5, FailureThreshold: 1}
		s.start(t, a, template)
	}
	for name := range handlers {
		t.Run(name, func(t *testing.T) {
			a := app{namespace: namespace, name: name}
			pod, control := s.onlyPod(t, a)
			if !injected(pod) {
				t.Errorf("pod %s has no sidecar, so its probes prove nothing", pod.Name)
			}
			for _, ready := range []bool{false, true} {
				if err := control.SetState(t.Context(), agent.State{Ready: ready, Live: true}); err != nil {
					t.Fatal(err)
				}
				until(t, s.pods(namespace, a.selector()), podTime, only(func(pod *corev1.Pod) string {
					if condition(pod, corev1.PodReady) == ready && restarts(pod) == 0 {
						return ""
					}
					return fmt.Sprintf("the application reports ready: %t, but the pod is: %s", ready, describe([]*corev1.Pod{pod}))
				}))
			}
			if name == "tcp" {
				return // its liveness is the port of a running process; if the process ends, it is restarted anyway
			}
			if err := control.SetState(t.Context(), agent.State{Ready: true}); err != nil {
				t.Fatal(err)
			}
			until(t, s.pods(namespace, a.selector()), podTime, only(func(pod *corev1.Pod) string {
				if restarts(pod) >= 1 && available(pod) {
					return ""
				}
				return fmt.Sprintf("the application reports that it is not live, but has %d restarts: %s", restarts(pod), describe([]*corev1.Pod{pod}))
			}))
		})
	}
}

func tcpHandler(number int32) corev1.ProbeHandler {
	return corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(number)}}
}

func grpcHandler(service string) corev1.ProbeHandler {
	return corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: agent.PortGRPC, Service: &service}}
}

// restarts counts those of the application, not of its sidecar.
func restarts(pod *corev1.Pod) int32 {
	for _, status := range pod.Status.ContainerStatuses {
		if status.Name == container {
			return status.RestartCount
		}
	}
	return 0
}

// jobs runs a Job that makes a single call, without retry, as soon as it starts: the sidecar
// must be ready before it, and must stop after it.
func (s *story) jobs(t *testing.T) {
	errand := app{namespace: s.meshNamespace(t, "e2e-jobs"), name: "errand"}
	s.job(t, errand, agent.Call{Protocol: agent.HTTP, Address: s.apps.at("server", portHTTP)})
	until(t, s.jobsNamed(errand.namespace, errand.name), podTime, only(func(job *batchv1.Job) string {
		if job.Status.Failed > 0 || job.Status.Succeeded != 1 {
			return fmt.Sprintf("%d pods are active, %d succeeded, %d failed; want 1 success", job.Status.Active, job.Status.Succeeded, job.Status.Failed)
		}
		return ""
	}))
	pod := until(t, s.pods(errand.namespace, errand.selector()), podTime, only(func(*corev1.Pod) string { return "" }))[0]
	if !injected(pod) {
		t.Errorf("pod %s has no sidecar, so its end shows nothing", pod.Name)
	}
	log := must(s.kube.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, &corev1.PodLogOptions{Container: container}).DoRaw(t.Context()))(t)
	var seen agent.Seen
	if err := json.Unmarshal(log, &seen); err != nil {
		t.Fatalf("read log of pod %s, %q: %v", pod.Name, log, err)
	}
	if seen.Peer != errand.spiffe() {
		t.Errorf("server saw peer %q, want %q", seen.Peer, errand.spiffe())
	}
}

// statefulSets lets the pods of a set talk to each other by their own names, which resolve to pod
// addresses, not to a Service's.
func (s *story) statefulSets(t *testing.T) {
	ring := app{namespace: s.meshNamespace(t, "e2e-sets"), name: "ring"}
	pods := s.set(t, ring, 2,
		port("http", agent.PortHTTP, agent.PortHTTP), port("grpc", agent.PortGRPC, agent.PortGRPC),
		port("tcp", agent.PortTCP, agent.PortTCP), port("greeter", agent.PortServerFirst, agent.PortServerFirst, "tcp-server-first"))
	clients := []agent.Client{s.direct(t, pods[0]), s.direct(t, pods[1])}
	_, unmeshed := s.onlyPod(t, s.apps.unmeshedClient)
	for i, from := range clients {
		other := pods[1-i]
		host := fmt.Sprintf("%s.%s.%s.svc.cluster.local", other.Name, ring.name, ring.namespace)
		for _, call := range []agent.Call{
			{Protocol: agent.HTTP, Address: fmt.Sprintf("%s:%d", host, agent.PortHTTP)},
			{Protocol: agent.GRPC, Address: fmt.Sprintf("%s:%d", host, agent.PortGRPC)},
			{Protocol: agent.TCP, Address: fmt.Sprintf("%s:%d", host, agent.PortTCP)},
			{Protocol: agent.ServerFirst, Address: fmt.Sprintf("%s:%d", host, agent.PortServerFirst)},
		} {
			seen := reach(t, from, call)
			want := ""
			if call.Protocol == agent.HTTP || call.Protocol == agent.GRPC {
				want = ring.spiffe()
			}
			if seen.Server != other.Name || seen.Peer != want {
				t.Errorf("%s %s was answered by %s, who saw peer %q; want %s and %q", call.Protocol, call.Address, seen.Server, seen.Peer, other.Name, want)
			}
			refused(t, unmeshed, call.Protocol, call.Address)
		}
	}
	t.Run("by the headless Service", func(t *testing.T) {
		_, client := s.onlyPod(t, s.apps.client) // not one of the ring, who might find itself
		seen := reach(t, client, agent.Call{Protocol: agent.HTTP, Address: fmt.Sprintf("%s.%s:%d", ring.name, ring.namespace, agent.PortHTTP)})
		if seen.Peer != s.apps.client.spiffe() {
			t.Errorf("server saw %+v, want peer %q", seen, s.apps.client.spiffe())
		}
	})
}
