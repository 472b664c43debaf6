package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/cli/cluster"
	"github.com/osm-edge/osm/pkg/cli/release"
)

// shownEvidence is how much of what shows a mesh is named.
const shownEvidence = 3

// identity is what shows where meshes of one name are, or were. Two may have the same name, in two
// namespaces, and much that belongs to a mesh names the mesh only.
type identity struct {
	mesh     string
	evidence map[string][]string // namespace -> what shows a mesh there
	alive    map[string]bool     // namespaces whose mesh runs, has a release, or owns objects of the cluster
	unplaced []string            // what names the mesh and no namespace
}

// identify looks for meshes of a name in the whole cluster.
func (e *Env) identify(ctx context.Context, clients *cluster.Clients, mesh string, meshes []cluster.Mesh, objects []cluster.Object) (*identity, error) {
	id := &identity{mesh: mesh, evidence: map[string][]string{}, alive: map[string]bool{}}
	for _, m := range meshes {
		if m.Name == mesh {
			id.add(m.Namespace, "Deployment "+api.AppController, true)
		}
	}
	namespaces, err := clients.ReleaseNamespaces(ctx, mesh)
	if apierrors.IsForbidden(err) {
		e.errorf("Warning: releases in other namespaces cannot be looked for: %v\n", err)
		namespaces, err = []string{e.Namespace}, nil
	}
	if err != nil {
		return nil, err
	}
	for _, namespace := range namespaces {
		if e.ownRelease(namespace, mesh) {
			id.add(namespace, "Helm release "+mesh, true)
		}
	}
	for _, object := range objects {
		if object.Home == "" {
			id.unplaced = append(id.unplaced, object.String())
			continue
		}
		id.add(object.Home, object.String(), object.Namespace == "")
	}
	return id, nil
}

// ownRelease says whether a namespace has a release of this name that was made from osm's chart. One
// of another chart is none of osm's business here, nor is a record that cannot be read: whoever may
// write Secrets somewhere must not be able to keep a mesh elsewhere from being removed.
func (e *Env) ownRelease(namespace, name string) bool {
	engine, err := e.Engine(namespace)
	if err != nil {
		e.errorf("Warning: %v\n", err)
		return false
	}
	info, err := existing(engine, name)
	if err != nil && !errors.As(err, new(*foreignError)) {
		e.errorf("Warning: %v\n", err)
	}
	return err == nil && info != nil
}

func (id *identity) add(namespace, evidence string, alive bool) {
	id.evidence[namespace] = append(id.evidence[namespace], evidence)
	id.alive[namespace] = id.alive[namespace] || alive
}

// shared says whether a mesh of the same name lives in another namespace, so that what names no
// namespace may be that mesh's.
func (id *identity) shared(namespace string) bool {
	for other, alive := range id.alive {
		if alive && other != namespace {
			return true
		}
	}
	return false
}

// elsewhere names the other namespaces and what shows a mesh there.
func (id *identity) elsewhere(namespace string) []string {
	var places []string
	for _, other := range slices.Sorted(maps.Keys(id.evidence)) {
		if other != namespace {
			places = append(places, fmt.Sprintf("[%s] (%s)", other, some(id.evidence[other])))
		}
	}
	return places
}

// missing is the error of a command about a mesh that is not in the namespace; nil when nothing at
// all carries its name. words is the command line for the namespace where it is.
func (id *identity) missing(namespace, words string) error {
	var commands []string
	for _, other := range slices.Sorted(maps.Keys(id.evidence)) {
		commands = append(commands, fmt.Sprintf("osm %s --mesh-name %s --osm-namespace %s", words, id.mesh, other))
	}
	switch {
	case len(commands) > 0:
		return fmt.Errorf("there is no mesh [%s] in namespace [%s], and nothing was changed; one of that name is in namespace %s: if you mean that one, run: %s",
			id.mesh, namespace, strings.Join(id.elsewhere(namespace), ", "), strings.Join(commands, " or "))
	case len(id.unplaced) > 0:
		return fmt.Errorf("there is no mesh [%s] in namespace [%s], and nothing was changed; this carries its name and does not say which namespace's mesh it belongs to: %s; delete it by hand if you know that no mesh needs it",
			id.mesh, namespace, strings.Join(id.unplaced, ", "))
	}
	return nil
}

// some lists the first of many.
func some(all []string) string {
	if len(all) <= shownEvidence {
		return strings.Join(all, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(all[:shownEvidence], ", "), len(all)-shownEvidence)
}

// foreignError is a Helm release that has the name of a mesh and was made from somebody else's chart.
type foreignError struct {
	release, namespace, chart string
}

func (e *foreignError) Error() string {
	return fmt.Sprintf("Helm release %s in namespace %s was made from chart %s, which is not this osm's: it is neither upgraded, scaled nor removed by it, and nothing was changed; "+
		"name another mesh with --mesh-name and --osm-namespace; to replace Open Service Mesh or osm-edge, remove it with its own command line (osm uninstall mesh of its version) or helm uninstall %s -n %s, then its CRDs, and install anew (docs/upgrade.md)",
		e.release, e.namespace, e.chart, e.release, e.namespace)
}

// existing returns the release's state, or nil when there is none. One of another chart is an error.
func existing(engine *release.Engine, name string) (*release.Info, error) {
	info, err := engine.Info(name)
	if errors.Is(err, release.ErrNotFound) {
		return nil, nil //nolint:nilnil // none is an answer
	}
	if err != nil {
		return nil, err
	}
	if chart := info.Chart.Foreign(); chart != "" {
		return nil, &foreignError{info.Name, info.Namespace, chart}
	}
	return info, nil
}

// foreignMesh is the error of a command about a mesh of Open Service Mesh or osm-edge.
func foreignMesh(mesh cluster.Mesh) error {
	return fmt.Errorf("mesh [%s] in namespace [%s] (%s) is one of Open Service Mesh or osm-edge, not of this osm, and nothing was changed; use the command line of its version, or to replace it remove it with that and its CRDs, and install anew (docs/upgrade.md)",
		mesh.Name, mesh.Namespace, mesh.Version)
}

// namesOf reads "osm (in osm-system), blue (in blue-system)".
func namesOf(meshes []cluster.Mesh) string {
	names := make([]string, len(meshes))
	for i, mesh := range meshes {
		names[i] = fmt.Sprintf("%s (in %s)", mesh.Name, mesh.Namespace)
	}
	return strings.Join(names, ", ")
}

// noRelease is the error of a command about a mesh whose release is not in the namespace.
func (e *Env) noRelease(ctx context.Context, clients *cluster.Clients, mesh, words string) error {
	namespaces, err := clients.ReleaseNamespaces(ctx, mesh)
	if err != nil {
		e.debugf("releases in other namespaces cannot be looked for: %v", err)
	}
	hint := "install it with osm install, or name the right one with --mesh-name and --osm-namespace (osm mesh list shows them)"
	if len(namespaces) > 0 {
		name := " --mesh-name " + mesh
		if words == "mesh scale" {
			name = " " + mesh
		}
		commands := make([]string, len(namespaces))
		for i, namespace := range namespaces {
			commands[i] = "osm " + words + name + " --osm-namespace " + namespace
		}
		hint = fmt.Sprintf("Helm has a release of that name in namespace [%s]; if you mean that one, run: %s", strings.Join(namespaces, "], ["), strings.Join(commands, " or "))
	}
	return fmt.Errorf("there is no mesh %q in namespace %q; %s", mesh, e.Namespace, hint)
}
