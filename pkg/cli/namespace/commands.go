package namespace

import (
	"github.com/spf13/cobra"

	"github.com/osm-edge/osm/pkg/cli/command"
	"github.com/osm-edge/osm/pkg/cli/output"
)

// NewAdd returns osm namespace add.
func NewAdd(env *command.Env) *cobra.Command {
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

// NewRemove returns osm namespace remove.
func NewRemove(env *command.Env) *cobra.Command {
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

// NewIgnore returns osm namespace ignore.
func NewIgnore(env *command.Env) *cobra.Command {
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
