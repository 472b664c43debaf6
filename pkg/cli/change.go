package cli

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/osm-edge/osm/pkg/cli/check"
	"github.com/osm-edge/osm/pkg/cli/cluster"
	"github.com/osm-edge/osm/pkg/cli/command"
	"github.com/osm-edge/osm/pkg/cli/output"
	"github.com/osm-edge/osm/pkg/cli/release"
)

// change is what install, upgrade and scale have in common: flags, pre-flight checks, waiting
// with progress, and telling why it failed.
type change struct {
	env       *command.Env
	cmd       *cobra.Command
	chartPath string
	files     []string
	sets      []string
	timeout   command.Timeout
	atomic    bool
	recover   bool
	dryRun    string
	format    string
	budget    time.Duration
}

func (c *change) addValueFlags() {
	flags := c.cmd.Flags()
	flags.StringArrayVar(&c.sets, "set", nil, "set a chart value as key=value; repeat it, or separate with commas")
	flags.StringArrayVarP(&c.files, "values", "f", nil, "read chart values from a YAML file (- for standard input); repeat it, the last one wins")
	flags.StringVar(&c.chartPath, "osm-chart-path", "", "directory or .tgz file of a chart to use instead of the built-in one")
	flags.StringVar(&c.dryRun, "dry-run", "", `change nothing: "client" checks the values and renders, "server" also runs all checks and a server-side dry run`)
	flags.Lookup("dry-run").NoOptDefVal = "client"
	c.addHeadlessFlag()
	flags.StringVarP(&c.format, "output", "o", "", `"yaml" prints the manifests as helm template would, and changes nothing`)
}

func (c *change) addWaitFlags() {
	flags := c.cmd.Flags()
	c.timeout.AddFlag(c.cmd, command.DefaultTimeout, "how long the whole operation may take")
	flags.BoolVar(&c.recover, "recover", false, "take over from an osm or helm process that was killed in the middle")
}

func (c *change) validFlags() error {
	if err := c.timeout.Validate(c.cmd); err != nil {
		return err
	}
	switch {
	case c.dryRun != "" && c.dryRun != "client" && c.dryRun != "server":
		return command.Usagef(c.cmd, "--dry-run: %q is not allowed; use client or server", c.dryRun)
	case c.format != "" && c.format != "yaml":
		return command.Usagef(c.cmd, "--output: %q is not allowed; use yaml", c.format)
	}
	return c.validHeadless()
}

// target is a mesh and everything that it is about to become.
type target struct {
	name      string
	namespace string
	chart     *release.Chart
	user      release.Values // of the user, to be stored
	values    release.Values // with the chart's defaults
	manifest  string
}

// prepare validates and renders. It needs no cluster.
func (c *change) prepare(t target) (target, error) {
	if err := check.ValidMeshName(t.name); err != nil {
		return t, err
	}
	if err := t.chart.Validate(t.user); err != nil {
		return t, err
	}
	var err error
	if t.values, err = t.chart.Effective(t.user); err != nil {
		return t, err
	}
	t.manifest, err = release.Render(t.request(), t.namespace, check.MinKubernetes)
	return t, err
}

func (t target) request() release.Request {
	return release.Request{Name: t.name, Chart: t.chart, Values: t.user}
}

// plan is the target as the pre-flight checks see it.
func (c *change) plan(t target, info *release.Info) (check.Plan, error) {
	objects, err := release.Objects(t.manifest)
	if err != nil {
		return check.Plan{}, err
	}
	plan := check.Plan{
		Mesh: t.name, Namespace: t.namespace,
		EnforceSingle: t.values.Bool("osm.enforceSingleMesh"),
		Recover:       c.recover, OwnerTimeout: max(time.Duration(c.timeout), command.DefaultTimeout), Now: c.env.Now(),
		Provider: provider(t.values),
	}
	for _, object := range objects {
		plan.Objects = append(plan.Objects, check.Object{
			APIVersion: object.APIVersion, Kind: object.Kind, Namespace: object.Namespace, Name: object.Name, Hook: object.Hook,
		})
	}
	for _, component := range components {
		if t.values.Bool(component.key + ".autoScale.enable") {
			plan.Autoscaled = append(plan.Autoscaled, component.key)
		}
		plan.Floor = max(plan.Floor, component.floor(t.values))
	}
	if info != nil {
		plan.Release = &check.Release{Status: info.Status, Pending: info.Pending, EverDeployed: info.EverDeployed, Since: info.Since}
	}
	return plan, nil
}

