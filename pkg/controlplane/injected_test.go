package controlplane_test

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/osm-edge/osm/pkg/api"
)

// injected is a pod as the injector and the kubelet leave it.
func injected(namespace, name, account string, ips ...string) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: name, UID: types.UID("uid of " + name),
			Labels: map[string]string{api.LabelProxyUUID: name},
		},
		Spec: corev1.PodSpec{
			ServiceAccountName: account,
			InitContainers: []corev1.Container{
				{Name: api.ContainerInit, Args: []string{"redirect"}},
				{Name: api.ContainerEnvoy, VolumeMounts: []corev1.VolumeMount{{Name: "osm-proxy", MountPath: api.ProxyCertDir}}},
			},
		},
		Status: corev1.PodStatus{Phase: corev1.PodRunning},
	}
	for _, ip := range ips {
		pod.Status.PodIPs = append(pod.Status.PodIPs, corev1.PodIP{IP: ip})
	}
	return pod
}

// refTo is how the endpoint controller names a pod.
func refTo(pod *corev1.Pod) *corev1.ObjectReference {
	return &corev1.ObjectReference{Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID}
}
