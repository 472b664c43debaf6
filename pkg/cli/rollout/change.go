package rollout

import (
	"maps"
	"time"

	"github.com/spf13/cobra"

	"github.com/osm-edge/osm/pkg/cli/command"
	"github.com/osm-edge/osm/pkg/cli/release"
)

// Change is one change of a mesh, with the flags of the command that makes it.
type Change struct {
	Env *command.Env
	Cmd *cobra.Command

	Atomic  bool // undo a change that failed
	Recover bool // take over from a process that was killed
	DryRun  string
	Timeout command.Timeout

	chartPath string
	files     []string
	sets      []string
	texts     []string // of --set-string
	contents  []string // of --set-file
	profile   string
	format    string
	diffs     bool          // show the diffs of objects
	compares  bool          // a dry run shows what would change
	budget    time.Duration // of --headless-budget
}

// AddValueFlags adds the flags for the chart, the values and dry runs.
func (c *Change) AddValueFlags() {
	flags := c.Cmd.Flags()
	flags.StringArrayVar(&c.sets, "set", nil, "set a chart value as key=value; repeat it, or separate several with commas")
	flags.StringArrayVar(&c.texts, "set-string", nil, "set a chart value to a string, such as a tag of digits, as key=value")
	flags.StringArrayVar(&c.contents, "set-file", nil, "set a chart value to the content of a file, as key=path")
	flags.StringVar(&c.profile, "profile", "", `settings for a purpose: "ha" runs two or more replicas of each component, scaled by load, with a disruption budget; other values win`)
	flags.StringArrayVarP(&c.files, "values", "f", nil, "read chart values from a YAML file (- for standard input); repeat it, the last file wins")
	flags.StringVar(&c.chartPath, "osm-chart-path", "", "directory or .tgz file of a chart to use instead of the built-in one")
	flags.StringVar(&c.DryRun, "dry-run", "", `change nothing: "client", also without a value, checks the values and renders the chart; "server" also runs all checks and a server-side dry run; "none" is no dry run`)
	flags.Lookup("dry-run").NoOptDefVal = "client"
	c.addHeadlessFlag()
	flags.StringVarP(&c.format, "output", "o", "", `change nothing: "yaml" prints the manifests, as helm template does`)
}

// AddWaitFlags adds the flags about waiting.
func (c *Change) AddWaitFlags() {
	c.Timeout.AddFlag(c.Cmd, command.DefaultTimeout, "how long the whole operation may take")
	c.Cmd.Flags().BoolVar(&c.Recover, "recover", false, "take over from an osm or helm process that was killed before it finished")
}

// Validate rejects flags that are invalid on their own.
func (c *Change) Validate() error {
	if err := c.Timeout.Validate(c.Cmd); err != nil {
		return err
	}
	if c.DryRun == "none" {
		c.DryRun = ""
	}
	switch {
	case c.DryRun != "" && c.DryRun != "client" && c.DryRun != "server":
		return command.Usagef(c.Cmd, "--dry-run: %q is not allowed; use client, server or none", c.DryRun)
	case c.compares && c.format != "" && c.format != "yaml" && c.format != "json":
		return command.Usagef(c.Cmd, "--output: %q is not allowed; use yaml or json", c.format)
	case !c.compares && c.format != "" && c.format != "yaml":
		return command.Usagef(c.Cmd, "--output: %q is not allowed; use yaml", c.format)
	case c.diffs && c.format == "yaml":
		return command.Usagef(c.Cmd, "--diff has no effect with -o yaml, which prints the new manifests; leave one of them out")
	}
	if err := c.validProfile(); err != nil {
		return err
	}
	return c.validHeadless()
}

// RendersOnly reports whether the flags only request what needs no cluster.
func (c *Change) RendersOnly() bool {
	return c.DryRun == "client" || (c.DryRun == "" && c.format != "")
}

// Chart loads the chart that the flags name.
func (c *Change) Chart() (*release.Chart, error) { return c.Env.Chart(c.chartPath) }

// Merge merges the values of all sources: flags that stand for values (by key), --set and its variants, --values, the
// stored values of the release and what --headless-budget and --profile ask for.
func (c *Change) Merge(flags map[string]any, stored release.Values) (release.Values, error) {
	return release.Layers{
		Stored: stored, Files: c.files, Sets: c.sets, StringSets: c.texts, FileSets: c.contents, Flags: flags, Derive: c.derived,
	}.Merge()
}

func (c *Change) derived(given, merged release.Values) (map[string]any, error) {
	values, err := c.headless(given)
	if err != nil {
		return nil, err
	}
	more, err := c.profiled(given, merged)
	if err != nil {
		return nil, err
	}
	all := map[string]any{}
	maps.Copy(all, values)
	maps.Copy(all, more)
	return all, nil
}
