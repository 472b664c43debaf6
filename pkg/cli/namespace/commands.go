package namespace

import (
	"github.com/spf13/cobra"

	"github.com/osm-edge/osm/pkg/cli/command"
	"github.com/osm-edge/osm/pkg/cli/output"
)

// NewAdd returns osm namespace add.
func NewAdd(env *command.Env) *cobra.Command {
	o := &memberOptions{env: env, format: output.Table}
	cmd := &cobra.Command{
		Use:   "add NAMESPACE ...",
		Short: "Add namespaces to a mesh",
		Long: `Add namespaces to a mesh. New pods in them get a sidecar; workloads that run without one are listed,
with the commands that restart them.

All namespaces are checked before any is changed. The command fails if the mesh does not exist, or if
a namespace belongs to another mesh, is ignored, or is one in which the mesh's webhook never acts:
kube-system, kube-public, kube-node-lease, and the namespaces of control planes. It also fails if a
namespace enforces the Pod Security Standard baseline or restricted, which refuses pods with a sidecar.

You need permission to list Deployments in all namespaces, to get the mesh's
MutatingWebhookConfiguration, to get and patch the namespaces, and to list their pods.`,
		Example: `  osm namespace add bookstore bookbuyer
  osm namespace add bookstore --disable-sidecar-injection

  # For scripts: what was changed, and what to restart
  osm namespace add bookstore -o json`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, args, o.addition) },
	}
	o.flags(cmd)
	cmd.Flags().BoolVar(&o.ignorePodSecurity, "ignore-pod-security", false, "add namespaces that enforce a Pod Security Standard, too, because the API server exempts them")
	cmd.Flags().BoolVar(&o.disabled, "disable-sidecar-injection", false, "inject sidecars only into pods that ask for it by annotation")
	return cmd
}

// NewRemove returns osm namespace remove.
func NewRemove(env *command.Env) *cobra.Command {
	o := &memberOptions{env: env, format: output.Table}
	cmd := &cobra.Command{
		Use:   "remove NAMESPACE ...",
		Short: "Remove namespaces from a mesh",
		Long: `Remove namespaces from a mesh, or undo osm namespace ignore. Running pods keep their sidecar until they
are restarted: their workloads are listed, with the commands that restart them.

All namespaces are checked before any is changed. The command fails if a namespace belongs to another
mesh.`,
		Example: `  osm namespace remove bookstore
  osm namespace remove bookstore bookbuyer --mesh-name blue -o json`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, args, o.removal) },
	}
	o.flags(cmd)
	return cmd
}

// NewIgnore returns osm namespace ignore.
func NewIgnore(env *command.Env) *cobra.Command {
	o := &memberOptions{env: env, format: output.Table}
	cmd := &cobra.Command{
		Use:   "ignore NAMESPACE ...",
		Short: "Exclude namespaces from every mesh",
		Long: `Exclude namespaces from every mesh: new pods in them get no sidecar, even if a namespace is a member of
a mesh. Running pods keep their sidecar until they are restarted: their workloads are listed, with the
commands that restart them. osm namespace remove undoes this.`,
		Example: `  osm namespace ignore legacy
  osm namespace ignore legacy -o json`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, args, o.ignoring) },
	}
	cmd.Flags().VarP(&o.format, "output", "o", "output format")
	return cmd
}
