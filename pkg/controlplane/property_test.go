package controlplane_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/controlplane/envoy"
	"github.com/osm-edge/osm/pkg/controlplane/ingest"
)

// TestReplicasComputeTheSameBytes is HA-6: controllers that see the same objects in any order serve
// byte-identical CDS, LDS, RDS and EDS, and equal versions.
func TestReplicasComputeTheSameBytes(t *testing.T) {
	for seed := range uint64(25) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 7))
			objects := randomMesh(random)
			first := fromScratch(t, objects)
			for range 4 {
				shuffle(random, &objects)
				if diff := cmp.Diff(first, fromScratch(t, objects)); diff != "" {
					t.Fatalf("the order of the objects changed the configuration:\n%s", diff)
				}
			}
		})
	}
}

// fromScratch is what a controller makes of objects that it sees for the first time.
func fromScratch(t *testing.T, objects ingest.Objects) []string {
	t.Helper()
	snapshot, problems := ingest.Build(objects)
	config, err := envoy.NewBuilder(nil).Build(snapshot)
	if err != nil {
		t.Fatal(err)
	}
	return fingerprints(config, problems)
}

// fingerprints is everything that a controller makes, byte by byte.
func fingerprints(config *envoy.Config, problems []ingest.Problem) []string {
	prints := []string{fmt.Sprint(problems)}
	for _, w := range config.Snapshot().Workloads() {
		view, _ := config.View(w.Name)
		prints = append(prints, fmt.Sprint(*w))
		for _, k := range envoy.Kinds() {
			sets := view.Sets(k)
			prints = append(prints, fmt.Sprint(w.Name, k, sets[0].Version(), sets[1].Version()))
			for _, r := range view.All(k) {
				prints = append(prints, string(r.Delta()))
			}
		}
	}
	return prints
}

// randomMesh is a mesh with all that can differ: protocols that clash, headless services, pods
// without proxies, ports that bypass them, ignored namespaces.
func randomMesh(random *rand.Rand) ingest.Objects {
	objects := ingest.Objects{MeshName: "osm", TrustDomain: "cluster.local", MeshConfig: &v1alpha2.MeshConfig{}}
	objects.MeshConfig.Spec.Traffic.EnablePermissiveTrafficPolicyMode = random.IntN(8) > 0
	objects.MeshConfig.Spec.Traffic.EnableEgress = random.IntN(2) == 0
	for n := range 1 + random.IntN(4) {
		labels := map[string]string{api.LabelMonitoredBy: "osm"}
		if random.IntN(6) == 0 {
			labels[api.LabelIgnore] = "true"
		}
		name := fmt.Sprintf("ns-%d", n)
		objects.Namespaces = append(objects.Namespaces, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}})
		randomNamespace(random, name, n, &objects)
	}
	return objects
}

func randomNamespace(random *rand.Rand, namespace string, n int, objects *ingest.Objects) {
	pods := 1 + random.IntN(12)
	for i := range pods {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("pod-%d", i), Labels: map[string]string{}}}
		pod.Spec.ServiceAccountName = fmt.Sprintf("account-%d", random.IntN(3))
		pod.Status.PodIPs = []corev1.PodIP{{IP: fmt.Sprintf("10.0.%d.%d", n, i)}}
		if random.IntN(5) > 0 {
			pod.Labels[api.LabelProxyUUID] = fmt.Sprint(i)
		}
		if random.IntN(5) == 0 {
			pod.Spec.InitContainers = []corev1.Container{{Name: api.ContainerInit, Args: []string{"redirect", "--exclude-inbound-ports=9000,8080"}}}
		}
		objects.Pods = append(objects.Pods, pod)
	}
	for s := range 1 + random.IntN(6) {
		name := fmt.Sprintf("service-%d", s)
		address := fmt.Sprintf("10.1.%d.%d", n, s)
		if random.IntN(4) == 0 {
			address = corev1.ClusterIPNone
		}
		port := corev1.ServicePort{Name: []string{"http", "tcp", "grpc", "web"}[random.IntN(4)], Port: 80}
		objects.Services = append(objects.Services, &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
			Spec:       corev1.ServiceSpec{ClusterIP: address, ClusterIPs: []string{address}, Ports: []corev1.ServicePort{port}},
		})
		for part := range 1 + random.IntN(2) {
			slice := &discoveryv1.EndpointSlice{
				ObjectMeta:  metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("%s-%d", name, part), Labels: map[string]string{discoveryv1.LabelServiceName: name}},
				AddressType: discoveryv1.AddressTypeIPv4,
				Ports:       []discoveryv1.EndpointPort{{Name: &port.Name, Port: new(int32(8000 + random.IntN(3)))}},
			}
			for i := range pods {
				if random.IntN(2) == 0 {
					slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
						Addresses: []string{fmt.Sprintf("10.0.%d.%d", n, i)}, Conditions: discoveryv1.EndpointConditions{Ready: new(random.IntN(4) > 0)},
					})
				}
			}
			objects.EndpointSlices = append(objects.EndpointSlices, slice)
		}
	}
}

func shuffle(random *rand.Rand, objects *ingest.Objects) {
	mix(random, objects.Namespaces)
	mix(random, objects.Pods)
	mix(random, objects.Services)
	mix(random, objects.EndpointSlices)
	for _, slice := range objects.EndpointSlices {
		mix(random, slice.Endpoints)
	}
}

func mix[T any](random *rand.Rand, list []T) {
	random.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
}
