package command

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/osm-edge/osm/pkg/cli/cluster"
)

// Matching returns the meshes of a name ("" matches every name). If --osm-namespace was given, only
// a mesh in that namespace matches.
func (e *Env) Matching(cmd *cobra.Command, meshes []cluster.Mesh, name string) []cluster.Mesh {
	pinned := cmd.Flags().Changed("osm-namespace")
	var matching []cluster.Mesh
	for _, mesh := range meshes {
		if (name == "" || mesh.Name == name) && (!pinned || mesh.Namespace == e.Namespace) {
			matching = append(matching, mesh)
		}
	}
	return matching
}

// FindMesh returns the one mesh of a name, and of --osm-namespace if that was given.
func (e *Env) FindMesh(ctx context.Context, cmd *cobra.Command, clients *cluster.Clients, name string) (cluster.Mesh, error) {
	meshes, err := cluster.Meshes(ctx, clients.Kube)
	if err != nil {
		return cluster.Mesh{}, err
	}
	matching := e.Matching(cmd, meshes, name)
	switch {
	case len(meshes) == 0:
		return cluster.Mesh{}, fmt.Errorf("there is no mesh %q: the cluster has none; create one with osm install", name)
	case len(matching) == 0:
		return cluster.Mesh{}, fmt.Errorf("there is no mesh %q; the cluster has: %s; choose one with --mesh-name and --osm-namespace", name, MeshNames(meshes))
	case len(matching) > 1:
		return cluster.Mesh{}, Usagef(cmd, "there are several meshes of that name: %s; choose one with --osm-namespace", MeshNames(matching))
	case matching[0].Foreign:
		return cluster.Mesh{}, ForeignMesh(matching[0])
	}
	return matching[0], nil
}

// SelectMeshes returns the meshes that a command about all meshes shows: those of a name ("" is every name), and of
// --osm-namespace if that was given. It is an error if one was asked for and there is none.
func (e *Env) SelectMeshes(cmd *cobra.Command, meshes []cluster.Mesh, name string) ([]cluster.Mesh, error) {
	matching := e.Matching(cmd, meshes, name)
	pinned := cmd.Flags().Changed("osm-namespace")
	if len(matching) > 0 || (name == "" && !pinned) {
		return matching, nil
	}
	what := "no mesh"
	if name != "" {
		what += fmt.Sprintf(" %q", name)
	}
	if pinned {
		what += fmt.Sprintf(" in namespace %q", e.Namespace)
	}
	if len(meshes) == 0 {
		return nil, fmt.Errorf("there is %s: the cluster has none; create one with osm install", what)
	}
	return nil, fmt.Errorf("there is %s; the cluster has: %s", what, MeshNames(meshes))
}

// ForeignMesh is the error of a command about a mesh of Open Service Mesh or osm-edge.
func ForeignMesh(mesh cluster.Mesh) error {
	return fmt.Errorf("mesh [%s] in namespace [%s] (%s) is one of Open Service Mesh or osm-edge, not of this osm, and nothing was changed; use the command line of its version, or to replace it remove it with that and its CRDs, and install anew (docs/upgrade.md)",
		mesh.Name, mesh.Namespace, mesh.Version)
}

// MeshNames reads "osm (in osm-system), blue (in blue-system)".
func MeshNames(meshes []cluster.Mesh) string {
	names := make([]string, len(meshes))
	for i, mesh := range meshes {
		names[i] = fmt.Sprintf("%s (in %s)", mesh.Name, mesh.Namespace)
	}
	return strings.Join(names, ", ")
}
