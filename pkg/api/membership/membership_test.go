package membership_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/api/membership"
)

func TestMember(t *testing.T) {
	for _, c := range []struct {
		name   string
		labels map[string]string
		mesh   string
		want   bool
	}{
		{"its own mesh", map[string]string{api.LabelMonitoredBy: "osm"}, "osm", true},
		{"another mesh", map[string]string{api.LabelMonitoredBy: "blue"}, "osm", false},
		{"no label", nil, "osm", false},
		{"no label and a mesh without a name", nil, "", false},
		{"ignored", map[string]string{api.LabelMonitoredBy: "osm", api.LabelIgnore: "true"}, "osm", false},
		{"an ignore label with another value", map[string]string{api.LabelMonitoredBy: "osm", api.LabelIgnore: "yes"}, "osm", true},
	} {
		if got := membership.Member(c.labels, c.mesh); got != c.want {
			t.Errorf("%s: %t, want %t", c.name, got, c.want)
		}
	}
}

func TestInjection(t *testing.T) {
	for value, want := range map[string]bool{"enabled": true, "yes": true, "TRUE": true, "disabled": false, "No": false, "false": false} {
		for _, text := range []string{value, " " + value + " "} {
			if enabled, set, err := membership.Injection(map[string]string{api.AnnotationInjection: text}); enabled != want || !set || err != nil {
				t.Errorf("%q: enabled %t, set %t, %v", text, enabled, set, err)
			}
		}
	}
	if enabled, set, err := membership.Injection(nil); enabled || set || err != nil {
		t.Errorf("no annotation: enabled %t, set %t, %v", enabled, set, err)
	}
	enabled, set, err := membership.Injection(map[string]string{api.AnnotationInjection: "maybe"})
	if enabled || !set || err == nil || err.Error() != `"maybe": want enabled, yes or true, or disabled, no or false` {
		t.Errorf("enabled %t, set %t, %v", enabled, set, err)
	}
}

func TestPods(t *testing.T) {
	injected := func(change func(*corev1.PodSpec)) *corev1.Pod {
		proxy := corev1.Container{Name: api.ContainerEnvoy, VolumeMounts: []corev1.VolumeMount{{MountPath: api.ProxyCertDir}}}
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "app"}, Spec: corev1.PodSpec{InitContainers: []corev1.Container{{Name: api.ContainerInit}, proxy}}}
		change(&pod.Spec)
		return pod
	}
	for _, c := range []struct {
		name              string
		change            func(*corev1.PodSpec)
		cannot, notInside bool
	}{
		{"with a native sidecar", func(*corev1.PodSpec) {}, false, false},
		{"with an ordinary container", func(s *corev1.PodSpec) { s.Containers, s.InitContainers = s.InitContainers[1:], s.InitContainers[:1] }, false, false},
		{"on the host's network", func(s *corev1.PodSpec) { s.HostNetwork = true }, true, true},
		{"on Windows", func(s *corev1.PodSpec) { s.OS = &corev1.PodOS{Name: corev1.Windows} }, true, false},
		{"that selects Windows", func(s *corev1.PodSpec) { s.NodeSelector = map[string]string{corev1.LabelOSStable: "windows"} }, true, false},
		{"without the redirect", func(s *corev1.PodSpec) { s.InitContainers = s.InitContainers[1:] }, false, true},
		{"without the proxy", func(s *corev1.PodSpec) { s.InitContainers = s.InitContainers[:1] }, false, true},
		{"without the certificate", func(s *corev1.PodSpec) { s.InitContainers[1].VolumeMounts = nil }, false, true},
	} {
		pod := injected(c.change)
		if why := membership.CannotInject(pod); (why != "") != c.cannot {
			t.Errorf("a pod %s cannot be injected: %q", c.name, why)
		}
		if why := membership.NotInjected(pod); (why != "") != c.notInside {
			t.Errorf("a pod %s is no workload: %q", c.name, why)
		}
	}
}