// provider is who is to sign certificates, by the values.
func provider(v release.Values) check.Provider {
	port, _ := v.Int("osm.vault.port")
	return check.Provider{
		Kind:   v.String("osm.certificateProvider.kind"),
		Vault:  fmt.Sprintf("%s://%s:%d", v.String("osm.vault.protocol"), v.String("osm.vault.host"), port),
		Secret: v.String("osm.vault.secret.name"), Key: v.String("osm.vault.secret.key"),
		Issuer: check.Issuer{
			Name: v.String("osm.certmanager.issuerName"), Kind: v.String("osm.certmanager.issuerKind"), Group: v.String("osm.certmanager.issuerGroup"),
		},
	}
}

// preflight runs the checks. Warnings are printed, failures are the error.
func (c *change) preflight(ctx context.Context, clients *cluster.Clients, plan check.Plan) error {
	results := check.Run(ctx, check.PreFlight(clients, plan), func(r check.Result) {
		c.env.Debugf("check %s: %s %s", r.ID, r.Status, r.Message)
		if r.Status == check.Warned {
			c.env.Warnf("%s", r.Message)
		}
	})
	return check.Err(results)
}

// observer prints each change of a workload.
func (c *change) observer() release.Observer {
	progress := output.NewProgress(c.env.Err, c.env.Now)
	return func(component release.Component) {
		progress.Change(component.Kind, component.Name, component.Ready, component.Desired, component.Done)
	}
}

// diagnose prints why the control plane is not ready. It comes before any rollback, which would
// remove the evidence.
func (c *change) diagnose(ctx context.Context, clients *cluster.Clients, namespace string) {
	ctx, cancel := command.Cleanup(ctx)
	defer cancel()
	found, err := cluster.Diagnose(ctx, clients.Kube, namespace)
	if err != nil {
		c.env.Warnf("cannot tell what went wrong: %v", err)
		return
	}
	for _, diagnosis := range found {
		c.env.Progressf("\n%s is not ready: %s\n", diagnosis.Object, diagnosis.Reason)
		if diagnosis.Hint != "" {
			c.env.Progressf("  hint: %s\n", diagnosis.Hint)
		}
		for _, event := range diagnosis.Events {
			c.env.Progressf("  event: %s\n", event)
		}
		for _, line := range diagnosis.Logs {
			c.env.Progressf("  log: %s\n", line)
		}
	}
}

// preview prints what would be done, for a dry run.
func (c *change) preview(t target, untried int) error {
	if c.format == "yaml" {
		_, err := io.WriteString(c.env.Out, t.manifest)
		return err
	}
	objects, err := release.Objects(t.manifest)
	if err != nil {
		return err
	}
	grid := output.Grid{Header: []string{"KIND", "NAMESPACE", "NAME"}}
	for _, object := range objects {
		grid.Rows = append(grid.Rows, []string{object.Kind, object.Namespace, object.Name})
	}
	if err := grid.Write(c.env.Out); err != nil {
		return err
	}
	if untried > 0 {
		c.env.Printf("%d objects could not be tried on the server, because namespace [%s] does not exist yet\n", untried, t.namespace)
	}
	c.env.Printf("dry run (%s): nothing was changed; -o yaml shows the manifests\n", c.dryRun)
	return nil
}
