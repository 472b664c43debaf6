package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/cli/cluster"
	"github.com/osm-edge/osm/pkg/cli/command"
	"github.com/osm-edge/osm/pkg/cli/output"
	"github.com/osm-edge/osm/pkg/cli/prompt"
	"github.com/osm-edge/osm/pkg/cli/release"
)

type scaleOptions struct {
	change
	meshName  string
	yes       bool
	autoscale bool
	pdb       bool
	cpu       int
	memory    int
	replicas  map[string]*replicaFlags // by component key
}

type replicaFlags struct{ count, low, high int }

func newScaleCmd(env *command.Env) *cobra.Command {
	o := &scaleOptions{change: change{env: env}, replicas: map[string]*replicaFlags{}}
	o.cmd = &cobra.Command{
		Use:   "scale",
		Short: "Scale the control plane of a mesh",
		Long: `Scale osm-controller and osm-injector: either a fixed number of replicas, or autoscaling by CPU and
memory utilization between a minimum and a maximum; with or without a disruption budget.

The old and the new settings are shown and, on a terminal, must be confirmed. They are stored as
values of the mesh, so osm upgrade keeps them. The version of the mesh does not change. Without
flags, on a terminal, the command asks for the settings.

The name of the mesh may also be given as an argument: osm mesh scale MESH.`,
		Example: `  # Three fixed replicas of osm-controller
  osm mesh scale --controller 3

  # Autoscaling of both components, and never without a pod during node drains
  osm mesh scale --autoscale=true --pdb=true --controller-min 2 --controller-max 5 --cpu 70`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.nameMesh(args); err != nil {
				return err
			}
			return o.run(cmd.Context())
		},
	}
	flags := o.cmd.Flags()
	flags.StringVar(&o.meshName, "mesh-name", api.DefaultMeshName, "name of the mesh")
	for _, component := range components {
		r := &replicaFlags{}
		o.replicas[component.key] = r
		flags.IntVar(&r.count, component.flag, 0, "replicas of "+component.app+" while autoscaling is off (1-10)")
		flags.IntVar(&r.low, component.flag+"-min", 0, "minimum replicas of "+component.app+" while autoscaling is on (1-10)")
		flags.IntVar(&r.high, component.flag+"-max", 0, "maximum replicas of "+component.app+" while autoscaling is on (1-10)")
	}
	flags.IntVar(&o.cpu, "cpu", 0, "target average CPU utilization of both components in percent (0-100; 0 ignores CPU)")
	flags.IntVar(&o.memory, "memory", 0, "target average memory utilization of both components in percent (0-100; 0 ignores memory)")
	flags.BoolVar(&o.autoscale, "autoscale", false, "turn autoscaling of both components on or off")
	flags.BoolVar(&o.pdb, "pdb", false, "turn the disruption budget of both components on or off")
	flags.BoolVarP(&o.yes, "yes", "y", false, "do not ask for confirmation")
	o.addWaitFlags()
	return o.cmd
}

// nameMesh takes the name of the mesh from the argument, if there is one.
func (o *scaleOptions) nameMesh(args []string) error {
	if len(args) == 0 {
		return nil
	}
	if o.cmd.Flags().Changed("mesh-name") && o.meshName != args[0] {
		return command.Usagef(o.cmd, "the argument names mesh %q and --mesh-name names mesh %q; leave one of them out", args[0], o.meshName)
	}
	o.meshName = args[0]
	return nil
}

func (o *scaleOptions) run(ctx context.Context) error {
	if err := o.validFlags(); err != nil {
		return err
	}
	settings := o.settings()
	if len(settings) == 0 && !o.env.Prompt.Interactive() {
		return command.Usagef(o.cmd, "nothing to change: give at least one of --controller, --injector, --autoscale, --pdb, --cpu, --memory")
	}
	clients, err := o.env.Connect(ctx)
	if err != nil {
		return err
	}
	engine, info, err := o.env.FindRelease(ctx, clients, o.meshName, "mesh scale")
	if err != nil {
		return err
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
		o.env.Printf("mesh [%s] is already scaled like this; nothing was changed\n", t.name)
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
	o.env.Printf("mesh [%s] in namespace [%s] scaled\n", t.name, t.namespace)
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
	return o.env.Confirm(fmt.Sprintf("Scale mesh [%s]?", mesh))
}

// ask asks for the settings that matter in the mode that each component is in.
func (o *scaleOptions) ask(old release.Values) (map[string]any, error) {
	settings := map[string]any{}
	for _, component := range components {
		questions := map[string]string{component.key + ".replicaCount": "Replicas of " + component.app}
		if old.Bool(component.key + ".autoScale.enable") {
			questions = map[string]string{
				component.key + ".autoScale.minReplicas": "Minimum replicas of " + component.app,
				component.key + ".autoScale.maxReplicas": "Maximum replicas of " + component.app,
			}
		}
		for _, key := range sortedKeys(questions) {
			preset, _ := old.Int(key)
			if preset == 0 {
				preset = component.floor(old)
			}
			answer, err := o.env.Prompt.Input(questions[key]+" (1-10)", strconv.Itoa(preset), replicaNumber)
			if errors.Is(err, prompt.ErrNoTerminal) {
				return nil, command.Usagef(o.cmd, "nothing to change: %w", err)
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
	o.env.Printf("ready replicas per node:\n")
	for _, placement := range placements {
		o.env.Printf("  %s\n", placement)
	}
	return nil
}
