package verify

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/cli/check"
	"github.com/osm-edge/osm/pkg/cli/cluster"
	"github.com/osm-edge/osm/pkg/cli/command"
	"github.com/osm-edge/osm/pkg/cli/output"
)

const (
	// verifyTime limits how long reading the state of a mesh may take.
	verifyTime = 30 * time.Second
	// defaultHeadlessTarget is well below the seven hours that the default values always leave.
	defaultHeadlessTarget = 4 * time.Hour
)

type options struct {
	env      *command.Env
	cmd      *cobra.Command
	meshName string
	target   time.Duration
	format   output.Format
}

// NewHA returns osm verify ha.
func NewHA(env *command.Env) *cobra.Command {
	o := &options{env: env, format: output.Table}
	o.cmd = &cobra.Command{
		Use:   "ha",
		Short: "Verify that a mesh survives the loss of pods, nodes and its control plane",
		Long: `Check whether a mesh survives the loss of a pod, of a node and, for some time, of its whole control
plane. Nothing is changed.

For osm-controller and osm-injector, the replicas, nodes, disruption budget and autoscaler are
checked. For the mesh: whether all replicas answer and hold the same root, when it expires, which
replica is the leader, whether the API server can call the injectors and the controllers hear from it,
how many proxies are connected and to which replicas, and whether pods hang because their sidecar does
not start; and for how long proxies would have valid certificates if the control plane died now: less
than --headless-target is a failure.

The command fails if a check fails; a warning is no failure. A check that fails only because another one
did is named, not shown, and counts as skipped: -o json shows it. You need permission to read the mesh's
namespace, nodes, namespaces, pods with a sidecar and the webhook's configuration and, in the mesh's
namespace, to get pods/proxy or, if a NetworkPolicy keeps the API server from the replicas, to create
pods/portforward.`,
		Example: `  osm verify ha
  osm verify ha --headless-target 12h

  # For scripts: one JSON document, and exit code 1 if a check fails
  osm verify ha --mesh-name blue -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context()) },
	}
	flags := o.cmd.Flags()
	flags.StringVar(&o.meshName, "mesh-name", api.DefaultMeshName, "name of the mesh")
	flags.DurationVar(&o.target, "headless-target", defaultHeadlessTarget, "how long the mesh must be able to run without a control plane; 0 accepts any time")
	flags.VarP(&o.format, "output", "o", "output format")
	return o.cmd
}

func (o *options) run(ctx context.Context) error {
	if o.target < 0 {
		return command.Usagef(o.cmd, "--headless-target: %s is negative; use a duration such as 4h", o.target)
	}
	clients, err := o.env.Connect(ctx)
	if err != nil {
		return err
	}
	mesh, err := o.env.FindMesh(ctx, o.cmd, clients, o.meshName)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, verifyTime, fmt.Errorf("no answer within %s", verifyTime))
	defer cancel()
	a := cluster.ReadAvailability(ctx, clients, mesh, o.env.Now())
	if err := a.Unreadable(); err != nil {
		return err
	}
	results := check.Run(ctx, check.HA(a, o.target), nil)
	if err := o.write(o.report(a, results)); err != nil {
		return err
	}
	return failedChecks(results)
}

// failedChecks names the checks that failed; the report says why.
func failedChecks(results []check.Result) error {
	var failed []string
	for _, result := range results {
		if result.Status == check.Failed {
			failed = append(failed, result.ID)
		}
	}
	if len(failed) == 0 {
		return nil
	}
	return fmt.Errorf("%d of %d checks failed: %s", len(failed), len(results), strings.Join(failed, ", "))
}

// haReport is the output for scripts.
type haReport struct {
	Mesh           string         `json:"mesh"`
	Namespace      string         `json:"namespace"`
	HeadlessTarget string         `json:"headlessTarget"`
	FirstFailure   *firstFailure  `json:"firstFailure,omitempty"` // absent if unknown, or if no certificate can expire
	InjectedPods   *int           `json:"injectedPods,omitempty"` // absent if unknown
	Replicas       []haReplica    `json:"replicas"`
	Summary        map[string]int `json:"summary"` // checks by status; "explained" are those of the skipped ones that a failed check explains
	Checks         []check.Result `json:"checks"`
}

// explained counts, in the summary, the checks that another one explains.
const explained = "explained"

func summarize(results []check.Result) map[string]int {
	count := map[string]int{string(check.Passed): 0, string(check.Failed): 0, string(check.Warned): 0, string(check.Skipped): 0, explained: 0}
	for _, result := range results {
		count[string(result.Status)]++
		if result.ExplainedBy != "" {
			count[explained]++
		}
	}
	return count
}

type firstFailure struct {
	At      time.Time `json:"at"`
	Seconds int64     `json:"seconds"` // from now; negative if in the past
	Pod     string    `json:"pod,omitempty"`
	Replica string    `json:"replica"`
}

type haReplica struct {
	Component  string     `json:"component"`
	Pod        string     `json:"pod"`
	Node       string     `json:"node"`
	Root       string     `json:"root,omitempty"`
	RootExpiry *time.Time `json:"rootExpiry,omitempty"`
	Proxies    *int       `json:"proxies,omitempty"` // of a controller
	Problem    string     `json:"problem,omitempty"`
}

func (o *options) report(a cluster.Availability, results []check.Result) haReport {
	report := haReport{Mesh: a.Mesh.Name, Namespace: a.Mesh.Namespace, HeadlessTarget: output.Compact(o.target), Replicas: []haReplica{}, Summary: summarize(results), Checks: results}
	if a.Injected.Err == nil {
		report.InjectedPods = &a.Injected.Value
	}
	for _, c := range a.Components {
		for _, r := range c.Replicas {
			report.Replicas = append(report.Replicas, reportReplica(r))
		}
		if first, err := check.FirstFailure(c.Replicas); c.App == api.AppController && err == nil && !first.At.IsZero() {
			report.FirstFailure = &firstFailure{first.At, int64(first.At.Sub(a.Now) / time.Second), first.Pod, first.Replica}
		}
	}
	return report
}

func reportReplica(r cluster.Replica) haReplica {
	replica := haReplica{Component: r.App, Pod: r.Pod, Node: r.Node, Root: r.Root}
	if r.Err != nil {
		replica.Problem = r.Err.Error()
		return replica
	}
	if !r.RootExpiry.IsZero() {
		replica.RootExpiry = &r.RootExpiry
	}
	if r.App == api.AppController && r.Proxies >= 0 {
		replica.Proxies = &r.Proxies
	}
	return replica
}

func (o *options) write(report haReport) error {
	if o.format != output.Table {
		return output.Write(o.env.Out, o.format, report, output.Grid{})
	}
	grid := output.Grid{Header: []string{"STATUS", "CHECK", "FOUND"}}
	for _, result := range report.Checks {
		if result.ExplainedBy == "" {
			grid.Rows = append(grid.Rows, []string{string(result.Status), result.ID, result.Message})
		}
	}
	o.env.Printf("mesh [%s] in namespace [%s]\n\n", report.Mesh, report.Namespace)
	if err := grid.Write(o.env.Out); err != nil {
		return err
	}
	o.writeExplained(report.Checks)
	count := report.Summary
	o.env.Printf("\n%d passed, %d failed, %d warning(s), %d skipped\n", count[string(check.Passed)], count[string(check.Failed)], count[string(check.Warned)], count[string(check.Skipped)])
	return nil
}

// writeExplained names the checks that are not shown, by the failed check that explains them.
func (o *options) writeExplained(results []check.Result) {
	byCause := map[string][]string{}
	for _, result := range results {
		if result.ExplainedBy != "" {
			byCause[result.ExplainedBy] = append(byCause[result.ExplainedBy], result.ID)
		}
	}
	if len(byCause) == 0 {
		return
	}
	o.env.Printf("\n")
	for _, cause := range slices.Sorted(maps.Keys(byCause)) {
		o.env.Printf("%s explains, and -o json shows: %s\n", cause, strings.Join(byCause[cause], ", "))
	}
}
