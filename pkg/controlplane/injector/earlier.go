package injector

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/osm-edge/osm/pkg/api"
)

// hasSidecar reports whether a pod looks like a copy of an injected one, as kubectl debug --copy-to or a
// restored backup creates. Nothing in it is trusted: see withoutSidecar.
func hasSidecar(pod *corev1.Pod) bool {
	envoy := func(c corev1.Container) bool {
		return c.Name == api.ContainerEnvoy && slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool {
			return m.Name == volumeCertificate && m.MountPath == api.ProxyCertDir
		})
	}
	return slices.ContainsFunc(everyContainer(pod), envoy) &&
		slices.ContainsFunc(pod.Spec.InitContainers, func(c corev1.Container) bool { return c.Name == api.ContainerInit })
}

// withoutSidecar removes everything with the sidecar's names, so that the pod gets the injector's own
// instead of whatever its creator, or a webhook in between, put there. It returns the remaining pod and the
// operations that remove the rest.
func withoutSidecar(pod *corev1.Pod) (*corev1.Pod, []Operation) {
	rest := *pod
	var operations []Operation
	sidecar := func(c corev1.Container) bool { return isSidecarName(c.Name) }
	rest.Spec.InitContainers = without(&operations, "initContainers", pod.Spec.InitContainers, sidecar)
	rest.Spec.Containers = without(&operations, "containers", pod.Spec.Containers, sidecar)
	rest.Spec.Volumes = without(&operations, "volumes", pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == volumeCertificate })
	return &rest, operations
}

// without returns the items that stay. The operations remove the others from last to first, so that no
// index shifts before it is used.
func without[T any](operations *[]Operation, field string, items []T, goes func(T) bool) []T {
	for i := len(items) - 1; i >= 0; i-- {
		if goes(items[i]) {
			*operations = append(*operations, Operation{Op: "remove", Path: fmt.Sprintf("/spec/%s/%d", field, i)})
		}
	}
	return slices.DeleteFunc(slices.Clone(items), goes)
}

// checkMoved refuses a handler that already points at the sidecar while the original is not known: Envoy would
// ask itself.
func checkMoved(kind probeKind, original *corev1.Probe) error {
	if !isMoved(kind, original) {
		return nil
	}
	return refused(reasonReserved, "it asks the sidecar at port %d, as in a copy of an injected pod, and annotation %s does not say what it asked before: put the %s of the original pod's template in its place, or remove it", kind.port, api.AnnotationOriginalHandlers, kind.what())
}
