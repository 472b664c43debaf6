package rollout

import (
	"github.com/osm-edge/osm/pkg/cli/check"
	"github.com/osm-edge/osm/pkg/cli/output"
	"github.com/osm-edge/osm/pkg/cli/release"
)

// Target is the desired state of a mesh.
type Target struct {
	Name      string
	Namespace string
	Chart     *release.Chart
	User      release.Values // set by the user; stored in the release

	values   release.Values // with the chart's defaults
	manifest string
}

// Values returns the values of the target with the chart's defaults.
func (t Target) Values() release.Values { return t.values }

// Request returns the request to package release.
func (t Target) Request() release.Request {
	return release.Request{Name: t.Name, Chart: t.Chart, Values: t.User}
}

// Prepare validates a target and renders its chart. It needs no cluster.
func (c *Change) Prepare(t Target) (Target, error) {
	if err := check.ValidMeshName(t.Name); err != nil {
		return t, err
	}
	if err := check.ValidNamespace(t.Namespace); err != nil {
		return t, err
	}
	if err := t.Chart.Validate(t.User); err != nil {
		return t, err
	}
	var err error
	if t.values, err = t.Chart.Effective(t.User); err != nil {
		return t, err
	}
	t.manifest, err = release.Render(t.Request(), t.Namespace, check.MinKubernetes)
	return t, err
}

// Preview prints what a change would apply, at the end of a dry run without a server.
func (c *Change) Preview(t Target) error { return c.preview(t, 0) }

// preview prints a dry run; the server could not check the untried objects.
func (c *Change) preview(t Target, untried int) error {
	if c.format == "yaml" {
		return c.printManifest(t)
	}
	objects, err := release.Objects(t.manifest)
	if err != nil {
		return err
	}
	grid := output.Grid{Header: []string{"KIND", "NAMESPACE", "NAME"}}
	for _, object := range objects {
		grid.Rows = append(grid.Rows, []string{object.Kind, object.Namespace, object.Name})
	}
	if err := grid.Write(c.Env.Out); err != nil {
		return err
	}
	if untried > 0 {
		c.Env.Printf("%d objects could not be tried on the server, because namespace [%s] does not exist yet\n", untried, t.Namespace)
	}
	c.Env.Printf("dry run (%s): nothing was changed; -o yaml shows the manifests\n", c.DryRun)
	return nil
}
