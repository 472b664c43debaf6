package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/cli/cluster"
	"github.com/osm-edge/osm/pkg/cli/output"
	"github.com/osm-edge/osm/pkg/cli/prompt"
	"github.com/osm-edge/osm/pkg/cli/release"
)

type scaleOptions struct {
	change
	yes       bool
	autoscale bool
	pdb       bool
	cpu       int
	memory    int
	replicas  map[string]*replicaFlags // by component key
}

type replicaFlags struct{ count, low, high int }

func newScaleCmd(env *Env) *cobra.Command {
	o := &scaleOptions{change: change{env: env}, replicas: map[string]*replicaFlags{}}
	o.cmd = &cobra.Command{
		Use:   "scale [MESH]",
		Short: "Scale the control plane of a mesh",
		Long: `Scale osm-controller and osm-injector: a fixed number of replicas, or autoscaling between a least
and a greatest number by CPU and memory utilisation; with or without a disruption budget.

The new settings are shown beside the old ones and, on a terminal, confirmed. They are kept as
values of the mesh, so that osm upgrade does not undo them. The version of the mesh stays. Without
flags, on a terminal, the settings are asked for.`,
		Example: `  # Three fixed replicas of osm-controller
  osm mesh scale --controller 3

  # Autoscaling of both components, never without a pod during node drains
  osm mesh scale --autoscale=true --pdb=true --controller-min 2 --controller-max 5 --cpu 70`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			mesh := api.DefaultMeshName
			if len(args) == 1 {
				mesh = args[0]
			}
			return o.run(cmd.Context(), mesh)
		},
	}
	flags := o.cmd.Flags()
	for _, component := range components {
		r := &replicaFlags{}
		o.replicas[component.key] = r
		flags.IntVar(&r.count, component.flag, 0, "replicas of "+component.app+" while autoscaling is off (1-10)")
		flags.IntVar(&r.low, component.flag+"-min", 0, "least replicas of "+component.app+" while autoscaling is on (1-10)")
		flags.IntVar(&r.high, component.flag+"-max", 0, "most replicas of "+component.app+" while autoscaling is on (1-10)")
	}
	flags.IntVar(&o.cpu, "cpu", 0, "target of average CPU utilisation of both components, in percent (0-100, 0 leaves it out)")
	flags.IntVar(&o.memory, "memory", 0, "target of average memory utilisation of both components, in percent (0-100, 0 leaves it out)")
	flags.BoolVar(&o.autoscale, "autoscale", false, "turn autoscaling of both components on or off")
	flags.BoolVar(&o.pdb, "pdb", false, "turn the disruption budget of both components on or off")
	flags.BoolVarP(&o.yes, "yes", "y", false, "do not ask")
	o.addWaitFlags()
	return o.cmd
}

func (o *scaleOptions) run(ctx context.Context, mesh string) error {
	if err := o.validFlags(); err != nil {
		return err
	}
	settings := o.settings()
	if len(settings) == 0 && !o.env.Prompt.Interactive() {
		return usagef(o.cmd, "nothing to change: give at least one of --controller, --injector, --autoscale, --pdb, --cpu, --memory")
	}
	clients, err := o.env.connect(ctx)
	if err != nil {
		return err
	}
	engine, err := o.env.Engine(o.env.Namespace)
	if err != nil {
		return err
	}
	info, err := existing(engine, mesh)
	if err != nil {
		return err
	}
	if info == nil {
		return o.env.noRelease(ctx, clients, mesh, "mesh scale")
	}
	old, err := info.Chart.Effective(info.Values)
	if err != nil {
		return err
	}
	if len(settings) == 0 {
		if settings, err = o.ask(old); err != nil {
			return err
		}
	}
	return o.scale(ctx, clients, engine, info, old, settings)
}

func (o *scaleOptions) scale(ctx context.Context, clients *cluster.Clients, engine *release.Engine, info *release.Info, old release.Values, settings map[string]any) error {
	user, err := release.Layers{Stored: info.Values, Flags: settings}.Merge()
	if err != nil {
		return err
	}
	// The chart is the installed one: scaling is no upgrade.
	t, err := o.prepare(target{name: info.Name, namespace: info.Namespace, chart: info.Chart, user: user})
	if err != nil {
		return err
	}
	if err := o.effective(t.values); err != nil {
		return err
	}
	changed, err := o.show(old, t.values)
	if err != nil {
		return err
	}
	if !changed {
		o.env.printf("mesh [%s] is scaled like this already; nothing was changed\n", t.name)
		return nil
	}
	plan, err := o.plan(t, info)
	if err != nil {
		return err
	}
	plan.Upgrade, plan.SkipHooks = true, true
	if err := o.preflight(ctx, clients, plan); err != nil {
		return err
	}
	if err := o.confirm(t.name); err != nil {
		return err
	}
	if info.Pending {
		if err := engine.Recover(t.name); err != nil {
			return err
		}
	}
	if err := o.upgrade(ctx, clients, engine, t, true); err != nil {
		return err
	}
	o.env.printf("mesh [%s] in namespace [%s] scaled\n", t.name, t.namespace)
	return o.placements(ctx, clients, t.namespace)
}

