package ingest_test

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osm-edge/osm/pkg/controlplane/ingest"
)

// conditions are those of a pod: c is ContainersReady, g a readiness gate, r is Ready, each "+" or "-" or absent.
func conditions(pod *corev1.Pod, text string) *corev1.Pod {
	kinds := map[byte]corev1.PodConditionType{'c': corev1.ContainersReady, 'g': "gate", 'r': corev1.PodReady}
	pod.Status.Conditions = nil
	for field := range strings.FieldsSeq(text) {
		status := corev1.ConditionFalse
		if field[1] == '+' {
			status = corev1.ConditionTrue
		}
		pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{Type: kinds[field[0]], Status: status})
	}
	return pod
}

const kubernetes = "endpointslice-controller.k8s.io"

// lost is a Service of pod store and of an endpoint outside the mesh.
func lost(first, second, pod, writer string) ingest.Objects {
	objects := meshOfTwo()
	conditions(objects.Pods[0], pod)
	objects.Services = []*corev1.Service{service("shop", "web")}
	s := slice("shop", "web", "10.0.0.1", ref("shop", "store"))
	s.Labels[discoveryv1.LabelManagedBy] = writer
	s.Endpoints = []discoveryv1.Endpoint{endpoint("10.0.0.1", first), endpoint("203.0.113.2", second)}
	s.Endpoints[0].TargetRef = ref("shop", "store")
	objects.EndpointSlices = []*discoveryv1.EndpointSlice{s}
	return objects
}

func used(t *testing.T, objects ingest.Objects) string {
	t.Helper()
	snapshot, _ := build(t, objects)
	var got []string
	for _, e := range snapshot.Services()[0].Ports[0].Endpoints {
		got = append(got, fmt.Sprint(e.Address.Addr(), e.Meshed))
	}
	return strings.Join(got, " ")
}

// TestLostNode: while a Service has no ready endpoint, those whose kubelets say that they are ready are used: Kubernetes made
// them unready because it has not heard from their nodes.
func TestLostNode(t *testing.T) {
	const store, other = "10.0.0.1 true", "203.0.113.2 false"
	for name, c := range map[string]struct{ first, second, pod, writer, want string }{
		"node lost":                       {"r- s-", "r-", "c+ r-", kubernetes, store},
		"back, but not yet in the slice":  {"r- s-", "r-", "c+ r+", kubernetes, store},
		"another endpoint is ready":       {"r- s-", "r+", "c+ r-", kubernetes, other},
		"another endpoint still serves":   {"r- s-", "r- s+ t+", "c+ r-", kubernetes, store + " " + other},
		"its probe fails":                 {"r- s-", "r-", "c- r-", kubernetes, ""},
		"the kubelet has said nothing":    {"r- s-", "r-", "", kubernetes, ""},
		"its gate says no":                {"r- s-", "r-", "c+ g- r-", kubernetes, ""},
		"its gate says yes":               {"r- s-", "r-", "c+ g+ r-", kubernetes, store},
		"a slice that somebody wrote":     {"r- s-", "r-", "c+ r+", "me", ""},
		"a slice that nobody said is his": {"r- s-", "r-", "c+ r+", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			objects := lost(c.first, c.second, c.pod, c.writer)
			if strings.Contains(c.pod, "g") {
				objects.Pods[0].Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "gate"}}
			}
			if got := used(t, objects); got != c.want {
				t.Errorf("clients use %q, want %q", got, c.want)
			}
		})
	}
}

// TestLostNodeOfOthers: the kubelet's word counts for the pod that the slice names, while nobody deletes it.
func TestLostNodeOfOthers(t *testing.T) {
	for name, change := range map[string]func(*ingest.Objects){
		"not named":      func(o *ingest.Objects) { o.EndpointSlices[0].Endpoints[0].TargetRef = nil },
		"an earlier pod": func(o *ingest.Objects) { o.EndpointSlices[0].Endpoints[0].TargetRef.UID = "earlier" },
		"terminating":    func(o *ingest.Objects) { o.Pods[0].DeletionTimestamp = &metav1.Time{} },
	} {
		objects := lost("r- s-", "r-", "c+ r-", kubernetes)
		change(&objects)
		if got := used(t, objects); got != "" {
			t.Errorf("%s: clients use %q", name, got)
		}
	}
}

// TestKubeletsWordArrives: a change of the pod alone reaches the Services that have no ready endpoint, and changes nothing
// for others.
func TestKubeletsWordArrives(t *testing.T) {
	objects := lost("r- s-", "r-", "c- r-", kubernetes)
	s := ingest.NewState(objects.MeshName, objects.TrustDomain)
	s.SetMeshConfig(objects.MeshConfig)
	s.SetNamespace("shop", objects.Namespaces[0])
	s.SetService("shop", "web", objects.Services[0])
	s.SetEndpointSlice("shop", objects.EndpointSlices[0].Name, objects.EndpointSlices[0])
	says := func(text string) int {
		s.SetPod("shop", "store", conditions(objects.Pods[0].DeepCopy(), text))
		snapshot, _ := s.Snapshot()
		return len(snapshot.Services()[0].Ports[0].Endpoints)
	}
	for _, step := range []struct {
		says string
		want int
	}{{"c- r-", 0}, {"c+ r-", 1}, {"c+ r+", 1}, {"c- r-", 0}, {"c+ r-", 1}} {
		if got := says(step.says); got != step.want {
			t.Errorf("%s: %d endpoints, want %d", step.says, got, step.want)
		}
	}
	ready := objects.EndpointSlices[0].DeepCopy()
	ready.Endpoints[0].Conditions.Ready = new(true)
	s.SetEndpointSlice("shop", ready.Name, ready)
	before, _ := s.Snapshot()
	if says("c- r-"); before.Services()[0] == nil {
		t.Fatal("the Service is gone")
	}
	if after, _ := s.Snapshot(); after != before {
		t.Error("the kubelet's word makes a new snapshot though the Service has a ready endpoint")
	}
}
