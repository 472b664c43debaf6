package controlplane_test

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/controlplane/envoy"
	"github.com/osm-edge/osm/pkg/controlplane/ingest"
	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

// Replicas are processes: what one of them salts is equal within it and different elsewhere. Fails if a version
// depends on the process.
func TestProcessesComputeTheSameVersions(t *testing.T) {
	const child = "OSM_TEST_PRINT_DIGEST"
	digest := sha256.New()
	for seed := range uint64(5) {
		for _, line := range fromScratch(t, randomMesh(rand.New(rand.NewPCG(seed, 7)))) {
			fmt.Fprintln(digest, line)
		}
	}
	own := fmt.Sprintf("digest %x", digest.Sum(nil))
	if os.Getenv(child) != "" {
		fmt.Println(own)
		return
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), child+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), own) {
		t.Errorf("this process computes %q, another one (%v):\n%s", own, err, out)
	}
}

// fromScratch is what a controller makes of objects and rules that it sees for the first time.
func fromScratch(t *testing.T, objects ingest.Objects, rules ...*mesh.Rule) []string {
	t.Helper()
	snapshot, problems := ingest.Build(objects)
	config, err := envoy.NewBuilder(nil).Build(withRules(snapshot, rules))
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
	if random.IntN(4) > 0 {
		objects.Services = append(objects.Services, &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "kube-dns"},
			Spec: corev1.ServiceSpec{ClusterIPs: []string{fmt.Sprintf("10.1.9.%d", random.IntN(2))}, Ports: []corev1.ServicePort{
				{Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP}, {Name: "dns-tcp", Port: 53, Protocol: corev1.ProtocolTCP}}},
		})
	}
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
		pod := randomPod(random, namespace, n, i)
		if random.IntN(10) > 0 { // slices may name pods that are gone
			objects.Pods = append(objects.Pods, pod)
		}
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
			Spec: corev1.ServiceSpec{ClusterIP: address, ClusterIPs: []string{address}, Ports: []corev1.ServicePort{port}, ExternalIPs: randomExternal(random),
				SessionAffinity: []corev1.ServiceAffinity{corev1.ServiceAffinityNone, corev1.ServiceAffinityClientIP}[random.IntN(2)]},
			Status: corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{Ingress: randomIngress(random)}},
		})
		for part := range 1 + random.IntN(2) {
			slice := &discoveryv1.EndpointSlice{
				ObjectMeta:  metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("%s-%d", name, part), Labels: map[string]string{discoveryv1.LabelServiceName: name}},
				AddressType: discoveryv1.AddressTypeIPv4,
				Ports:       []discoveryv1.EndpointPort{{Name: &port.Name, Port: new(int32(8000 + random.IntN(3)))}},
			}
			if random.IntN(2) == 0 {
				slice.Labels[discoveryv1.LabelManagedBy] = "endpointslice-controller.k8s.io"
			}
			for i := range pods {
				if random.IntN(2) == 0 {
					slice.Endpoints = append(slice.Endpoints, randomEndpoint(random, namespace, n, i))
				}
			}
			objects.EndpointSlices = append(objects.EndpointSlices, slice)
		}
	}
}

// randomExternal are addresses that other Services want, too, and some that are a Service's, a pod's or nobody's.
func randomExternal(random *rand.Rand) []string {
	var addresses []string
	for range random.IntN(3) {
		addresses = append(addresses, []string{"192.0.2.1", "192.0.2.2", "192.0.2.3", "10.1.0.0", "10.1.1.1", "10.0.1.2", "127.0.0.1", "2001:db8::1"}[random.IntN(8)])
	}
	return addresses
}

func randomIngress(random *rand.Rand) []corev1.LoadBalancerIngress {
	if random.IntN(4) > 0 {
		return nil
	}
	mode := []*corev1.LoadBalancerIPMode{nil, new(corev1.LoadBalancerIPModeVIP), new(corev1.LoadBalancerIPModeProxy)}[random.IntN(3)]
	return []corev1.LoadBalancerIngress{{IP: fmt.Sprintf("192.0.2.%d", random.IntN(4)), IPMode: mode}}
}

// randomPod is an injected pod, or one with the label only, at its own address or at one that other pods show too.
func randomPod(random *rand.Rand, namespace string, n, i int) *corev1.Pod {
	name := fmt.Sprintf("pod-%d", i)
	pod := injected(namespace, name, fmt.Sprintf("account-%d", random.IntN(3)), randomAddress(random, n, i))
	pod.Status.HostIP = fmt.Sprintf("10.0.0.%d", 200+i%2)
	if random.IntN(2) == 0 {
		pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.ContainersReady, Status: corev1.ConditionTrue}}
	}
	switch random.IntN(14) {
	case 0:
		delete(pod.Labels, api.LabelProxyUUID)
	case 1:
		pod.Spec.InitContainers = nil
	case 2:
		pod.Spec.HostNetwork = true
	case 3:
		pod.DeletionTimestamp = &metav1.Time{}
		pod.CreationTimestamp = metav1.Unix(int64(random.IntN(3)), 0)
	case 4:
		pod.Status.Phase = corev1.PodFailed
	case 5:
		pod.UID = "of an earlier pod"
	case 6:
		pod.Status.PodIPs = nil
	case 7, 8:
		pod.Spec.InitContainers[0].Args = []string{"redirect", "--exclude-inbound-ports=9000,8080"}
	}
	return pod
}

func randomAddress(random *rand.Rand, n, i int) string {
	switch random.IntN(12) {
	case 0:
		return fmt.Sprintf("10.0.%d.%d", random.IntN(4), random.IntN(6)) // perhaps another pod's
	case 1:
		return fmt.Sprintf("10.0.0.%d", 200+random.IntN(2)) // a node's
	case 2:
		return []string{"127.0.0.1", "169.254.169.254", "fe80::1%eth0", "nonsense"}[random.IntN(4)]
	default:
		return fmt.Sprintf("10.0.%d.%d", n, i)
	}
}

func randomEndpoint(random *rand.Rand, namespace string, n, i int) discoveryv1.Endpoint {
	name := fmt.Sprintf("pod-%d", i)
	endpoint := discoveryv1.Endpoint{
		Addresses: []string{randomAddress(random, n, i)}, Conditions: discoveryv1.EndpointConditions{Ready: new(random.IntN(4) > 0)},
		TargetRef: refTo(injected(namespace, name, "")),
	}
	switch random.IntN(8) {
	case 0:
		endpoint.TargetRef = nil
	case 1:
		endpoint.TargetRef.Namespace = "ns-0"
	case 2:
		endpoint.TargetRef.UID = ""
	case 4:
		endpoint.Conditions = discoveryv1.EndpointConditions{Ready: new(false), Serving: new(random.IntN(2) == 0), Terminating: new(true)}
	case 3:
		endpoint.TargetRef.Name = fmt.Sprintf("pod-%d", random.IntN(12))
	}
	return endpoint
}

func mix[T any](random *rand.Rand, list []T) {
	random.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
}
