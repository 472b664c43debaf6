package ingest

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

// Objects are the inputs of Build, in any order. They are read, never changed.
type Objects struct {
	MeshName    string
	TrustDomain identity.TrustDomain
	// MeshConfig is nil when the mesh has none; the mesh then denies everything.
	MeshConfig     *v1alpha2.MeshConfig
	Namespaces     []*corev1.Namespace
	Pods           []*corev1.Pod
	Services       []*corev1.Service
	EndpointSlices []*discoveryv1.EndpointSlice
}

// Problem is a fault in a user's object that keeps part of it from taking effect.
type Problem struct {
	// Object is "Kind namespace/name".
	Object string
	// Message says what is wrong and what was done instead.
	Message string
}

// String returns "Kind namespace/name: message".
func (p Problem) String() string { return p.Object + ": " + p.Message }

// Build returns the snapshot that the objects describe, and what was wrong with them, sorted.
func Build(objects Objects) (*mesh.Snapshot, []Problem) {
	b := builder{
		objects: objects,
		members: memberNamespaces(objects.Namespaces, objects.MeshName),
		byIP:    map[netip.Addr]*mesh.Workload{},
		inbound: map[*mesh.Workload]map[uint16]mesh.Protocol{},
	}
	settings := b.settings()
	workloads := b.workloads()
	services := b.services()
	for _, w := range workloads {
		w.Inbound = sortedInbound(b.inbound[w])
	}
	slices.SortFunc(b.problems, func(p, q Problem) int { return strings.Compare(p.String(), q.String()) })
	return mesh.New(settings, services, workloads), slices.Compact(b.problems)
}

type builder struct {
	objects  Objects
	members  map[string]bool
	byIP     map[netip.Addr]*mesh.Workload
	inbound  map[*mesh.Workload]map[uint16]mesh.Protocol
	problems []Problem
}

func (b *builder) problem(kind, namespace, name, format string, args ...any) {
	b.problems = append(b.problems, Problem{
		Object:  kind + " " + strings.TrimPrefix(namespace+"/"+name, "/"),
		Message: fmt.Sprintf(format, args...),
	})
}

func (b *builder) settings() mesh.Settings {
	settings := mesh.Settings{TrustDomain: b.objects.TrustDomain}
	config := b.objects.MeshConfig
	if config == nil {
		b.problem("MeshConfig", "", api.MeshConfigName, "does not exist: every connection is refused until it does; run `osm upgrade` to restore it")
		return settings
	}
	settings.Permissive = config.Spec.Traffic.EnablePermissiveTrafficPolicyMode
	settings.Egress = config.Spec.Traffic.EnableEgress
	settings.AppOnPodIP = config.Spec.Sidecar.LocalProxyMode == v1alpha2.LocalProxyModePodIP
	return settings
}

// memberNamespaces are the namespaces that belong to the mesh and are not ignored.
func memberNamespaces(namespaces []*corev1.Namespace, meshName string) map[string]bool {
	members := map[string]bool{}
	for _, ns := range namespaces {
		if ns.Labels[api.LabelMonitoredBy] == meshName && ns.Labels[api.LabelIgnore] != "true" {
			members[ns.Name] = true
		}
	}
	return members
}
