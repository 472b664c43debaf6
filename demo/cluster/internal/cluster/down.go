package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/osm-edge/osm/demo/cluster/internal/host"
	"github.com/osm-edge/osm/demo/cluster/internal/network"
	"github.com/osm-edge/osm/demo/cluster/internal/plan"
)

// Down stops and removes everything that exists of the cluster.
func (c *Cluster) Down(ctx context.Context, site Site) error {
	steps := []struct {
		what string
		do   func() error
	}{
		{"processes", func() error { return c.endProcesses(ctx) }},
		{"mounts and containers' leftovers", c.removeRuntimes},
		{"namespaces and links", c.removeNetwork},
		{"cgroups", func() error { return c.cgroups.Remove(c.Plan.Cgroup()) }},
		{"kernel settings and files outside the state folder", func() error { return c.restoreHost(site) }},
		{"state folder", func() error { return c.removeState(site) }},
	}
	for _, s := range steps {
		if err := c.progress.Step("remove "+s.what, s.do); err != nil {
			return fmt.Errorf("%w; run `cluster down` again once that is fixed", err)
		}
	}
	return nil
}

// endProcesses kills the recorded processes and then all others in the cluster's cgroups: shims, pods, and daemons
// whose record was lost.
func (c *Cluster) endProcesses(ctx context.Context) error {
	names := []string{}
	for _, d := range c.layout.MasterDaemons() {
		names = append(names, d.Name)
	}
	for _, node := range c.everyNode() {
		for _, d := range c.layout.NodeDaemons(node) {
			names = append(names, d.Name)
		}
	}
	return errors.Join(c.daemons.Stop(ctx, 0, names...), c.cgroups.Kill(ctx, c.Plan.Cgroup()))
}

// everyNode counts to the largest possible node, because the state file may be lost or older than the cluster.
func (c *Cluster) everyNode() []plan.Machine {
	largest := c.Plan
	largest.Nodes = plan.MaxNodes
	return largest.NodeList()
}

func (c *Cluster) removeRuntimes() error {
	for _, node := range c.everyNode() {
		if err := c.forgetRuntime(node); err != nil {
			return err
		}
	}
	return host.Unmount(c.dir)
}

func (c *Cluster) removeNetwork() error {
	for _, node := range c.everyNode() {
		if err := c.unplug(node); err != nil {
			return err
		}
	}
	return errors.Join(network.RemoveHostLink(c.Plan), network.Remove(c.Plan, c.Plan.Master()))
}

// restoreHost restores the machine's settings when the last cluster goes down.
func (c *Cluster) restoreHost(site Site) error {
	if err := host.Sweep(c.dir); err != nil {
		return err
	}
	others, err := site.others()
	if err != nil || len(others) > 0 {
		return err
	}
	return c.Before.Restore()
}

func (c *Cluster) removeState(site Site) error {
	if err := os.RemoveAll(c.dir); err != nil {
		return fmt.Errorf("remove state folder: %w", err)
	}
	if err := os.Remove(site.lockFile()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove lock: %w", err)
	}
	// The parent folder is removed if no other cluster is in it.
	if err := syscall.Rmdir(filepath.Clean(site.Dir)); err != nil && !errors.Is(err, syscall.ENOTEMPTY) && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", site.Dir, err)
	}
	return nil
}
