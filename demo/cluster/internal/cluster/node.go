package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"github.com/osm-edge/osm/demo/cluster/internal/host"
	"github.com/osm-edge/osm/demo/cluster/internal/kubeapi"
	"github.com/osm-edge/osm/demo/cluster/internal/network"
	"github.com/osm-edge/osm/demo/cluster/internal/plan"
	"github.com/osm-edge/osm/demo/cluster/internal/render"
)

// joinNode starts the node and returns when the API server reports it ready. The part that needs no API server runs
// before ready is closed.
func (c *Cluster) joinNode(ctx context.Context, api *kubeapi.Client, node plan.Machine, ready <-chan struct{}) error {
	err := c.progress.Step(node.Name+": namespace, containerd and images", func() error { return c.startRuntime(ctx, node) })
	if err != nil {
		return err
	}
	select {
	case <-ready:
	case <-ctx.Done():
		return ctx.Err()
	}
	return c.progress.Step(node.Name+": kubelet, kube-proxy and network policies, node ready", func() error { return c.startAgents(ctx, api, node) })
}

func (c *Cluster) startRuntime(ctx context.Context, node plan.Machine) error {
	processes, err := c.cgroups.Processes(c.Plan.MachineCgroup(node))
	if err != nil {
		return err
	}
	if len(processes) == 0 { // the node or the machine was off: remove state that lives only in memory
		if err := c.forgetRuntime(node); err != nil {
			return err
		}
	}
	if err := c.cgroups.Create(c.Plan.DaemonCgroup(node)); err != nil {
		return err
	}
	if err := network.EnsureNode(c.Plan, node); err != nil {
		return err
	}
	d := c.layout.Containerd(node)
	if err := c.startOn(node, d); err != nil {
		return err
	}
	answers := func(context.Context) error { return dial(c.layout.Socket(node)) }
	if err := c.wait(ctx, d.Name+" to respond", answers, d.Name); err != nil {
		return err
	}
	return c.importMissing(ctx, node)
}

func dial(socket string) error {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return err
	}
	return conn.Close()
}

func (c *Cluster) startAgents(ctx context.Context, api *kubeapi.Client, node plan.Machine) error {
	agents := c.layout.NodeAgents(node)
	if err := c.startOn(node, agents...); err != nil {
		return err
	}
	isReady := func(ctx context.Context) error {
		nodes, err := api.Nodes(ctx)
		if err != nil {
			return err
		}
		if n, known := findNode(nodes, node); !known || !n.Ready {
			return fmt.Errorf("node %s is not ready; see %s", node.Name, c.daemons.Log(agents[0].Name))
		}
		return api.KubeletAnswers(ctx, node.Name)
	}
	return c.wait(ctx, node.Name+" to be ready", isReady, agents[0].Name, agents[1].Name, agents[2].Name)
}

func (c *Cluster) startOn(node plan.Machine, daemons ...render.Daemon) error {
	for _, d := range daemons {
		if err := c.daemons.Start(c.unit(node, network.Path(c.Plan, node), d)); err != nil {
			return err
		}
	}
	return nil
}

// importMissing imports the images that the node's first pods need, unless it has them.
func (c *Cluster) importMissing(ctx context.Context, node plan.Machine) error {
	names, err := c.ctr(ctx, node, "images", "list", "--quiet")
	if err != nil {
		return err
	}
	for _, image := range []string{render.PauseImage, render.DNSImage, render.MetricsImage} {
		if !bytes.Contains(names, []byte(image)) {
			return c.importInto(ctx, node, c.Images)
		}
	}
	return nil
}

func (c *Cluster) importInto(ctx context.Context, node plan.Machine, archives []string) error {
	for _, archive := range archives {
		if _, err := c.ctr(ctx, node, "images", "import", archive); err != nil {
			return fmt.Errorf("import %s into %s: %w", archive, node.Name, err)
		}
	}
	return nil
}

func (c *Cluster) ctr(ctx context.Context, node plan.Machine, args ...string) ([]byte, error) {
	args = append([]string{"--address", c.layout.Socket(node), "--namespace", "k8s.io"}, args...)
	cmd := exec.CommandContext(ctx, "ctr", args...)
	var failure bytes.Buffer
	cmd.Stderr = &failure
	output, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("ctr %s: %w: %s", args[4], err, bytes.TrimSpace(failure.Bytes()))
	}
	return output, nil
}

// LoadImages imports the archives into all nodes concurrently.
func (c *Cluster) LoadImages(ctx context.Context, archives []string) error {
	for _, archive := range archives {
		if _, err := os.Stat(archive); err != nil {
			return fmt.Errorf("load image: %w", err)
		}
	}
	var work errgroup.Group // no shared context: a node that is off must not keep the others from loading
	failed := make([]error, c.Plan.Nodes)
	for i, node := range c.Plan.NodeList() {
		work.Go(func() error {
			if _, running := c.daemons.Running(c.layout.Containerd(node).Name); !running {
				failed[i] = fmt.Errorf("load into %s: the node is stopped; start it and load again", node.Name)
				return nil
			}
			failed[i] = c.importInto(ctx, node, archives)
			return nil
		})
	}
	return errors.Join(work.Wait(), errors.Join(failed...))
}

// StopNode simulates a power failure: every process of the node is killed at once, and its cable is unplugged.
func (c *Cluster) StopNode(ctx context.Context, node plan.Machine) error {
	if err := c.cgroups.Kill(ctx, c.Plan.MachineCgroup(node)); err != nil {
		return err
	}
	for _, d := range c.layout.NodeDaemons(node) {
		if err := c.daemons.Stop(ctx, 0, d.Name); err != nil {
			return err
		}
	}
	if err := c.forgetRuntime(node); err != nil {
		return err
	}
	return c.unplug(node)
}

func (c *Cluster) unplug(node plan.Machine) error {
	if err := network.RemovePort(c.Plan, node); err != nil {
		return err
	}
	return network.Remove(c.Plan, node)
}

// forgetRuntime removes what a reboot would remove: mounts, running containers, allocations of pod addresses.
// Images, the kubelet's files and logs stay.
func (c *Cluster) forgetRuntime(node plan.Machine) error {
	dir := c.layout.MachineDir(node)
	state := filepath.Join(dir, "containerd", "state")
	if err := host.SweepShims(state); err != nil {
		return err
	}
	if err := host.Unmount(dir); err != nil {
		return err
	}
	for _, gone := range []string{state, filepath.Join(dir, "containerd", "runc"), filepath.Join(dir, "ipam"), c.layout.Socket(node), c.layout.Socket(node) + ".ttrpc"} {
		if err := os.RemoveAll(gone); err != nil {
			return fmt.Errorf("clear %s: %w", node.Name, err)
		}
	}
	return c.cgroups.Remove(c.Plan.MachineCgroup(node))
}

// StartNode starts the node again and waits until it is ready.
func (c *Cluster) StartNode(ctx context.Context, node plan.Machine) error {
	api, err := c.API()
	if err != nil {
		return err
	}
	on := make(chan struct{})
	close(on) // the API server is already running
	return c.joinNode(ctx, api, node, on)
}

// CutNode unplugs the node's cable: its processes keep running but are unreachable.
func (c *Cluster) CutNode(node plan.Machine) error { return network.SetPlugged(c.Plan, node, false) }

// HealNode plugs the cable back in.
func (c *Cluster) HealNode(node plan.Machine) error { return network.SetPlugged(c.Plan, node, true) }
