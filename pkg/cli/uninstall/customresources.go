package uninstall

import (
	"context"
	"slices"

	"github.com/osm-edge/osm/pkg/cli/cluster"
	"github.com/osm-edge/osm/pkg/cli/command"
	"github.com/osm-edge/osm/pkg/controlplane/bootstrap/crds"
)

// customResources deletes osm's CustomResourceDefinitions, unless something else needs them.
func (r *removal) customResources(ctx context.Context) error {
	meshes, err := cluster.Meshes(ctx, r.clients.Kube)
	if err != nil {
		return err
	}
	own := func(m cluster.Mesh) bool { return m.Name == r.mesh.Name && m.Namespace == r.mesh.Namespace }
	if meshes = slices.DeleteFunc(meshes, own); len(meshes) > 0 {
		r.env.Warnf("keeping the CustomResourceDefinitions, because other meshes use them: %s", command.MeshNames(meshes))
		return nil
	}
	all, err := crds.All()
	if err != nil {
		return err
	}
	for _, crd := range all {
		if err := r.customResource(ctx, crd.Name); err != nil {
			return err
		}
	}
	return nil
}

func (r *removal) customResource(ctx context.Context, name string) error {
	present, err := r.clients.Definition(ctx, name)
	if err != nil || present == nil {
		return err
	}
	if !crds.Own(present) {
		r.env.Warnf("keeping CustomResourceDefinition %s, because osm did not install it", name)
		return nil
	}
	objects, err := r.clients.Defined(ctx, present, r.mesh.Namespace)
	if err != nil {
		return err
	}
	if len(objects) > 0 {
		names := make([]string, len(objects))
		for i, object := range objects {
			names[i] = object.String()
		}
		r.env.Warnf("keeping CustomResourceDefinition %s, because other namespaces have objects of that kind: %s", name, some(names))
		return nil
	}
	return r.remove(ctx, cluster.DefinitionObject(name))
}
