package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
)

// RootCertificate is a MeshRootCertificate.
type RootCertificate = v1alpha2.MeshRootCertificate

// ServesRoots reports whether the cluster serves MeshRootCertificates.
func (c *Clients) ServesRoots() (bool, error) {
	resources, err := c.Discovery.ServerResourcesForGroupVersion(v1alpha2.GroupVersion().String())
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("ask the API server for its kinds: %w", err)
	}
	return slices.ContainsFunc(resources.APIResources, func(r metav1.APIResource) bool { return r.Kind == v1alpha2.RootCertificateKind }), nil
}

func (c *Clients) roots(namespace string) dynamic.ResourceInterface {
	return c.Dynamic.Resource(v1alpha2.RootCertificateGroupVersionResource()).Namespace(namespace)
}

// Roots lists the MeshRootCertificates of a namespace, sorted by name.
func (c *Clients) Roots(ctx context.Context, namespace string) ([]RootCertificate, error) {
	list, err := c.roots(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list the MeshRootCertificates of namespace %q: %w", namespace, err)
	}
	roots := make([]RootCertificate, len(list.Items))
	for i := range list.Items {
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(list.Items[i].Object, &roots[i]); err != nil {
			return nil, fmt.Errorf("read MeshRootCertificate %s/%s: %w", namespace, list.Items[i].GetName(), err)
		}
	}
	slices.SortFunc(roots, func(a, b RootCertificate) int { return strings.Compare(a.Name, b.Name) })
	return roots, nil
}

// CreateRoot creates a MeshRootCertificate. It is an error if one of that name exists.
func (c *Clients) CreateRoot(ctx context.Context, root *RootCertificate) error {
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(root)
	if err == nil {
		delete(object, "status")
		_, err = c.roots(root.Namespace).Create(ctx, &unstructured.Unstructured{Object: object}, metav1.CreateOptions{})
	}
	if err != nil {
		return fmt.Errorf("create MeshRootCertificate %s/%s: %w", root.Namespace, root.Name, err)
	}
	return nil
}

// AskForRoot requests a rotation to a root, by an annotation. It is a conflict if the root has changed
// since it was read.
func (c *Clients) AskForRoot(ctx context.Context, root *RootCertificate, at time.Time) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"resourceVersion": root.ResourceVersion,
		"annotations":     map[string]string{v1alpha2.AnnotationRotateTo: at.UTC().Format(time.RFC3339Nano)},
	}})
	if err == nil {
		_, err = c.roots(root.Namespace).Patch(ctx, root.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	}
	if err != nil {
		return fmt.Errorf("annotate MeshRootCertificate %s/%s: %w", root.Namespace, root.Name, err)
	}
	return nil
}

// DeleteRoot deletes a root unless it has changed since it was read. A missing root is no error.
func (c *Clients) DeleteRoot(ctx context.Context, root *RootCertificate) error {
	same := metav1.Preconditions{UID: &root.UID, ResourceVersion: &root.ResourceVersion}
	err := c.roots(root.Namespace).Delete(ctx, root.Name, metav1.DeleteOptions{Preconditions: &same})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete MeshRootCertificate %s/%s: %w", root.Namespace, root.Name, err)
	}
	return nil
}

// LeaseHolder is the name of the leader's pod, or "" if there is no leader.
func (c *Clients) LeaseHolder(ctx context.Context, namespace string) (string, error) {
	lease, err := c.Kube.CoordinationV1().Leases(namespace).Get(ctx, api.ControllerLease, metav1.GetOptions{})
	if lease, err = existing(lease, err, "Lease", namespace+"/"+api.ControllerLease); err != nil {
		return "", err
	}
	return holder(lease), nil
}

func holder(lease *coordinationv1.Lease) string {
	if lease == nil || lease.Spec.HolderIdentity == nil {
		return ""
	}
	return *lease.Spec.HolderIdentity
}
