package provider

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"

	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/controlplane/rotation"
)

// Installation is the name of the root that the flags configure, in a mesh without MeshRootCertificates.
const Installation = "installation"

// wantedRoot is a root that the mesh wants, with its role.
type wantedRoot struct {
	rotation.Root
	spec v1alpha2.ProviderSpec
	key  rootKey
	// proven reports whether a replica has loaded it: its certificates may be in use.
	proven bool
}

// rootKey is a provider's spec in a form that can be compared. Equal keys are one root.
type rootKey string

func keyOf(spec v1alpha2.ProviderSpec) (rootKey, error) {
	data, err := json.Marshal(spec)
	return rootKey(data), err
}

// used reports whether the root is to be loaded.
func (w wantedRoot) used() bool { return w.Role != rotation.Inactive && w.Problem == "" }

// needed reports whether a replica must not serve before it has loaded the root. A root that is new to
// the mesh may be misconfigured; that delays its rotation, but not the start of replicas.
func (w wantedRoot) needed() bool {
	return w.Role == rotation.Active || w.Role == rotation.Passive && w.proven
}

// MeshRoots reads the mesh's MeshRootCertificates from the API server, not from a cache. A
// cluster that does not know the kind has none.
func MeshRoots(ctx context.Context, client dynamic.Interface, namespace string) ([]v1alpha2.MeshRootCertificate, error) {
	list, err := client.Resource(v1alpha2.RootCertificateGroupVersionResource()).Namespace(namespace).List(ctx, metav1.ListOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read MeshRootCertificates in namespace %s: %w", namespace, err)
	}
	objects := make([]v1alpha2.MeshRootCertificate, len(list.Items))
	for i := range list.Items {
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(list.Items[i].Object, &objects[i]); err != nil {
			return nil, fmt.Errorf("read MeshRootCertificate %s/%s: %w", namespace, list.Items[i].GetName(), err)
		}
	}
	return objects, nil
}

// wanted returns the roots of the objects, or that of the flags if there are none.
func (c *Config) wanted(objects []v1alpha2.MeshRootCertificate) []wantedRoot {
	if len(objects) == 0 {
		installed := wantedRoot{Root: rotation.Root{Name: Installation, Role: rotation.Active}}
		installed.from(c.Flags.spec(c.Namespace))
		return []wantedRoot{installed}
	}
	wanted := make([]wantedRoot, len(objects))
	for i := range objects {
		wanted[i] = wantedRoot{Root: rotation.RootOf(&objects[i]), proven: objects[i].Status.Fingerprint != ""}
		wanted[i].from(c.accepted(&objects[i].Spec))
	}
	return wanted
}

// from sets the provider of the root, or the problem that it has none.
func (w *wantedRoot) from(spec v1alpha2.ProviderSpec, err error) {
	if err == nil {
		w.key, err = keyOf(spec)
	}
	if err != nil {
		w.Problem = cmp.Or(w.Problem, err.Error())
		return
	}
	w.spec = spec
}

// accepted returns the provider of an object, completed and allowed by the installation.
func (c *Config) accepted(spec *v1alpha2.MeshRootCertificateSpec) (v1alpha2.ProviderSpec, error) {
	if spec.TrustDomain != string(c.TrustDomain) {
		return v1alpha2.ProviderSpec{}, fmt.Errorf("spec.trustDomain is %q, and the mesh's is %q: make another MeshRootCertificate", spec.TrustDomain, c.TrustDomain)
	}
	return c.Flags.accept(spec.Provider, c.Namespace)
}
