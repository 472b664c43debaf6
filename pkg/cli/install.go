package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/cli/cluster"
	"github.com/osm-edge/osm/pkg/cli/command"
	"github.com/osm-edge/osm/pkg/cli/release"
)

type installOptions struct {
	change
	meshName      string
	enforceSingle bool
}

func newInstallCmd(env *command.Env) *cobra.Command {
	o := &installOptions{change: change{env: env}}
	o.cmd = &cobra.Command{
		Use:   "install",
		Short: "Install a mesh",
		Long: `Install the control plane of a mesh and wait until it is ready.

Before anything is changed, the values are checked against the chart's schema and the cluster is
checked: that it can be reached, is new enough and has room for the mesh, that you may create every
object, and that no object and no CRD belongs to another mesh or another installation. If the control
plane does not become ready, the pods at fault are shown with their events and logs, and the install
hook loses its rights; with --atomic everything is then removed again.

Values: flags win over --set, --set over --values, --values over the chart's defaults.`,
		Example: `  # Install mesh "osm" in namespace osm-system
  osm install

  # Highly available: two replicas of each component that survive node drains, scaled by load
  osm install --set osm.osmController.enablePodDisruptionBudget=true \
    --set osm.injector.enablePodDisruptionBudget=true \
    --set osm.osmController.autoScale.enable=true

  # Certificates that live long enough for a day without any control plane, at any time
  osm install --headless-budget 24h

  # See what would be installed
  osm install --dry-run=client
  osm install -o yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context()) },
	}
	flags := o.cmd.Flags()
	flags.StringVar(&o.meshName, "mesh-name", api.DefaultMeshName, "name of the mesh, a DNS label of at most 63 characters")
	flags.BoolVar(&o.enforceSingle, "enforce-single-mesh", true, "let this be the only mesh of the cluster")
	o.addValueFlags()
	o.addWaitFlags()
	flags.BoolVar(&o.atomic, "atomic", false, "remove everything again if the installation fails")
	return o.cmd
}

func (o *installOptions) run(ctx context.Context) error {
	if err := o.validFlags(); err != nil {
		return err
	}
	t, err := o.target()
	if err != nil {
		return err
	}
	if o.dryRun == "client" || (o.dryRun == "" && o.format != "") {
		return o.preview(t, 0)
	}
	clients, err := o.env.Connect(ctx)
	if err != nil {
		return err
	}
	engine, err := o.env.Engine(t.namespace)
	if err != nil {
		return err
	}
	info, err := command.ExistingRelease(engine, t.name)
	if err != nil {
		return err
	}
	plan, err := o.plan(t, info)
	if err != nil {
		return err
	}
	if err := o.preflight(ctx, clients, plan); err != nil {
		return err
	}
	if o.dryRun == "server" {
		manifest, untried, err := engine.DryRun(ctx, t.request(), false)
		if err != nil {
			return err
		}
		t.manifest = manifest
		return o.preview(t, untried)
	}
	if info != nil {
		if err := o.clean(ctx, engine, t.name); err != nil {
			return err
		}
		o.disarm(ctx, clients, t, true)
	}
	return o.install(ctx, clients, engine, t)
}

// target merges the values and finds the mesh's name: --mesh-name, else osm.meshName among the
// values, else the default.
func (o *installOptions) target() (target, error) {
	chart, err := o.env.Chart(o.chartPath)
	if err != nil {
		return target{}, err
	}
	layers := release.Layers{Files: o.files, Sets: o.sets, Flags: map[string]any{}, Derive: o.headless}
	if o.cmd.Flags().Changed("mesh-name") {
		layers.Flags["osm.meshName"] = o.meshName
	}
	if o.cmd.Flags().Changed("enforce-single-mesh") {
		layers.Flags["osm.enforceSingleMesh"] = o.enforceSingle
	}
	user, err := layers.Merge()
	if err != nil {
		return target{}, err
	}
	name := o.meshName
	if given := user.String("osm.meshName"); given != "" {
		name = given
	}
	return o.prepare(target{name: name, namespace: o.env.Namespace, chart: chart, user: user})
}

// clean removes what an earlier installation left behind; --recover asked for it.
func (o *installOptions) clean(ctx context.Context, engine *release.Engine, name string) error {
	o.env.Progressf("removing what is left of an earlier installation of mesh [%s]\n", name)
	if err := engine.Recover(name); err != nil {
		return err
	}
	return engine.Uninstall(ctx, name)
}

func (o *installOptions) install(ctx context.Context, clients *cluster.Clients, engine *release.Engine, t target) error {
	exists, err := cluster.NamespaceExists(ctx, clients.Kube, t.namespace)
	if err != nil {
		return err
	}
	o.env.Progressf("installing mesh [%s] in namespace [%s]\n", t.name, t.namespace)
	limited, cancel := o.timeout.Limit(ctx)
	defer cancel()
	request := t.request()
	request.CreateNamespace, request.Observe = !exists, o.observer()
	if err := engine.Install(limited, request); err != nil {
		return o.failed(ctx, clients, engine, t, err)
	}
	o.heedsHeadless(ctx, clients, t.namespace)
	o.env.Printf("osm installed in namespace [%s] with mesh name [%s]\n", t.namespace, t.name)
	o.env.Printf("\nNext steps:\n  osm namespace add NAMESPACE --mesh-name %s\n  osm mesh list\n", t.name)
	return nil
}

func (o *installOptions) failed(ctx context.Context, clients *cluster.Clients, engine *release.Engine, t target, cause error) error {
	if info, err := command.ExistingRelease(engine, t.name); err == nil && info == nil {
		o.disarm(ctx, clients, t, true)
		return fmt.Errorf("%w; nothing was installed", cause)
	}
	o.diagnose(ctx, clients, t.namespace)
	o.disarm(ctx, clients, t, o.atomic)
	if !o.atomic {
		return fmt.Errorf("%w; what was installed is still there: fix the cause and run the same command with --recover, or remove it with osm uninstall mesh --mesh-name %s --osm-namespace %s", cause, t.name, t.namespace)
	}
	ctx, cancel := command.Cleanup(ctx)
	defer cancel()
	o.env.Progressf("removing mesh [%s] again (--atomic)\n", t.name)
	if err := engine.Uninstall(ctx, t.name); err != nil {
		return fmt.Errorf("%w; and removing it again failed: %w", cause, err)
	}
	return fmt.Errorf("%w; everything was removed again (--atomic)", cause)
}
