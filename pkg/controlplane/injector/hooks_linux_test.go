package injector

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/osm-edge/osm/pkg/api"
)

// TestHooksWithEnvoy asks hooks as the kubelet does, to which every response is a success: a hook fails only
// with an error.
func TestHooksWithEnvoy(t *testing.T) {
	hook := func(path string) *corev1.LifecycleHandler {
		return &corev1.LifecycleHandler{HTTPGet: &corev1.HTTPGetAction{Path: path, Port: intstr.FromInt32(8080)}}
	}
	pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{
		{Name: "web", Lifecycle: &corev1.Lifecycle{PostStart: hook("/warm?all=1"), PreStop: hook("/slow")}},
		{Name: "other", Lifecycle: &corev1.Lifecycle{PostStart: hook("/broken"), PreStop: hook("/moved")}},
	}}}
	e := startEnvoy(t, testSettings(), pod, controllerSPIFFE)
	e.client.CheckRedirect = nil // the kubelet follows redirects
	e.client.Timeout = patience
	e.eventually("Envoy's readiness", static(api.PortEnvoyReadyProbe, readyPath), http.StatusOK)
	found, err := probes(pod, nil)
	if err != nil {
		t.Fatal(err)
	}
	asked := map[string]*corev1.HTTPGetAction{}
	for _, p := range found {
		asked[p.container+" "+p.kind.name] = p.handler()
	}
	if status, _, err := e.get(asked["web poststart"]); err == nil || !strings.Contains(err.Error(), "the application does not answer") {
		t.Errorf("before the application listens: status %d, %v; want an error that says so", status, err)
	}

	app := &application{}
	release, slow := make(chan struct{}), make(chan struct{})
	listener := e.pod.Listen(t, "127.0.0.1:8080")
	go func() {
		_ = http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/slow" {
				close(slow)
				<-release
			}
			app.ServeHTTP(w, r)
		}))
	}()
	if body := e.eventually("a hook", asked["web poststart"], http.StatusOK); !strings.HasSuffix(body, " /warm?all=1") {
		t.Errorf("the application answered %q", body)
	}
	e.eventually("a hook whose status is an error", asked["other poststart"], http.StatusInternalServerError)
	e.eventually("a hook that redirects", asked["other prestop"], http.StatusFound)
	e.eventually("a path without the secret", static(api.PortLifecycleHooks, "/osm-poststart-hook/web"), http.StatusNotFound)
	e.eventually("a path with another secret", static(api.PortLifecycleHooks, asked["web poststart"].Path+"x"), http.StatusNotFound)

	ended := make(chan error, 1)
	go func() {
		status, body, err := e.get(asked["web prestop"])
		if err == nil && (status != http.StatusOK || !strings.HasSuffix(body, " /slow")) {
			err = fmt.Errorf("status %d, %q", status, body)
		}
		ended <- err
	}()
	<-slow // a hook has no timeout: it ends when the application answers
	close(release)
	if err := <-ended; err != nil {
		t.Errorf("a slow hook: %v", err)
	}
}
