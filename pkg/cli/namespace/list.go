package namespace

import (
	"context"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/api/membership"
	"github.com/osm-edge/osm/pkg/cli/cluster"
	"github.com/osm-edge/osm/pkg/cli/command"
	"github.com/osm-edge/osm/pkg/cli/output"
)

// NewList returns osm namespace list.
func NewList(env *command.Env) *cobra.Command {
	meshName, format := "", output.Table
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the namespaces of a mesh, or of all meshes",
		Example: `  osm namespace list
  osm namespace list --mesh-name osm -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return list(cmd.Context(), env, meshName, format)
		},
	}
	cmd.Flags().StringVar(&meshName, "mesh-name", "", "name of the mesh (default: all)")
	cmd.Flags().VarP(&format, "output", "o", "output format")
	return cmd
}

type memberNamespace struct {
	Name      string `json:"name"`
	Mesh      string `json:"mesh"`
	Injection string `json:"sidecarInjection"`
}

func list(ctx context.Context, env *command.Env, mesh string, format output.Format) error {
	clients, err := env.Connect(ctx)
	if err != nil {
		return err
	}
	namespaces, err := cluster.Members(ctx, clients.Kube, mesh)
	if err != nil {
		return err
	}
	members := []memberNamespace{}
	grid := output.Grid{Header: []string{"NAMESPACE", "MESH", "SIDECAR-INJECTION"}}
	for i := range namespaces {
		member := memberNamespace{namespaces[i].Name, namespaces[i].Labels[api.LabelMonitoredBy], injectionOf(&namespaces[i])}
		members = append(members, member)
		grid.Rows = append(grid.Rows, []string{member.Name, member.Mesh, member.Injection})
	}
	if len(members) == 0 && format == output.Table {
		if mesh == "" {
			env.Printf("No namespaces in any mesh\n")
			return nil
		}
		env.Printf("No namespaces in mesh [%s]\n", mesh)
		return nil
	}
	return output.Write(env.Out, format, members, grid)
}

func injectionOf(namespace *corev1.Namespace) string {
	if membership.Ignored(namespace.Labels) {
		return "disabled (ignored)"
	}
	switch enabled, set, err := membership.Injection(namespace.Annotations); {
	case !set || err != nil:
		return "-"
	case enabled:
		return "enabled"
	}
	return "disabled"
}
