package ingest_test

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osm-edge/osm/pkg/controlplane/ingest"
)

// reachedAt returns the external addresses and ports of a Service, space-separated.
func reachedAt(t *testing.T, objects ingest.Objects, name string) (external, problems string) {
	t.Helper()
	snapshot, problems := build(t, objects)
	for _, s := range snapshot.Services() {
		if s.Name.String() == name {
			return strings.Trim(fmt.Sprint(s.External), "[]"), problems
		}
	}
	t.Fatalf("there is no Service %s", name)
	return "", ""
}

// TestExternalAddresses lists what a Service may claim besides its cluster IP.
func TestExternalAddresses(t *testing.T) {
	assigned := func(s *corev1.Service, ip string, mode *corev1.LoadBalancerIPMode) {
		s.Status.LoadBalancer.Ingress = append(s.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: ip, IPMode: mode})
	}
	for name, c := range map[string]struct {
		change  func(*corev1.Service)
		want    string
		problem string
	}{
		"none":                           {func(*corev1.Service) {}, "", ""},
		"an external address":            {func(s *corev1.Service) { s.Spec.ExternalIPs = []string{"192.0.2.80"} }, "192.0.2.80:80", ""},
		"a load balancer's":              {func(s *corev1.Service) { assigned(s, "192.0.2.99", nil) }, "192.0.2.99:80", ""},
		"a load balancer's, as VIP":      {func(s *corev1.Service) { assigned(s, "192.0.2.99", new(corev1.LoadBalancerIPModeVIP)) }, "192.0.2.99:80", ""},
		"a load balancer's that proxies": {func(s *corev1.Service) { assigned(s, "192.0.2.99", new(corev1.LoadBalancerIPModeProxy)) }, "", ""},
		"a load balancer's with source ranges": {func(s *corev1.Service) {
			assigned(s, "192.0.2.99", nil)
			s.Spec.LoadBalancerSourceRanges = []string{"192.0.2.0/24"}
		}, "", ""},
		"both":                   {func(s *corev1.Service) { s.Spec.ExternalIPs = []string{"192.0.2.99"}; assigned(s, "192.0.2.99", nil) }, "192.0.2.99:80", ""},
		"a load balancer's name": {func(s *corev1.Service) { assigned(s, "", nil) }, "", ""},
		"IPv6":                   {func(s *corev1.Service) { s.Spec.ExternalIPs = []string{"2001:db8::1"} }, "", ""},
		"its own cluster IP":     {func(s *corev1.Service) { s.Spec.ExternalIPs = []string{"10.96.0.1"} }, "", ""},
		"of a headless Service": {func(s *corev1.Service) {
			s.Spec.ExternalIPs = []string{"192.0.2.80"}
			s.Spec.ClusterIP, s.Spec.ClusterIPs = "None", []string{"None"}
		}, "", ""},
		"its node's":                       {func(s *corev1.Service) { s.Spec.ExternalIPs = []string{"10.9.0.1"} }, "10.9.0.1:80", ""},
		"a pod's":                          {func(s *corev1.Service) { s.Spec.ExternalIPs = []string{"10.0.0.2"} }, "", "Service shop/web: external address 10.0.0.2 is the address of pod bank/vault"},
		"a pod's, from a load balancer":    {func(s *corev1.Service) { assigned(s, "10.0.0.2", nil) }, "", "10.0.0.2 is the address of pod bank/vault"},
		"a Service's of another namespace": {func(s *corev1.Service) { s.Spec.ExternalIPs = []string{"10.96.0.2"} }, "", "10.96.0.2 is the cluster IP of Service bank/vault"},
		"a Service's outside the mesh":     {func(s *corev1.Service) { s.Spec.ExternalIPs = []string{"10.96.0.53"} }, "", "10.96.0.53 is the cluster IP of Service kube-system/kube-dns"},
		"the API server's endpoint":        {func(s *corev1.Service) { s.Spec.ExternalIPs = []string{"172.18.0.2"}; s.Spec.Ports[0].Port = 6443 }, "", "172.18.0.2:6443 is the API server"},
		"another port of its node":         {func(s *corev1.Service) { s.Spec.ExternalIPs = []string{"172.18.0.2"} }, "172.18.0.2:80", ""},
		"loopback":                         {func(s *corev1.Service) { s.Spec.ExternalIPs = []string{"127.0.0.1"} }, "", "127.0.0.1 is a loopback address"},
		"metadata":                         {func(s *corev1.Service) { s.Spec.ExternalIPs = []string{"169.254.169.254"} }, "", "169.254.169.254 is a link-local address"},
		"more than count": {func(s *corev1.Service) {
			for i := range 65 {
				s.Spec.ExternalIPs = append(s.Spec.ExternalIPs, fmt.Sprintf("192.0.2.%d", 1+i%65))
			}
			s.Spec.ExternalIPs[0] = "127.0.0.1" // so that the list is short
			for i := 1; i < 63; i++ {
				s.Spec.ExternalIPs[i] = "192.0.2.80"
			}
		}, "192.0.2.64:80 192.0.2.80:80", "it lists 65 external addresses"},
		"several of these": {func(s *corev1.Service) { s.Spec.ExternalIPs = []string{"127.0.0.1", "10.0.0.2", "192.0.2.80"} }, "192.0.2.80:80", "(and 1 more)"},
	} {
		t.Run(name, func(t *testing.T) {
			objects := meshOfTwo()
			object, other, dns, kubernetes := service("shop", "web"), service("bank", "vault"), service("kube-system", "kube-dns"), service("default", "kubernetes")
			other.Spec.ClusterIPs, dns.Spec.ClusterIPs, kubernetes.Spec.ClusterIPs = []string{"10.96.0.2"}, []string{"10.96.0.53"}, []string{"10.96.0.99"}
			c.change(object)
			api := slice("default", "kubernetes", "172.18.0.2", nil)
			api.Ports[0].Port = new(int32(6443))
			objects.Services = []*corev1.Service{object, other, dns, kubernetes}
			objects.EndpointSlices = []*discoveryv1.EndpointSlice{api}
			got, problems := reachedAt(t, objects, "shop/web")
			if got != c.want {
				t.Errorf("pods reach the Service at %q, want %q", got, c.want)
			}
			if c.problem == "" && problems != "" || !strings.Contains(problems, c.problem) {
				t.Errorf("problems %q, want %q", problems, c.problem)
			}
		})
	}
}

