package rotate

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/cli/cluster"
	"github.com/osm-edge/osm/pkg/controlplane/rotation"
)

func (r *rotator) objects() dynamic.ResourceInterface {
	return r.clients.Dynamic.Resource(v1alpha2.RootCertificateGroupVersionResource()).Namespace(r.mesh.Namespace)
}

// createRoot creates a MeshRootCertificate. It is an error if one of that name exists.
func (r *rotator) createRoot(ctx context.Context, root *cluster.RootCertificate) error {
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(root)
	if err == nil {
		delete(object, "status")
		_, err = r.objects().Create(ctx, &unstructured.Unstructured{Object: object}, metav1.CreateOptions{})
	}
	if err != nil {
		return fmt.Errorf("create MeshRootCertificate %s/%s: %w", root.Namespace, root.Name, err)
	}
	return nil
}

// requestRoot requests a rotation to a root, by an annotation. It is a conflict if the root has changed
// since it was read.
func (r *rotator) requestRoot(ctx context.Context, root *cluster.RootCertificate, at time.Time) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"resourceVersion": root.ResourceVersion,
		"annotations":     requested(at),
	}})
	if err == nil {
		_, err = r.objects().Patch(ctx, root.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	}
	if err != nil {
		return fmt.Errorf("annotate MeshRootCertificate %s/%s: %w", root.Namespace, root.Name, err)
	}
	return nil
}

// requested returns the annotation that requests a rotation to a root.
func requested(at time.Time) map[string]string {
	return map[string]string{v1alpha2.AnnotationRotateTo: at.UTC().Format(time.RFC3339Nano)}
}

// deleteRoot deletes a root unless it has changed since it was read. A missing root is no error.
func (r *rotator) deleteRoot(ctx context.Context, root *cluster.RootCertificate) error {
	same := metav1.Preconditions{UID: &root.UID, ResourceVersion: &root.ResourceVersion}
	err := r.objects().Delete(ctx, root.Name, metav1.DeleteOptions{Preconditions: &same})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete MeshRootCertificate %s/%s: %w", root.Namespace, root.Name, err)
	}
	return nil
}

// rootsOf converts objects to the roots of package rotation.
func rootsOf(objects []cluster.RootCertificate) []rotation.Root {
	roots := make([]rotation.Root, len(objects))
	for i := range objects {
		roots[i] = rotation.RootOf(&objects[i])
	}
	return roots
}
