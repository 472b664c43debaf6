package ingest_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/controlplane/ingest"
	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

func namespace(name string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{api.LabelMonitoredBy: "osm"}}}
}

// pod is one as the injector and the kubelet leave it.
func pod(namespace, name string, ips ...string) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID("uid of " + name), Labels: map[string]string{api.LabelProxyUUID: "1"}},
		Spec: corev1.PodSpec{ServiceAccountName: name, InitContainers: []corev1.Container{
			{Name: api.ContainerInit, Args: []string{"redirect"}},
			{Name: api.ContainerEnvoy, VolumeMounts: []corev1.VolumeMount{{MountPath: api.ProxyCertDir}}},
		}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, HostIP: "10.9.0.1", HostIPs: []corev1.HostIP{{IP: "10.9.0.1"}}},
	}
	for _, ip := range ips {
		p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: ip})
	}
	return p
}

func service(namespace, name string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       corev1.ServiceSpec{ClusterIP: "10.96.0.1", ClusterIPs: []string{"10.96.0.1"}, Ports: []corev1.ServicePort{{Name: "http", Port: 80}}},
	}
}

func slice(namespace, service, address string, ref *corev1.ObjectReference) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: namespace, Name: service + "-1", Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: new("http"), Port: new(int32(8080))}},
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{address}, TargetRef: ref}},
	}
}

func ref(namespace, name string) *corev1.ObjectReference {
	return &corev1.ObjectReference{Kind: "Pod", Namespace: namespace, Name: name, UID: types.UID("uid of " + name)}
}

// town is a mesh of namespaces shop and bank with the pods shop/store (10.0.0.1) and bank/vault (10.0.0.2).
func town() ingest.Objects {
	objects := ingest.Objects{
		MeshName: "osm", TrustDomain: "cluster.local", MeshConfig: &v1alpha2.MeshConfig{},
		Namespaces: []*corev1.Namespace{namespace("shop"), namespace("bank")},
		Pods:       []*corev1.Pod{pod("shop", "store", "10.0.0.1"), pod("bank", "vault", "10.0.0.2")},
	}
	objects.MeshConfig.Spec.Traffic.EnablePermissiveTrafficPolicyMode = true
	objects.MeshConfig.Spec.Traffic.EnableEgress = true
	return objects
}

// build makes the snapshot, once from scratch and once by a State that is told in the opposite order and
// asked in between: they must agree.
func build(t *testing.T, objects ingest.Objects) (*mesh.Snapshot, string) {
	t.Helper()
	snapshot, problems := ingest.Build(objects)
	s := ingest.NewState(objects.MeshName, objects.TrustDomain)
	for _, o := range slices.Backward(objects.EndpointSlices) {
		s.SetEndpointSlice(o.Namespace, o.Name, o)
	}
	for _, o := range slices.Backward(objects.Services) {
		s.SetService(o.Namespace, o.Name, o)
	}
	s.SetMeshConfig(objects.MeshConfig)
	for _, o := range slices.Backward(objects.Namespaces) {
		s.SetNamespace(o.Name, o)
		s.Snapshot()
	}
	for _, o := range slices.Backward(objects.Pods) {
		s.SetPod(o.Namespace, o.Name, o)
		s.Snapshot()
	}
	step, stepProblems := s.Snapshot()
	if diff := cmp.Diff(described(snapshot, problems), described(step, stepProblems)); diff != "" {
		t.Errorf("step by step it is another mesh:\n%s", diff)
	}
	return snapshot, text(problems)
}

func text(problems []ingest.Problem) string {
	var lines []string
	for _, p := range problems {
		lines = append(lines, p.String())
	}
	return strings.Join(lines, "\n")
}

func described(s *mesh.Snapshot, problems []ingest.Problem) []string {
	lines := []string{text(problems)}
	for _, w := range s.Workloads() {
		lines = append(lines, fmt.Sprintf("%+v", *w))
	}
	for _, service := range s.Services() {
		lines = append(lines, fmt.Sprintf("%+v", *service))
	}
	return lines
}

