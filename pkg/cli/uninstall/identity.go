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

// shownEvidence is how many objects an error names as evidence of a mesh.
const shownEvidence = 3

// identity is the evidence of where meshes of one name are, or were. Two meshes in two namespaces may
// have the same name, and many objects of a mesh carry only its name.
type identity struct {
	mesh     string
	evidence map[string][]string // namespace -> evidence of a mesh there
	alive    map[string]bool     // namespaces whose mesh runs, has a release, or owns cluster-wide objects
	unplaced []string            // objects that name the mesh but no namespace
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
		env.Warnf("cannot look for releases in other namespaces: %v", err)
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

// ownRelease reports whether a namespace has a release of this name made from osm's chart. Releases
// of other charts and records that cannot be read do not count: a user who may write Secrets in one
// namespace must not be able to block the removal of a mesh in another.
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

// shared reports whether another namespace has a mesh of the same name. Objects that name no
// namespace may belong to that mesh.
func (id *identity) shared(namespace string) bool {
	for other, alive := range id.alive {
		if alive && other != namespace {
			return true
		}
	}
	return false
}

// elsewhere names the other namespaces with evidence of a mesh.
func (id *identity) elsewhere(namespace string) []string {
	var places []string
	for _, other := range slices.Sorted(maps.Keys(id.evidence)) {
		if other != namespace {
			places = append(places, fmt.Sprintf("[%s] (%s)", other, some(id.evidence[other])))
		}
	}
	return places
}

// missing is the error for a mesh that is not in the namespace, or nil if nothing has its name. words
// is the command to run for the namespace where the mesh is.
func (id *identity) missing(namespace, words string) error {
	var commands []string
	for _, other := range slices.Sorted(maps.Keys(id.evidence)) {
		commands = append(commands, fmt.Sprintf("osm %s --mesh-name %s --osm-namespace %s", words, id.mesh, other))
	}
	switch {
	case len(commands) > 0:
		return fmt.Errorf("there is no mesh [%s] in namespace [%s], and nothing was changed; a mesh of that name is in namespace %s; if you mean that one, run: %s",
			id.mesh, namespace, strings.Join(id.elsewhere(namespace), ", "), strings.Join(commands, " or "))
	case len(id.unplaced) > 0:
		return fmt.Errorf("there is no mesh [%s] in namespace [%s], and nothing was changed; these objects have its name, but do not say which namespace's mesh they belong to: %s; delete them by hand if no mesh needs them",
			id.mesh, namespace, strings.Join(id.unplaced, ", "))
	}
	return nil
}

// some lists the first few.
func some(all []string) string {
	if len(all) <= shownEvidence {
		return strings.Join(all, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(all[:shownEvidence], ", "), len(all)-shownEvidence)
}
