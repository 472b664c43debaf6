package controlplane_test

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/controlplane/envoy"
	"github.com/osm-edge/osm/pkg/controlplane/ingest"
)

// BenchmarkPipeline is one rebuild, from objects to every class's View, after one endpoint of a
// mesh changed its readiness: what a controller does today for each coalesced burst of changes.
func BenchmarkPipeline(b *testing.B) {
	for _, size := range []struct{ services, pods int }{{10, 10}, {100, 10}, {1000, 1}} {
		b.Run(fmt.Sprintf("services=%d/pods=%d", size.services, size.services*size.pods), func(b *testing.B) {
			objects := regularMesh(size.services, size.pods)
			ready := objects.EndpointSlices[0].Endpoints[0].Conditions.Ready
			config := rebuild(b, objects, nil)
			b.ReportAllocs()
			for b.Loop() {
				*ready = !*ready
				config = rebuild(b, objects, config)
			}
		})
	}
}

func rebuild(b *testing.B, objects ingest.Objects, previous *envoy.Config) *envoy.Config {
	b.Helper()
	snapshot, _ := ingest.Build(objects)
	config, err := envoy.Build(snapshot, previous)
	if err != nil {
		b.Fatal(err)
	}
	for _, w := range snapshot.Workloads() {
		if _, err := config.View(w); err != nil {
			b.Fatal(err)
		}
	}
	return config
}

// regularMesh is services with a ServiceAccount and so many injected pods each, in permissive mode.
func regularMesh(services, pods int) ingest.Objects {
	objects := ingest.Objects{
		MeshName: "osm", TrustDomain: "cluster.local", MeshConfig: &v1alpha2.MeshConfig{},
		Namespaces: []*corev1.Namespace{{ObjectMeta: metav1.ObjectMeta{Name: "shop", Labels: map[string]string{api.LabelMonitoredBy: "osm"}}}},
	}
	objects.MeshConfig.Spec.Traffic.EnablePermissiveTrafficPolicyMode = true
	for s := range services {
		name := fmt.Sprintf("service-%d", s)
		address := fmt.Sprintf("10.1.%d.%d", s/250, s%250)
		objects.Services = append(objects.Services, &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name},
			Spec:       corev1.ServiceSpec{ClusterIPs: []string{address}, Ports: []corev1.ServicePort{{Name: "http", Port: 80}}},
		})
		slice := &discoveryv1.EndpointSlice{
			ObjectMeta:  metav1.ObjectMeta{Namespace: "shop", Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: name}},
			AddressType: discoveryv1.AddressTypeIPv4,
			Ports:       []discoveryv1.EndpointPort{{Name: new("http"), Port: new(int32(8080))}},
		}
		for p := range pods {
			ip := fmt.Sprintf("10.2.%d.%d", (s*pods+p)/250, (s*pods+p)%250)
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: fmt.Sprintf("%s-%d", name, p), Labels: map[string]string{api.LabelProxyUUID: ip}}}
			pod.Spec.ServiceAccountName = name
			pod.Status.PodIPs = []corev1.PodIP{{IP: ip}}
			objects.Pods = append(objects.Pods, pod)
			slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{ip}, Conditions: discoveryv1.EndpointConditions{Ready: new(true)}})
		}
		objects.EndpointSlices = append(objects.EndpointSlices, slice)
	}
	return objects
}
