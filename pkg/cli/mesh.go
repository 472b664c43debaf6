package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/osm-edge/osm/pkg/cli/cluster"
	"github.com/osm-edge/osm/pkg/cli/output"
)

func newMeshCmd(env *Env) *cobra.Command {
	return group("mesh", "Manage the meshes of a cluster", newMeshListCmd(env), newScaleCmd(env), newUpgradeCmd(env))
}

func newMeshListCmd(env *Env) *cobra.Command {
	format := output.Table
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the meshes of the cluster",
		Example: `  osm mesh list
  osm mesh list -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return listMeshes(cmd.Context(), env, format) },
	}
	cmd.Flags().VarP(&format, "output", "o", "output format")
	return cmd
}

func listMeshes(ctx context.Context, env *Env, format output.Format) error {
	clients, err := env.connect(ctx)
	if err != nil {
		return err
	}
	meshes, err := cluster.Meshes(ctx, clients.Kube)
	if err != nil {
		return err
	}
	if err := cluster.WithNamespaces(ctx, clients.Kube, meshes); err != nil {
		return err
	}
	if len(meshes) == 0 && format == output.Table {
		env.printf("No osm mesh control planes found\n")
		return nil
	}
	grid := output.Grid{Header: []string{"MESH NAME", "MESH NAMESPACE", "VERSION", "ADDED NAMESPACES"}}
	for _, mesh := range meshes {
		grid.Rows = append(grid.Rows, []string{mesh.Name, mesh.Namespace, mesh.Version, strings.Join(mesh.Namespaces, ",")})
	}
	return output.Write(env.Out, format, meshes, grid)
}

// connect makes the clients and makes sure that the cluster answers, so that an unreachable one is
// told in one sentence whatever the command asks first.
func (e *Env) connect(ctx context.Context) (*cluster.Clients, error) {
	clients, err := e.Clients()
	if err != nil {
		return nil, err
	}
	if _, err := clients.ServerVersion(ctx); err != nil {
		return nil, err
	}
	return clients, nil
}
