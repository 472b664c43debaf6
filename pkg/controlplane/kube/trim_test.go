package kube

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/controlplane/ingest"
)

// whole returns pods with everything that decides whether they are workloads and which addresses they own, and
// slices that name them.
func whole() ingest.Objects {
	pod := func(name, ip string, change func(*corev1.Pod)) *corev1.Pod {
		p := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: "u-1", Labels: map[string]string{api.LabelProxyUUID: "1", "app": "x"}},
			Spec: corev1.PodSpec{
				ServiceAccountName: "till", Containers: []corev1.Container{{Name: "app", VolumeMounts: []corev1.VolumeMount{{MountPath: "/data"}}}},
				InitContainers: []corev1.Container{
					{Name: api.ContainerInit, Args: []string{"redirect", "--exclude-inbound-ports=9000"}},
					{Name: api.ContainerEnvoy, VolumeMounts: []corev1.VolumeMount{{MountPath: "/tmp"}, {MountPath: api.ProxyCertDir}}},
				},
			},
			Status: corev1.PodStatus{Phase: corev1.PodRunning, HostIP: "10.9.0.1", HostIPs: []corev1.HostIP{{IP: "10.9.0.2"}}, PodIPs: []corev1.PodIP{{IP: ip}}},
		}
		change(p)
		return p
	}
	objects := ingest.Objects{
		MeshName: "osm", TrustDomain: "cluster.local", MeshConfig: &v1alpha2.MeshConfig{},
		Namespaces: []*corev1.Namespace{{ObjectMeta: metav1.ObjectMeta{Name: "shop", Labels: map[string]string{api.LabelMonitoredBy: "osm"}}}},
		Pods: []*corev1.Pod{
			pod("whole", "10.0.0.1", func(*corev1.Pod) {}),
			pod("plain", "10.0.0.2", func(p *corev1.Pod) {
				p.Spec.Containers, p.Spec.InitContainers = append(p.Spec.Containers, p.Spec.InitContainers[1]), p.Spec.InitContainers[:1]
			}),
			pod("label", "10.0.0.3", func(p *corev1.Pod) { p.Spec.InitContainers = nil }),
			pod("envoy", "10.0.0.4", func(p *corev1.Pod) { p.Spec.InitContainers[1].VolumeMounts = nil }),
			pod("host", "10.9.0.3", func(p *corev1.Pod) { p.Spec.HostNetwork = true }),
			pod("node1", "10.9.0.1", func(*corev1.Pod) {}),
			pod("node2", "10.9.0.2", func(*corev1.Pod) {}),
			pod("terminating", "10.0.0.1", func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{} }),
			pod("lost", "10.0.0.6", func(p *corev1.Pod) { p.Status.Conditions = containersReady() }),
			pod("closed", "10.0.0.7", func(p *corev1.Pod) {
				p.Status.Conditions, p.Spec.ReadinessGates = containersReady(), []corev1.PodReadinessGate{{ConditionType: "gate"}}
			}),
			pod("stuck", "10.0.0.5", func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{} }),
			pod("heir", "10.0.0.5", func(p *corev1.Pod) { p.DeletionTimestamp, p.CreationTimestamp = &metav1.Time{}, metav1.Unix(1, 0) }),
		},
	}
	objects.Services = []*corev1.Service{{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "till"},
		Spec:       corev1.ServiceSpec{ClusterIP: "10.96.0.1", Ports: []corev1.ServicePort{{Name: "http", Port: 80}}},
	}, {
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "kiosk"},
		Spec: corev1.ServiceSpec{
			ClusterIP: "10.96.0.2", ClusterIPs: []string{"fd00::2", "10.96.0.2"}, IPFamilies: []corev1.IPFamily{corev1.IPv6Protocol, corev1.IPv4Protocol},
			ExternalIPs: []string{"192.0.2.80", "192.0.2.81"}, SessionAffinity: corev1.ServiceAffinityClientIP, InternalTrafficPolicy: new(corev1.ServiceInternalTrafficPolicyLocal),
			Ports: []corev1.ServicePort{{Name: "http", Port: 80, AppProtocol: new("grpc")}},
		},
		Status: corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{
			{IP: "192.0.2.90"}, {IP: "192.0.2.91", IPMode: new(corev1.LoadBalancerIPModeProxy)}}}},
	}, {
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "younger", CreationTimestamp: metav1.Unix(2, 0)},
		Spec: corev1.ServiceSpec{ClusterIP: "10.96.0.3", ExternalIPs: []string{"192.0.2.83"}, LoadBalancerSourceRanges: []string{"192.0.2.0/24"},
			Ports: []corev1.ServicePort{{Name: "http", Port: 80}}},
		Status: corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{IP: "192.0.2.92"}}}},
	}, {
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "a-youngest", CreationTimestamp: metav1.Unix(3, 0)},
		Spec:       corev1.ServiceSpec{ClusterIP: "10.96.0.4", IPFamilies: []corev1.IPFamily{corev1.IPv6Protocol}, ExternalIPs: []string{"192.0.2.83"}, Ports: []corev1.ServicePort{{Name: "http", Port: 80}}},
	}}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "shop", Name: "till-1", Labels: map[string]string{discoveryv1.LabelServiceName: "till", "x": "y"}},
		AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: new("http"), Port: new(int32(8080))}},
	}
	for _, p := range objects.Pods {
		for _, ref := range []*corev1.ObjectReference{
			{Kind: "Pod", Namespace: "shop", Name: p.Name, UID: p.UID}, {Kind: "Pod", Namespace: "shop", Name: p.Name, UID: "other"},
			{Kind: "Pod", Namespace: "bank", Name: p.Name}, {Kind: "Node", Name: p.Name}, nil,
		} {
			slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{p.Status.PodIPs[0].IP}, TargetRef: ref})
		}
	}
	draining := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "shop", Name: "kiosk-1", Labels: map[string]string{discoveryv1.LabelServiceName: "kiosk"}},
		AddressType: discoveryv1.AddressTypeIPv4, Ports: slice.Ports,
	}
	for i := range 9 { // none is ready; the others are unset, false, true
		is := func(n int) *bool { return []*bool{nil, new(false), new(true)}[n%3] }
		draining.Endpoints = append(draining.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{fmt.Sprintf("192.0.2.%d", i)}, Conditions: discoveryv1.EndpointConditions{Ready: new(false), Serving: is(i), Terminating: is(i / 3)},
		})
	}
	lost := slice.DeepCopy()
	lost.Name, lost.Labels[discoveryv1.LabelServiceName], lost.Labels[discoveryv1.LabelManagedBy] = "younger-1", "younger", "endpointslice-controller.k8s.io"
	for i := range lost.Endpoints {
		lost.Endpoints[i].Conditions.Ready = new(false)
	}
	objects.EndpointSlices = []*discoveryv1.EndpointSlice{slice, draining, lost}
	return objects
}