// TestRivalsForAnAddress lets two Services claim one address and port, in either order of their names.
func TestRivalsForAnAddress(t *testing.T) {
	const addr, both = "192.0.2.80", "192.0.2.80:80"
	for name, c := range map[string]struct {
		change     func(older, younger *corev1.Service)
		old, young string
	}{
		"the older one wins":  {func(_, _ *corev1.Service) {}, both, ""},
		"the load balancer's": {func(_, y *corev1.Service) { y.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: addr}} }, "", both},
		"another port":        {func(_, y *corev1.Service) { y.Spec.Ports[0].Port = 81 }, both, addr + ":81"},
		"another protocol":    {func(o, _ *corev1.Service) { o.Spec.Ports[0].Protocol = corev1.ProtocolUDP }, "", both},
		"outside the mesh":    {func(o, _ *corev1.Service) { o.Namespace = "ingress" }, "-", ""},
	} {
		for _, names := range [][2]string{{"a", "z"}, {"z", "a"}} {
			t.Run(name+", "+names[0], func(t *testing.T) {
				older, younger := service("shop", names[0]), service("bank", names[1])
				older.CreationTimestamp, younger.CreationTimestamp = metav1.Unix(1, 0), metav1.Unix(2, 0)
				older.Spec.ClusterIPs, younger.Spec.ClusterIPs = []string{"10.96.0.7"}, []string{"10.96.0.8"}
				older.Spec.ExternalIPs, younger.Spec.ExternalIPs = []string{addr}, []string{addr}
				c.change(older, younger)
				objects := meshOfTwo()
				objects.Services = []*corev1.Service{older, younger}
				young, problems := reachedAt(t, objects, "bank/"+names[1])
				if young != c.young {
					t.Errorf("the younger one is reached at %q, want %q", young, c.young)
				}
				if want := "Service bank/" + names[1] + ": external address " + both + " belongs to Service " + older.Namespace + "/" + names[0]; c.young == "" && !strings.Contains(problems, want) {
					t.Errorf("problems %q, want %q", problems, want)
				}
				if c.old == "-" {
					return
				}
				if old, _ := reachedAt(t, objects, "shop/"+names[0]); old != c.old {
					t.Errorf("the older one is reached at %q, want %q", old, c.old)
				}
			})
		}
	}
}
