package mesh

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/cli/cluster"
	"github.com/osm-edge/osm/pkg/cli/command"
	"github.com/osm-edge/osm/pkg/cli/output"
	"github.com/osm-edge/osm/pkg/cli/prompt"
	"github.com/osm-edge/osm/pkg/cli/release"
	"github.com/osm-edge/osm/pkg/cli/rollout"
)

type scaleOptions struct {
	rollout.Change
	meshName  string
	yes       bool
	autoscale bool
	pdb       bool
	cpu       int
	memory    int
	replicas  map[string]*replicaFlags // by component key
}

type replicaFlags struct{ count, low, high int }

// NewScale returns osm mesh scale.
func NewScale(env *command.Env) *cobra.Command {
	o := &scaleOptions{Change: rollout.Change{Env: env}, replicas: map[string]*replicaFlags{}}
	o.Cmd = &cobra.Command{
		Use:   "scale",
		Short: "Scale the control plane of a mesh",
		Long: `Scale osm-controller and osm-injector: either a fixed number of replicas, or autoscaling by CPU and
memory utilization between a minimum and a maximum; with or without a disruption budget.

The old and the new settings are shown and must be confirmed, on a terminal or with --yes. They are
stored as values of the mesh, so osm upgrade keeps them. The version of the mesh does not change.
Without flags, on a terminal, the command asks for the settings.

An autoscaler removes replicas later than it adds them: only once its load has allowed that for ten
minutes, unless the value autoScale.behavior of the component says otherwise.

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
	flags := o.Cmd.Flags()
	flags.StringVar(&o.meshName, "mesh-name", api.DefaultMeshName, "name of the mesh")
	for _, component := range rollout.Components() {
		r := &replicaFlags{}
		o.replicas[component.Key] = r
		flags.IntVar(&r.count, component.Flag, 0, "replicas of "+component.App+" while autoscaling is off (1-10)")
		flags.IntVar(&r.low, component.Flag+"-min", 0, "minimum replicas of "+component.App+" while autoscaling is on (1-10)")
		flags.IntVar(&r.high, component.Flag+"-max", 0, "maximum replicas of "+component.App+" while autoscaling is on (1-10)")
	}
	flags.IntVar(&o.cpu, "cpu", 0, "target average CPU utilization of both components in percent (0-100; 0 ignores CPU)")
	flags.IntVar(&o.memory, "memory", 0, "target average memory utilization of both components in percent (0-100; 0 ignores memory)")
	flags.BoolVar(&o.autoscale, "autoscale", false, "turn autoscaling of both components on, or off with =false")
	flags.BoolVar(&o.pdb, "pdb", false, "turn the disruption budget of both components on, or off with =false")
	flags.BoolVarP(&o.yes, "yes", "y", false, "do not ask for confirmation")
	o.AddWaitFlags()
	return o.Cmd
}

// nameMesh takes the name of the mesh from the argument, if there is one.
func (o *scaleOptions) nameMesh(args []string) error {
	if len(args) == 0 {
		return nil
	}
	if o.Cmd.Flags().Changed("mesh-name") && o.meshName != args[0] {
		return command.Usagef(o.Cmd, "the argument names mesh %q and --mesh-name names mesh %q; leave one of them out", args[0], o.meshName)
	}
	o.meshName = args[0]
	return nil
}

func (o *scaleOptions) run(ctx context.Context) error {
	if err := o.validate(); err != nil {
		return err
	}
	settings := o.settings()
	if len(settings) == 0 && !o.Env.Prompt.Interactive() {
		return command.Usagef(o.Cmd, "nothing to change: give at least one of --controller, --injector, --autoscale, --pdb, --cpu, --memory")
	}
	clients, err := o.Env.Connect(ctx)
	if err != nil {
		return err
	}
	engine, info, err := o.Env.FindRelease(ctx, o.Cmd, clients, o.meshName, "mesh scale")
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
	user, err := o.Merge(settings, info.Values)
	if err != nil {
		return err
	}
	// Scaling is no upgrade: the chart stays the installed one.
	t, err := o.Prepare(rollout.Target{Name: info.Name, Namespace: info.Namespace, Chart: info.Chart, User: user})
	if err != nil {
		return inFlags(err)
	}
	if err := o.effective(t.Values()); err != nil {
		return err
	}
	changed, err := o.show(old, t.Values())
	if err != nil {
		return err
	}
	if !changed {
		changed = o.differs(ctx, clients, engine, info)
	}
	if !changed {
		o.Env.Printf("mesh [%s] is already scaled like this; nothing was changed\n", t.Name)
		return nil
	}
	plan, err := o.Plan(t, info)
	if err != nil {
		return err
	}
	plan.Upgrade, plan.SkipHooks = true, true
	if err := o.Preflight(ctx, clients, plan); err != nil {
		return err
	}
	if err := o.confirm(t.Name); err != nil {
		return err
	}
	if err := o.Upgrade(ctx, clients, engine, t, info, true); err != nil {
		return err
	}
	o.Env.Printf("mesh [%s] in namespace [%s] scaled\n", t.Name, t.Namespace)
	return o.placements(ctx, clients, t)
}

// differs reports whether the cluster does not hold the settings of the mesh, although they stay.
func (o *scaleOptions) differs(ctx context.Context, clients *cluster.Clients, engine *release.Engine, info *release.Info) bool {
	const again = "applying them again"
	if info.Status != release.Deployed {
		// The cluster may hold what that operation was to set.
		o.Env.Progressf("the settings are those of the last change that succeeded, but the last operation is %s; %s\n", info.Status, again)
		return true
	}
	found, err := o.Deviations(ctx, clients, engine, info, true)
	if err != nil {
		o.Env.Warnf("cannot tell whether the cluster holds the settings: %v; %s", err, again)
		return true
	}
	for _, d := range found {
		o.Env.Progressf("the settings stay, but %s %s is %s in the cluster; %s\n", d.Kind, d.Name, d.Why, again)
	}
	return len(found) > 0
}

// settings are the chart values that the flags set.
func (o *scaleOptions) settings() map[string]any {
	settings := map[string]any{}
	put := func(flag, key string, value any) {
		if o.Cmd.Flags().Changed(flag) {
			settings[key] = value
		}
	}
	for _, component := range rollout.Components() {
		r := o.replicas[component.Key]
		put(component.Flag, component.Key+".replicaCount", int64(r.count))
		put(component.Flag+"-min", component.Key+".autoScale.minReplicas", int64(r.low))
		put(component.Flag+"-max", component.Key+".autoScale.maxReplicas", int64(r.high))
		put("cpu", component.Key+".autoScale.cpu.targetAverageUtilization", int64(o.cpu))
		put("memory", component.Key+".autoScale.memory.targetAverageUtilization", int64(o.memory))
		put("autoscale", component.Key+".autoScale.enable", o.autoscale)
		put("pdb", component.Key+".enablePodDisruptionBudget", o.pdb)
	}
	return settings
}

// effective refuses flags that would have no effect in the component's new mode.
func (o *scaleOptions) effective(values release.Values) error {
	for _, component := range rollout.Components() {
		on := component.Autoscaled(values)
		for _, flag := range []string{component.Flag + "-min", component.Flag + "-max", "cpu", "memory"} {
			if o.Cmd.Flags().Changed(flag) && !on {
				return fmt.Errorf("--%s has no effect while autoscaling of %s is off; add --autoscale=true, or use --%s for a fixed number", flag, component.App, component.Flag)
			}
		}
		if o.Cmd.Flags().Changed(component.Flag) && on {
			return fmt.Errorf("--%s has no effect while autoscaling of %s is on; use --%s-min and --%s-max, or add --autoscale=false", component.Flag, component.App, component.Flag, component.Flag)
		}
	}
	return nil
}

// scaleKeys are the settings of a component that scale shows.
func scaleKeys() []string {
	return []string{
		".replicaCount", ".enablePodDisruptionBudget", ".autoScale.enable", ".autoScale.minReplicas", ".autoScale.maxReplicas",
		".autoScale.cpu.targetAverageUtilization", ".autoScale.memory.targetAverageUtilization",
	}
}

// show prints the settings that change, with their old and new values.
func (o *scaleOptions) show(before, after release.Values) (changed bool, err error) {
	grid := output.Grid{Header: []string{"SETTING", "OLD", "NEW"}}
	for _, component := range rollout.Components() {
		for _, key := range scaleKeys() {
			was, will := setting(before, component.Key+key), setting(after, component.Key+key)
			if was != will {
				grid.Rows = append(grid.Rows, []string{component.Key + key, was, will})
			}
		}
	}
	if len(grid.Rows) == 0 {
		return false, nil
	}
	return true, grid.Write(o.Env.Out)
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
	if o.yes {
		return nil
	}
	return o.Env.Confirm(fmt.Sprintf("Scale mesh [%s]?", mesh))
}

// ask asks for the settings that apply to the present mode of each component.
func (o *scaleOptions) ask(old release.Values) (map[string]any, error) {
	settings := map[string]any{}
	for _, component := range rollout.Components() {
		questions := map[string]string{component.Key + ".replicaCount": "Replicas of " + component.App}
		if component.Autoscaled(old) {
			questions = map[string]string{
				component.Key + ".autoScale.minReplicas": "Minimum replicas of " + component.App,
				component.Key + ".autoScale.maxReplicas": "Maximum replicas of " + component.App,
			}
		}
		for _, key := range slices.Sorted(maps.Keys(questions)) {
			preset, _ := old.Int(key)
			if preset == 0 {
				preset = component.MinReplicas(old)
			}
			answer, err := o.Env.Prompt.Input(questions[key]+" (1-10)", strconv.Itoa(preset), replicaNumber)
			if errors.Is(err, prompt.ErrNoTerminal) {
				return nil, command.Usagef(o.Cmd, "nothing to change: %w", err)
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

func (o *scaleOptions) placements(ctx context.Context, clients *cluster.Clients, t rollout.Target) error {
	placements, err := cluster.Placements(ctx, clients.Kube, t.Namespace)
	if err != nil {
		return err
	}
	o.Env.Printf("ready replicas per node:\n")
	for _, placement := range placements {
		o.Env.Printf("  %s\n", placement)
	}
	for _, component := range rollout.Components() {
		for _, placement := range placements {
			if placement.Component == component.App {
				o.remaining(component, placement, t.Values())
			}
		}
	}
	return nil
}

// remaining says when the replicas above the minimum go, if there are any: not now.
func (o *scaleOptions) remaining(component rollout.Component, placement cluster.Placement, values release.Values) {
	running, low := 0, component.MinReplicas(values)
	for _, n := range placement.Nodes {
		running += n
	}
	if !component.Autoscaled(values) || running <= low {
		return
	}
	window, _ := values.Int(component.Key + ".autoScale.behavior.scaleDown.stabilizationWindowSeconds")
	o.Env.Printf("%s has %d ready replicas, %d more than its minimum; the autoscaler removes them only once the load has allowed that for %s\n",
		component.App, running, running-low, output.Duration(time.Duration(window)*time.Second))
}
