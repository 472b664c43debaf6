package controlplane_test

import (
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/controlplane/envoy"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/ingest"
	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

// sizes are the meshes that are measured.
func sizes() []struct{ services, pods int } {
	return []struct{ services, pods int }{{10, 10}, {100, 10}, {1000, 1}, {1000, 10}}
}

// BenchmarkPipeline is what a controller does for one change, from the object to the configuration of
// every proxy.
func BenchmarkPipeline(b *testing.B) {
	for _, name := range []string{"readiness", "pod", "service"} {
		for _, size := range sizes() {
			b.Run(fmt.Sprintf("change=%s/services=%d/pods=%d", name, size.services, size.services*size.pods), func(b *testing.B) {
				objects := regularMesh(size.services, size.pods)
				state, builder := stateOf(objects), envoy.NewBuilder(nil)
				rebuild(b, state, builder)
				change := changes()[name](objects, state)
				b.ReportAllocs()
				for b.Loop() {
					change()
					rebuild(b, state, builder)
				}
			})
		}
	}
}

// changes are what happens to a mesh again and again; each returns what makes it happen once.
func changes() map[string]func(ingest.Objects, *ingest.State) func() {
	return map[string]func(ingest.Objects, *ingest.State) func(){
		// One endpoint turns unready, and ready again.
		"readiness": func(objects ingest.Objects, state *ingest.State) func() {
			slice := objects.EndpointSlices[0]
			ready := slice.Endpoints[0].Conditions.Ready
			return func() {
				*ready = !*ready
				state.SetEndpointSlice(slice.Namespace, slice.Name, slice)
			}
		},
		// A pod goes, and comes again.
		"pod": func(objects ingest.Objects, state *ingest.State) func() {
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
		"service": func(objects ingest.Objects, state *ingest.State) func() {
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
}

// BenchmarkGroups is what one change costs with 1000 Services of one pod and identity each, in so many
// groups of identities with equal rights: each group may connect to its own members and to those of the
// next group. It counts how many of the 1000 proxies get an update.
func BenchmarkGroups(b *testing.B) {
	const services = 1000
	for _, groups := range []int{1, 10, 1000} {
		b.Run(fmt.Sprintf("change=none/groups=%d", groups), func(b *testing.B) {
			snapshot, _ := stateOf(regularMesh(services, 1)).Snapshot()
			rules := groupRules(services, groups)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := envoy.NewBuilder(nil).Build(withRules(snapshot, rules)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	for _, name := range []string{"readiness", "pod", "service"} {
		for _, groups := range []int{1, 10, 1000} {
			b.Run(fmt.Sprintf("change=%s/groups=%d", name, groups), func(b *testing.B) {
				objects := regularMesh(services, 1)
				state, builder, rules := stateOf(objects), envoy.NewBuilder(nil), groupRules(services, groups)
				build := func() *envoy.Config {
					snapshot, _ := state.Snapshot()
					config, err := builder.Build(mesh.New(strict(snapshot), snapshot.Services(), snapshot.Workloads(), rules...))
					if err != nil {
						b.Fatal(err)
					}
					return config
				}
				last := build()
				change := changes()[name](objects, state)
				change()
				now := build()
				proxies := 0
				for _, w := range now.Snapshot().Workloads() {
					if view, _ := last.View(w.Name); !now.InForce(view.Shared) {
						proxies++
					}
				}
				b.ReportAllocs()
				for b.Loop() {
					change()
					build()
				}
				b.ReportMetric(float64(proxies), "proxies-updated")
			})
		}
	}
}

// strict are the snapshot's settings without permissive mode.
func strict(snapshot *mesh.Snapshot) mesh.Settings {
	settings := snapshot.Settings()
	settings.Permissive = false
	return settings
}

// groupRules lets the workloads of each group connect to those of the same and of the next one.
func groupRules(services, groups int) []*mesh.Rule {
	members := make([][]identity.Identity, groups)
	for s := range services {
		members[s%groups] = append(members[s%groups], identity.Identity{Namespace: "shop", ServiceAccount: fmt.Sprintf("service-%d", s)})
	}
	var rules []*mesh.Rule
	for g := range groups {
		from := members[g]
		if groups > 1 {
			from = append(append([]identity.Identity{}, from...), members[(g+groups-1)%groups]...)
		}
		for _, to := range members[g] {
			rules = append(rules, &mesh.Rule{To: to, From: from})
		}
	}
	slices.SortFunc(rules, (*mesh.Rule).Compare)
	return rules
}

// BenchmarkStart is a controller's first configuration, from objects that it has all read.
func BenchmarkStart(b *testing.B) {
	for _, size := range sizes() {
		b.Run(fmt.Sprintf("services=%d/pods=%d", size.services, size.services*size.pods), func(b *testing.B) {
			objects := regularMesh(size.services, size.pods)
			b.ReportAllocs()
			for b.Loop() {
				rebuild(b, stateOf(objects), envoy.NewBuilder(nil))
			}
		})
	}
}

func stateOf(objects ingest.Objects) *ingest.State {
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
