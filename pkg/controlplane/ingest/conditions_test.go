package ingest_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osm-edge/osm/pkg/controlplane/ingest"
)

// endpoint returns an endpoint with its conditions: r is ready, s is serving, t is terminating, each "+" or "-"
// or absent.
func endpoint(address, conditions string) discoveryv1.Endpoint {
	e := discoveryv1.Endpoint{Addresses: []string{address}}
	for field := range strings.FieldsSeq(conditions) {
		value := field[1] == '+'
		switch field[0] {
		case 'r':
			e.Conditions.Ready = &value
		case 's':
			e.Conditions.Serving = &value
		case 't':
			e.Conditions.Terminating = &value
		}
	}
	return e
}

// TestTerminatingEndpoints checks which of two endpoints outside the mesh clients use. As with kube-proxy, those
// that terminate and still serve are used while none is ready.
func TestTerminatingEndpoints(t *testing.T) {
	for _, c := range []struct{ first, second, want string }{
		{"r+", "r+", "1 2"},
		{"", "r-", "1"},
		{"r+", "r- s+ t+", "1"},
		{"r- s+ t+", "r- s- t+", "1"},
		{"r- s+ t+", "r- s+ t+", "1 2"},
		{"r- t+", "r-", "1"}, // serving and unset
		{"r- s+", "r- s+ t-", ""},
		{"r- s- t+", "r- s- t-", ""},
		{"r+ s+ t+", "r- s+ t+", "1"}, // publishNotReadyAddresses
	} {
		t.Run(fmt.Sprint(c.first, "|", c.second), func(t *testing.T) {
			objects := meshOfTwo()
			objects.Services = []*corev1.Service{service("shop", "web")}
			s := slice("shop", "web", "203.0.113.1", nil)
			s.Endpoints = []discoveryv1.Endpoint{endpoint("203.0.113.1", c.first), endpoint("203.0.113.2", c.second)}
			objects.EndpointSlices = []*discoveryv1.EndpointSlice{s}
			snapshot, _ := build(t, objects)
			var got []string
			for _, e := range snapshot.Services()[0].Ports[0].Endpoints {
				got = append(got, strings.TrimPrefix(e.Address.Addr().String(), "203.0.113."))
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("clients use %v, want %q", got, c.want)
			}
		})
	}
}

// TestSlicePortIsTCP checks that a Service does not take the number of another protocol's port.
func TestSlicePortIsTCP(t *testing.T) {
	objects := meshOfTwo()
	objects.Services = []*corev1.Service{service("shop", "web")}
	s := slice("shop", "web", "10.0.0.1", ref("shop", "store"))
	udp, tcp := corev1.ProtocolUDP, corev1.ProtocolTCP
	s.Ports = []discoveryv1.EndpointPort{{Name: new("http"), Protocol: &udp, Port: new(int32(53))}, {Name: new("http"), Protocol: &tcp, Port: new(int32(5353))}}
	objects.EndpointSlices = []*discoveryv1.EndpointSlice{s}
	snapshot, _ := build(t, objects)
	if got := snapshot.Services()[0].Ports[0].Endpoints; len(got) != 1 || got[0].Address.Port() != 5353 {
		t.Errorf("clients use %v", got)
	}
}

// TestFamilies checks which family's endpoints clients of a Service use: proxies listen on IPv4 only.
func TestFamilies(t *testing.T) {
	const v4, v6 = corev1.IPv4Protocol, corev1.IPv6Protocol
	for _, c := range []struct {
		families []corev1.IPFamily
		want     string
		problem  bool
	}{
		{[]corev1.IPFamily{v4}, "10.0.0.6:8080", false},
		{[]corev1.IPFamily{v4, v6}, "10.0.0.6:8080", false},
		{[]corev1.IPFamily{v6, v4}, "10.0.0.6:8080", false},
		{[]corev1.IPFamily{v6}, "[fd00::6]:8080", true},
		{nil, "10.0.0.6:8080 [fd00::6]:8080", false},
	} {
		t.Run(fmt.Sprint(c.families), func(t *testing.T) {
			objects := meshOfTwo()
			objects.Pods = append(objects.Pods, pod("shop", "dual", "fd00::6", "10.0.0.6"))
			object := service("shop", "web")
			object.Spec.IPFamilies = c.families
			objects.Services = []*corev1.Service{object}
			first, second := slice("shop", "web", "fd00::6", ref("shop", "dual")), slice("shop", "web", "10.0.0.6", ref("shop", "dual"))
			first.Name, first.AddressType = "web-6", discoveryv1.AddressTypeIPv6
			objects.EndpointSlices = []*discoveryv1.EndpointSlice{first, second}
			snapshot, problems := build(t, objects)
			var got []string
			for _, e := range snapshot.Services()[0].Ports[0].Endpoints {
				got = append(got, e.Address.String())
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("clients use %v, want %s", got, c.want)
			}
			if told := strings.Contains(problems, "Service shop/web: has IPv6 addresses only"); told != c.problem || !c.problem && problems != "" {
				t.Errorf("problems %q", problems)
			}
		})
	}
}

