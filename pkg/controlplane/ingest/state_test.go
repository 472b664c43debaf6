package ingest_test

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osm-edge/osm/pkg/controlplane/ingest"
)

// TestPodLifecycle follows a Service through the lifecycle of its pod: a status update gives the pod an
// address, the address changes, and finally another pod gets it.
func TestPodLifecycle(t *testing.T) {
	objects := meshOfTwo()
	s := ingest.NewState(objects.MeshName, objects.TrustDomain)
	s.SetMeshConfig(objects.MeshConfig)
	s.SetNamespace("shop", namespace("shop"))
	s.SetService("shop", "web", service("shop", "web"))
	s.SetEndpointSlice("shop", "web-1", slice("shop", "web", "10.0.0.5", ref("shop", "p")))
	check := func(step, want string) {
		t.Helper()
		snapshot, _ := s.Snapshot()
		got := ""
		for _, e := range snapshot.Services()[0].Ports[0].Endpoints {
			got = map[bool]string{true: "meshed", false: "plain"}[e.Meshed]
		}
		if got != want {
			t.Errorf("%s: the endpoint is %q, want %q", step, got, want)
		}
	}
	check("an unknown pod", "plain")
	s.SetPod("shop", "p", pod("shop", "p"))
	check("a pod without an address", "")
	s.SetPod("shop", "p", pod("shop", "p", "10.0.0.5"))
	check("the kubelet reported the address", "meshed")
	s.SetPod("shop", "p", pod("shop", "p", "10.0.0.6"))
	check("the address changed", "")
	again := pod("shop", "p", "10.0.0.5")
	again.UID = "another"
	s.SetPod("shop", "p", again)
	check("a pod of the same name took its place", "")
	s.SetPod("shop", "p", pod("shop", "p", "10.0.0.5"))
	check("the first pod is back", "meshed")
	terminating := pod("shop", "p", "10.0.0.5")
	terminating.DeletionTimestamp = &metav1.Time{}
	s.SetPod("shop", "p", terminating)
	check("the pod is terminating and still serves", "meshed")
	s.SetPod("shop", "q", pod("shop", "q", "10.0.0.5"))
	check("another pod has its address", "")
	s.SetPod("shop", "p", nil)
	check("the pod was deleted", "")
	s.SetEndpointSlice("shop", "web-1", slice("shop", "web", "10.0.0.5", ref("shop", "q")))
	check("the slice names the other pod", "meshed")
}
