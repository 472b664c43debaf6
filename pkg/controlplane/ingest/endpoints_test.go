package ingest_test

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// TestSliceTrust lists what a slice of namespace shop may say about an address, and the effect.
func TestSliceTrust(t *testing.T) {
	other := pod("shop", "other", "10.0.0.3")
	starting := pod("shop", "starting")
	for name, c := range map[string]struct {
		address string
		ref     *corev1.ObjectReference
		// want is "meshed", "plain" or empty; inbound is whether the pod's proxy serves the port.
		want    string
		inbound bool
		problem string
	}{
		"its own pod":                             {"10.0.0.1", ref("shop", "store"), "meshed", true, ""},
		"its own pod, without a uid":              {"10.0.0.1", &corev1.ObjectReference{Kind: "Pod", Name: "store"}, "meshed", true, ""},
		"its own pod, not named":                  {"10.0.0.1", nil, "meshed", false, "EndpointSlice shop/web-1: address 10.0.0.1 belongs to pod shop/store, which the slice does not name"},
		"its own pod, named in another namespace": {"10.0.0.1", ref("bank", "store"), "meshed", false, "which the slice does not name"},
		"its own pod, named as a Node":            {"10.0.0.1", &corev1.ObjectReference{Kind: "Node", Name: "store"}, "meshed", false, "which the slice does not name"},
		"an earlier pod of the same name":         {"10.0.0.1", &corev1.ObjectReference{Kind: "Pod", Name: "store", UID: "old"}, "", false, ""},
		"another pod of its namespace":            {"10.0.0.1", ref("shop", "other"), "", false, "10.0.0.1 names pod shop/other as its target, but belongs to pod shop/store"},
		"a pod that is unknown":                   {"10.0.0.1", ref("shop", "gone"), "", false, "names pod shop/gone as its target"},
		"another namespace's pod":                 {"10.0.0.2", ref("bank", "vault"), "", false, "EndpointSlice shop/web-1: address 10.0.0.2 belongs to pod bank/vault of another namespace: Service web does not use it"},
		"another namespace's pod, not named":      {"10.0.0.2", nil, "", false, "belongs to pod bank/vault of another namespace"},
		"another namespace's pod, borrowed":       {"10.0.0.2", ref("shop", "vault"), "", false, "belongs to pod bank/vault of another namespace"},
		"another namespace's pod as its own":      {"10.0.0.2", ref("shop", "store"), "", false, "belongs to pod bank/vault of another namespace"},
		"an address that its pod lacks":           {"10.0.0.9", ref("shop", "store"), "", false, "10.0.0.9 names pod shop/store as its target, which has other addresses"},
		"a pod that has no address yet":           {"10.0.0.9", ref("shop", "starting"), "", false, ""},
		"a pod without a sidecar":                 {"10.0.0.9", ref("shop", "plain"), "plain", false, ""},
		"an address outside":                      {"203.0.113.1", nil, "plain", false, ""},
		"another namespace's name outside":        {"203.0.113.1", ref("bank", "vault"), "plain", false, ""},
		"the node's address":                      {"10.9.0.1", ref("shop", "hostpod"), "plain", false, ""},
		"loopback":                                {"127.0.0.1", nil, "", false, `EndpointSlice shop/web-1: address "127.0.0.1" is a loopback address: Service web does not use it`},
		"loopback under the name of its pod":      {"127.0.0.1", ref("shop", "store"), "", false, "loopback"},
		"metadata":                                {"169.254.169.254", nil, "", false, "link-local"},
		"IPv6 in a slice of IPv4":                 {"2001:db8::1", nil, "", false, "2001:db8::1 does not have the slice's addressType IPv4"},
	} {
		t.Run(name, func(t *testing.T) {
			objects := meshOfTwo()
			objects.Pods = append(objects.Pods, other, starting)
			objects.Services = []*corev1.Service{service("shop", "web")}
			objects.EndpointSlices = []*discoveryv1.EndpointSlice{slice("shop", "web", c.address, c.ref)}
			snapshot, problems := build(t, objects)
			port := snapshot.Services()[0].Ports[0]
			got := ""
			for _, e := range port.Endpoints {
				got = map[bool]string{true: "meshed", false: "plain"}[e.Meshed]
			}
			if got != c.want {
				t.Errorf("the endpoint is %q, want %q", got, c.want)
			}
			if want := c.want == "meshed"; want != (len(port.Identities) == 1 && port.Identities[0].String() == "shop/store") || !want && len(port.Identities) > 0 {
				t.Errorf("clients accept %v", port.Identities)
			}
			for _, w := range snapshot.Workloads() {
				if served := len(w.Inbound) > 0; served != (c.inbound && w.Name.Name == "store") {
					t.Errorf("the proxy of %s serves %v", w.Name, w.Inbound)
				}
			}
			if c.problem == "" && problems != "" || !strings.Contains(problems, c.problem) {
				t.Errorf("problems %q, want %q", problems, c.problem)
			}
		})
	}
}

// TestHeadlessServiceOfAnotherNamespace checks that clients that dial a pod accept only the identities of
// Services in its own namespace.
func TestHeadlessServiceOfAnotherNamespace(t *testing.T) {
	objects := meshOfTwo()
	headless := service("shop", "web")
	headless.Spec.ClusterIP, headless.Spec.ClusterIPs = corev1.ClusterIPNone, []string{corev1.ClusterIPNone}
	objects.Services = []*corev1.Service{headless}
	objects.EndpointSlices = []*discoveryv1.EndpointSlice{slice("shop", "web", "10.0.0.2", ref("bank", "vault"))}
	snapshot, _ := build(t, objects)
	if port := snapshot.Services()[0].Ports[0]; len(port.Pods)+len(port.Identities)+len(port.Endpoints) > 0 {
		t.Errorf("the Service leads to %+v", port)
	}
}

// TestProblemsOfSlicesAreBounded checks that a slice full of faults yields one problem of each kind.
func TestProblemsOfSlicesAreBounded(t *testing.T) {
	objects := meshOfTwo()
	objects.Services = []*corev1.Service{service("shop", "web")}
	s := slice("shop", "web", "10.0.0.2", nil)
	for i := range 1000 {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{fmt.Sprintf("127.0.%d.%d", i/250, i%250), strings.Repeat("x", 10000)}})
	}
	objects.EndpointSlices = []*discoveryv1.EndpointSlice{s}
	_, problems := build(t, objects)
	if lines := strings.Split(problems, "\n"); len(lines) != 2 || len(problems) > 1000 || !strings.Contains(problems, "(and 1000 more)") {
		t.Errorf("%d problems of %d bytes:\n%s", len(lines), len(problems), problems)
	}
}

// TestDisputedAddressWithoutTarget checks that a slice without targetRef does not send plain text to an
// address that two pods report.
func TestDisputedAddressWithoutTarget(t *testing.T) {
	objects := meshOfTwo()
	objects.Pods = append(objects.Pods, pod("bank", "spoofer", "10.0.0.1"))
	objects.Services = []*corev1.Service{service("shop", "web")}
	objects.EndpointSlices = []*discoveryv1.EndpointSlice{slice("shop", "web", "10.0.0.1", nil)}
	snapshot, problems := build(t, objects)
	if endpoints := snapshot.Services()[0].Ports[0].Endpoints; len(endpoints) > 0 {
		t.Errorf("clients are sent to %v", endpoints)
	}
	if want := "EndpointSlice shop/web-1: address 10.0.0.1 is reported by several pods (bank/spoofer, shop/store)"; !strings.Contains(problems, want) {
		t.Errorf("problems %q, want %q", problems, want)
	}
}
