package ingest_test

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osm-edge/osm/pkg/controlplane/ingest"
)

// TestPodsLife follows a Service through the life of its pod: the pod gets an address with a status update,
// the address changes, and another pod gets it in the end.
func TestPodsLife(t *testing.T) {
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
	check("as before", "meshed")
	ending := pod("shop", "p", "10.0.0.5")
	ending.DeletionTimestamp = &metav1.Time{}
	s.SetPod("shop", "p", ending)
	check("it ends, and still serves", "meshed")
	s.SetPod("shop", "q", pod("shop", "q", "10.0.0.5"))
	check("its address is another pod's", "")
	s.SetPod("shop", "p", nil)
	check("it is gone", "")
	s.SetEndpointSlice("shop", "web-1", slice("shop", "web", "10.0.0.5", ref("shop", "q")))
	check("the slice says so", "meshed")
}
