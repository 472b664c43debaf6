// Package membership decides what belongs to a mesh: which namespaces, which of their pods get a sidecar,
// and which pods count as workloads.
//
// It does not decide what members may do, and calls no API server: labels, annotations and pods go
// in, decisions come out. Its invariant: the controller, the injector and the CLI decide alike,
// because all of them use this package.
package membership

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/osm-edge/osm/pkg/api"
)

// Ignored reports whether a namespace's labels keep every mesh away from it.
func Ignored(labels map[string]string) bool { return labels[api.LabelIgnore] == "true" }

// Mesh returns the mesh that a namespace with these labels is a member of, "" for none.
func Mesh(labels map[string]string) string {
	if Ignored(labels) {
		return ""
	}
	return labels[api.LabelMonitoredBy]
}

// Member reports whether a namespace with these labels is a member of the mesh. No namespace is a member of
// the mesh "".
func Member(labels map[string]string, mesh string) bool { return mesh != "" && Mesh(labels) == mesh }

// Injection reads the annotation of a namespace or a pod that requests a sidecar, or declines one. set
// is false when there is no such annotation. An error quotes the value and lists those that are allowed.
func Injection(annotations map[string]string) (enabled, set bool, err error) {
	value, set := annotations[api.AnnotationInjection]
	if !set {
		return false, false, nil
	}
	switch strings.ToLower(strings.TrimSpace(value)) {
	case "enabled", "yes", "true":
		return true, true, nil
	case "disabled", "no", "false":
		return false, true, nil
	}
	return false, true, fmt.Errorf("%q: want enabled, yes or true, or disabled, no or false", value)
}

// CannotInject returns why a pod cannot have a sidecar, "" if it can.
func CannotInject(pod *corev1.Pod) string {
	switch {
	case pod.Spec.HostNetwork:
		return "the pod uses its node's network"
	case pod.Spec.OS != nil && pod.Spec.OS.Name == corev1.Windows, pod.Spec.NodeSelector[corev1.LabelOSStable] == string(corev1.Windows):
		return "the pod runs on Windows"
	}
	return ""
}

// NotInjected returns why a pod in a member namespace that carries api.LabelProxyUUID is not a workload, ""
// if it is one. The label only marks a candidate: anyone who can write a pod can set it. A workload has
//
//   - a network namespace of its own. A pod on the host's network has the node's address, and the
//     redirect of its traffic would be the node's;
//   - what the injector adds: the init container osm-init, which redirects its traffic, and the
//     container envoy with the proxy's certificate mounted. Neither can be added to an existing pod.
//
// Writing all of that by hand gains nothing: the mesh trusts only the pod's address, which the
// kubelet reports, and its ServiceAccount, which admission checks.
func NotInjected(pod *corev1.Pod) string {
	switch {
	case pod.Spec.HostNetwork:
		return "is on the host's network, whose addresses are the node's"
	case !slices.ContainsFunc(pod.Spec.InitContainers, isRedirect):
		return "has no init container " + api.ContainerInit + ", so that nothing redirects its traffic"
	case !slices.ContainsFunc(pod.Spec.InitContainers, isProxy) && !slices.ContainsFunc(pod.Spec.Containers, isProxy):
		return "has no container " + api.ContainerEnvoy + " with the proxy's certificate at " + api.ProxyCertDir
	}
	return ""
}

func isRedirect(c corev1.Container) bool { return c.Name == api.ContainerInit }

func isProxy(c corev1.Container) bool {
	return c.Name == api.ContainerEnvoy && slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool {
		return m.MountPath == api.ProxyCertDir
	})
}
