package injector

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/api/membership"
)

const (
	metricsEnabled = "enabled"
)

// Namespace is what injection reads of a pod's namespace.
type Namespace struct {
	Name                string
	Labels, Annotations map[string]string
}

// decision reports whether a pod is injected, and why not.
type decision struct {
	inject bool
	reason string
	// foreign is set when the namespace does not belong to this mesh.
	foreign bool
	// asked is set when an annotation of the pod or its namespace, the asker, asks for a sidecar that the pod
	// cannot have.
	asked bool
	asker string
}

func skip(reason string) decision { return decision{reason: reason} }

// decide never injects where it would break the cluster. Otherwise the pod's annotation overrides its
// namespace's; without either there is no sidecar.
func decide(pod *corev1.Pod, ns Namespace, s Settings) (decision, error) {
	if reason := outside(ns, s); reason != "" {
		return decision{reason: reason, foreign: true}, nil
	}
	enabled, set, err := injection(pod.Annotations, "pod")
	if err != nil {
		return decision{}, err
	}
	if reason := membership.CannotInject(pod); reason != "" {
		asker := "the pod"
		if !set { // a bad value of the namespace's does not matter here
			enabled, _, _ = injection(ns.Annotations, "")
			asker = "its namespace"
		}
		return decision{reason: reason, asked: enabled, asker: asker}, nil
	}
	if set {
		return decision{inject: enabled, reason: "the pod's annotation " + api.AnnotationInjection}, nil
	}
	enabled, set, err = injection(ns.Annotations, "namespace "+ns.Name)
	if err != nil {
		return decision{}, err
	}
	if !set {
		return skip("neither the pod nor its namespace has annotation " + api.AnnotationInjection), nil
	}
	return decision{inject: enabled, reason: "the namespace's annotation " + api.AnnotationInjection}, nil
}

// outside says why a namespace does not belong to this mesh, "" if it does.
func outside(ns Namespace, s Settings) string {
	system := []string{metav1.NamespaceSystem, metav1.NamespacePublic, s.Namespace}
	switch {
	case slices.Contains(system, ns.Name):
		return "namespace " + ns.Name + " is never injected"
	case membership.Ignored(ns.Labels):
		return "the namespace has label " + api.LabelIgnore
	case !membership.Member(ns.Labels, s.MeshName):
		return "the namespace is not a member of mesh " + s.MeshName
	}
	return ""
}

// injection reads the annotation that asks for a sidecar; set is false when it is absent.
func injection(annotations map[string]string, owner string) (enabled, set bool, err error) {
	enabled, set, err = membership.Injection(annotations)
	if err != nil {
		return false, set, fmt.Errorf("annotation %s of the %s is %w", api.AnnotationInjection, owner, err)
	}
	return enabled, set, nil
}
