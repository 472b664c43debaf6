package controlplane_test

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/controlplane/ingest"
)

// livePodIP is the address of bank/vault-0, also where a real Envoy stands in for its proxy.
const livePodIP = "10.77.0.2"

// bank is a mesh with the pod bank/vault-0 at livePodIP, whose Service leads to its port 8080, HTTP.
func bank() ingest.Objects {
	member := map[string]string{api.LabelMonitoredBy: "osm"}
	objects := ingest.Objects{
		MeshName: "osm", TrustDomain: "cluster.local", MeshConfig: &v1alpha2.MeshConfig{},
		Namespaces: []*corev1.Namespace{{ObjectMeta: metav1.ObjectMeta{Name: "bank", Labels: member}}, {ObjectMeta: metav1.ObjectMeta{Name: "evil", Labels: member}}},
		Pods:       []*corev1.Pod{injected("bank", "vault-0", "vault", livePodIP)},
	}
	objects.MeshConfig.Spec.Traffic.EnablePermissiveTrafficPolicyMode = true
	objects.MeshConfig.Spec.Traffic.EnableEgress = true
	lead(&objects, "bank", "vault", "http", 8080, livePodIP, refTo(objects.Pods[0]))
	return objects
}

// lead adds a Service and a slice that leads from its port 80 to an address.
func lead(objects *ingest.Objects, namespace, name, protocol string, port int32, address string, ref *corev1.ObjectReference) {
	ip := "10.96.0." + string(rune('1'+len(objects.Services)))
	objects.Services = append(objects.Services, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       corev1.ServiceSpec{ClusterIP: ip, ClusterIPs: []string{ip}, Ports: []corev1.ServicePort{{Name: "p", AppProtocol: &protocol, Port: 80}}},
	})
	objects.EndpointSlices = append(objects.EndpointSlices, &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: namespace, Name: name + "-1", Labels: map[string]string{discoveryv1.LabelServiceName: name}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: new("p"), Port: &port}},
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{address}, TargetRef: ref}},
	})
}
