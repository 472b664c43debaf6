package cluster

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osm-edge/osm/pkg/api"
)

// The labels and annotations that Helm sets on the objects of a release, except those of hooks.
const (
	annotationRelease          = "meta.helm.sh/release-name"
	annotationReleaseNamespace = "meta.helm.sh/release-namespace"
)

// Owner is the owner of an object according to its labels and annotations. Any field may be empty.
type Owner struct {
	Release          string // name and namespace of the Helm release
	ReleaseNamespace string
	Mesh             string // name and namespace of the mesh
	MeshNamespace    string
}

// OwnerOf reads an object's labels and annotations.
func OwnerOf(object metav1.Object) Owner {
	labels, annotations := object.GetLabels(), object.GetAnnotations()
	return Owner{
		Release: annotations[annotationRelease], ReleaseNamespace: annotations[annotationReleaseNamespace],
		Mesh: labels[api.LabelInstance], MeshNamespace: labels[api.LabelMeshNamespace],
	}
}

// Namespace is the namespace of the mesh that the object belongs to, or "" if it does not say.
func (o Owner) Namespace() string {
	if o.MeshNamespace != "" {
		return o.MeshNamespace
	}
	return o.ReleaseNamespace
}

// Other describes the owner of an object that does not belong to the mesh of this name and namespace,
// whose release has the mesh's name. It is "" if the object belongs to that mesh or does not say.
func (o Owner) Other(mesh, namespace string) string {
	switch {
	case o.ReleaseNamespace != "" && (o.ReleaseNamespace != namespace || o.Release != mesh):
		return fmt.Sprintf("Helm release %s/%s", o.ReleaseNamespace, o.Release)
	case o.MeshNamespace != "" && (o.MeshNamespace != namespace || (o.Mesh != "" && o.Mesh != mesh)):
		return fmt.Sprintf("mesh [%s] in namespace [%s]", o.Mesh, o.MeshNamespace)
	}
	return ""
}
