package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/osm-edge/osm/demo/cluster/internal/cluster"
	"github.com/osm-edge/osm/demo/cluster/internal/host"
	"github.com/osm-edge/osm/demo/cluster/internal/plan"
	"github.com/osm-edge/osm/demo/cluster/internal/progress"
	"github.com/osm-edge/osm/demo/cluster/internal/toolchain"
)

const (
	defaultNodes = 3
	defaultOctet = 210
)

type upFlags struct {
	nodes, octet           int
	noInstall              bool
	nodesGiven, octetGiven bool
	domain                 string
	domainGiven            bool
}

func (a *app) up() *cobra.Command {
	var f upFlags
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Bring the cluster up, or repair and enlarge it",
		Long: `up compiles what is not in the cache, starts what is not running and returns when every node is ready, CoreDNS
resolves names and the metrics API answers. It may be interrupted and run again at any point; on a healthy
cluster it only checks. Nodes that were stopped or cut are started and healed.`,
		Example: `  cluster up
  cluster up --nodes 5                       # also enlarges a running cluster
  cluster up --name second --octet 220       # a second cluster next to the first`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.nodesGiven, f.octetGiven, f.domainGiven = cmd.Flags().Changed("nodes"), cmd.Flags().Changed("octet"), cmd.Flags().Changed("domain")
			return a.runUp(cmd.Context(), f)
		},
	}
	cmd.Flags().IntVar(&f.nodes, "nodes", defaultNodes, fmt.Sprintf("number of nodes, 1 to %d", plan.MaxNodes))
	cmd.Flags().IntVar(&f.octet, "octet", defaultOctet, "second number of the addresses: the cluster takes 10.N to 10.(N+2), N from 0 to 253")
	cmd.Flags().StringVar(&f.domain, "domain", plan.DefaultDomain, "DNS domain of the cluster")
	cmd.Flags().BoolVar(&f.noInstall, "no-install", false, "fail instead of installing missing packages")
	return cmd
}

func (a *app) runUp(ctx context.Context, f upFlags) error {
	site, err := a.site()
	if err != nil {
		return err
	}
	old, err := site.Load()
	if err != nil && !errors.Is(err, cluster.ErrAbsent) {
		return err
	}
	known := err == nil
	want, err := choosePlan(a.name, f, old.Plan, known)
	if err != nil {
		return err
	}
	out := a.progress()
	if err := a.ready(ctx, out, !f.noInstall); err != nil {
		return err
	}
	state, err := a.assemble(ctx, out, want)
	if err != nil {
		return explain(ctx, err)
	}
	if state.Before = old.Before; !known {
		if state.Before, err = site.Before(); err != nil {
			return err
		}
	}
	c, err := cluster.Open(site, state, out)
	if err != nil {
		return err
	}
	if err := errors.Join(c.Up(ctx, site), c.Close()); err != nil {
		return explain(ctx, err)
	}
	out.Total(fmt.Sprintf("cluster %s is up with %d nodes", want.Name, want.Nodes))
	fmt.Fprintf(a.out, "export KUBECONFIG=%s\n", site.Kubeconfig())
	return nil
}

// choosePlan keeps an existing cluster's plan unless a flag changes it, and refuses changes that are not possible.
func choosePlan(name string, f upFlags, old plan.Cluster, exists bool) (plan.Cluster, error) {
	want := plan.Cluster{Name: name, Octet: f.octet, Nodes: f.nodes, Domain: f.domain}
	if exists && !f.domainGiven {
		want.Domain = old.Domain
	}
	if exists && !f.nodesGiven {
		want.Nodes = old.Nodes
	}
	if exists && !f.octetGiven {
		want.Octet = old.Octet
	}
	if err := want.Validate(); err != nil {
		return want, fmt.Errorf("plan cluster: %w", err)
	}
	if exists && want.Octet != old.Octet {
		return want, fmt.Errorf("cluster %s has octet %d, which cannot change; run `cluster down` first", name, old.Octet)
	}
	if exists && want.DNSDomain() != old.DNSDomain() {
		return want, fmt.Errorf("cluster %s has the domain %s, which cannot change; run `cluster down` first", name, old.DNSDomain())
	}
	if exists && want.Nodes < old.Nodes {
		return want, fmt.Errorf("cluster %s has %d nodes and cannot shrink to %d; run `cluster down` first", name, old.Nodes, want.Nodes)
	}
	return want, nil
}

// ready makes sure that the machine can run a cluster, and installs missing packages after saying so.
func (a *app) ready(ctx context.Context, out *progress.Printer, install bool) error {
	m := host.Inspect()
	if err := m.Check(install); err != nil || len(m.Missing) == 0 {
		return err
	}
	out.Say("installing with apt-get: %s", strings.Join(m.Missing, ", "))
	err := out.Step("install packages", func() error { return host.Install(ctx, m.Missing, a.err) })
	if err != nil {
		return err
	}
	return host.Inspect().Check(false)
}

