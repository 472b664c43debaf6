package injector

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osm-edge/osm/pkg/api"
)

// TestPullSecretsAreAddedOnce to those that the pod has, which stay in their place.
func TestPullSecretsAreAddedOnce(t *testing.T) {
	for name, tt := range map[string]struct{ own, mesh, want []string }{
		"none":            {nil, nil, nil},
		"one":             {nil, []string{"a"}, []string{"a"}},
		"two":             {nil, []string{"a", "b"}, []string{"a", "b"}},
		"the pod's first": {[]string{"own"}, []string{"a", "b"}, []string{"own", "a", "b"}},
		"the pod's too":   {[]string{"b", "own"}, []string{"a", "b"}, []string{"b", "own", "a"}},
		"twice":           {nil, []string{"a", "a"}, []string{"a"}},
	} {
		t.Run(name, func(t *testing.T) {
			pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app"}}}}
			for _, secret := range tt.own {
				pod.Spec.ImagePullSecrets = append(pod.Spec.ImagePullSecrets, corev1.LocalObjectReference{Name: secret})
			}
			settings := testSettings()
			settings.PullSecrets = tt.mesh
			var got []string
			for _, secret := range patched(t, pod, settings).Spec.ImagePullSecrets {
				got = append(got, secret.Name)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

// TestStaleOriginalsAreRemoved: an annotation of an earlier injection does not outlive its probes, which a later
// injection would put back.
func TestStaleOriginalsAreRemoved(t *testing.T) {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{api.AnnotationOriginalHandlers: `{"app":{"livenessProbe":{"tcpSocket":{"port":80}}}}`, "note": "stays"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app"}}},
	}
	got := patched(t, pod, testSettings()).Annotations
	if _, set := got[api.AnnotationOriginalHandlers]; set || got["note"] != "stays" {
		t.Errorf("annotations %v", got)
	}
}

// patched is a pod after its injection.
func patched(t *testing.T, pod *corev1.Pod, settings Settings) *corev1.Pod {
	t.Helper()
	result, err := Patch(aboutToHave(t, pod), settings)
	if err != nil {
		t.Fatal(err)
	}
	return applyOperations(t, marshal(t, pod), result.Operations)
}

// aboutToHave is the request for a pod of a namespace that is injected.
func aboutToHave(t *testing.T, pod *corev1.Pod) Request {
	t.Helper()
	ns, err := enabledNamespace("shop")
	if err != nil {
		t.Fatal(err)
	}
	return Request{Pod: pod, Namespace: ns, UID: "11111111-2222-3333-4444-555555555555", Secret: "THESECRETOFTHEREVIEW"}
}