// TestAddressOfATerminatingPod reuses the address of a pod that hangs in Terminating: dates decide whose it is,
// and names do not.
func TestAddressOfATerminatingPod(t *testing.T) {
	day := func(n int) metav1.Time { return metav1.NewTime(time.Date(2026, 1, n, 0, 0, 0, 0, time.UTC)) }
	for name, c := range map[string]struct {
		change func(stuck, heir *corev1.Pod)
		owner  string // "" if the address is disputed
	}{
		"the older one is terminating": {func(*corev1.Pod, *corev1.Pod) {}, "heir"},
		"both are terminating":         {func(_, heir *corev1.Pod) { heir.DeletionTimestamp = new(day(4)) }, "heir"},
		"both are terminating, of the same time": {func(stuck, heir *corev1.Pod) {
			heir.DeletionTimestamp, heir.CreationTimestamp = new(day(4)), stuck.CreationTimestamp
		}, ""},
		"both are alive": {func(stuck, _ *corev1.Pod) { stuck.DeletionTimestamp = nil }, ""},
	} {
		for _, names := range [][2]string{{"a-stuck", "z-heir"}, {"z-stuck", "a-heir"}} {
			t.Run(name+", "+names[0], func(t *testing.T) {
				stuck, heir := pod("shop", names[0], "10.0.0.7"), pod("shop", names[1], "10.0.0.7")
				stuck.CreationTimestamp, stuck.DeletionTimestamp, heir.CreationTimestamp = day(1), new(day(2)), day(3)
				c.change(stuck, heir)
				objects := meshOfTwo()
				objects.Pods = append(objects.Pods, stuck, heir)
				objects.Services = []*corev1.Service{service("shop", "web"), service("shop", "batch")}
				objects.EndpointSlices = []*discoveryv1.EndpointSlice{
					slice("shop", "web", "10.0.0.7", ref("shop", heir.Name)), slice("shop", "batch", "10.0.0.7", ref("shop", stuck.Name)),
				}
				snapshot, problems := build(t, objects)
				checkHeir(t, objects, c.owner != "")
				for _, w := range snapshot.Workloads() {
					if w.Name.Name == stuck.Name && c.owner != "" && len(w.Addresses) > 0 {
						t.Errorf("the pod that hangs has %v", w.Addresses)
					}
				}
				if disputed := strings.Contains(problems, "several pods report the address"); disputed != (c.owner == "") {
					t.Errorf("problems %q", problems)
				}
			})
		}
	}
}

// checkHeir checks that clients of Service web reach the address as the new pod, and nobody reaches the old one.
func checkHeir(t *testing.T, objects ingest.Objects, owned bool) {
	t.Helper()
	snapshot, _ := ingest.Build(objects)
	for _, s := range snapshot.Services() {
		want := 0
		if owned && s.Name.Name == "web" {
			want = 1
		}
		port := s.Ports[0]
		if len(port.Endpoints) != want || len(port.Identities) != want {
			t.Errorf("Service %s leads to %v, clients accept %v", s.Name, port.Endpoints, port.Identities)
		}
		if want == 1 && !strings.HasSuffix(port.Identities[0].ServiceAccount, "heir") {
			t.Errorf("clients of %s accept %v", s.Name, port.Identities)
		}
	}
}

// TestInternalTrafficPolicy checks that osm says what it does not do.
func TestInternalTrafficPolicy(t *testing.T) {
	for policy, want := range map[corev1.ServiceInternalTrafficPolicy]bool{corev1.ServiceInternalTrafficPolicyLocal: true, corev1.ServiceInternalTrafficPolicyCluster: false} {
		object := service("shop", "web")
		object.Spec.InternalTrafficPolicy = &policy
		objects := meshOfTwo()
		objects.Services = []*corev1.Service{object}
		if _, problems := build(t, objects); strings.Contains(problems, "Service shop/web: internalTrafficPolicy Local has no effect") != want {
			t.Errorf("%s: problems %q", policy, problems)
		}
	}
}
