package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/cli/cluster"
	"github.com/osm-edge/osm/pkg/cli/command"
	"github.com/osm-edge/osm/pkg/cli/output"
)

func newNamespaceCmd(env *command.Env) *cobra.Command {
	cmd := command.Group("namespace", "Manage the namespaces of a mesh",
		newNamespaceAddCmd(env), newNamespaceRemoveCmd(env), newNamespaceIgnoreCmd(env), newNamespaceListCmd(env))
	cmd.Aliases = []string{"ns"}
	return cmd
}

func newNamespaceAddCmd(env *command.Env) *cobra.Command {
	o := &membership{env: env, format: output.Table}
	cmd := &cobra.Command{
		Use:   "add NAMESPACE ...",
		Short: "Add namespaces to a mesh",
		Long: `Add namespaces to a mesh. Pods that are created in them from now on get a sidecar; workloads that run
without one are listed, with the command that restarts them.

All namespaces are checked before any is changed. Refused are: a mesh that does not exist, a namespace
of another mesh, one that is ignored, and one in which the mesh's webhook never acts: kube-system,
kube-public, kube-node-lease, and those of control planes.

It needs the rights to list Deployments in all namespaces, to get the mesh's
MutatingWebhookConfiguration, and to get and patch the namespaces; and to list their pods.`,
		Example: `  osm namespace add bookstore bookbuyer
  osm namespace add bookstore --disable-sidecar-injection

  # For a program: what was changed, and what to restart
  osm namespace add bookstore -o json`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, args, o.addition) },
	}
	o.flags(cmd)
	cmd.Flags().BoolVar(&o.disabled, "disable-sidecar-injection", false, "make the namespaces members, but inject sidecars only into pods that ask for it")
	return cmd
}

func newNamespaceRemoveCmd(env *command.Env) *cobra.Command {
	o := &membership{env: env, format: output.Table}
	cmd := &cobra.Command{
		Use:   "remove NAMESPACE ...",
		Short: "Remove namespaces from a mesh",
		Long: `Remove namespaces from a mesh, or end that they are ignored. Pods that run keep their sidecar until they
are restarted: the workloads are listed, with the command that does it.

All namespaces are checked before any is changed. A namespace of another mesh is refused.`,
		Example: `  osm namespace remove bookstore
  osm namespace remove bookstore bookbuyer --mesh-name blue -o json`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, args, o.removal) },
	}
	o.flags(cmd)
	return cmd
}

func newNamespaceIgnoreCmd(env *command.Env) *cobra.Command {
	o := &membership{env: env, format: output.Table}
	cmd := &cobra.Command{
		Use:   "ignore NAMESPACE ...",
		Short: "Keep every mesh away from namespaces",
		Long: `Keep every mesh away from namespaces: no pod that is created in them gets a sidecar, also in members of a
mesh. Pods that run keep theirs until they are restarted: the workloads are listed.`,
		Example: `  osm namespace ignore legacy
  osm namespace ignore legacy -o json`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, args, o.ignoring) },
	}
	cmd.Flags().VarP(&o.format, "output", "o", "output format")
	return cmd
}

func newNamespaceListCmd(env *command.Env) *cobra.Command {
	meshName, format := "", output.Table
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the namespaces of a mesh, or of all meshes",
		Example: `  osm namespace list
  osm namespace list --mesh-name osm -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return listNamespaces(cmd.Context(), env, meshName, format)
		},
	}
	cmd.Flags().StringVar(&meshName, "mesh-name", "", "name of the mesh (default: all)")
	cmd.Flags().VarP(&format, "output", "o", "output format")
	return cmd
}

// leaving takes every label and annotation of a mesh off a namespace.
func leaving() (labels, annotations map[string]any) {
	return map[string]any{api.LabelMonitoredBy: nil, api.LabelIgnore: nil}, map[string]any{api.AnnotationInjection: nil, api.AnnotationMetrics: nil}
}

func leaveMesh(ctx context.Context, client kubernetes.Interface, name string) error {
	labels, annotations := leaving()
	return patchNamespace(ctx, client, name, labels, annotations)
}

func patchNamespace(ctx context.Context, client kubernetes.Interface, name string, labels, annotations map[string]any) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": labels, "annotations": annotations}})
	if err != nil {
		return fmt.Errorf("change namespace [%s]: %w", name, err)
	}
	if _, err := client.CoreV1().Namespaces().Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "osm"}); err != nil {
		return fmt.Errorf("change the labels of namespace [%s]: %w", name, err)
	}
	return nil
}

type memberNamespace struct {
	Name      string `json:"name"`
	Mesh      string `json:"mesh"`
	Injection string `json:"sidecarInjection"`
}

func listNamespaces(ctx context.Context, env *command.Env, mesh string, format output.Format) error {
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
	if namespace.Labels[api.LabelIgnore] == "true" {
		return "disabled (ignored)"
	}
	switch strings.ToLower(namespace.Annotations[api.AnnotationInjection]) {
	case "enabled", "yes", "true":
		return "enabled"
	case "disabled", "no", "false":
		return "disabled"
	}
	return "-"
}
