package injector

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/osm-edge/osm/pkg/api"
)

// movedTo is a handler that asks the sidecar, unless change makes it another.
func movedTo(port int, path string, change ...func(*corev1.HTTPGetAction)) corev1.ProbeHandler {
	get := &corev1.HTTPGetAction{Path: path, Port: intstr.FromInt(port), Scheme: corev1.URISchemeHTTP}
	for _, f := range change {
		f(get)
	}
	return corev1.ProbeHandler{HTTPGet: get}
}

// TestOriginalsAreRestored: only what stands in the place of a moved handler is put back, and only what the injector
// could have moved. Anything else stays as its author wrote it, and the argument is never changed.
func TestOriginalsAreRestored(t *testing.T) {
	const live = "/osm-liveness-probe/app"
	get := corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/alive", Port: intstr.FromInt(80)}}
	headers := []corev1.HTTPHeader{{Name: "X-Probe", Value: "1"}}
	withHeaders := func(h *corev1.HTTPGetAction) { h.HTTPHeaders = headers }
	tests := map[string]struct {
		annotation string
		handler    corev1.ProbeHandler
		want       *corev1.ProbeHandler // nil: it stays
	}{
		"httpGet keeps the headers that it has": {
			`{"app":{"livenessProbe":{"httpGet":{"path":"/alive","port":80,"httpHeaders":[{"name":"Forged","value":"1"}]}}}}`, movedTo(15901, live, withHeaders),
			&corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/alive", Port: intstr.FromInt(80), HTTPHeaders: headers}},
		},
		"tcpSocket": {`{"app":{"livenessProbe":{"tcpSocket":{"port":81}}}}`, movedTo(15901, live), &corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt(81)}}},
		"grpc":      {`{"app":{"livenessProbe":{"grpc":{"port":82}}}}`, movedTo(15901, live), &corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: 82}}},
		"exec is never moved, so it is not put back": {
			`{"app":{"livenessProbe":{"exec":{"command":["sh"]},"httpGet":{"path":"/alive","port":80}}}}`, movedTo(15901, live), &get,
		},
		"exec alone":        {`{"app":{"livenessProbe":{"exec":{"command":["sh"]}}}}`, movedTo(15901, live), nil},
		"two at a time":     {`{"app":{"livenessProbe":{"tcpSocket":{"port":81},"grpc":{"port":82}}}}`, movedTo(15901, live), nil},
		"not moved":         {`{"app":{"livenessProbe":{"tcpSocket":{"port":81}}}}`, get, nil},
		"another port":      {`{"app":{"livenessProbe":{"tcpSocket":{"port":81}}}}`, movedTo(8080, live), nil},
		"another path":      {`{"app":{"livenessProbe":{"tcpSocket":{"port":81}}}}`, movedTo(15901, "/alive"), nil},
		"another host":      {`{"app":{"livenessProbe":{"tcpSocket":{"port":81}}}}`, movedTo(15901, live, func(h *corev1.HTTPGetAction) { h.Host = "db" }), nil},
		"another container": {`{"db":{"livenessProbe":{"tcpSocket":{"port":81}}}}`, movedTo(15901, live), nil},
		"another kind":      {`{"app":{"readinessProbe":{"tcpSocket":{"port":81}}}}`, movedTo(15901, live), nil},
		"not JSON":          {`{`, movedTo(15901, live), nil},
		"too long":          {`{"app":{"livenessProbe":{"httpGet":{"path":"/` + strings.Repeat("x", maxAnnotations) + `","port":80}}}}`, movedTo(15901, live), nil},
		"too many": {
			`{"app":{"livenessProbe":{"tcpSocket":{"port":81}}}` + strings.Repeat(`,"a":{}`, 3*defaultProbes+defaultContainers) + `}`, movedTo(15901, live), nil,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			pod := &corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{api.AnnotationOriginalHandlers: tt.annotation}},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", LivenessProbe: &corev1.Probe{PeriodSeconds: 7, ProbeHandler: tt.handler}}}},
			}
			restored(t, pod, func(c *corev1.Container) {
				if tt.want != nil {
					c.LivenessProbe.ProbeHandler = *tt.want
				}
			})
		})
	}
}

// TestOriginalHooksAreRestored: hooks are httpGet only.
func TestOriginalHooksAreRestored(t *testing.T) {
	hook := func(path string) *corev1.LifecycleHandler {
		return &corev1.LifecycleHandler{HTTPGet: &corev1.HTTPGetAction{Path: path, Port: intstr.FromInt(15904), Scheme: corev1.URISchemeHTTP}}
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{api.AnnotationOriginalHandlers: `{"app":{"lifecycle/preStop":{"httpGet":{"path":"/leave","port":80}},` +
			`"lifecycle/postStart":{"httpGet":{"path":"/enter","port":80}}},"other":{"lifecycle/preStop":{"tcpSocket":{"port":81}}}}`}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{
			{Name: "app", Lifecycle: &corev1.Lifecycle{PreStop: hook("/osm-prestop-hook/app/secret"), PostStart: hook("/osm-poststart-hook/app/secret")}},
			{Name: "other", Lifecycle: &corev1.Lifecycle{PreStop: hook("/osm-prestop-hook/other/secret")}},
		}},
	}
	restored(t, pod, func(c *corev1.Container) {
		if c.Name == "app" {
			c.Lifecycle.PreStop.HTTPGet = &corev1.HTTPGetAction{Path: "/leave", Port: intstr.FromInt(80)}
			c.Lifecycle.PostStart.HTTPGet = &corev1.HTTPGetAction{Path: "/enter", Port: intstr.FromInt(80)}
		}
	})
}

// restored puts the originals back and expects change and nothing else, in the pod that is returned and in the
// operations.
func restored(t *testing.T, pod *corev1.Pod, change func(*corev1.Container)) {
	t.Helper()
	argument, want := pod.DeepCopy(), pod.DeepCopy()
	for i := range want.Spec.Containers {
		change(&want.Spec.Containers[i])
	}
	got, operations := withOriginals(pod, Limits{})
	got = got.DeepCopy()
	got.Spec.InitContainers = nil
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(argument, pod); diff != "" {
		t.Errorf("the argument changed:\n%s", diff)
	}
	if diff := cmp.Diff(want, applyOperations(t, marshal(t, argument), operations)); diff != "" {
		t.Errorf("by the operations (-want +got):\n%s", diff)
	}
}

// TestOriginalsFitTheAnnotation: more than the API server takes is refused, and headers are not in it.
func TestOriginalsFitTheAnnotation(t *testing.T) {
	found := func(path int) []probe {
		handler := corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/" + strings.Repeat("x", path), Port: intstr.FromInt(80), HTTPHeaders: []corev1.HTTPHeader{{Name: "Authorization", Value: "secret"}}}}
		return []probe{{kind: probeKinds()[0], container: "app", original: withoutHeaders(handler)}}
	}
	text, err := originalsOf(found(1))
	if err != nil || strings.Contains(text, "secret") {
		t.Errorf("%q, %v: want no header", text, err)
	}
	rest := maxAnnotations - len(text) + 1
	if text, err = originalsOf(found(rest)); err != nil || len(text) != maxAnnotations || !json.Valid([]byte(text)) {
		t.Errorf("%d bytes, %v", len(text), err)
	}
	if _, err = originalsOf(found(rest + 1)); reasonOf(err) != reasonArguments || !strings.Contains(fmt.Sprint(err), fmt.Sprint(maxAnnotations+1)) {
		t.Errorf("one byte more: %v", err)
	}
}
