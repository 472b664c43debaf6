package kubeapi

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func serve(t *testing.T, answers map[string]string) *Client {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, ok := answers[r.URL.Path]
		if !ok {
			http.Error(w, "not yet", http.StatusServiceUnavailable)
			return
		}
		if _, err := w.Write([]byte(body)); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(s.Close)
	return &Client{server: s.URL, http: s.Client()}
}

func TestNodes(t *testing.T) {
	c := serve(t, map[string]string{"/api/v1/nodes": `{"items":[
		{"metadata":{"name":"node-1"},"status":{"conditions":[{"type":"MemoryPressure","status":"False"},{"type":"Ready","status":"True"}]}},
		{"metadata":{"name":"node-2"},"spec":{"unschedulable":true},"status":{"conditions":[{"type":"Ready","status":"Unknown"}]}},
		{"metadata":{"name":"node-3"}}]}`})
	got, err := c.Nodes(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	want := []Node{{Name: "node-1", Ready: true}, {Name: "node-2", Unschedulable: true}, {Name: "node-3"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestReady(t *testing.T) {
	if err := serve(t, map[string]string{"/readyz": "ok"}).Ready(context.Background()); err != nil {
		t.Error(err)
	}
	if err := serve(t, nil).Ready(context.Background()); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("an unready API server gives %v", err)
	}
}

func TestKubeletAnswers(t *testing.T) {
	c := serve(t, map[string]string{"/api/v1/nodes/node-1/proxy/healthz": "ok"})
	if err := c.KubeletAnswers(context.Background(), "node-1"); err != nil {
		t.Error(err)
	}
	if err := c.KubeletAnswers(context.Background(), "node-2"); err == nil {
		t.Error("a kubelet that does not respond counts as healthy")
	}
}

func TestAPIAvailable(t *testing.T) {
	const path = "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.metrics.k8s.io"
	for status, available := range map[string]bool{"True": true, "False": false} {
		c := serve(t, map[string]string{path: `{"status":{"conditions":[{"type":"Available","status":"` + status + `"}]}}`})
		if err := c.APIAvailable(context.Background(), "v1beta1.metrics.k8s.io"); (err == nil) != available {
			t.Errorf("status %s gives %v", status, err)
		}
	}
	if err := serve(t, map[string]string{path: `{`}).APIAvailable(context.Background(), "v1beta1.metrics.k8s.io"); err == nil {
		t.Error("a truncated response counts as available")
	}
}
