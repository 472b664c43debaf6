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

// sizes are the meshes that are measured.
func sizes() []struct{ services, pods int } {
	return []struct{ services, pods int }{{10, 10}, {100, 10}, {1000, 1}, {1000, 10}}
}

// BenchmarkPipeline is what a controller does for one change, from the object to the configuration of
// every proxy.
func BenchmarkPipeline(b *testing.B) {
	changes := map[string]func(*testing.B, ingest.Objects, *ingest.State) func(){
		// One endpoint turns unready, and ready again.
		"readiness": func(_ *testing.B, objects ingest.Objects, state *ingest.State) func() {
			slice := objects.EndpointSlices[0]
			ready := slice.Endpoints[0].Conditions.Ready
			return func() {
				*ready = !*ready
				state.SetEndpointSlice(slice.Namespace, slice.Name, slice)
			}
		},
		// A pod goes, and comes again.
		"pod": func(_ *testing.B, objects ingest.Objects, state *ingest.State) func() {
			pod, there := objects.Pods[0], true
			return func() {
				if there = !there; there {
					state.SetPod(pod.Namespace, pod.Name, pod)
				} else {
					state.SetPod(pod.Namespace, pod.Name, nil)
				}
			}
		},
		// A Service goes, and comes again.
		"service": func(_ *testing.B, objects ingest.Objects, state *ingest.State) func() {
			service, there := objects.Services[0], true
			return func() {
				if there = !there; there {
					state.SetService(service.Namespace, service.Name, service)
				} else {
					state.SetService(service.Namespace, service.Name, nil)
				}
			}
		},
	}
	for _, name := range []string{"readiness", "pod", "service"} {
		for _, size := range sizes() {
			b.Run(fmt.Sprintf("change=%s/services=%d/pods=%d", name, size.services, size.services*size.pods), func(b *testing.B) {
				objects := regularMesh(size.services, size.pods)
				state, builder := told(objects), envoy.NewBuilder(nil)
				rebuild(b, state, builder)
				change := changes[name](b, objects, state)
				b.ReportAllocs()
				for b.Loop() {
					change()
					rebuild(b, state, builder)
				}
			})
		}
	}
}

// BenchmarkStart is a controller's first configuration, from objects that it has all read.
func BenchmarkStart(b *testing.B) {
	for _, size := range sizes() {
		b.Run(fmt.Sprintf("services=%d/pods=%d", size.services, size.services*size.pods), func(b *testing.B) {
			objects := regularMesh(size.services, size.pods)
			b.ReportAllocs()
			for b.Loop() {
				rebuild(b, told(objects), envoy.NewBuilder(nil))
			}
		})
	}
}

func told(objects ingest.Objects) *ingest.State {
	state := ingest.NewState(objects.MeshName, objects.TrustDomain)
	state.SetMeshConfig(objects.MeshConfig)
	for _, ns := range objects.Namespaces {
		state.SetNamespace(ns.Name, ns)
	}
	for i, service := range objects.Services {
		state.SetService(service.Namespace, service.Name, service)
		slice := objects.EndpointSlices[i]
		state.SetEndpointSlice(slice.Namespace, slice.Name, slice)
	}
	for _, pod := range objects.Pods {
		state.SetPod(pod.Namespace, pod.Name, pod)
	}
	return state
}

func rebuild(b *testing.B, state *ingest.State, builder *envoy.Builder) {
	b.Helper()
	snapshot, _ := state.Snapshot()
	if _, err := builder.Build(snapshot); err != nil {
		b.Fatal(err)
	}
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
			pod := injected("shop", fmt.Sprintf("%s-%d", name, p), name, ip)
			objects.Pods = append(objects.Pods, pod)
			slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
				Addresses: []string{ip}, TargetRef: refTo(pod), Conditions: discoveryv1.EndpointConditions{Ready: new(true)},
			})
		}
		objects.EndpointSlices = append(objects.EndpointSlices, slice)
	}
	return objects
}
