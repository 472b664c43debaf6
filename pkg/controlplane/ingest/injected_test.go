package ingest_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

// TestWhichPodIsAWorkload removes, one by one, what the injector adds to a pod.
func TestWhichPodIsAWorkload(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(*corev1.Pod)
		want    bool
		problem string
	}{
		"as injected": {func(*corev1.Pod) {}, true, ""},
		"with a plain sidecar": {func(p *corev1.Pod) {
			p.Spec.Containers, p.Spec.InitContainers = p.Spec.InitContainers[1:], p.Spec.InitContainers[:1]
		}, true, ""},
		"terminating":       {func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{} }, true, ""},
		"pending":           {func(p *corev1.Pod) { p.Status = corev1.PodStatus{Phase: corev1.PodPending} }, true, ""},
		"without the label": {func(p *corev1.Pod) { p.Labels = nil }, false, ""},
		"succeeded":         {func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }, false, ""},
		"failed":            {func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }, false, ""},
		"outside the mesh":  {func(p *corev1.Pod) { p.Namespace = "elsewhere" }, false, ""},
		"on the host's network": {func(p *corev1.Pod) {
			p.Spec.HostNetwork = true
			p.Status.PodIPs = []corev1.PodIP{{IP: "10.9.0.1"}}
		}, false, "Pod shop/spoofer: has the label osm-proxy-uuid but is on the host's network"},
		"with the label alone":     {func(p *corev1.Pod) { p.Spec.InitContainers = nil }, false, "but has no init container osm-init"},
		"without the redirect":     {func(p *corev1.Pod) { p.Spec.InitContainers = p.Spec.InitContainers[1:] }, false, "but has no init container osm-init"},
		"without the sidecar":      {func(p *corev1.Pod) { p.Spec.InitContainers = p.Spec.InitContainers[:1] }, false, "but has no container envoy with the proxy's certificate"},
		"with an envoy of its own": {func(p *corev1.Pod) { p.Spec.InitContainers[1].VolumeMounts = nil }, false, "but has no container envoy with the proxy's certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			spoofer := pod("shop", "spoofer", "10.0.0.7")
			c.change(spoofer)
			objects := meshOfTwo()
			objects.Pods = append(objects.Pods, spoofer)
			snapshot, problems := build(t, objects)
			if got := snapshot.Workload(mesh.PodName{Namespace: spoofer.Namespace, Name: "spoofer"}) != nil; got != c.want {
				t.Errorf("is a workload: %t, want %t", got, c.want)
			}
			if c.problem == "" && problems != "" || !strings.Contains(problems, c.problem) {
				t.Errorf("problems %q, want %q", problems, c.problem)
			}
		})
	}
}
