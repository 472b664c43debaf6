package ingest

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

// Objects are the inputs of Build, in any order. Build does not change them.
type Objects struct {
	MeshName    string
	TrustDomain identity.TrustDomain
	Limits      mesh.Limits
	// MeshConfig is nil if the mesh has none; the mesh then denies everything.
	MeshConfig     *v1alpha2.MeshConfig
	Namespaces     []*corev1.Namespace
	Pods           []*corev1.Pod
	Services       []*corev1.Service
	EndpointSlices []*discoveryv1.EndpointSlice
}

// Problem is a fault in a user's object that makes osm ignore part of it.
type Problem struct {
	// Object is "Kind namespace/name".
	Object string
	// Message says what is wrong, the effect, and the fix.
	Message string
}

// String returns "Kind namespace/name: message".
func (p Problem) String() string { return p.Object + ": " + p.Message }

func problemOf(kind, namespace, name, format string, args ...any) Problem {
	return Problem{
		Object:  kind + " " + strings.TrimPrefix(namespace+"/"+name, "/"),
		Message: fmt.Sprintf(format, args...),
	}
}

// Build returns the snapshot that the objects describe, and their problems, sorted.
func Build(objects Objects) (*mesh.Snapshot, []Problem) {
	s := NewState(objects.MeshName, objects.TrustDomain)
	s.SetLimits(objects.Limits)
	s.SetMeshConfig(objects.MeshConfig)
	for _, ns := range objects.Namespaces {
		s.SetNamespace(ns.Name, ns)
	}
	for _, pod := range objects.Pods {
		s.SetPod(pod.Namespace, pod.Name, pod)
	}
	for _, service := range objects.Services {
		s.SetService(service.Namespace, service.Name, service)
	}
	for _, slice := range objects.EndpointSlices {
		s.SetEndpointSlice(slice.Namespace, slice.Name, slice)
	}
	return s.Snapshot()
}
