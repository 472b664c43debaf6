package rollout

import (
	"context"
	"fmt"
	"io"

	"github.com/osm-edge/osm/pkg/cli/changes"
	"github.com/osm-edge/osm/pkg/cli/cluster"
	"github.com/osm-edge/osm/pkg/cli/output"
	"github.com/osm-edge/osm/pkg/cli/release"
)

// AddDiffFlag adds the flag for a change of an existing mesh, whose dry runs show what would change.
func (c *Change) AddDiffFlag() {
	c.compares = true
	c.Cmd.Flags().BoolVar(&c.diffs, "diff", false, "show what changes in each object, as a unified diff without the contents of Secrets")
	c.Cmd.Flags().Lookup("output").Usage = `change nothing: "yaml" prints the new manifests, as helm template does; "json" prints what would change`
}

// Upgrading is an upgrade before it begins: what it changes, and what it repairs.
type Upgrading struct {
	Mesh      string `json:"mesh"`
	Namespace string `json:"namespace"`
	changes.Changes
	// LastOperation is the state of the release, as Helm spells it. Unless it is "deployed", the cluster may hold a part
	// of what that operation was to set, and the upgrade applies everything.
	LastOperation string `json:"lastOperation"`
	// Compared says whether the cluster was compared with the release.
	Compared   bool                `json:"comparedWithCluster"`
	Deviations []release.Deviation `json:"deviations,omitempty"`
	// NothingToDo is only known after the comparison.
	NothingToDo bool `json:"nothingToDo"`
}

// Compare says what an upgrade changes. It needs no more of the cluster than the release.
func (c *Change) Compare(t Target, info *release.Info) (Upgrading, error) {
	u := Upgrading{Mesh: t.Name, Namespace: t.Namespace, LastOperation: info.Status}
	var err error
	u.Changes, err = changes.Compare(
		changes.State{Chart: info.Chart, User: info.Values, Rendered: info.Rendered},
		changes.State{Chart: t.Chart, User: t.User, Rendered: t.manifest}, c.diffs)
	return u, err
}

// CompareCluster is Compare and says what an upgrade repairs. An upgrade that changes nothing has something to do if the
// last operation failed, or if the cluster does not hold what it has set.
func (c *Change) CompareCluster(ctx context.Context, clients *cluster.Clients, engine *release.Engine, t Target, info *release.Info) (Upgrading, error) {
	u, err := c.Compare(t, info)
	if err != nil || info.Status != release.Deployed {
		return u, err
	}
	u.Deviations, err = c.Deviations(ctx, clients, engine, info, false)
	if err != nil {
		c.Env.Warnf("cannot tell whether the cluster holds what the release says: %v", err)
		return u, nil
	}
	u.Compared = true
	u.NothingToDo = u.Empty() && len(u.Deviations) == 0
	return u, nil
}

// Show prints what an upgrade does.
func (c *Change) Show(u Upgrading) error {
	if c.format == "json" {
		return output.Write(c.Env.Out, output.JSON, u, output.Grid{})
	}
	if err := u.Write(c.Env.Out); err != nil {
		return err
	}
	switch {
	case u.NothingToDo:
		c.Env.Printf("mesh [%s] in namespace [%s] has this chart and these values, and its objects are in place: there is nothing to change\n", u.Mesh, u.Namespace)
	case u.Empty():
		c.Env.Printf("mesh [%s] in namespace [%s] has this chart and these values\n", u.Mesh, u.Namespace)
	}
	if u.LastOperation != release.Deployed {
		c.Env.Printf("the last operation is %s, so the cluster may hold a part of it; an upgrade applies everything again\n", u.LastOperation)
	}
	if len(u.Deviations) == 0 {
		return nil
	}
	grid := output.Grid{Header: []string{"STATE", "KIND", "NAMESPACE", "NAME"}}
	for _, d := range u.Deviations {
		grid.Rows = append(grid.Rows, []string{d.Why, d.Kind, d.Namespace, d.Name})
	}
	c.Env.Printf("\nnot as the last upgrade left it; an upgrade restores it, or waits until it is ready:\n")
	if err := grid.Write(c.Env.Out); err != nil {
		return err
	}
	c.Env.Printf("\n")
	return nil
}

// PreviewUpgrade prints what an upgrade would change, at the end of a dry run without a server.
func (c *Change) PreviewUpgrade(t Target, info *release.Info) error {
	if c.format == "yaml" {
		return c.printManifest(t)
	}
	u, err := c.Compare(t, info)
	if err != nil {
		return err
	}
	return c.showDryRun(u)
}

// ServerDryRunUpgrade lets the API server try an upgrade, and prints what it would change.
func (c *Change) ServerDryRunUpgrade(ctx context.Context, clients *cluster.Clients, engine *release.Engine, t Target, info *release.Info) error {
	manifest, _, err := engine.DryRun(ctx, t.Request(), true)
	if err != nil {
		return err
	}
	t.manifest = manifest
	if c.format == "yaml" {
		return c.printManifest(t)
	}
	u, err := c.CompareCluster(ctx, clients, engine, t, info)
	if err != nil {
		return err
	}
	return c.showDryRun(u)
}

func (c *Change) showDryRun(u Upgrading) error {
	if err := c.Show(u); err != nil || c.format == "json" {
		return err
	}
	hint := "; --diff shows the differences, -o yaml the manifests"
	if u.Empty() {
		hint = ""
	}
	if c.DryRun != "server" {
		hint += "; --dry-run=server also compares the cluster"
	}
	c.Env.Printf("dry run (%s): nothing was changed%s\n", c.DryRun, hint)
	return nil
}

func (c *Change) printManifest(t Target) error {
	if _, err := io.WriteString(c.Env.Out, t.manifest); err != nil {
		return fmt.Errorf("print the manifests: %w", err)
	}
	return nil
}
