package cluster

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osm-edge/osm/pkg/api"
)

// What Helm notes on the objects of a release, those of hooks excepted.
const (
	annotationRelease          = "meta.helm.sh/release-name"
	annotationReleaseNamespace = "meta.helm.sh/release-namespace"
)

// Owner is whose an object says it is. Any of its fields may be empty.
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

// Namespace is the namespace of the mesh that the object says it belongs to, "" when it says none.
func (o Owner) Namespace() string {
	if o.MeshNamespace != "" {
		return o.MeshNamespace
	}
	return o.ReleaseNamespace
}

// Other says in words whose an object is when that is not the mesh of this name and namespace, whose
// release has the mesh's name. It is "" when the object is that mesh's, or does not say whose it is.
func (o Owner) Other(mesh, namespace string) string {
	switch {
	case o.ReleaseNamespace != "" && (o.ReleaseNamespace != namespace || o.Release != mesh):
		return fmt.Sprintf("Helm release %s/%s", o.ReleaseNamespace, o.Release)
	case o.MeshNamespace != "" && (o.MeshNamespace != namespace || (o.Mesh != "" && o.Mesh != mesh)):
		return fmt.Sprintf("mesh [%s] in namespace [%s]", o.Mesh, o.MeshNamespace)
	}
	return ""
}
