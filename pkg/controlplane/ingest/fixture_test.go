package ingest_test

import (
	"fmt"
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

// pod returns an injected pod with a status as the kubelet writes it.
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

// meshOfTwo is a mesh of namespaces shop and bank with the pods shop/store (10.0.0.1) and bank/vault (10.0.0.2).
func meshOfTwo() ingest.Objects {
	objects := ingest.Objects{
		MeshName: "osm", TrustDomain: "cluster.local", MeshConfig: &v1alpha2.MeshConfig{},
		Namespaces: []*corev1.Namespace{namespace("shop"), namespace("bank")},
		Pods:       []*corev1.Pod{pod("shop", "store", "10.0.0.1"), pod("bank", "vault", "10.0.0.2")},
	}
	objects.MeshConfig.Spec.Traffic.EnablePermissiveTrafficPolicyMode = true
	objects.MeshConfig.Spec.Traffic.EnableEgress = true
	return objects
}

// build builds the snapshot twice: from scratch, and by a State that gets the objects in the opposite order
// with snapshots in between. Both must agree.
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
		t.Errorf("the incremental snapshot differs:\n%s", diff)
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
