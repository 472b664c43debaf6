package release_test

import (
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/osm-edge/osm/pkg/cli/release"
)

// What the API server defaults, and what others add, is no deviation; what the manifest says and the cluster does not hold
// is one. A real API server is needed: it knows which spellings of a value are equal, and which lists merge.
func TestDeviations(t *testing.T) {
	s := newScaled(t)
	if err := s.engine.Install(t.Context(), s.request(three)); err != nil {
		t.Fatal(err)
	}
	sets := []string{on} // there is no autoscaler that would scale a new Deployment out
	for _, key := range []string{"osm.osmController", "osm.injector"} {
		sets = append(sets, key+".enablePodDisruptionBudget=true", key+".resource.limits.cpu=1.5", key+".resource.requests.cpu=0.25")
	}
	s.upgrade(sets...)()
	info, err := s.engine.Info("osm")
	if err != nil {
		t.Fatal(err)
	}
	expect := func(when string, want ...release.Deviation) {
		t.Helper()
		got, err := s.engine.Deviations(t.Context(), info.Rendered)
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", when, got, want)
		}
	}
	expect("after an upgrade")

	webhooks, webhook := s.client.AdmissionregistrationV1().MutatingWebhookConfigurations(), "osm-webhook-osm"
	patch := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err = webhooks.Patch(t.Context(), webhook, types.StrategicMergePatchType, []byte(`{"metadata":{"annotations":{"a":"b"}},"webhooks":[{"name":"osm-inject.k8s.io","clientConfig":{"caBundle":"YQ=="}}]}`), metav1.PatchOptions{})
	patch(err)
	expect("after additions by others")

	_, err = webhooks.Patch(t.Context(), webhook, types.StrategicMergePatchType, []byte(`{"webhooks":[{"name":"osm-inject.k8s.io","failurePolicy":"Ignore"}]}`), metav1.PatchOptions{})
	patch(err)
	patch(s.client.PolicyV1().PodDisruptionBudgets(meshNamespace).Delete(t.Context(), "osm-controller-pdb", metav1.DeleteOptions{}))
	s.scale("osm-injector", 0)
	expect("after edits",
		release.Deviation{Kind: "PodDisruptionBudget", Namespace: meshNamespace, Name: "osm-controller-pdb", Why: release.Missing},
		release.Deviation{Kind: "Deployment", Namespace: meshNamespace, Name: "osm-injector", Why: release.NotReady},
		release.Deviation{Kind: "MutatingWebhookConfiguration", Name: webhook, Why: release.Edited},
	)
}
