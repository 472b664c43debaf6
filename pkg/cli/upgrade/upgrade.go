// Package upgrade is osm upgrade, which is also osm mesh upgrade.
//
// It decides which values a mesh keeps and refuses to go back to an older chart; the work itself is
// package rollout's. Its invariant: the mesh keeps its name, whatever is set or reset.
package upgrade

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/version"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/cli/cluster"
	"github.com/osm-edge/osm/pkg/cli/command"
	"github.com/osm-edge/osm/pkg/cli/release"
	"github.com/osm-edge/osm/pkg/cli/rollout"
)

type options struct {
	rollout.Change
	meshName      string
	enforceSingle bool
	resetValues   bool
	downgrade     bool
}

// New returns the command.
func New(env *command.Env) *cobra.Command {
	o := &options{Change: rollout.Change{Env: env}}
	o.Cmd = &cobra.Command{
		Use:   "upgrade",
		Short: "Upgrade a mesh, or change its values",
		Long: `Move a mesh to the chart of this osm, and change its values.

Values that you have set earlier are kept; all others move to the new chart's defaults. With
--reset-values earlier values are dropped, except the mesh's name.

The mesh is found by its name and namespace, and must be one of this osm: releases of Open Service
Mesh and osm-edge are refused, and so are CRDs that another installation owns.

Before anything is changed, the command shows the settings that change and the objects that are added,
changed and removed; --diff shows what changes in them. Secrets are never shown. If the mesh has this
chart and these values, its last operation succeeded and all its objects are in place, ready and
unedited, there is nothing to change, and nothing is done.

Values: flags win over --set-file, --set-string and --set, these over --values, --values over what was
set earlier, and that over the chart's defaults.`,
		Example: `  # Upgrade mesh "osm" to this osm's version
  osm upgrade

  # See what would change: in short, in full, for scripts
  osm upgrade --dry-run
  osm upgrade --dry-run=server --diff
  osm upgrade -o json

  # Change one value
  osm upgrade --set osm.enableEgress=false

  # Make it highly available: two or more replicas of each component that survive node drains
  osm upgrade --profile ha

  # Let proxies do without a control plane for 12 hours at any time; osm verify ha shows the budget
  osm upgrade --headless-budget 12h`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context()) },
	}
	flags := o.Cmd.Flags()
	flags.StringVar(&o.meshName, "mesh-name", api.DefaultMeshName, "name of the mesh")
	flags.BoolVar(&o.enforceSingle, "enforce-single-mesh", false, "require that this is the only mesh of the cluster; =false allows others (default: unchanged)")
	flags.BoolVar(&o.resetValues, "reset-values", false, "drop the values that were set earlier")
	flags.BoolVar(&o.downgrade, "allow-downgrade", false, "allow a chart that is older than the installed one")
	o.AddValueFlags()
	o.AddDiffFlag()
	o.AddWaitFlags()
	flags.BoolVar(&o.Atomic, "atomic", false, "return to the previous state if the upgrade fails")
	return o.Cmd
}

func (o *options) run(ctx context.Context) error {
	if err := o.Validate(); err != nil {
		return err
	}
	chart, err := o.Chart()
	if err != nil {
		return err
	}
	clients, err := o.Env.Connect(ctx)
	if err != nil {
		return err
	}
	engine, info, err := o.Env.FindRelease(ctx, o.Cmd, clients, o.meshName, "upgrade")
	if err != nil {
		return err
	}
	t, err := o.target(chart, info)
	if err != nil {
		return err
	}
	if o.RendersOnly() {
		return o.PreviewUpgrade(t, info)
	}
	plan, err := o.Plan(t, info)
	if err != nil {
		return err
	}
	plan.Upgrade = true
	if err := o.Preflight(ctx, clients, plan); err != nil {
		return err
	}
	if err := o.newEnough(info, chart); err != nil {
		return err
	}
	if o.DryRun == "server" {
		return o.ServerDryRunUpgrade(ctx, clients, engine, t, info)
	}
	return o.upgrade(ctx, clients, engine, t, info)
}

func (o *options) upgrade(ctx context.Context, clients *cluster.Clients, engine *release.Engine, t rollout.Target, info *release.Info) error {
	what, err := o.CompareCluster(ctx, clients, engine, t, info)
	if err != nil {
		return err
	}
	if err := o.Show(what); err != nil {
		return err
	}
	if what.NothingToDo {
		o.WarnHeadless(ctx, clients, t.Namespace)
		return nil
	}
	o.Env.Progressf("upgrading mesh [%s] in namespace [%s] from chart %s (%s) to %s (%s)\n",
		t.Name, t.Namespace, info.ChartVersion, info.AppVersion, t.Chart.Version(), t.Chart.AppVersion())
	if err := o.Upgrade(ctx, clients, engine, t, info, false); err != nil {
		return err
	}
	o.Env.Printf("osm upgraded mesh [%s] in namespace [%s] to %s\n", t.Name, t.Namespace, t.Chart.AppVersion())
	return nil
}

// target merges the stored values, unless they are reset, and the new ones.
func (o *options) target(chart *release.Chart, info *release.Info) (rollout.Target, error) {
	flags := map[string]any{"osm.meshName": o.meshName}
	if o.Cmd.Flags().Changed("enforce-single-mesh") {
		flags["osm.enforceSingleMesh"] = o.enforceSingle
	}
	stored := info.Values
	if o.resetValues {
		stored = nil
	}
	user, err := o.Merge(flags, stored)
	if err != nil {
		return rollout.Target{}, err
	}
	return o.Prepare(rollout.Target{Name: o.meshName, Namespace: info.Namespace, Chart: chart, User: user})
}

// newEnough refuses a chart that is older than the installed one: CRDs and stored objects cannot be downgraded.
func (o *options) newEnough(info *release.Info, chart *release.Chart) error {
	from, err := version.ParseSemantic(info.ChartVersion)
	if err != nil {
		return fmt.Errorf("read the version of the installed chart: %w", err)
	}
	to, err := version.ParseSemantic(chart.Version())
	if err != nil {
		return fmt.Errorf("read the version of the new chart: %w", err)
	}
	if to.LessThan(from) && !o.downgrade {
		return fmt.Errorf("mesh [%s] runs chart %s, which is newer than %s; use an osm of its version or newer, or --allow-downgrade", info.Name, from, to)
	}
	return nil
}
