package uninstall

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
	"github.com/osm-edge/osm/pkg/cli/command"
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
func identify(ctx context.Context, env *command.Env, clients *cluster.Clients, mesh string, meshes []cluster.Mesh, objects []cluster.Object) (*identity, error) {
	id := &identity{mesh: mesh, evidence: map[string][]string{}, alive: map[string]bool{}}
	for _, m := range meshes {
		if m.Name == mesh {
			id.add(m.Namespace, "Deployment "+api.AppController, true)
		}
	}
	namespaces, err := clients.ReleaseNamespaces(ctx, mesh)
	if apierrors.IsForbidden(err) {
		env.Warnf("releases in other namespaces cannot be looked for: %v", err)
		namespaces, err = []string{env.Namespace}, nil
	}
	if err != nil {
		return nil, err
	}
	for _, namespace := range namespaces {
		if ownRelease(env, namespace, mesh) {
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
func ownRelease(env *command.Env, namespace, name string) bool {
	engine, err := env.Engine(namespace)
	if err != nil {
		env.Warnf("%v", err)
		return false
	}
	info, err := command.ExistingRelease(engine, name)
	if err != nil && !errors.As(err, new(*command.ForeignReleaseError)) {
		env.Warnf("%v", err)
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
