package injector

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/osm-edge/osm/pkg/api"
)

// TestWarnings: each thing that the sidecar leaves alone has a warning that names it, and only that.
func TestWarnings(t *testing.T) {
	hook := &corev1.LifecycleHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/leave", Port: intstr.FromInt(80)}}
	onHost := corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Host: "db", Port: intstr.FromInt(81)}}}
	tests := map[string]struct {
		app         corev1.Container
		inits       []corev1.Container
		annotations map[string]string
		plain       bool
		want        []string // parts of the warnings, in order
	}{
		"nothing":             {app: corev1.Container{Ports: []corev1.ContainerPort{{ContainerPort: 80}, {ContainerPort: 81, Protocol: corev1.ProtocolTCP}}, Lifecycle: &corev1.Lifecycle{PreStop: hook}}},
		"UDP":                 {app: corev1.Container{Ports: []corev1.ContainerPort{{ContainerPort: 53, Protocol: corev1.ProtocolUDP}}}, want: []string{"port 53/UDP is not in the mesh"}},
		"host port":           {app: corev1.Container{Ports: []corev1.ContainerPort{{ContainerPort: 80, HostPort: 8080}}}, want: []string{"hostPort 8080"}},
		"probe of a host":     {app: corev1.Container{LivenessProbe: &onHost}, want: []string{"livenessProbe names a host"}},
		"hook of a host":      {app: corev1.Container{Lifecycle: &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{HTTPGet: &corev1.HTTPGetAction{Host: "db"}}}}, want: []string{": preStop names a host"}},
		"excluded port":       {app: corev1.Container{Ports: []corev1.ContainerPort{{ContainerPort: 80}, {ContainerPort: 81}}}, annotations: map[string]string{api.AnnotationInboundPortExclusion: "81"}, want: []string{"port 81 is excluded"}},
		"init containers":     {inits: []corev1.Container{{Name: "first"}}},
		"plain":               {inits: []corev1.Container{{Name: "first"}}, plain: true, want: []string{"init containers run outside the mesh"}},
		"plain hooks":         {app: corev1.Container{Lifecycle: &corev1.Lifecycle{PostStart: hook, PreStop: hook}}, plain: true, want: []string{"httpGet hooks may fail"}},
		"plain without hooks": {app: corev1.Container{Lifecycle: &corev1.Lifecycle{}}, plain: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tt.app.Name = "app"
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Annotations: tt.annotations}, Spec: corev1.PodSpec{InitContainers: tt.inits, Containers: []corev1.Container{tt.app}}}
			got := warnings(pod, Settings{PlainContainer: tt.plain}, nil)
			if len(got) != len(tt.want) {
				t.Fatalf("%d warnings, want %d: %q", len(got), len(tt.want), got)
			}
			for i := range got {
				if !strings.HasPrefix(got[i], "osm: ") || !strings.Contains(got[i], tt.want[i]) {
					t.Errorf("%q, want %q in it", got[i], tt.want[i])
				}
			}
		})
	}
}

// TestWarningsAreBounded: the API server cuts long ones and drops those that are too many, so none of them is.
func TestWarningsAreBounded(t *testing.T) {
	long := strings.Repeat("n", 1000)
	pod := &corev1.Pod{}
	for i := range 100 {
		pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{
			Name: fmt.Sprintf("%s-%d", long, i), Ports: []corev1.ContainerPort{{ContainerPort: 53, Protocol: corev1.ProtocolUDP}, {ContainerPort: int32(1000 + i), Protocol: corev1.Protocol(long)}},
		})
	}
	got := warnings(pod, Settings{}, nil)
	if len(got) != maxWarnings {
		t.Errorf("%d warnings, want %d", len(got), maxWarnings)
	}
	seen := map[string]bool{}
	for _, text := range got {
		if len(text) > 256 || seen[text] {
			t.Errorf("%d bytes, or twice: %s", len(text), text)
		}
		seen[text] = true
	}
	w := &warner{}
	w.add("%s", long)
	w.add("%s", long)
	if len(w.texts) != 1 || len(w.texts[0]) > 256 {
		t.Errorf("%d warnings, the first one has %d bytes", len(w.texts), len(w.texts[0]))
	}
}
