package proxy

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/api/debug"
	"github.com/osm-edge/osm/pkg/cli/cluster"
	"github.com/osm-edge/osm/pkg/cli/command"
	"github.com/osm-edge/osm/pkg/cli/output"
)

const (
	// statusTime limits how long the controllers may take to answer.
	statusTime = 5 * time.Second
	// shownFindings is how many reasons the table is followed by.
	shownFindings = 20
)

type statusOptions struct {
	options
	meshName string
	problems bool
	format   output.Format
}

// NewStatus returns osm proxy status.
func NewStatus(env *command.Env) *cobra.Command {
	o := &statusOptions{options: options{env: env}, format: output.Table}
	cmd := &cobra.Command{
		Use:   "status [POD]",
		Short: "Show whether the proxies of a mesh hold what their controllers want",
		Long: `Show every proxy of a mesh: the controller that serves it and, for each type of configuration, whether
the proxy holds what that controller wants.

  SYNCED        it holds it
  STALE         it has not answered what it was sent for 10 seconds or more
  REFUSED       it rejected what it was sent, and keeps what it had; the reason is Envoy's
  STARTING      its pod is starting; what it waits for is shown after a minute
  DISCONNECTED  its pod runs, and no controller knows it: it keeps the configuration that it has
  UNKNOWN       a controller could not be asked, and no other one knows it

CERTIFICATE is the time until its certificate expires. Without POD, the proxies of the whole mesh are
shown, or of one namespace (-n). POD may be a pod or KIND/NAME of what it belongs to, such as
deploy/NAME; or give a label selector with --selector.

The command fails if a proxy is not SYNCED, unless its pod started less than a minute ago, and if a
controller cannot be asked. You need permission to list the pods of the mesh's namespaces and to create
pods/portforward in the mesh's namespace.`,
		Example: `  osm proxy status
  osm proxy status -n bookbuyer
  osm proxy status deploy/bookbuyer -n bookbuyer

  # Only those with a problem, as JSON
  osm proxy status --problems -o json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) },
	}
	cmd.Flags().StringVar(&o.meshName, "mesh-name", api.DefaultMeshName, "name of the mesh")
	cmd.Flags().StringVarP(&o.namespace, "namespace", "n", "", "show the proxies of this namespace only; with POD: its namespace (default: that of the kubeconfig's context)")
	cmd.Flags().StringVarP(&o.selector, "selector", "l", "", "show the pods of a label selector, such as app=bookbuyer, instead of POD")
	cmd.Flags().BoolVar(&o.problems, "problems", false, "show only proxies with a problem")
	cmd.Flags().VarP(&o.format, "output", "o", "output format")
	return cmd
}

func (o *statusOptions) run(cmd *cobra.Command, args []string) error {
	var target *cluster.PodTarget
	if len(args) > 0 || cmd.Flags().Changed("selector") {
		parsed, err := o.target(cmd, args)
		if err != nil {
			return err
		}
		target = &parsed
	}
	ctx := cmd.Context()
	clients, err := o.env.Connect(ctx)
	if err != nil {
		return err
	}
	mesh, err := o.env.FindMesh(ctx, cmd, clients, o.meshName)
	if err != nil {
		return err
	}
	accepts, err := o.filter(ctx, clients, target)
	if err != nil {
		return err
	}
	f, err := o.read(ctx, clients, mesh)
	if err != nil {
		return err
	}
	all := f.statuses(accepts)
	if slices.ContainsFunc(all, status.lost) {
		if err := o.pause(ctx); err != nil {
			return err
		}
		if f, err = o.read(ctx, clients, mesh); err != nil {
			return err
		}
		all = confirm(all, f.statuses(accepts))
	}
	if target != nil && len(all) == 0 {
		return fmt.Errorf("no proxy of %s is in mesh [%s]: its namespace is no member of that mesh, or its pods have ended; another mesh is given with --mesh-name", *target, mesh.Name)
	}
	return o.report(f, all, mesh)
}

// pause waits until a proxy that changes its controller has connected to the other one.
func (o *statusOptions) pause(ctx context.Context) error {
	timer := time.NewTimer(o.env.Poll)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// filter returns whose proxies are shown.
func (o *statusOptions) filter(ctx context.Context, clients *cluster.Clients, target *cluster.PodTarget) (func(namespace, name string) bool, error) {
	if target == nil {
		return func(namespace, _ string) bool { return o.namespace == "" || namespace == o.namespace }, nil
	}
	in := cmp.Or(o.namespace, clients.Namespace)
	pods, err := target.Pods(ctx, clients.Kube, in)
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(pods, cluster.HasSidecar) {
		wanted := cluster.PodNames(pods)
		return func(namespace, name string) bool { return wanted[namespace+"/"+name] }, nil
	}
	return nil, meshed(&pods[0])
}

func (o *statusOptions) read(ctx context.Context, clients *cluster.Clients, mesh cluster.Mesh) (fleet, error) {
	f := fleet{}
	controllers, err := cluster.ControlPlanePods(ctx, clients.Kube, mesh.Namespace, api.AppController)
	if err != nil {
		return f, err
	}
	// Pods come and go while the controllers are asked.
	if f.before, err = cluster.SidecarPods(ctx, clients.Kube, mesh.Name); err != nil {
		return f, err
	}
	asked := cluster.Running(controllers)
	for i, page := range cluster.DebugPages[debug.XDS](ctx, o.env.Forward, asked, debug.XDSPath, statusTime, o.env.Now) {
		if page.Err == nil || asked[i].DeletionTimestamp == nil { // one that leaves need not answer
			f.controllers = append(f.controllers, page)
		}
	}
	f.after, err = cluster.SidecarPods(ctx, clients.Kube, mesh.Name)
	f.now = o.env.Now()
	return f, err
}

// statusReport is the output for programs.
type statusReport struct {
	Mesh      string          `json:"mesh"`
	Namespace string          `json:"namespace"`
	Replicas  []statusReplica `json:"replicas"`
	Proxies   []status        `json:"proxies"`
	Summary   map[State]int   `json:"summary"` // proxies by state
}

type statusReplica struct {
	Pod     string `json:"pod"`
	Proxies *int   `json:"proxies,omitempty"` // absent if it could not be asked
	Problem string `json:"problem,omitempty"`
}

func (o *statusOptions) report(f fleet, all []status, mesh cluster.Mesh) error {
	report := statusReport{Mesh: mesh.Name, Namespace: mesh.Namespace, Replicas: []statusReplica{}, Proxies: []status{}, Summary: map[State]int{}}
	var problems []string
	for _, controller := range f.controllers {
		replica := statusReplica{Pod: controller.Pod}
		if controller.Err != nil {
			replica.Problem = controller.Err.Error()
			problems = append(problems, controller.Err.Error())
		} else {
			n := len(controller.Value.Proxies)
			replica.Proxies = &n
		}
		report.Replicas = append(report.Replicas, replica)
	}
	silent, wrong := len(problems), 0
	for _, s := range all {
		report.Summary[s.State]++
		if s.wrong {
			wrong++
			problems = append(problems, fmt.Sprintf("%s: %s: %s", s.Pod, s.State, s.Reason))
		}
		if s.wrong || !o.problems {
			report.Proxies = append(report.Proxies, s)
		}
	}
	if err := output.Write(o.env.Out, o.format, report, f.grid(report.Proxies)); err != nil {
		return err
	}
	if o.format == output.Table {
		o.explain(len(all), problems)
	}
	return failure(wrong, len(all), silent)
}

func failure(wrong, all, silent int) error {
	switch {
	case silent > 0:
		return fmt.Errorf("%d of %d proxies have a problem, and %d controller(s) could not be asked", wrong, all, silent)
	case wrong > 0:
		return fmt.Errorf("%d of %d proxies have a problem", wrong, all)
	}
	return nil
}

// explain prints what the table has no room for.
func (o *statusOptions) explain(all int, problems []string) {
	if all == 0 {
		o.env.Printf("\nno pod has a sidecar\n")
	}
	if len(problems) > 0 {
		o.env.Printf("\n")
	}
	for _, problem := range problems[:min(shownFindings, len(problems))] {
		o.env.Printf("%s\n", problem)
	}
	if more := len(problems) - shownFindings; more > 0 {
		o.env.Printf("and %d more; --problems -o json shows all\n", more)
	}
}

// kinds are the columns of the table, in the order in which they are sent.
func kinds() []string { return []string{"cds", "eds", "sds", "lds", "rds"} }

func (f fleet) grid(proxies []status) output.Grid {
	grid := output.Grid{Header: []string{"POD", "STATE"}}
	for _, kind := range kinds() {
		grid.Header = append(grid.Header, strings.ToUpper(kind))
	}
	grid.Header = append(grid.Header, "REPLICA", "CONNECTED", "CERTIFICATE", "ENVOY")
	for _, p := range proxies {
		row := []string{p.Pod, string(p.State)}
		for _, kind := range kinds() {
			i := slices.IndexFunc(p.Types, func(t typeStatus) bool { return t.Type == kind })
			if i < 0 {
				row = append(row, "")
				continue
			}
			row = append(row, string(p.Types[i].State))
		}
		connected, certificate := "", ""
		if p.ConnectedSince != nil {
			connected = f.since(*p.ConnectedSince)
		}
		if p.CertificateExpires != nil {
			certificate = output.Duration(p.CertificateExpires.Sub(f.now))
		}
		grid.Rows = append(grid.Rows, append(row, p.Replica, connected, certificate, p.ProxyVersion))
	}
	return grid
}
