package report_test

import (
	"net/http/httptest"
	"strings"
	"testing"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/osm-edge/osm/demo/report"
)

// The end-to-end tests cover a successful fetch; this checks the error message.
func TestFetchNamesThePod(t *testing.T) {
	server := httptest.NewServer(nil) // an API server without any pod
	defer server.Close()
	config := &rest.Config{Host: server.URL}
	forwarder := &report.Forwarder{Config: config, Kube: kubernetes.NewForConfigOrDie(config)}
	_, err := forwarder.Fetch(t.Context(), report.Endpoint{Namespace: "bookstore", Pod: "bookstore-v1-x", Port: 8080, Path: "/raw"})
	if err == nil || !strings.HasPrefix(err.Error(), "fetch port 8080/raw of pod bookstore/bookstore-v1-x: forward port: ") {
		t.Errorf("Fetch error = %v, want one that names the pod and the port", err)
	}
}