// assemble compiles what is missing and returns the paths of all programs and images.
func (a *app) assemble(ctx context.Context, out *progress.Printer, want plan.Cluster) (cluster.State, error) {
	state := cluster.State{Plan: want, Programs: map[string]string{}}
	chain, err := a.toolchain()
	if err != nil {
		return state, err
	}
	for _, m := range toolchain.Modules() {
		dir, err := buildModule(ctx, out, chain, m)
		if err != nil {
			return state, err
		}
		for _, program := range m.Programs() {
			state.Programs[program] = filepath.Join(dir, program)
		}
		if image := filepath.Join(dir, toolchain.ImageFile); exists(image) {
			state.Images = append(state.Images, image)
		}
	}
	for _, program := range []string{"etcd", "containerd", "ctr"} {
		if state.Programs[program], err = exec.LookPath(program); err != nil {
			return state, fmt.Errorf("find %s: %w", program, err)
		}
	}
	state.CNIBin, err = host.PluginDir()
	return state, err
}

func buildModule(ctx context.Context, out *progress.Printer, chain toolchain.Toolchain, m toolchain.Module) (dir string, err error) {
	_, built, err := chain.Path(ctx, m)
	if err != nil {
		return "", err
	}
	if built {
		err = out.Step("find "+m.Name+" in the cache", func() error {
			dir, err = chain.Build(ctx, m, nil)
			return err
		})
		return dir, err
	}
	err = out.Step("compile "+m.Name, func() error {
		dir, err = compileModule(ctx, out, chain, m)
		return err
	})
	return dir, err
}

// compileModule compiles m and reports progress, because that can take a quarter of an hour.
func compileModule(ctx context.Context, out *progress.Printer, chain toolchain.Toolchain, m toolchain.Module) (string, error) {
	out.Say("checking which packages of %s to compile (downloaded the first time)", m.Name)
	pending, all, err := chain.Pending(ctx, m)
	if err != nil {
		return "", err
	}
	next := "nothing"
	if later := toolchain.After(m.Name); len(later) > 0 {
		next = strings.Join(later, ", ")
	}
	out.Say("compiling %s: %d of %d packages are left; then: %s. Ctrl-C is safe, the next run continues from here", m.Name, pending, all, next)
	return chain.Build(ctx, m, out.Count(m.Name, all-pending, all, "packages"))
}

// explain turns an interruption into an error that says how to continue.
func explain(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errors.New("interrupted; run `cluster up` to continue or `cluster down` to remove what exists")
	}
	return err
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

func (a *app) down() *cobra.Command {
	var octet int
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Stop and remove the cluster without a trace",
		Long: `down kills every process of the cluster and removes its namespaces, links, mounts, cgroups and files, and restores
the kernel settings that its kubelets changed. It also works on a cluster that came up only partly, or not at all.
Compiled programs stay in the cache.`,
		Example: `  cluster down
  cluster down --name second`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runDown(cmd.Context(), octet) },
	}
	cmd.Flags().IntVar(&octet, "octet", defaultOctet, "the cluster's octet, needed only if its state is lost")
	return cmd
}

func (a *app) runDown(ctx context.Context, octet int) error {
	site, err := a.site()
	if err != nil {
		return err
	}
	if err := host.Inspect().Removable(); err != nil {
		return err
	}
	state, err := site.Load()
	if err != nil { // absent or unreadable: the names follow from the plan alone
		state = cluster.State{Plan: plan.Cluster{Name: a.name, Octet: octet, Nodes: plan.MaxNodes}}
		if err := state.Plan.Validate(); err != nil {
			return fmt.Errorf("plan what to remove: %w", err)
		}
	}
	out := a.progress()
	c, err := cluster.Open(site, state, out)
	if err != nil {
		return err
	}
	if err := errors.Join(c.Down(ctx, site), c.Close()); err != nil {
		return err
	}
	out.Total(fmt.Sprintf("cluster %s is removed", a.name))
	return nil
}

func (a *app) build() *cobra.Command {
	return &cobra.Command{
		Use:     "build",
		Short:   "Only compile Kubernetes, CoreDNS and metrics-server into the cache",
		Example: "  cluster build",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			chain, err := a.toolchain()
			if err != nil {
				return err
			}
			out := a.progress()
			for _, m := range toolchain.Modules() {
				if _, err := buildModule(cmd.Context(), out, chain, m); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func (a *app) preflight() *cobra.Command {
	var noInstall bool
	cmd := &cobra.Command{
		Use:     "preflight",
		Short:   "Say whether this machine can run a cluster (exit code 0) or why not (1)",
		Example: "  cluster preflight && cluster up",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			m := host.Inspect()
			if err := m.Check(!noInstall); err != nil {
				return err
			}
			if len(m.Missing) > 0 {
				fmt.Fprintf(a.out, "a local cluster can run on this machine; up will install %s\n", strings.Join(m.Missing, ", "))
				return nil
			}
			fmt.Fprintln(a.out, "a local cluster can run on this machine")
			return nil
		},
	}
	cmd.Flags().BoolVar(&noInstall, "no-install", false, "treat a missing package as a reason")
	return cmd
}
