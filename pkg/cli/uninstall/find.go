package uninstall

import (
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/cli/check"
	"github.com/osm-edge/osm/pkg/cli/cluster"
	"github.com/osm-edge/osm/pkg/cli/release"
)

// find looks for the mesh and reports whether anything of it exists. It is an error if the mesh is in
// another namespace only, or if only objects are left that do not say which namespace's mesh they
// belong to.
func (r *removal) find(ctx context.Context, meshes []cluster.Mesh) (bool, error) {
	objects, searched := r.clients.Inventory(ctx, r.mesh.Name)
	r.objects = objects
	id, err := identify(ctx, r.env, r.clients, r.mesh.Name, meshes, objects)
	if err != nil {
		return false, err
	}
	members, err := cluster.Members(ctx, r.clients.Kube, r.mesh.Name)
	if err != nil {
		return false, err
	}
	for i := range members {
		r.members = append(r.members, members[i].Name)
	}
	r.shared = id.shared(r.mesh.Namespace)
	if len(id.evidence[r.mesh.Namespace]) > 0 {
		return true, r.released()
	}
	if err := id.missing(r.mesh.Namespace, "uninstall mesh"); err != nil {
		return false, err
	}
	if len(r.members) > 0 {
		return false, fmt.Errorf("there is no mesh [%s] in namespace [%s], and nothing was changed; these namespaces still have its label; remove it with osm namespace remove %s --mesh-name %s",
			r.mesh.Name, r.mesh.Namespace, strings.Join(r.members, " "), r.mesh.Name)
	}
	return false, searched
}

// released refuses a mesh whose objects belong to a Helm release of another name: deleting them would
// leave a broken release behind.
func (r *removal) released() error {
	for _, object := range r.objects {
		if own := r.mesh.Namespace + "/" + r.mesh.Name; object.Home == r.mesh.Namespace && object.Release != "" && object.Release != own {
			return fmt.Errorf("%s of mesh [%s] belongs to Helm release %s, and nothing was changed; remove that release with helm uninstall %s -n %s, then run this command again for what is left",
				object, r.mesh.Name, object.Release, path.Base(object.Release), path.Dir(object.Release))
		}
	}
	return nil
}

// mine reports whether an object may be removed: it names the namespace of this mesh, or it names no
// namespace and there is no other mesh of this name.
func (r *removal) mine(object cluster.Object) bool {
	if object.Home == "" {
		return !r.shared
	}
	return object.Home == r.mesh.Namespace
}

// permitted checks every permission that the removal needs, so that it does not stop half-way.
func (r *removal) permitted(ctx context.Context, deleteNamespace bool) error {
	needs := []check.Need{
		{Verb: "delete", Object: check.Object{APIVersion: "v1", Kind: "Secret", Namespace: r.mesh.Namespace}},
		{Verb: "delete", Object: check.Object{APIVersion: "coordination.k8s.io/v1", Kind: "Lease", Namespace: r.mesh.Namespace}},
		{Verb: "delete", Object: check.Object{APIVersion: "admissionregistration.k8s.io/v1", Kind: "MutatingWebhookConfiguration"}},
	}
	for _, object := range r.objects {
		if r.mine(object) && !r.kept(object) && !object.Owned {
			needs = append(needs, check.Need{Verb: "delete", Object: check.Object{
				APIVersion: object.Resource.GroupVersion().String(), Kind: object.Kind, Namespace: object.Namespace,
			}})
		}
	}
	if r.info != nil {
		released, err := release.Objects(r.info.Manifest)
		if err != nil {
			return err
		}
		for _, object := range released {
			needs = append(needs, check.Need{Verb: "delete", Object: check.Object{APIVersion: object.APIVersion, Kind: object.Kind, Namespace: object.Namespace}})
		}
	}
	for _, member := range r.members {
		needs = append(needs, check.Need{Verb: "patch", Object: check.Object{APIVersion: "v1", Kind: "Namespace", Name: member}})
	}
	if deleteNamespace {
		needs = append(needs, check.Need{Verb: "delete", Object: check.Object{APIVersion: "v1", Kind: "Namespace", Name: r.mesh.Namespace}})
	}
	if r.clusterWide {
		needs = append(needs, check.Need{Verb: "delete", Object: check.Object{APIVersion: "apiextensions.k8s.io/v1", Kind: "CustomResourceDefinition"}})
	}
	return check.Permitted(ctx, r.clients, needs)
}

// kept reports whether an object stays unless --delete-cluster-wide-resources is set. Any Secret in the
// mesh's namespace may hold its root: only the release, which may be gone, knows the root's name.
func (r *removal) kept(object cluster.Object) bool {
	switch object.Kind {
	case "CustomResourceDefinition", "Namespace":
		return true // handled by customResources and namespace
	case v1alpha2.Kind, v1alpha2.RootCertificateKind:
		return !r.clusterWide
	case "Secret":
		return !r.clusterWide && object.Namespace == r.mesh.Namespace
	}
	return false
}