// TestWhatSlicesMaySay: what a slice of namespace shop says of an address, and what becomes of it.
func TestWhatSlicesMaySay(t *testing.T) {
	other := pod("shop", "other", "10.0.0.3")
	starting := pod("shop", "starting")
	for name, c := range map[string]struct {
		address string
		ref     *corev1.ObjectReference
		// want is "meshed", "plain" or nothing; inbound says that the pod's proxy learns of the port.
		want    string
		inbound bool
		problem string
	}{
		"its own pod":                             {"10.0.0.1", ref("shop", "store"), "meshed", true, ""},
		"its own pod, without a uid":              {"10.0.0.1", &corev1.ObjectReference{Kind: "Pod", Name: "store"}, "meshed", true, ""},
		"its own pod, not named":                  {"10.0.0.1", nil, "meshed", false, "EndpointSlice shop/web-1: address 10.0.0.1 belongs to pod shop/store, which the slice does not name"},
		"its own pod, named in another namespace": {"10.0.0.1", ref("bank", "store"), "meshed", false, "which the slice does not name"},
		"its own pod, named as a Node":            {"10.0.0.1", &corev1.ObjectReference{Kind: "Node", Name: "store"}, "meshed", false, "which the slice does not name"},
		"its own pod, of a life before":           {"10.0.0.1", &corev1.ObjectReference{Kind: "Pod", Name: "store", UID: "old"}, "", false, ""},
		"another pod of its namespace":            {"10.0.0.1", ref("shop", "other"), "", false, "10.0.0.1 is said to belong to pod shop/other and belongs to pod shop/store"},
		"a pod that is unknown":                   {"10.0.0.1", ref("shop", "gone"), "", false, "said to belong to pod shop/gone"},
		"another namespace's pod":                 {"10.0.0.2", ref("bank", "vault"), "", false, "EndpointSlice shop/web-1: address 10.0.0.2 belongs to pod bank/vault of another namespace: clients of Service web are not sent there"},
		"another namespace's pod, not named":      {"10.0.0.2", nil, "", false, "belongs to pod bank/vault of another namespace"},
		"another namespace's pod, borrowed":       {"10.0.0.2", ref("shop", "vault"), "", false, "belongs to pod bank/vault of another namespace"},
		"another namespace's pod as its own":      {"10.0.0.2", ref("shop", "store"), "", false, "belongs to pod bank/vault of another namespace"},
		"an address that its pod has not":         {"10.0.0.9", ref("shop", "store"), "", false, "10.0.0.9 is said to belong to pod shop/store, which has other addresses"},
		"a pod that has no address yet":           {"10.0.0.9", ref("shop", "starting"), "", false, ""},
		"a pod without a sidecar":                 {"10.0.0.9", ref("shop", "plain"), "plain", false, ""},
		"an address outside":                      {"203.0.113.1", nil, "plain", false, ""},
		"another namespace's name outside":        {"203.0.113.1", ref("bank", "vault"), "plain", false, ""},
		"the node's address":                      {"10.9.0.1", ref("shop", "hostpod"), "plain", false, ""},
		"loopback":                                {"127.0.0.1", nil, "", false, `EndpointSlice shop/web-1: address "127.0.0.1" is a loopback address: clients of Service web are not sent there`},
		"loopback under the name of its pod":      {"127.0.0.1", ref("shop", "store"), "", false, "loopback"},
		"metadata":                                {"169.254.169.254", nil, "", false, "link-local"},
		"IPv6 in a slice of IPv4":                 {"2001:db8::1", nil, "", false, "2001:db8::1 is not of the slice's addressType IPv4"},
	} {
		t.Run(name, func(t *testing.T) {
			objects := town()
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
				if learnt := len(w.Inbound) > 0; learnt != (c.inbound && w.Name.Name == "store") {
					t.Errorf("the proxy of %s serves %v", w.Name, w.Inbound)
				}
			}
			if c.problem == "" && problems != "" || !strings.Contains(problems, c.problem) {
				t.Errorf("problems %q, want %q", problems, c.problem)
			}
		})
	}
}