func containersReady() []corev1.PodCondition {
	return []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse}, {Type: corev1.ContainersReady, Status: corev1.ConditionTrue}}
}

// TestTrimKeepsWhatIngestReads: ingest builds the same mesh from trimmed objects.
func TestTrimKeepsWhatIngestReads(t *testing.T) {
	full := whole()
	trimmed := full
	trimmed.Namespaces = trimEach(t, full.Namespaces, trimNamespace)
	trimmed.Pods = trimEach(t, full.Pods, trimPod)
	trimmed.Services = trimEach(t, full.Services, trimService)
	trimmed.EndpointSlices = trimEach(t, full.EndpointSlices, trimSlice)
	if diff := cmp.Diff(seenIn(full), seenIn(trimmed)); diff != "" {
		t.Errorf("trimmed objects result in a different mesh:\n%s", diff)
	}
	if n := len(seenIn(full)); n < 5 {
		t.Errorf("only %d objects: too few for a test", n)
	}
}

func trimEach[T any](t *testing.T, objects []*T, trim func(any) (any, error)) []*T {
	t.Helper()
	var all []*T
	for _, o := range objects {
		trimmed, err := trim(o)
		if err != nil {
			t.Fatal(err)
		}
		typed, ok := trimmed.(*T)
		if !ok {
			t.Fatalf("a %[2]T was trimmed to a %[1]T", trimmed, o)
		}
		all = append(all, typed)
	}
	return all
}

func seenIn(objects ingest.Objects) []string {
	snapshot, problems := ingest.Build(objects)
	var seen []string
	for _, p := range problems {
		seen = append(seen, p.String())
	}
	for _, w := range snapshot.Workloads() {
		seen = append(seen, fmt.Sprintf("%+v", *w))
	}
	for _, s := range snapshot.Services() {
		seen = append(seen, fmt.Sprintf("%+v", *s))
	}
	return seen
}
