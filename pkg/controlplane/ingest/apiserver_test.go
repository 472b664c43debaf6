package ingest_test

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// TestOnlyItsServiceLeadsToTheAPIServer checks that other Services do not, in whatever order the objects
// arrive.
func TestOnlyItsServiceLeadsToTheAPIServer(t *testing.T) {
	kubernetes, at := service("default", "kubernetes"), slice("default", "kubernetes", "172.18.0.2", nil)
	kubernetes.Spec.ClusterIP, kubernetes.Spec.ClusterIPs = "10.96.0.99", nil
	at.Ports[0].Port = new(int32(6443))
	for name, c := range map[string]struct {
		address string
		port    int32
		want    int
	}{
		"its endpoint":             {"172.18.0.2", 6443, 0},
		"its Service's address":    {"10.96.0.99", 80, 0},
		"another port of its node": {"172.18.0.2", 9100, 1},
	} {
		t.Run(name, func(t *testing.T) {
			objects := meshOfTwo()
			objects.Namespaces = append(objects.Namespaces, namespace("default"))
			mine := slice("shop", "web", c.address, nil)
			mine.Ports[0].Port = &c.port
			objects.Services = []*corev1.Service{service("shop", "web"), kubernetes}
			objects.EndpointSlices = []*discoveryv1.EndpointSlice{mine, at}
			snapshot, problems := build(t, objects)
			for _, s := range snapshot.Services() {
				want := 1
				if s.Name.Namespace == "shop" {
					want = c.want
				}
				if got := len(s.Ports[0].Endpoints); got != want {
					t.Errorf("%s leads to %d endpoints, want %d", s.Name, got, want)
				}
			}
			if refused := strings.Contains(problems, fmt.Sprintf("EndpointSlice shop/web-1: address %s:%d is the API server", c.address, c.port)); refused != (c.want == 0) {
				t.Errorf("problems: %q", problems)
			}
			objects.EndpointSlices = objects.EndpointSlices[:1]
			objects.Services = objects.Services[:1]
			if snapshot, _ := build(t, objects); len(snapshot.Services()[0].Ports[0].Endpoints) != 1 {
				t.Error("without the API server's Service, the address is refused")
			}
		})
	}
}