// TestHeadlessServiceOfAnotherNamespace: clients that dial a pod accept the identities of its own
// namespace's Services only.
func TestHeadlessServiceOfAnotherNamespace(t *testing.T) {
	objects := town()
	headless := service("shop", "web")
	headless.Spec.ClusterIP, headless.Spec.ClusterIPs = corev1.ClusterIPNone, []string{corev1.ClusterIPNone}
	objects.Services = []*corev1.Service{headless}
	objects.EndpointSlices = []*discoveryv1.EndpointSlice{slice("shop", "web", "10.0.0.2", ref("bank", "vault"))}
	snapshot, _ := build(t, objects)
	if port := snapshot.Services()[0].Ports[0]; len(port.Pods)+len(port.Identities)+len(port.Endpoints) > 0 {
		t.Errorf("the Service leads to %+v", port)
	}
}

// TestProblemsOfSlicesAreBounded: a slice full of faults is one problem of each kind.
func TestProblemsOfSlicesAreBounded(t *testing.T) {
	objects := town()
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

// TestAddresses: what may stand in a slice and in a pod's status.
func TestAddresses(t *testing.T) {
	for address, want := range map[string]bool{
		"10.0.0.9": true, "192.168.1.1": true, "203.0.113.7": true, "100.64.0.1": true, "240.0.0.1": true,
		"127.0.0.1": false, "127.255.255.254": false, "0.0.0.0": false, "0.1.2.3": false, "255.255.255.255": false,
		"169.254.169.254": false, "169.254.0.1": false, "224.0.0.1": false, "239.1.2.3": false,
		"::ffff:10.0.0.9": false, "::ffff:127.0.0.1": false, "10.0.0.9%eth0": false, "010.0.0.9": false, "10.0.0": false, "": false, "localhost": false, "10.0.0.9:80": false,
		"2001:db8::1": true, "fd00::1": true,
		"::1": false, "::": false, "fe80::1": false, "fe80::1%eth0": false, "fd00::1%eth0": false, "ff02::1": false, "ff0e::1": false,
	} {
		t.Run(address, func(t *testing.T) {
			objects := town()
			objects.Pods = append(objects.Pods, pod("shop", "asker", address))
			objects.Services = []*corev1.Service{service("shop", "web")}
			s := slice("shop", "web", address, nil)
			if strings.Contains(address, ":") {
				s.AddressType = discoveryv1.AddressTypeIPv6
			}
			objects.EndpointSlices = []*discoveryv1.EndpointSlice{s}
			snapshot, problems := build(t, objects)
			if got := len(snapshot.Services()[0].Ports[0].Endpoints) == 1; got != want {
				t.Errorf("used as an endpoint: %t, want %t", got, want)
			}
			if got := len(snapshot.Workload(mesh.PodName{Namespace: "shop", Name: "asker"}).Addresses) == 1; got != want {
				t.Errorf("believed of a pod: %t, want %t", got, want)
			}
			if got := !strings.Contains(problems, "EndpointSlice shop/web-1: address \""); got != want {
				t.Errorf("problems: %q", problems)
			}
		})
	}
}

// TestWhichPodIsAWorkload goes through what a pod can lack of what the injector adds.
func TestWhichPodIsAWorkload(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(*corev1.Pod)
		want    bool
		problem string
	}{
		"as injected": {func(*corev1.Pod) {}, true, ""},
		"with a plain sidecar": {func(p *corev1.Pod) {
			p.Spec.Containers, p.Spec.InitContainers = p.Spec.InitContainers[1:], p.Spec.InitContainers[:1]
		}, true, ""},
		"ending":            {func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{} }, true, ""},
		"pending":           {func(p *corev1.Pod) { p.Status = corev1.PodStatus{Phase: corev1.PodPending} }, true, ""},
		"without the label": {func(p *corev1.Pod) { p.Labels = nil }, false, ""},
		"succeeded":         {func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }, false, ""},
		"failed":            {func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }, false, ""},
		"outside the mesh":  {func(p *corev1.Pod) { p.Namespace = "elsewhere" }, false, ""},
		"on the host's network": {func(p *corev1.Pod) {
			p.Spec.HostNetwork = true
			p.Status.PodIPs = []corev1.PodIP{{IP: "10.9.0.1"}}
		}, false, "Pod shop/liar: has the label osm-proxy-uuid but is on the host's network"},
		"with the label alone":     {func(p *corev1.Pod) { p.Spec.InitContainers = nil }, false, "but has no init container osm-init"},
		"without the redirect":     {func(p *corev1.Pod) { p.Spec.InitContainers = p.Spec.InitContainers[1:] }, false, "but has no init container osm-init"},
		"without the sidecar":      {func(p *corev1.Pod) { p.Spec.InitContainers = p.Spec.InitContainers[:1] }, false, "but has no container envoy with the proxy's certificate"},
		"with an envoy of its own": {func(p *corev1.Pod) { p.Spec.InitContainers[1].VolumeMounts = nil }, false, "but has no container envoy with the proxy's certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			liar := pod("shop", "liar", "10.0.0.7")
			c.change(liar)
			objects := town()
			objects.Pods = append(objects.Pods, liar)
			snapshot, problems := build(t, objects)
			if got := snapshot.Workload(mesh.PodName{Namespace: liar.Namespace, Name: "liar"}) != nil; got != c.want {
				t.Errorf("is a workload: %t, want %t", got, c.want)
			}
			if c.problem == "" && problems != "" || !strings.Contains(problems, c.problem) {
				t.Errorf("problems %q, want %q", problems, c.problem)
			}
		})
	}
}

