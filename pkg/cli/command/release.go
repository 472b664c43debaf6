package command

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/cli/cluster"
	"github.com/osm-edge/osm/pkg/cli/release"
)

// ForeignReleaseError is a Helm release that has the name of a mesh but was made from another chart.
type ForeignReleaseError struct {
	Release, Namespace, Chart string
}

func (e *ForeignReleaseError) Error() string {
	return fmt.Sprintf("Helm release %s in namespace %s was made from chart %s, which is not this osm's: it is neither upgraded, scaled nor removed by it, and nothing was changed; "+
		"name another mesh with --mesh-name and --osm-namespace; to replace Open Service Mesh or osm-edge, remove it with its own command line (osm uninstall mesh of its version) or helm uninstall %s -n %s, then its CRDs, and install anew (docs/upgrade.md)",
		e.Release, e.Namespace, e.Chart, e.Release, e.Namespace)
}

// ExistingRelease returns the state of a release, or nil if there is none. A release of another chart is an error.
func ExistingRelease(engine *release.Engine, name string) (*release.Info, error) {
	info, err := engine.Info(name)
	if errors.Is(err, release.ErrNotFound) {
		return nil, nil //nolint:nilnil // none is an answer
	}
	if err != nil {
		return nil, err
	}
	if chart := info.Chart.Foreign(); chart != "" {
		return nil, &ForeignReleaseError{info.Name, info.Namespace, chart}
	}
	return info, nil
}

// FindRelease returns the release of a mesh and the engine for it: that in --osm-namespace or, unless that was given,
// the only one of that name in the cluster. If there is none, the error says where there is one, with the command line
// for it: words is the command.
func (e *Env) FindRelease(ctx context.Context, cmd *cobra.Command, clients *cluster.Clients, mesh, words string) (*release.Engine, *release.Info, error) {
	engine, err := e.Engine(e.Namespace)
	if err != nil {
		return nil, nil, err
	}
	info, err := ExistingRelease(engine, mesh)
	if err != nil {
		return nil, nil, err
	}
	if info != nil {
		return engine, info, nil
	}
	namespaces, err := clients.ReleaseNamespaces(ctx, mesh)
	if err != nil {
		e.Debugf("cannot look for releases in other namespaces: %v", err)
	}
	if len(namespaces) != 1 || cmd.Flags().Changed("osm-namespace") {
		return nil, nil, e.noRelease(namespaces, mesh, words)
	}
	if engine, err = e.Engine(namespaces[0]); err != nil {
		return nil, nil, err
	}
	if info, err = ExistingRelease(engine, mesh); err == nil && info == nil {
		err = e.noRelease(nil, mesh, words)
	}
	return engine, info, err
}

func (e *Env) noRelease(namespaces []string, mesh, words string) error {
	hint := "install it with osm install, or name the right one with --mesh-name and --osm-namespace (osm mesh list shows them)"
	if len(namespaces) > 0 {
		commands := make([]string, len(namespaces))
		for i, namespace := range namespaces {
			commands[i] = fmt.Sprintf("osm %s --mesh-name %s --osm-namespace %s", words, mesh, namespace)
		}
		hint = fmt.Sprintf("Helm has a release of that name in namespace [%s]; if you mean that one, run: %s", strings.Join(namespaces, "], ["), strings.Join(commands, " or "))
	}
	return fmt.Errorf("there is no mesh %q in namespace %q; %s", mesh, e.Namespace, hint)
}

// RootSecrets are the names of the Secrets that can hold a root of the built-in provider: before the
// first rotation it is in the first one, and each rotation moves it to the other one. info may be nil.
func RootSecrets(info *release.Info) []string {
	first := api.CABundleSecret
	if info != nil {
		if name := info.Values.String("osm.caBundleSecretName"); name != "" {
			first = name
		}
	}
	return []string{first, first + "-next"}
}
