package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/osm-edge/osm/demo/cluster/internal/cluster"
	"github.com/osm-edge/osm/demo/cluster/internal/plan"
	"github.com/osm-edge/osm/demo/cluster/internal/toolchain"
)

func (a *app) status() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the cluster's components, and whether they are healthy",
		Example: `  cluster status
  cluster status -o json | jq .healthy`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "text" && output != "json" {
				return fmt.Errorf("output %q must be text or json", output)
			}
			site, err := a.site()
			if err != nil {
				return err
			}
			state, err := site.Load()
			if err != nil {
				return err
			}
			report, err := cluster.Inspect(cmd.Context(), site, state)
			if err != nil {
				return err
			}
			return a.printReport(report, output)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "text", "output format: text or json")
	return cmd
}

func (a *app) printReport(r cluster.Report, output string) error {
	if output == "json" {
		enc := json.NewEncoder(a.out)
		enc.SetIndent("", "  ")
		return enc.Encode(r)
	}
	w := tabwriter.NewWriter(a.out, 0, 0, 3, ' ', 0)
	fmt.Fprintf(w, "cluster\t%s\nhealthy\t%t\nserver\t%s\nkubeconfig\t%s\n", r.Name, r.Healthy, r.Server, r.Kubeconfig)
	for _, problem := range []struct{ part, reason string }{{"api", r.API}, {"dns", r.DNS}, {"metrics", r.Metrics}} {
		if problem.reason != "" {
			fmt.Fprintf(w, "%s\t%s\n", problem.part, problem.reason)
		}
	}
	fmt.Fprintf(w, "control plane\t%s\n\nNODE\tADDRESS\tPODS\tSTATE\tDAEMONS\n", daemonLine(r.ControlPlane))
	for _, n := range r.Nodes {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", n.Name, n.Address, n.PodCIDR, nodeState(n), daemonLine(n.Daemons))
	}
	return w.Flush()
}

func daemonLine(daemons []cluster.DaemonReport) string {
	parts := make([]string, 0, len(daemons))
	for _, d := range daemons {
		pid := "dead"
		if d.PID != 0 {
			pid = fmt.Sprint(d.PID)
		}
		parts = append(parts, d.Name+"="+pid)
	}
	return strings.Join(parts, " ")
}

func nodeState(n cluster.NodeReport) string {
	state := "NotReady"
	if n.Ready {
		state = "Ready"
	}
	if n.Unschedulable {
		state += ",SchedulingDisabled"
	}
	if !n.Plugged {
		state += ",Cut"
	}
	return state
}

func (a *app) load() *cobra.Command {
	return &cobra.Command{
		Use:   "load IMAGE.tar...",
		Short: "Import image archives (Docker or OCI) into every node",
		Long: `load imports archives into the containerd of all nodes concurrently. Images keep their names from the archive,
so that pods with imagePullPolicy IfNotPresent or Never find them.`,
		Example: "  cluster load app.tar sidecar.tar",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.change(func(c *cluster.Cluster) error { return c.LoadImages(cmd.Context(), args) })
		},
	}
}

// change runs do on the cluster while holding its lock.
func (a *app) change(do func(*cluster.Cluster) error) error {
	c, err := a.open()
	if err != nil {
		return err
	}
	err = do(c)
	if closed := c.Close(); err == nil {
		err = closed
	}
	return err
}

func (a *app) kubeconfig() *cobra.Command {
	return &cobra.Command{
		Use:     "kubeconfig",
		Short:   "Print the path of the administrator's kubeconfig",
		Example: "  export KUBECONFIG=$(cluster kubeconfig)",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			site, err := a.site()
			if err != nil {
				return err
			}
			if _, err := site.Load(); err != nil {
				return err
			}
			fmt.Fprintln(a.out, site.Kubeconfig())
			return nil
		},
	}
}

func (a *app) path() *cobra.Command {
	return &cobra.Command{
		Use:   "path PROGRAM",
		Short: "Print the path of a program (kubectl, kube-apiserver, etcd, ...)",
		Long:  "path prints the path of a program that `cluster build` has compiled or a package has installed. It needs no cluster.",
		Example: `  $(cluster path kubectl) get pods -A
  cluster path kube-apiserver`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			file, err := a.findProgram(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			fmt.Fprintln(a.out, file)
			return nil
		},
	}
}

func (a *app) findProgram(ctx context.Context, name string) (string, error) {
	packaged := []string{"etcd", "containerd", "ctr", "runc"}
	if slices.Contains(packaged, name) {
		file, err := exec.LookPath(name)
		if err != nil {
			return "", fmt.Errorf("find %s: %w; `cluster up` installs it", name, err)
		}
		return file, nil
	}
	known := packaged
	for _, m := range toolchain.Modules() {
		known = append(known, m.Programs()...)
		if !slices.Contains(m.Programs(), name) {
			continue
		}
		chain, err := a.toolchain()
		if err != nil {
			return "", err
		}
		dir, built, err := chain.Path(ctx, m)
		if err == nil && !built {
			err = fmt.Errorf("find %s: it is not compiled yet; run `cluster build`", name)
		}
		return filepath.Join(dir, name), err
	}
	return "", fmt.Errorf("no program %q: choose from %s", name, strings.Join(known, ", "))
}

func (a *app) node() *cobra.Command {
	parent := &cobra.Command{
		Use:   "node",
		Short: "Make one node fail, and bring it back",
		Example: `  cluster node stop node-2     # power off
  cluster node start node-2
  cluster node cut node-3      # pull the network cable
  cluster node heal node-3`,
	}
	type action = func(context.Context, *cluster.Cluster, plan.Machine) error
	add := func(use, short string, do action) {
		parent.AddCommand(&cobra.Command{
			Use: use + " NODE", Short: short, Args: cobra.ExactArgs(1), Example: "  cluster node " + use + " node-2",
			RunE: func(cmd *cobra.Command, args []string) error {
				return a.change(func(c *cluster.Cluster) error {
					node, err := c.Plan.FindNode(args[0])
					if err != nil {
						return err
					}
					return do(cmd.Context(), c, node)
				})
			},
		})
	}
	add("stop", "Kill everything on a node at once, as a power failure would", func(ctx context.Context, c *cluster.Cluster, n plan.Machine) error {
		return c.StopNode(ctx, n)
	})
	add("start", "Switch a node on and wait until it is ready", func(ctx context.Context, c *cluster.Cluster, n plan.Machine) error {
		return c.StartNode(ctx, n)
	})
	add("cut", "Take a node's network link down", func(_ context.Context, c *cluster.Cluster, n plan.Machine) error { return c.CutNode(n) })
	add("heal", "Take a node's network link up", func(_ context.Context, c *cluster.Cluster, n plan.Machine) error { return c.HealNode(n) })
	return parent
}
