package kube

import (
	"reflect"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/controlplane/ingest"
)

// The trim functions run on every object as it arrives. They keep only what ingest reads: nothing else
// takes memory, and a change to anything else does not count as a change.

func trimMeta(meta metav1.ObjectMeta, keepLabels ...string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name:            meta.Name,
		Namespace:       meta.Namespace,
		UID:             meta.UID,
		ResourceVersion: meta.ResourceVersion,
		Labels:          pick(meta.Labels, keepLabels),
	}
}

func pick(from map[string]string, keys []string) map[string]string {
	var picked map[string]string
	for _, key := range keys {
		if value, ok := from[key]; ok {
			if picked == nil {
				picked = map[string]string{}
			}
			picked[key] = value
		}
	}
	return picked
}

func trimNamespace(object any) (any, error) {
	ns, ok := object.(*corev1.Namespace)
	if !ok {
		return object, nil
	}
	return &corev1.Namespace{ObjectMeta: trimMeta(ns.ObjectMeta, api.LabelMonitoredBy, api.LabelIgnore)}, nil
}

func trimPod(object any) (any, error) {
	pod, ok := object.(*corev1.Pod)
	if !ok {
		return object, nil
	}
	trimmed := &corev1.Pod{
		ObjectMeta: trimMeta(pod.ObjectMeta, api.LabelProxyUUID),
		Spec: corev1.PodSpec{
			ServiceAccountName: pod.Spec.ServiceAccountName, HostNetwork: pod.Spec.HostNetwork,
			InitContainers: injectedOnly(pod.Spec.InitContainers), Containers: injectedOnly(pod.Spec.Containers),
		},
		Status: corev1.PodStatus{Phase: pod.Status.Phase, PodIPs: pod.Status.PodIPs, HostIP: pod.Status.HostIP, HostIPs: pod.Status.HostIPs},
	}
	trimmed.DeletionTimestamp, trimmed.CreationTimestamp = pod.DeletionTimestamp, pod.CreationTimestamp
	if ingest.Answers(pod) { // the gates are part of the answer
		trimmed.Status.Conditions = []corev1.PodCondition{{Type: corev1.ContainersReady, Status: corev1.ConditionTrue}}
	}
	return trimmed, nil
}

// injectedOnly keeps what shows that a pod was injected, and the arguments of its redirect.
func injectedOnly(containers []corev1.Container) []corev1.Container {
	var kept []corev1.Container
	for _, c := range containers {
		switch c.Name {
		case api.ContainerInit:
			kept = append(kept, corev1.Container{Name: c.Name, Args: c.Args})
		case api.ContainerEnvoy:
			kept = append(kept, corev1.Container{Name: c.Name, VolumeMounts: certificateOnly(c.VolumeMounts)})
		}
	}
	return kept
}

func certificateOnly(mounts []corev1.VolumeMount) []corev1.VolumeMount {
	for _, m := range mounts {
		if m.MountPath == api.ProxyCertDir {
			return []corev1.VolumeMount{{MountPath: m.MountPath}}
		}
	}
	return nil
}

func trimService(object any) (any, error) {
	service, ok := object.(*corev1.Service)
	if !ok {
		return object, nil
	}
	ports := make([]corev1.ServicePort, len(service.Spec.Ports))
	for i, p := range service.Spec.Ports {
		ports[i] = corev1.ServicePort{Name: p.Name, Protocol: p.Protocol, AppProtocol: p.AppProtocol, Port: p.Port}
	}
	trimmed := &corev1.Service{
		ObjectMeta: trimMeta(service.ObjectMeta),
		Spec: corev1.ServiceSpec{
			Type: service.Spec.Type, ClusterIP: service.Spec.ClusterIP, ClusterIPs: service.Spec.ClusterIPs,
			IPFamilies: service.Spec.IPFamilies, Ports: ports, SessionAffinity: service.Spec.SessionAffinity,
			InternalTrafficPolicy: service.Spec.InternalTrafficPolicy,
			ExternalIPs:           service.Spec.ExternalIPs, LoadBalancerSourceRanges: service.Spec.LoadBalancerSourceRanges,
		},
	}
	trimmed.CreationTimestamp = service.CreationTimestamp
	for _, ingress := range service.Status.LoadBalancer.Ingress {
		trimmed.Status.LoadBalancer.Ingress = append(trimmed.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: ingress.IP, IPMode: ingress.IPMode})
	}
	return trimmed, nil
}

func trimAccount(object any) (any, error) {
	account, ok := object.(*corev1.ServiceAccount)
	if !ok {
		return object, nil
	}
	return &corev1.ServiceAccount{ObjectMeta: trimMeta(account.ObjectMeta)}, nil
}

func trimSlice(object any) (any, error) {
	slice, ok := object.(*discoveryv1.EndpointSlice)
	if !ok {
		return object, nil
	}
	endpoints := make([]discoveryv1.Endpoint, len(slice.Endpoints))
	for i, e := range slice.Endpoints {
		endpoints[i] = discoveryv1.Endpoint{
			Addresses:  e.Addresses,
			Conditions: trimConditions(e.Conditions),
			TargetRef:  trimRef(e.TargetRef),
		}
	}
	return &discoveryv1.EndpointSlice{
		ObjectMeta:  trimMeta(slice.ObjectMeta, discoveryv1.LabelServiceName, discoveryv1.LabelManagedBy),
		AddressType: slice.AddressType, Ports: slice.Ports, Endpoints: endpoints,
	}, nil
}

// trimConditions keeps why an endpoint that is not ready may be used all the same: it is terminating and still
// serves.
func trimConditions(c discoveryv1.EndpointConditions) discoveryv1.EndpointConditions {
	ready := c.Ready == nil || *c.Ready
	terminating := c.Terminating != nil && *c.Terminating
	serving := c.Serving == nil || *c.Serving
	if ready || !terminating || !serving {
		return discoveryv1.EndpointConditions{Ready: c.Ready}
	}
	return discoveryv1.EndpointConditions{Ready: c.Ready, Terminating: c.Terminating}
}

// trimRef keeps what names a pod.
func trimRef(ref *corev1.ObjectReference) *corev1.ObjectReference {
	if ref == nil {
		return nil
	}
	return &corev1.ObjectReference{Kind: ref.Kind, Namespace: ref.Namespace, Name: ref.Name, UID: ref.UID}
}

// trimMeshConfig also converts the object to its Go type. One that cannot be converted is not changed, for
// Watch.MeshConfig to find: an informer would drop it, and no configuration means "deny".
func trimMeshConfig(object any) (any, error) {
	raw, ok := object.(*unstructured.Unstructured)
	if !ok {
		return object, nil
	}
	config := &v1alpha2.MeshConfig{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(raw.Object, config); err != nil {
		return raw, nil //nolint:nilerr // the type of the result shows it
	}
	config.ObjectMeta = trimMeta(config.ObjectMeta)
	return config, nil
}

// sameContent reports whether two trimmed objects are equal except for their resource versions.
func sameContent(before, after any) bool {
	b, okBefore := before.(metav1.Object)
	a, okAfter := after.(runtime.Object)
	if !okBefore || !okAfter {
		return false
	}
	twin, ok := a.DeepCopyObject().(metav1.Object)
	if !ok {
		return false
	}
	twin.SetResourceVersion(b.GetResourceVersion())
	return reflect.DeepEqual(before, any(twin))
}
