package ingest_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

// TestAddressOwner checks that a pod does not get the address of a node or of another pod, whatever its
// status says.
func TestAddressOwner(t *testing.T) {
	const contested = "10.0.0.1" // shop/store's
	for name, c := range map[string]struct {
		shows  string
		change func(*corev1.Pod)
		// want are the addresses of the spoofing pod, store what clients of shop/store's Service get there.
		want    []string
		store   string
		problem string
	}{
		"its own":                          {"10.0.0.7", func(*corev1.Pod) {}, []string{"10.0.0.7"}, "meshed", ""},
		"its node's":                       {"10.9.0.1", func(*corev1.Pod) {}, nil, "meshed", ""},
		"another pod's node's":             {"10.9.0.1", func(p *corev1.Pod) { p.Status.HostIP, p.Status.HostIPs = "", nil }, nil, "meshed", ""},
		"another pod's":                    {contested, func(*corev1.Pod) {}, []string{contested}, "", "Pod bank/spoofer: several pods report the address 10.0.0.1 (bank/spoofer, shop/store)"},
		"another pod's, while terminating": {contested, func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{} }, nil, "meshed", ""},
		"another pod's, finished":          {contested, func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }, nil, "meshed", ""},
		"another pod's as its node's":      {"10.0.0.7", func(p *corev1.Pod) { p.Status.HostIP = contested }, []string{"10.0.0.7"}, "", "names pod shop/store as its target, which has other addresses"},
	} {
		t.Run(name, func(t *testing.T) {
			spoofer := pod("bank", "spoofer", c.shows)
			spoofer.Spec.InitContainers[0].Args = []string{"redirect", "--exclude-inbound-ports=8080"}
			c.change(spoofer)
			objects := meshOfTwo()
			objects.Pods = append(objects.Pods, spoofer)
			objects.Services = []*corev1.Service{service("shop", "web")}
			objects.EndpointSlices = []*discoveryv1.EndpointSlice{slice("shop", "web", contested, ref("shop", "store"))}
			snapshot, problems := build(t, objects)
			var want []netip.Addr
			for _, a := range c.want {
				want = append(want, netip.MustParseAddr(a))
			}
			if w := snapshot.Workload(mesh.PodName{Namespace: "bank", Name: "spoofer"}); w != nil && !slices.Equal(w.Addresses, want) {
				t.Errorf("the spoofer has %v, want %v", w.Addresses, c.want)
			} else if w != nil && c.store == "" && slices.Contains(w.Addresses, netip.MustParseAddr(contested)) && len(w.Unproxied) > 0 {
				t.Errorf("clients would send plain text to %s at ports %v", contested, w.Unproxied)
			}
			got := ""
			for _, e := range snapshot.Services()[0].Ports[0].Endpoints {
				got = map[bool]string{true: "meshed", false: "plain"}[e.Meshed]
			}
			if got != c.store {
				t.Errorf("clients of shop/store's Service get %q there, want %q", got, c.store)
			}
			if !strings.Contains(problems, c.problem) {
				t.Errorf("problems %q, want %q", problems, c.problem)
			}
		})
	}
}
