package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/version"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/cli/cluster"
	"github.com/osm-edge/osm/pkg/cli/command"
	"github.com/osm-edge/osm/pkg/cli/release"
)

type upgradeOptions struct {
	change
	meshName      string
	enforceSingle bool
	resetValues   bool
	downgrade     bool
}

func newUpgradeCmd(env *command.Env) *cobra.Command {
	o := &upgradeOptions{change: change{env: env}}
	o.cmd = &cobra.Command{
		Use:   "upgrade",
		Short: "Upgrade a mesh, or change its values",
		Long: `Move a mesh to the chart of this osm, and change its values.

What you have set on earlier occasions is kept; every value that you have not set moves to the new
chart's default. With --reset-values what you have set earlier is forgotten, except the mesh's name.

Only a mesh of this osm is upgraded, known by its name and its namespace. A release of Open Service
Mesh or osm-edge is refused, and so are CRDs that another installation owns.

Values: flags win over --set, --set over --values, --values over what was set earlier, that over
the chart's defaults.`,
		Example: `  # Upgrade mesh "osm" to this osm's version
  osm upgrade

  # Change one value
  osm upgrade --set osm.enableEgress=false

  # Let proxies do without a control plane for 12 hours at any time; osm verify ha shows the time
  osm upgrade --headless-budget 12h`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context()) },
	}
	flags := o.cmd.Flags()
	flags.StringVar(&o.meshName, "mesh-name", api.DefaultMeshName, "name of the mesh")
	flags.BoolVar(&o.enforceSingle, "enforce-single-mesh", true, "let this be the only mesh of the cluster (default: as it is)")
	flags.BoolVar(&o.resetValues, "reset-values", false, "forget the values that were set earlier")
	flags.BoolVar(&o.downgrade, "allow-downgrade", false, "allow a chart that is older than the installed one")
	o.addValueFlags()
	o.addWaitFlags()
	flags.BoolVar(&o.atomic, "atomic", false, "return to the state before if the upgrade fails")
	return o.cmd
}

func (o *upgradeOptions) run(ctx context.Context) error {
	if err := o.validFlags(); err != nil {
		return err
	}
	chart, err := o.env.Chart(o.chartPath)
	if err != nil {
		return err
	}
	clients, err := o.env.Connect(ctx)
	if err != nil {
		return err
	}
	engine, info, err := o.env.FindRelease(ctx, clients, o.meshName, "upgrade")
	if err != nil {
		return err
	}
	t, err := o.target(chart, info)
	if err != nil {
		return err
	}
	if o.dryRun == "client" || (o.dryRun == "" && o.format != "") {
		return o.preview(t, 0)
	}
	plan, err := o.plan(t, info)
	if err != nil {
		return err
	}
	plan.Upgrade = true
	if err := o.preflight(ctx, clients, plan); err != nil {
		return err
	}
	if err := o.direction(info, chart); err != nil {
		return err
	}
	return o.carryOut(ctx, clients, engine, t, info)
}

func (o *upgradeOptions) carryOut(ctx context.Context, clients *cluster.Clients, engine *release.Engine, t target, info *release.Info) error {
	if o.dryRun == "server" {
		manifest, untried, err := engine.DryRun(ctx, t.request(), true)
		if err != nil {
			return err
		}
		t.manifest = manifest
		return o.preview(t, untried)
	}
	if info.Pending {
		if err := engine.Recover(t.name); err != nil {
			return err
		}
	}
	o.env.Progressf("upgrading mesh [%s] in namespace [%s] from chart %s (%s) to %s (%s)\n",
		t.name, t.namespace, info.ChartVersion, info.AppVersion, t.chart.Version(), t.chart.AppVersion())
	if err := o.upgrade(ctx, clients, engine, t, false); err != nil {
		return err
	}
	o.heedsHeadless(ctx, clients, t.namespace)
	o.env.Printf("osm upgraded mesh [%s] in namespace [%s] to %s\n", t.name, t.namespace, t.chart.AppVersion())
	return nil
}

// target merges the values of all times. The mesh keeps its name, whatever is set or reset.
func (o *upgradeOptions) target(chart *release.Chart, info *release.Info) (target, error) {
	layers := release.Layers{Files: o.files, Sets: o.sets, Flags: map[string]any{"osm.meshName": o.meshName}, Derive: o.headless}
	if o.cmd.Flags().Changed("enforce-single-mesh") {
		layers.Flags["osm.enforceSingleMesh"] = o.enforceSingle
	}
	if info != nil && !o.resetValues {
		layers.Stored = info.Values
	}
	user, err := layers.Merge()
	if err != nil {
		return target{}, err
	}
	return o.prepare(target{name: o.meshName, namespace: o.env.Namespace, chart: chart, user: user})
}

// direction refuses an older chart: CRDs and stored objects do not go back in time.
func (o *upgradeOptions) direction(info *release.Info, chart *release.Chart) error {
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

// upgrade carries the change out, also for scale, and deals with its failure.
func (c *change) upgrade(ctx context.Context, clients *cluster.Clients, engine *release.Engine, t target, skipHooks bool) error {
	limited, cancel := c.timeout.Limit(ctx)
	defer cancel()
	request := t.request()
	request.SkipHooks, request.Observe = skipHooks, c.observer()
	cause := engine.Upgrade(limited, request)
	if cause == nil {
		return nil
	}
	c.diagnose(ctx, clients, t.namespace)
	if !skipHooks {
		c.disarm(ctx, clients, t, false)
	}
	if !c.atomic {
		return fmt.Errorf("%w; fix the cause and run the same command again, or return to the state before with helm rollback %s -n %s", cause, t.name, t.namespace)
	}
	ctx, cancelCleanup := command.Cleanup(ctx)
	defer cancelCleanup()
	c.env.Progressf("returning mesh [%s] to the state before (--atomic)\n", t.name)
	if err := engine.Rollback(ctx, t.name, c.observer()); err != nil {
		return fmt.Errorf("%w; and returning to the state before failed: %w", cause, err)
	}
	return fmt.Errorf("%w; the mesh was returned to the state before (--atomic)", cause)
}
