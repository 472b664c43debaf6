package injector

import (
	"testing"
	"time"

	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// TestSlowProbesAreAwaited holds the time that Envoy lets a stream idle against the time that the kubelet gives the
// application: an application that answers in time has answered the probe.
func TestSlowProbesAreAwaited(t *testing.T) {
	for seconds, want := range map[int32]time.Duration{0: staticStreamTimeout, 5: staticStreamTimeout, 40: 40 * time.Second} {
		get := &corev1.HTTPGetAction{Path: "/live", Port: intstr.FromInt32(8080)}
		probe := &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: get}, TimeoutSeconds: seconds}
		found, err := probes(&corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app", LivenessProbe: probe}}}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		listeners, err := newProxyBootstrap(testSettings(), found).listeners()
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range listeners {
			manager := &hcmv3.HttpConnectionManager{}
			if err := l.GetFilterChains()[0].GetFilters()[0].GetTypedConfig().UnmarshalTo(manager); err != nil {
				t.Fatal(err)
			}
			idle := staticStreamTimeout
			if l.GetName() == "osm-liveness-probe" {
				idle = want
			}
			if got := manager.GetStreamIdleTimeout().AsDuration(); got != idle {
				t.Errorf("a probe of %d s: a stream of %s may idle for %v, want %v", seconds, l.GetName(), got, idle)
			}
		}
	}
}
