package world

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	ktesting "k8s.io/client-go/testing"

	"github.com/osm-edge/osm/pkg/api"
)

// made returns a world in its own API server, which has cleared the requests that created it.
func made(t *testing.T, shape Shape) (*World, *fake.Clientset) {
	t.Helper()
	client := fake.NewClientset()
	w := newWorld(client, shape.withDefaults(), "osm")
	if err := errors.Join(w.Create(t.Context(), "osm-system"), w.CreateOutside(t.Context())); err != nil {
		t.Fatal(err)
	}
	client.ClearActions()
	return w, client
}

func endpoints(t *testing.T, client *fake.Clientset, s *Service) map[string]bool {
	t.Helper()
	slice, err := client.DiscoveryV1().EndpointSlices(s.Namespace).Get(t.Context(), s.Name+"-0", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ready := map[string]bool{}
	for _, e := range slice.Endpoints {
		ready[e.Addresses[0]] = *e.Conditions.Ready
	}
	return ready
}

func TestCreate(t *testing.T) {
	w, client := made(t, Shape{Services: 12, Pods: 3})
	pods, err := client.CoreV1().Pods("").List(t.Context(), metav1.ListOptions{LabelSelector: api.LabelProxyUUID})
	if err != nil || len(pods.Items) != 36 {
		t.Fatalf("%d injected pods, %v; want 36", len(pods.Items), err)
	}
	seen := map[string]bool{}
	for _, pod := range pods.Items {
		addr, err := netip.ParseAddr(pod.Status.PodIP)
		if err != nil || seen[pod.Status.PodIP] || !netip.MustParsePrefix("10.128.0.0/9").Contains(addr) {
			t.Errorf("pod %s has the address %q", pod.Name, pod.Status.PodIP)
		}
		seen[pod.Status.PodIP] = true
	}
	for _, s := range w.Services {
		if len(endpoints(t, client, s)) != 3 {
			t.Errorf("service %s has %v", s.Name, endpoints(t, client, s))
		}
		if _, err := client.CoreV1().ServiceAccounts(s.Namespace).Get(t.Context(), s.Name, metav1.GetOptions{}); err != nil {
			t.Error(err)
		}
	}
	ns, err := client.CoreV1().Namespaces().Get(t.Context(), "team-00", metav1.GetOptions{})
	if err != nil || ns.Labels[api.LabelMonitoredBy] != "osm" {
		t.Errorf("got %v, %v", ns, err)
	}
	if p := w.Pods(); len(p) != 36 || p[0].Name != "svc-0000-000000" || p[1].Namespace != "team-01" {
		t.Errorf("pods %v", p[:2])
	}
}

// TestTwoWorldsAreEqual compares all objects of two worlds with the same history.
func TestTwoWorldsAreEqual(t *testing.T) {
	dump := func() []string {
		w, client := made(t, Shape{Services: 5, Pods: 2})
		if _, err := w.AddService(t.Context(), func(string) error { return nil }); err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, s := range w.Services {
			service, err := client.CoreV1().Services(s.Namespace).Get(t.Context(), s.Name, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			slice, err := client.DiscoveryV1().EndpointSlices(s.Namespace).Get(t.Context(), s.Name+"-0", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			for _, object := range []metav1.Object{service, slice} {
				object.SetManagedFields(nil) // the API server's, with the time
				text, err := json.Marshal(object)
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, string(text))
			}
		}
		return all
	}
	a, b := dump(), dump()
	for i := range a {
		if a[i] != b[i] {
			t.Fatalf("two worlds differ:\n%s\n%s", a[i], b[i])
		}
	}
}

func TestReadiness(t *testing.T) {
	w, client := made(t, Shape{Services: 1, Pods: 2})
	s := w.Services[0]
	if ready, err := w.Toggle(t.Context(), s, 1); err != nil || ready {
		t.Fatalf("got %t, %v", ready, err)
	}
	if got := endpoints(t, client, s); !got[s.Pods()[0].Addr.String()] || got[s.Pods()[1].Addr.String()] {
		t.Errorf("got %v", got)
	}
	if n := len(client.Actions()); n != 2 { // the test's own Get is the second
		t.Errorf("%d requests for one change", n)
	}
	if ready, err := w.Toggle(t.Context(), s, 1); err != nil || !ready {
		t.Errorf("got %t, %v", ready, err)
	}
	if err := w.SetReady(t.Context(), s, 2, true); !errors.Is(err, errNoPod) {
		t.Errorf("got %v", err)
	}
}

func TestReplacePod(t *testing.T) {
	w, client := made(t, Shape{Services: 1, Pods: 2})
	s := w.Services[0]
	old := s.Pods()[0]
	var steps []string
	pod, err := w.AddPodSlowly(t.Context(), s, func(step string) error {
		steps = append(steps, step)
		return nil
	})
	if err != nil || !slices.Equal(steps, []string{"pod scheduled", "pod runs"}) || pod.Addr == old.Addr {
		t.Fatalf("pod %v, steps %v, %v", pod, steps, err)
	}
	if len(endpoints(t, client, s)) != 2 {
		t.Error("a new pod is an endpoint at once")
	}
	err = errors.Join(w.AddEndpoint(t.Context(), s, pod), w.RemoveEndpoint(t.Context(), s, old), w.DeletePod(t.Context(), old))
	if err != nil {
		t.Fatal(err)
	}
	got := endpoints(t, client, s)
	if _, there := got[old.Addr.String()]; there || !got[pod.Addr.String()] || len(got) != 2 {
		t.Errorf("got %v", got)
	}
	if _, err := client.CoreV1().Pods(old.Namespace).Get(t.Context(), old.Name, metav1.GetOptions{}); err == nil {
		t.Error("the old pod still exists")
	}
}

func TestServiceComesAndGoes(t *testing.T) {
	w, _ := made(t, Shape{Services: 2, Pods: 1})
	var steps []string
	after := func(step string) error {
		steps = append(steps, step)
		return nil
	}
	s, err := w.AddService(t.Context(), after)
	if err != nil || len(w.Services) != 3 {
		t.Fatalf("%d services, %v", len(w.Services), err)
	}
	if err := w.RemoveService(t.Context(), s, after); err != nil {
		t.Fatal(err)
	}
	if want := []string{"account", "pod scheduled", "pod runs", "service", "endpoints", "service", "endpoints"}; !slices.Equal(steps, want) {
		t.Errorf("steps %v, want %v", steps, want)
	}
	stop := errors.New("stop")
	if _, err := w.AddService(t.Context(), func(string) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("got %v, want to stop after the first write", err)
	}
}

// TestUnseenChangesAreWrites makes sure that each of them changes something.
func TestUnseenChangesAreWrites(t *testing.T) {
	w, client := made(t, Shape{Services: 2, Pods: 1})
	for _, change := range w.Unseen() {
		client.ClearActions()
		if err := change.Apply(context.Background(), 1); err != nil {
			t.Errorf("%s: %v", change.Name, err)
		}
		writes := slices.ContainsFunc(client.Actions(), func(a ktesting.Action) bool { return a.GetVerb() == "patch" || a.GetVerb() == "update" })
		if !writes {
			t.Errorf("%s writes nothing", change.Name)
		}
	}
	stranger, err := client.CoreV1().Pods(outside).Get(t.Context(), "stranger", metav1.GetOptions{})
	if err != nil || stranger.Labels[api.LabelProxyUUID] != "" {
		t.Errorf("the pod outside is injected: %v, %v", stranger.Labels, err)
	}
	if stranger.Status.Phase != corev1.PodRunning {
		t.Errorf("the pod outside is %q", stranger.Status.Phase)
	}
}

func TestShapeIsChecked(t *testing.T) {
	for _, bad := range []Shape{{}, {Services: 1}, {Services: 1, Pods: maxPods + 1}, {Services: 1, Pods: 1, Namespaces: 2}} {
		if bad.withDefaults().Validate() == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
	if err := (Shape{Services: 3, Pods: 1}).withDefaults().Validate(); err != nil {
		t.Error(err)
	}
}

// TestAddressesAreDistinct checks as many pods as the longest run creates.
func TestAddressesAreDistinct(t *testing.T) {
	seen := map[netip.Addr]bool{}
	const nodes = 200
	for n := range 200_000 {
		addr := podAddr(n%nodes, n/nodes)
		if seen[addr] {
			t.Fatalf("pod %d reuses the address %s", n, addr)
		}
		seen[addr] = true
	}
}
