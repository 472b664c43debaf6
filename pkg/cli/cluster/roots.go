package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

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

// Roots lists the MeshRootCertificates of a namespace, sorted by name.
func (c *Clients) Roots(ctx context.Context, namespace string) ([]RootCertificate, error) {
	list, err := c.Dynamic.Resource(v1alpha2.RootCertificateGroupVersionResource()).Namespace(namespace).List(ctx, metav1.ListOptions{})
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
