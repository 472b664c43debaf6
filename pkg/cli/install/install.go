// Package install is osm install.
//
// It finds the mesh's name among flags and values, and decides what happens to the remains of an earlier
// installation; the work itself is package rollout's. Its invariant: an existing mesh is never changed.
package install

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/cli/command"
	"github.com/osm-edge/osm/pkg/cli/release"
	"github.com/osm-edge/osm/pkg/cli/rollout"
)

type options struct {
	rollout.Change
	meshName      string
	enforceSingle bool
}

// New returns the command.
func New(env *command.Env) *cobra.Command {
	o := &options{Change: rollout.Change{Env: env}}
	o.Cmd = &cobra.Command{
		Use:   "install",
		Short: "Install a mesh",
		Long: `Install the control plane of a mesh and wait until it is ready.

Before anything is changed, the values are checked against the chart's schema, and the cluster is
checked: it must answer, be recent enough and have room for the mesh, you must be allowed to create
every object, and no object and no CRD may belong to another mesh or installation. If the control
plane does not become ready, the failing pods are shown with their events and logs, and the rights of
the install hook are revoked; with --atomic everything is then removed again.

No public registry has the control plane's image yet: osm.image.registry names yours.

Values: flags win over --set-file, --set-string and --set, these over --values, --values over the chart's defaults.`,
		Example: `  # Install mesh "osm" in namespace osm-system
  osm install --set osm.image.registry=registry.example/team --set-string osm.image.tag=TAG

  # Highly available: two or more replicas of each component that survive node drains, scaled by load
  osm install --profile ha -f values.yaml

  # Certificates that outlast a day without a control plane, whenever that day begins
  osm install --headless-budget 24h -f values.yaml

  # See what would be installed
  osm install --dry-run=client -f values.yaml
  osm install -o yaml -f values.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context()) },
	}
	flags := o.Cmd.Flags()
	flags.StringVar(&o.meshName, "mesh-name", api.DefaultMeshName, "name of the mesh, a DNS label of at most 53 characters")
	flags.BoolVar(&o.enforceSingle, "enforce-single-mesh", true, "require that this is the only mesh of the cluster")
	o.AddValueFlags()
	o.AddWaitFlags()
	flags.BoolVar(&o.Atomic, "atomic", false, "remove everything again if the installation fails")
	return o.Cmd
}

func (o *options) run(ctx context.Context) error {
	if err := o.Validate(); err != nil {
		return err
	}
	t, err := o.target()
	if err != nil {
		return err
	}
	if o.RendersOnly() {
		return o.Preview(t)
	}
	clients, err := o.Env.Connect(ctx)
	if err != nil {
		return err
	}
	engine, err := o.Env.Engine(t.Namespace)
	if err != nil {
		return err
	}
	info, err := command.ExistingRelease(engine, t.Name)
	if err != nil {
		return err
	}
	plan, err := o.Plan(t, info)
	if err != nil {
		return err
	}
	if err := o.Preflight(ctx, clients, plan); err != nil {
		return err
	}
	if o.DryRun == "server" {
		return o.ServerDryRun(ctx, engine, t)
	}
	if info != nil {
		if err := o.removeRemains(ctx, engine, t.Name); err != nil {
			return err
		}
		o.RemoveHook(ctx, clients, t, true)
	}
	if err := o.Install(ctx, clients, engine, t); err != nil {
		return err
	}
	o.Env.Printf("osm installed in namespace [%s] with mesh name [%s]\n", t.Namespace, t.Name)
	o.Env.Printf("\nNext steps:\n  osm namespace add NAMESPACE --mesh-name %s\n  osm mesh list\n  osm verify ha --mesh-name %s --osm-namespace %s\n", t.Name, t.Name, t.Namespace)
	if !t.HA() {
		o.Env.Printf("\nThis control plane is not highly available: osm verify ha will fail, because a component has one replica or no\ndisruption budget, so that the loss of a pod, or a node's drain, is an outage. To change that:\n  osm upgrade --profile ha --mesh-name %s --osm-namespace %s\n", t.Name, t.Namespace)
	}
	return nil
}

// target merges the values and finds the mesh's name: --mesh-name, else osm.meshName among the
// values, else the default.
func (o *options) target() (rollout.Target, error) {
	chart, err := o.Chart()
	if err != nil {
		return rollout.Target{}, err
	}
	flags := map[string]any{}
	if o.Cmd.Flags().Changed("mesh-name") {
		flags["osm.meshName"] = o.meshName
	}
	if o.Cmd.Flags().Changed("enforce-single-mesh") {
		flags["osm.enforceSingleMesh"] = o.enforceSingle
	}
	user, err := o.Merge(flags, nil)
	if err != nil {
		return rollout.Target{}, err
	}
	name := o.meshName
	if given := user.String("osm.meshName"); given != "" {
		name = given
	}
	return o.Prepare(rollout.Target{Name: name, Namespace: o.Env.Namespace, Chart: chart, User: user})
}

// removeRemains removes what an earlier installation left behind; the pre-flight checks have made
// sure that --recover asked for it.
func (o *options) removeRemains(ctx context.Context, engine *release.Engine, name string) error {
	o.Env.Progressf("removing the remains of an earlier installation of mesh [%s]\n", name)
	if err := engine.Recover(name); err != nil {
		return err
	}
	return engine.Uninstall(ctx, name)
}