// TestWhoseAddressItIs: a pod cannot have what is a node's or another pod's, whatever its status shows.
func TestWhoseAddressItIs(t *testing.T) {
	const contested = "10.0.0.1" // shop/store's
	for name, c := range map[string]struct {
		shows  string
		change func(*corev1.Pod)
		// want are the addresses of the liar, store what clients of shop/store's Service get there.
		want    []string
		store   string
		problem string
	}{
		"its own":                             {"10.0.0.7", func(*corev1.Pod) {}, []string{"10.0.0.7"}, "meshed", ""},
		"its node's":                          {"10.9.0.1", func(*corev1.Pod) {}, nil, "meshed", ""},
		"another pod's node's":                {"10.9.0.1", func(p *corev1.Pod) { p.Status.HostIP, p.Status.HostIPs = "", nil }, nil, "meshed", ""},
		"another pod's":                       {contested, func(*corev1.Pod) {}, []string{contested}, "", "Pod bank/liar: its address 10.0.0.1 is shown by pods bank/liar, shop/store"},
		"another pod's, while it ends itself": {contested, func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{} }, nil, "meshed", ""},
		"another pod's, finished":             {contested, func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }, nil, "meshed", ""},
		"another pod's as its node's":         {"10.0.0.7", func(p *corev1.Pod) { p.Status.HostIP = contested }, []string{"10.0.0.7"}, "", "shop/store, which has other addresses"},
	} {
		t.Run(name, func(t *testing.T) {
			liar := pod("bank", "liar", c.shows)
			liar.Spec.InitContainers[0].Args = []string{"redirect", "--exclude-inbound-ports=8080"}
			c.change(liar)
			objects := town()
			objects.Pods = append(objects.Pods, liar)
			objects.Services = []*corev1.Service{service("shop", "web")}
			objects.EndpointSlices = []*discoveryv1.EndpointSlice{slice("shop", "web", contested, ref("shop", "store"))}
			snapshot, problems := build(t, objects)
			var want []netip.Addr
			for _, a := range c.want {
				want = append(want, netip.MustParseAddr(a))
			}
			if w := snapshot.Workload(mesh.PodName{Namespace: "bank", Name: "liar"}); w != nil && !slices.Equal(w.Addresses, want) {
				t.Errorf("the liar has %v, want %v", w.Addresses, c.want)
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

// TestOnlyItsServiceLeadsToTheAPIServer: whichever is seen first, and whether it moves.
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
			objects := town()
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
				t.Error("an address that nobody says is the API server's is refused")
			}
		})
	}
}

