package check

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/osm-edge/osm/pkg/cli/cluster"
)

// labelPodSecurity names the Pod Security Standard that a namespace enforces.
const labelPodSecurity = "pod-security.kubernetes.io/enforce"

// PodSecurity returns an error if a namespace enforces a standard that refuses pods with a sidecar. Both
// baseline and restricted forbid the capability NET_ADMIN.
func PodSecurity(namespace *corev1.Namespace) error {
	level := namespace.Labels[labelPodSecurity]
	if level != "baseline" && level != "restricted" {
		return nil
	}
	return fmt.Errorf("namespace [%s] enforces the Pod Security Standard %s, so the API server refuses its pods with a sidecar: their init container osm-init needs NET_ADMIN; to allow them: kubectl label namespace %s %s=privileged --overwrite",
		namespace.Name, level, namespace.Name, labelPodSecurity)
}

// podSecurity looks at the members of a mesh that exists.
func (p preflight) podSecurity(ctx context.Context) error {
	if !p.plan.Upgrade {
		return nil
	}
	members, err := cluster.Members(ctx, p.Kube, p.plan.Mesh)
	if err != nil {
		return Warning(fmt.Errorf("cannot tell whether the namespaces of the mesh accept pods with a sidecar: %w", err))
	}
	var refusing []error
	for i := range members {
		refusing = append(refusing, PodSecurity(&members[i]))
	}
	if err := errors.Join(refusing...); err != nil {
		return Warning(err)
	}
	return nil
}