// settings are the values that the flags stand for.
func (o *scaleOptions) settings() map[string]any {
	settings := map[string]any{}
	put := func(flag, key string, value any) {
		if o.cmd.Flags().Changed(flag) {
			settings[key] = value
		}
	}
	for _, component := range components {
		r := o.replicas[component.key]
		put(component.flag, component.key+".replicaCount", int64(r.count))
		put(component.flag+"-min", component.key+".autoScale.minReplicas", int64(r.low))
		put(component.flag+"-max", component.key+".autoScale.maxReplicas", int64(r.high))
		put("cpu", component.key+".autoScale.cpu.targetAverageUtilization", int64(o.cpu))
		put("memory", component.key+".autoScale.memory.targetAverageUtilization", int64(o.memory))
		put("autoscale", component.key+".autoScale.enable", o.autoscale)
		put("pdb", component.key+".enablePodDisruptionBudget", o.pdb)
	}
	return settings
}

// effective refuses flags that would have no effect in the mode that the component is in then.
func (o *scaleOptions) effective(values release.Values) error {
	for _, component := range components {
		on := values.Bool(component.key + ".autoScale.enable")
		for _, flag := range []string{component.flag + "-min", component.flag + "-max", "cpu", "memory"} {
			if o.cmd.Flags().Changed(flag) && !on {
				return fmt.Errorf("--%s has no effect while autoscaling of %s is off; add --autoscale=true, or use --%s for a fixed number", flag, component.app, component.flag)
			}
		}
		if o.cmd.Flags().Changed(component.flag) && on {
			return fmt.Errorf("--%s has no effect while autoscaling of %s is on; use --%s-min and --%s-max, or add --autoscale=false", component.flag, component.app, component.flag, component.flag)
		}
	}
	return nil
}

// scaleKeys are the settings of a component that scale shows.
var scaleKeys = [...]string{
	".replicaCount", ".enablePodDisruptionBudget", ".autoScale.enable", ".autoScale.minReplicas", ".autoScale.maxReplicas",
	".autoScale.cpu.targetAverageUtilization", ".autoScale.memory.targetAverageUtilization",
}

// show prints the settings that change, old and new.
func (o *scaleOptions) show(before, after release.Values) (changed bool, err error) {
	grid := output.Grid{Header: []string{"SETTING", "OLD", "NEW"}}
	for _, component := range components {
		for _, key := range scaleKeys {
			was, will := setting(before, component.key+key), setting(after, component.key+key)
			if was != will {
				grid.Rows = append(grid.Rows, []string{component.key + key, was, will})
			}
		}
	}
	if len(grid.Rows) == 0 {
		return false, nil
	}
	return true, grid.Write(o.env.Out)
}

func setting(values release.Values, key string) string {
	value, ok := values.At(key)
	if !ok || value == nil {
		return "default"
	}
	if n, ok := values.Int(key); ok {
		return strconv.Itoa(n)
	}
	return fmt.Sprint(value)
}

func (o *scaleOptions) confirm(mesh string) error {
	if o.yes || !o.env.Prompt.Interactive() {
		return nil
	}
	return o.env.confirm(fmt.Sprintf("Scale mesh [%s]?", mesh))
}

// ask asks for the settings that matter in the mode that each component is in.
func (o *scaleOptions) ask(old release.Values) (map[string]any, error) {
	settings := map[string]any{}
	for _, component := range components {
		questions := map[string]string{component.key + ".replicaCount": "Replicas of " + component.app}
		if old.Bool(component.key + ".autoScale.enable") {
			questions = map[string]string{
				component.key + ".autoScale.minReplicas": "Least replicas of " + component.app,
				component.key + ".autoScale.maxReplicas": "Most replicas of " + component.app,
			}
		}
		for _, key := range sortedKeys(questions) {
			preset, _ := old.Int(key)
			if preset == 0 {
				preset = component.floor(old)
			}
			answer, err := o.env.Prompt.Input(questions[key]+" (1-10)", strconv.Itoa(preset), replicaNumber)
			if errors.Is(err, prompt.ErrNoTerminal) {
				return nil, usagef(o.cmd, "nothing to change: %w", err)
			}
			if err != nil {
				return nil, err
			}
			n, err := strconv.ParseInt(answer, 10, 64)
			if err != nil {
				return nil, fmt.Errorf("%s: %q is not a number", questions[key], answer)
			}
			settings[key] = n
		}
	}
	return settings, nil
}

func replicaNumber(text string) error {
	if n, err := strconv.Atoi(text); err != nil || n < 1 || n > 10 {
		return errors.New("use an integer from 1 to 10")
	}
	return nil
}

func (o *scaleOptions) placements(ctx context.Context, clients *cluster.Clients, namespace string) error {
	placements, err := cluster.Placements(ctx, clients.Kube, namespace)
	if err != nil {
		return err
	}
	o.env.printf("ready replicas per node:\n")
	for _, placement := range placements {
		o.env.printf("  %s\n", placement)
	}
	return nil
}
