package mesh

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/cli/cluster"
	"github.com/osm-edge/osm/pkg/cli/command"
	"github.com/osm-edge/osm/pkg/cli/output"
)

type rebalanceOptions struct {
	env      *command.Env
	cmd      *cobra.Command
	meshName string
	plan     bool
	yes      bool
	format   output.Format
	timeout  command.Timeout
}

// NewRebalance returns osm mesh rebalance.
func NewRebalance(env *command.Env) *cobra.Command {
	o := &rebalanceOptions{env: env, format: output.Table}
	o.cmd = &cobra.Command{
		Use:   "rebalance",
		Short: "Move proxies from busy osm-controllers to idle ones, once",
		Long: `Move proxies from the replicas of osm-controller that serve more than their fair share to the others,
once. Proxies stay with their replica otherwise, so a new replica serves few at first; the value
osm.osmController.rebalance.enable moves them all the time.

Each replica with more than a tenth above the share ends streams, at most
osm.osmController.rebalance.perSecond (20) a second, until it has its share. A proxy keeps its
configuration and connects again within about a second; its connections of applications do not notice.
Proxies that have connected or were moved in the last ten minutes stay. If the command is interrupted,
the replicas finish on their own.

With --plan, nothing is changed. The command fails if a replica cannot be asked (UNKNOWN) or if the
replicas are not balanced at the end. You need permission to list pods and to create pods/portforward
in the mesh's namespace.`,
		Example: `  # How many proxies does each replica serve, and how many would move?
  osm mesh rebalance --plan

  # Move them, after a confirmation
  osm mesh rebalance

  # For scripts
  osm mesh rebalance --yes --timeout 2m -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context()) },
	}
	flags := o.cmd.Flags()
	flags.StringVar(&o.meshName, "mesh-name", api.DefaultMeshName, "name of the mesh")
	flags.BoolVar(&o.plan, "plan", false, "show what would move, and change nothing")
	flags.BoolVarP(&o.yes, "yes", "y", false, "do not ask for confirmation")
	flags.VarP(&o.format, "output", "o", "output format")
	o.timeout.AddFlag(o.cmd, command.DefaultTimeout, "how long to wait until the replicas are balanced")
	return o.cmd
}

func (o *rebalanceOptions) run(ctx context.Context) error {
	if err := o.timeout.Validate(o.cmd); err != nil {
		return err
	}
	clients, err := o.env.Connect(ctx)
	if err != nil {
		return err
	}
	mesh, err := o.env.FindMesh(ctx, o.cmd, clients, o.meshName)
	if err != nil {
		return err
	}
	pods, err := cluster.ControlPlanePods(ctx, clients.Kube, mesh.Namespace, api.AppController)
	if err != nil {
		return err
	}
	f := newFleet(o.env.Forward, pods)
	defer f.close()
	before := newBalance(mesh.Name, mesh.Namespace, f.ask(ctx))
	if o.plan {
		if err := o.write(before); err != nil {
			return err
		}
		return before.unplanned()
	}
	if err := before.unplanned(); err != nil {
		return errors.Join(o.write(before), err)
	}
	if before.Moves == 0 {
		o.env.Progressf("mesh [%s] is balanced; nothing was moved\n", mesh.Name)
		return o.write(before)
	}
	if !o.yes {
		if err := before.grid().Write(o.env.Err); err != nil {
			return err
		}
		if err := o.env.Confirm(fmt.Sprintf("Move up to %d proxies of mesh [%s] to other replicas?", before.Moves, mesh.Name)); err != nil {
			return err
		}
	}
	ctx, cancel := o.timeout.Limit(ctx)
	defer cancel()
	return o.carryOut(ctx, f, before)
}

// carryOut gives each replica with a surplus the order, and waits until nothing moves any more.
func (o *rebalanceOptions) carryOut(ctx context.Context, f *fleet, before balance) error {
	for _, load := range before.Replicas {
		if load.Moves == 0 {
			continue
		}
		if err := f.order(ctx, load.Pod); err != nil {
			return fmt.Errorf("tell replica %s to send %d proxies away: %w; those told before it go on, see osm mesh rebalance --plan", load.Pod, load.Moves, err)
		}
		o.env.Progressf("%s sends up to %d of its %d proxies to other replicas\n", load.Pod, load.Moves, load.Proxies)
	}
	after, err := o.follow(ctx, f, before)
	if err != nil {
		return err
	}
	if err := o.write(after); err != nil {
		return err
	}
	return after.uneven()
}

// quiet is how many looks in a row must show the same before nothing moves any more: proxies that were sent away
// need a while to connect again.
const quiet = 3

// follow shows the progress until it ends.
func (o *rebalanceOptions) follow(ctx context.Context, f *fleet, last balance) (balance, error) {
	tick := time.NewTicker(o.env.Poll)
	defer tick.Stop()
	for same := 0; same < quiet; {
		select {
		case <-ctx.Done():
			return last, fmt.Errorf("%w; the replicas finish on their own: see osm mesh rebalance --plan", context.Cause(ctx))
		case <-tick.C:
		}
		now := newBalance(last.Mesh, last.Namespace, f.ask(ctx))
		if ctx.Err() != nil {
			continue
		}
		if now.progress() != last.progress() {
			o.env.Progressf("%s\n", now.progress())
			same = 0
		} else if !now.moving() {
			same++
		}
		last = now
	}
	return last, nil
}

func (o *rebalanceOptions) write(b balance) error {
	return output.Write(o.env.Out, o.format, b, b.grid())
}

// progress reads "osm-controller-0 700, osm-controller-1 UNKNOWN".
func (b balance) progress() string {
	parts := make([]string, len(b.Replicas))
	for i, load := range b.Replicas {
		parts[i] = load.Pod + " " + load.count()
	}
	return "proxies: " + strings.Join(parts, ", ")
}