// TestDisputedAddressOfNobodysSlice: a slice that names no pod must not send plain text to an address
// that two pods show.
func TestDisputedAddressOfNobodysSlice(t *testing.T) {
	objects := town()
	objects.Pods = append(objects.Pods, pod("bank", "liar", "10.0.0.1"))
	objects.Services = []*corev1.Service{service("shop", "web")}
	objects.EndpointSlices = []*discoveryv1.EndpointSlice{slice("shop", "web", "10.0.0.1", nil)}
	snapshot, problems := build(t, objects)
	if endpoints := snapshot.Services()[0].Ports[0].Endpoints; len(endpoints) > 0 {
		t.Errorf("clients are sent to %v", endpoints)
	}
	if want := "EndpointSlice shop/web-1: address 10.0.0.1 is shown by pods bank/liar, shop/store"; !strings.Contains(problems, want) {
		t.Errorf("problems %q, want %q", problems, want)
	}
}

// TestPodsLife follows a Service through what happens to its pod: the address comes by a patch of the
// status, changes, and is another pod's in the end.
func TestPodsLife(t *testing.T) {
	objects := town()
	s := ingest.NewState(objects.MeshName, objects.TrustDomain)
	s.SetMeshConfig(objects.MeshConfig)
	s.SetNamespace("shop", namespace("shop"))
	s.SetService("shop", "web", service("shop", "web"))
	s.SetEndpointSlice("shop", "web-1", slice("shop", "web", "10.0.0.5", ref("shop", "p")))
	check := func(step, want string) {
		t.Helper()
		snapshot, _ := s.Snapshot()
		got := ""
		for _, e := range snapshot.Services()[0].Ports[0].Endpoints {
			got = map[bool]string{true: "meshed", false: "plain"}[e.Meshed]
		}
		if got != want {
			t.Errorf("%s: the endpoint is %q, want %q", step, got, want)
		}
	}
	check("an unknown pod", "plain")
	s.SetPod("shop", "p", pod("shop", "p"))
	check("a pod without an address", "")
	s.SetPod("shop", "p", pod("shop", "p", "10.0.0.5"))
	check("the kubelet reported the address", "meshed")
	s.SetPod("shop", "p", pod("shop", "p", "10.0.0.6"))
	check("the address changed", "")
	again := pod("shop", "p", "10.0.0.5")
	again.UID = "another"
	s.SetPod("shop", "p", again)
	check("a pod of the same name took its place", "")
	s.SetPod("shop", "p", pod("shop", "p", "10.0.0.5"))
	check("as before", "meshed")
	ending := pod("shop", "p", "10.0.0.5")
	ending.DeletionTimestamp = &metav1.Time{}
	s.SetPod("shop", "p", ending)
	check("it ends, and still serves", "meshed")
	s.SetPod("shop", "q", pod("shop", "q", "10.0.0.5"))
	check("its address is another pod's", "")
	s.SetPod("shop", "p", nil)
	check("it is gone", "")
	s.SetEndpointSlice("shop", "web-1", slice("shop", "web", "10.0.0.5", ref("shop", "q")))
	check("the slice says so", "meshed")
}
