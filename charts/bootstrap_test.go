package charts_test

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v3/pkg/release"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	configv1alpha2 "github.com/osm-edge/osm/pkg/api/config/v1alpha2"
)

// The preset must be a valid MeshConfig spec, because the hook applies it as one.
func TestPresetIsTheMeshConfigOfTheValues(t *testing.T) {
	preset := must[*corev1.ConfigMap](t, objects(t, fromFile(t, "testdata/everything.values.yaml")), "preset-mesh-config")
	decoder := json.NewDecoder(bytes.NewBufferString(preset.Data["preset-mesh-config.json"]))
	decoder.DisallowUnknownFields()
	var got configv1alpha2.MeshConfigSpec
	if err := decoder.Decode(&got); err != nil {
		t.Fatalf("decoding the preset: %v", err)
	}
	want := configv1alpha2.MeshConfigSpec{
		Sidecar: configv1alpha2.SidecarSpec{LogLevel: "debug", LocalProxyMode: configv1alpha2.LocalProxyModePodIP},
		Traffic: configv1alpha2.TrafficSpec{
			OutboundPortExclusionList:     []int32{3306, 6379},
			InboundPortExclusionList:      []int32{8443},
			OutboundIPRangeExclusionList:  []string{"169.254.169.254/32", "fd00:1::/64"},
			OutboundIPRangeInclusionList:  []string{"10.0.0.0/8"},
			NetworkInterfaceExclusionList: []string{"eth1"},
		},
		Observability: configv1alpha2.ObservabilitySpec{OSMLogLevel: "warn"},
		Certificate:   configv1alpha2.CertificateSpec{ServiceCertValidityDuration: metav1.Duration{Duration: 90 * time.Minute}, CertKeyBitSize: 3072},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("preset (-want +got):\n%s", diff)
	}
}

// The Job runs after everything it needs, before an installation and before an upgrade, and is deleted after success.
func TestHookOrder(t *testing.T) {
	rel, err := render(t, values{})
	if err != nil {
		t.Fatal(err)
	}
	weights := map[string]int{}
	for _, hook := range rel.Hooks {
		weights[hook.Kind] = hook.Weight
		if !slices.Equal(hook.Events, []release.HookEvent{release.HookPreInstall, release.HookPreUpgrade}) {
			t.Errorf("%s %s runs at %v", hook.Kind, hook.Name, hook.Events)
		}
		if !slices.Equal(hook.DeletePolicies, []release.HookDeletePolicy{release.HookBeforeHookCreation, release.HookSucceeded}) {
			t.Errorf("%s %s is deleted at %v", hook.Kind, hook.Name, hook.DeletePolicies)
		}
	}
	job, ok := weights["Job"]
	for _, kind := range []string{"ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "ConfigMap", "NetworkPolicy"} {
		weight, there := weights[kind]
		if !ok || !there || weight >= job {
			t.Errorf("%s has weight %d, the Job %d", kind, weight, job)
		}
	}
	if len(rel.Hooks) != 8 {
		t.Errorf("%d hook objects, want 8", len(rel.Hooks))
	}
}
