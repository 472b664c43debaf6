// Package cli is the command line of cluster: flags, help and output. It decides nothing about clusters.
// Invariant: standard output carries only what a script may read; progress goes to standard error.
package cli

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/osm-edge/osm/demo/cluster/internal/cluster"
	"github.com/osm-edge/osm/demo/cluster/internal/host"
	"github.com/osm-edge/osm/demo/cluster/internal/proc"
	"github.com/osm-edge/osm/demo/cluster/internal/progress"
	"github.com/osm-edge/osm/demo/cluster/internal/toolchain"
)

const (
	defaultName = "osmc"
	stateBase   = "osm-cluster"
)

// app is the configuration of the command line.
type app struct {
	out, err io.Writer
	state    string
	cache    string
	repo     string
	name     string
}

// New is the root command. Results are written to out, progress to err.
func New(out, err io.Writer) *cobra.Command {
	a := &app{out: out, err: err}
	root := &cobra.Command{
		Use:   "cluster",
		Short: "A real multi-node Kubernetes on this Linux host, without Docker",
		Long: `cluster runs Kubernetes on one Linux host without Docker, a hypervisor or a registry. The control plane and
each node have a network namespace of their own, joined by a bridge; a node runs its own containerd, kubelet
and kube-proxy. Everything is compiled from pinned Go modules and removed again without a trace.`,
		Example: `  cluster up --nodes 3
  export KUBECONFIG=$(cluster kubeconfig)
  $(cluster path kubectl) get nodes
  cluster down`,
		SilenceUsage: true, SilenceErrors: true,
		PersistentPreRunE: func(*cobra.Command, []string) error { return host.ExtendPath() },
	}
	root.SetOut(out)
	root.SetErr(err)
	flags := root.PersistentFlags()
	flags.StringVar(&a.state, "state", defaultState(os.Getenv), "folder that holds the clusters' state")
	flags.StringVar(&a.cache, "cache", defaultCache(os.Getenv), "folder that holds the compiled programs")
	flags.StringVar(&a.repo, "repo", "", "checkout of osm (default: found above the current folder or this program)")
	flags.StringVar(&a.name, "name", defaultName, "name of the cluster: 1 to 8 lower-case letters or digits")
	root.AddCommand(a.up(), a.down(), a.status(), a.load(), a.kubeconfig(), a.path(), a.build(), a.preflight(), a.node(), enter())
	return root
}

func defaultState(env func(string) string) string {
	if dir := env("XDG_STATE_HOME"); dir != "" {
		return filepath.Join(dir, stateBase)
	}
	return filepath.Join("/var/lib", stateBase)
}

func defaultCache(env func(string) string) string {
	if dir := env("XDG_CACHE_HOME"); dir != "" {
		return filepath.Join(dir, stateBase)
	}
	return filepath.Join(env("HOME"), ".cache", stateBase)
}

func (a *app) site() (cluster.Site, error) {
	dir, err := filepath.Abs(a.state)
	if err != nil {
		return cluster.Site{}, fmt.Errorf("resolve --state: %w", err)
	}
	return cluster.Site{Dir: dir, Name: a.name}, nil
}

func (a *app) progress() *progress.Printer { return progress.New(a.err, time.Now) }

func (a *app) toolchain() (toolchain.Toolchain, error) {
	starts := []string{a.repo}
	if a.repo == "" {
		cwd, err := os.Getwd()
		if err != nil {
			return toolchain.Toolchain{}, fmt.Errorf("find current folder: %w", err)
		}
		self, err := os.Executable()
		if err != nil {
			return toolchain.Toolchain{}, fmt.Errorf("find this program: %w", err)
		}
		starts = []string{cwd, filepath.Dir(self)}
	}
	for i, start := range starts {
		abs, err := filepath.Abs(start)
		if err != nil {
			return toolchain.Toolchain{}, fmt.Errorf("resolve --repo: %w", err)
		}
		starts[i] = abs
	}
	repo, err := toolchain.FindRepository(starts...)
	return toolchain.Toolchain{Repo: repo, Cache: a.cache}, err
}

// open loads the cluster and acquires its lock.
func (a *app) open() (*cluster.Cluster, error) {
	site, err := a.site()
	if err != nil {
		return nil, err
	}
	state, err := site.Load()
	if err != nil {
		return nil, err
	}
	return cluster.Open(site, state, a.progress())
}

// enter is hidden: only daemons start through it.
func enter() *cobra.Command {
	return &cobra.Command{
		Use: proc.EnterCommand + " NAMESPACE CGROUP,... -- PROGRAM [ARG...]", Hidden: true,
		Short: "Become a program inside a network namespace and cgroups",
		Args:  cobra.MinimumNArgs(3),
		RunE: func(_ *cobra.Command, args []string) error {
			return proc.Enter(args[0], strings.Split(args[1], ","), args[2:])
		},
	}
}
