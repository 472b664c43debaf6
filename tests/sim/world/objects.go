package world

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/osm-edge/osm/pkg/api"
)

const (
	portName      = "web"
	servicePort   = 80
	containerPort = 8080
	// podsPerNode is how many pods share a node, and so the first three numbers of their addresses.
	podsPerNode = 50
	// everyTCP makes each tenth service plain TCP.
	everyTCP = 10
)

func teamName(i int) string { return fmt.Sprintf("team-%02d", i) }

func namespaceObject(name string, labels map[string]string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
}

func memberNamespace(name, mesh string) *corev1.Namespace {
	ns := namespaceObject(name, map[string]string{api.LabelMonitoredBy: mesh})
	ns.Annotations = map[string]string{api.AnnotationInjection: "enabled"}
	return ns
}

// newPod returns the next pod of a service, with its name and address. Addresses are those of nodes with a
// /24 each; services' pods are spread over the nodes, as a scheduler would.
func (w *World) newPod(s *Service) Pod {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.born
	w.born++
	nodes := max(1, w.shape.Services*w.shape.Pods/podsPerNode)
	return Pod{
		Namespace: s.Namespace, Name: fmt.Sprintf("%s-%06d", s.Name, n), Account: s.Name,
		Addr: podAddr(n%nodes, n/nodes), Ready: true,
	}
}

// podAddr returns the address in a slot of a node. A slot beyond the node's /24 goes to further nodes, so
// that a long run of pods never uses an address twice before 2^23 pods.
func podAddr(node, slot int) netip.Addr {
	node += slot / 250 * 4096
	n := uint32(node)<<8 | uint32(2+slot%250)
	n &= 1<<23 - 1
	return netip.AddrFrom4([4]byte{10, byte(128 | n>>16), byte(n >> 8), byte(n)})
}

func nodeOf(addr netip.Addr) string {
	b := addr.As4()
	return fmt.Sprintf("node-%d-%d", b[1], b[2])
}

// clusterIP is within server.ServiceNetwork, above the part that the API server prefers for its own
// choices.
func clusterIP(index int) string {
	return fmt.Sprintf("10.96.%d.%d", 4+index/250, 1+index%250)
}

func serviceObject(s *Service) *corev1.Service {
	protocol := "http"
	if s.index%everyTCP == everyTCP-1 {
		protocol = "tcp"
	}
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: s.Name, Labels: map[string]string{"app": s.Name}},
		Spec: corev1.ServiceSpec{
			ClusterIP: clusterIP(s.index), Selector: map[string]string{"app": s.Name},
			Ports: []corev1.ServicePort{{
				Name: portName, Port: servicePort, TargetPort: intstr.FromInt32(containerPort), AppProtocol: &protocol,
			}},
		},
	}
}

// sliceObject returns what the endpoint controller would write. s.mu must be held, or s not shared yet.
func sliceObject(s *Service) *discoveryv1.EndpointSlice {
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.Namespace, Name: s.Name + "-0",
			Labels: map[string]string{
				discoveryv1.LabelServiceName: s.Name,
				discoveryv1.LabelManagedBy:   "endpointslice-controller.k8s.io",
				"app":                        s.Name,
			},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: ptr(portName), Protocol: ptr(corev1.ProtocolTCP), Port: ptr(int32(containerPort))}},
	}
	for _, pod := range s.pods {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{pod.Addr.String()}, NodeName: ptr(nodeOf(pod.Addr)),
			Conditions: discoveryv1.EndpointConditions{Ready: ptr(pod.Ready), Serving: ptr(pod.Ready), Terminating: ptr(false)},
			TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name},
		})
	}
	return slice
}

// podObject returns a pod with as much ballast as a real one: a control plane that keeps whole pods
// pays for it. In the mesh it is injected.
func podObject(s *Service, pod Pod) *corev1.Pod {
	object := injectedPod(s, pod)
	if pod.Namespace == outside {
		delete(object.Labels, api.LabelProxyUUID)
		object.Spec.InitContainers, object.Spec.Volumes = nil, nil
	}
	return object
}

func injectedPod(s *Service, pod Pod) *corev1.Pod {
	always := corev1.ContainerRestartPolicyAlways
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: pod.Namespace, Name: pod.Name,
			Labels: map[string]string{"app": s.Name, "pod-template-hash": "5d8f7b6c9", api.LabelProxyUUID: "uuid-" + pod.Name},
		},
		Spec: corev1.PodSpec{
			ServiceAccountName: pod.Account, NodeName: nodeOf(pod.Addr),
			InitContainers: []corev1.Container{
				{Name: api.ContainerInit, Image: "osm-controlplane", Args: []string{"redirect"}},
				{
					Name: api.ContainerEnvoy, Image: "envoy", RestartPolicy: &always, Args: []string{"--config-yaml", bootstrapBallast()},
					VolumeMounts: []corev1.VolumeMount{{Name: "osm-proxy", MountPath: api.ProxyCertDir, ReadOnly: true}},
				},
			},
			Volumes: []corev1.Volume{{Name: "osm-proxy", VolumeSource: corev1.VolumeSource{
				Secret: &corev1.SecretVolumeSource{SecretName: api.ProxySecretName(pod.Account)},
			}}},
			Containers: []corev1.Container{{
				Name: "app", Image: "example.invalid/app:1", Ports: []corev1.ContainerPort{{ContainerPort: containerPort}},
				Env: []corev1.EnvVar{{Name: "APP", Value: s.Name}},
			}},
		},
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, PodIP: pod.Addr.String(), PodIPs: []corev1.PodIP{{IP: pod.Addr.String()}},
			Conditions: []corev1.PodCondition{
				{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Unix(1e9, 0)},
				{Type: corev1.ContainersReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Unix(1e9, 0)},
			},
		},
	}
}

// bootstrapBallast is as long as the bootstrap of a real sidecar.
func bootstrapBallast() string { return strings.Repeat("static_resources: {} # ballast\n", 200) }

// heartbeat returns a pod's status as a kubelet rewrites it: nothing that a mesh reads changes.
func heartbeat(status corev1.PodStatus, at time.Time) corev1.PodStatus {
	conditions := append([]corev1.PodCondition(nil), status.Conditions...)
	for i := range conditions {
		conditions[i].LastProbeTime = metav1.NewTime(at)
	}
	status.Conditions = conditions
	return status
}

func ptr[T any](v T) *T { return &v }
