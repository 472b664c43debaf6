package injector

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osm-edge/osm/pkg/api"
)

const (
	windows        = "windows"
	ignoreTrue     = "true"
	metricsEnabled = "enabled"
)

// Namespace is what injection reads of a pod's namespace.
type Namespace struct {
	Name                string
	Labels, Annotations map[string]string
}

// decision says whether a pod is injected, and why not.
type decision struct {
	inject bool
	reason string
	// foreign is set when the namespace is none of this mesh's business.
	foreign bool
	// asked is set when the pod's own annotation asks for what it does not get.
	asked bool
}

func skip(reason string) decision { return decision{reason: reason} }

// decide never injects where it would break the cluster; else the pod's annotation wins over its
// namespace's, and without either the pod is left alone.
func decide(pod *corev1.Pod, ns Namespace, s Settings) (decision, error) {
	if reason := outside(ns, s); reason != "" {
		return decision{reason: reason, foreign: true}, nil
	}
	enabled, set, err := parseSwitch(pod.Annotations, api.AnnotationInjection, "pod")
	if err != nil {
		return decision{}, err
	}
	if reason := incapable(pod); reason != "" {
		return decision{reason: reason, asked: set && enabled}, nil
	}
	if set {
		return decision{inject: enabled, reason: "the pod's annotation " + api.AnnotationInjection}, nil
	}
	enabled, set, err = parseSwitch(ns.Annotations, api.AnnotationInjection, "namespace "+ns.Name)
	if err != nil {
		return decision{}, err
	}
	if !set {
		return skip("neither the pod nor its namespace has annotation " + api.AnnotationInjection), nil
	}
	return decision{inject: enabled, reason: "the namespace's annotation " + api.AnnotationInjection}, nil
}

// outside says why a namespace is none of this mesh's business; empty if it is.
func outside(ns Namespace, s Settings) string {
	system := []string{metav1.NamespaceSystem, metav1.NamespacePublic, s.Namespace}
	switch {
	case slices.Contains(system, ns.Name):
		return "namespace " + ns.Name + " is never injected"
	case ns.Labels[api.LabelIgnore] == ignoreTrue:
		return "the namespace has label " + api.LabelIgnore
	case ns.Labels[api.LabelMonitoredBy] != s.MeshName:
		return "the namespace is not a member of mesh " + s.MeshName
	}
	return ""
}

// incapable says why a pod cannot have a sidecar; empty if it can.
func incapable(pod *corev1.Pod) string {
	switch {
	case pod.Spec.HostNetwork:
		return "the pod uses its node's network"
	case pod.Spec.OS != nil && pod.Spec.OS.Name == corev1.Windows, pod.Spec.NodeSelector[corev1.LabelOSStable] == windows:
		return "the pod runs on Windows"
	}
	return ""
}

// parseSwitch reads an annotation of whose; set is false when it is absent.
func parseSwitch(annotations map[string]string, key, whose string) (enabled, set bool, err error) {
	value, set := annotations[key]
	if !set {
		return false, false, nil
	}
	switch strings.ToLower(strings.TrimSpace(value)) {
	case "enabled", "yes", "true":
		return true, true, nil
	case "disabled", "no", "false":
		return false, true, nil
	}
	return false, true, fmt.Errorf("annotation %s of the %s is %q: want enabled, yes or true, or disabled, no or false", key, whose, value)
}
