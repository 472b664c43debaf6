package uninstall

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/cli/check"
	"github.com/osm-edge/osm/pkg/cli/cluster"
	"github.com/osm-edge/osm/pkg/cli/command"
	"github.com/osm-edge/osm/pkg/cli/namespace"
	"github.com/osm-edge/osm/pkg/cli/release"
	"github.com/osm-edge/osm/pkg/controlplane/bootstrap/crds"
)

// removal takes a mesh out of a cluster, in an order in which nothing that still runs is harmed:
// the webhook first, so that pods can be created again, then the members, then the release, then
// what was made at run time.
type removal struct {
	env         *command.Env
	clients     *cluster.Clients
	engine      *release.Engine
	mesh        cluster.Mesh
	info        *release.Info // nil when Helm knows nothing of the mesh
	clusterWide bool

	objects []cluster.Object // all that carries the mesh's name, as it was found
	members []string         // namespaces that name the mesh
	shared  bool             // a mesh of the same name lives in another namespace
}

// find looks for the mesh and says whether the cluster holds anything of it. A mesh that is somewhere
// else is an error, and so are leftovers that do not say where it was.
func (r *removal) find(ctx context.Context, meshes []cluster.Mesh) (bool, error) {
	objects, searched := r.clients.Inventory(ctx, r.mesh.Name)
	r.objects = objects
	id, err := identify(ctx, r.env, r.clients, r.mesh.Name, meshes, objects)
	if err != nil {
		return false, err
	}
	members, err := cluster.Members(ctx, r.clients.Kube, r.mesh.Name)
	if err != nil {
		return false, err
	}
	for i := range members {
		r.members = append(r.members, members[i].Name)
	}
	r.shared = id.shared(r.mesh.Namespace)
	if len(id.evidence[r.mesh.Namespace]) > 0 {
		return true, r.released()
	}
	if err := id.missing(r.mesh.Namespace, "uninstall mesh"); err != nil {
		return false, err
	}
	if len(r.members) > 0 {
		return false, fmt.Errorf("there is no mesh [%s] in namespace [%s], and nothing was changed; namespaces name it that could not be its members any more: osm namespace remove %s --mesh-name %s takes its labels off",
			r.mesh.Name, r.mesh.Namespace, strings.Join(r.members, " "), r.mesh.Name)
	}
	return false, searched
}

// released refuses a mesh that Helm knows under another name: removing its objects would leave a
// release without them.
func (r *removal) released() error {
	for _, object := range r.objects {
		if own := r.mesh.Namespace + "/" + r.mesh.Name; object.Home == r.mesh.Namespace && object.Release != "" && object.Release != own {
			return fmt.Errorf("%s of mesh [%s] belongs to Helm release %s, and nothing was changed; remove that with helm uninstall %s -n %s, and what is left then with this command",
				object, r.mesh.Name, object.Release, path.Base(object.Release), path.Dir(object.Release))
		}
	}
	return nil
}

// mine says whether an object may be removed: it says that it is of this mesh, or says nothing while
// there is no other mesh of this name.
func (r *removal) mine(object cluster.Object) bool {
	if object.Home == "" {
		return !r.shared
	}
	return object.Home == r.mesh.Namespace
}

// permitted asks for every right that the removal needs, so that it does not end half way.
func (r *removal) permitted(ctx context.Context, deleteNamespace bool) error {
	needs := []check.Need{
		{Verb: "delete", Object: check.Object{APIVersion: "v1", Kind: "Secret", Namespace: r.mesh.Namespace}},
		{Verb: "delete", Object: check.Object{APIVersion: "coordination.k8s.io/v1", Kind: "Lease", Namespace: r.mesh.Namespace}},
		{Verb: "delete", Object: check.Object{APIVersion: "admissionregistration.k8s.io/v1", Kind: "MutatingWebhookConfiguration"}},
	}
	for _, object := range r.objects {
		if r.mine(object) && !r.kept(object) && !object.Owned {
			needs = append(needs, check.Need{Verb: "delete", Object: check.Object{
				APIVersion: object.Resource.GroupVersion().String(), Kind: object.Kind, Namespace: object.Namespace,
			}})
		}
	}
	if r.info != nil {
		released, err := release.Objects(r.info.Manifest)
		if err != nil {
			return err
		}
		for _, object := range released {
			needs = append(needs, check.Need{Verb: "delete", Object: check.Object{APIVersion: object.APIVersion, Kind: object.Kind, Namespace: object.Namespace}})
		}
	}
	for _, member := range r.members {
		needs = append(needs, check.Need{Verb: "patch", Object: check.Object{APIVersion: "v1", Kind: "Namespace", Name: member}})
	}
	if deleteNamespace {
		needs = append(needs, check.Need{Verb: "delete", Object: check.Object{APIVersion: "v1", Kind: "Namespace", Name: r.mesh.Namespace}})
	}
	if r.clusterWide {
		needs = append(needs, check.Need{Verb: "delete", Object: check.Object{APIVersion: "apiextensions.k8s.io/v1", Kind: "CustomResourceDefinition"}})
	}
	return check.Permitted(ctx, r.clients, needs)
}

func (r *removal) run(ctx context.Context) error {
	steps := []func(context.Context) error{r.webhook, r.leave, r.release, r.leftovers}
	if r.clusterWide {
		steps = append(steps, r.customResources)
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// webhook deletes the webhook's configuration, which has the mesh's name in its own, if it calls the
// injectors of this mesh.
func (r *removal) webhook(ctx context.Context) error {
	name := api.WebhookConfigName(r.mesh.Name)
	configurations := r.clients.Kube.AdmissionregistrationV1().MutatingWebhookConfigurations()
	configuration, err := configurations.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read MutatingWebhookConfiguration %s: %w", name, err)
	}
	other := cluster.OwnerOf(configuration).Other(r.mesh.Name, r.mesh.Namespace)
	for _, webhook := range configuration.Webhooks {
		if service := webhook.ClientConfig.Service; other == "" && service != nil && service.Namespace != r.mesh.Namespace {
			other = fmt.Sprintf("the mesh in namespace [%s]", service.Namespace)
		}
	}
	if other != "" {
		r.env.Warnf("MutatingWebhookConfiguration %s is left alone: it belongs to %s", name, other)
		return nil
	}
	same := metav1.Preconditions{UID: &configuration.UID}
	if err := configurations.Delete(ctx, name, metav1.DeleteOptions{Preconditions: &same}); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete MutatingWebhookConfiguration %s: %w", name, err)
	}
	return nil
}

// leave takes the mesh's labels off its members.
func (r *removal) leave(ctx context.Context) error {
	if r.shared && len(r.members) > 0 {
		r.env.Warnf("namespaces %s stay members: a mesh [%s] lives in another namespace too, and they do not say which one they mean", strings.Join(r.members, ", "), r.mesh.Name)
		return nil
	}
	for _, member := range r.members {
		if err := namespace.Leave(ctx, r.clients.Kube, member); err != nil {
			return err
		}
		r.env.Progressf("namespace [%s] removed from mesh [%s]\n", member, r.mesh.Name)
	}
	return nil
}

func (r *removal) release(ctx context.Context) error {
	if r.info == nil {
		return nil
	}
	r.env.Progressf("removing the control plane from namespace [%s]\n", r.mesh.Namespace)
	return r.engine.Uninstall(ctx, r.mesh.Name)
}

// leftovers deletes what the release did not own: certificates of proxies, the Lease, objects of a
// hook that failed.
func (r *removal) leftovers(ctx context.Context) error {
	objects, err := r.clients.Inventory(ctx, r.mesh.Name)
	if err != nil {
		r.env.Warnf("not everything could be searched: %v", err)
	}
	objects = append(objects, r.named()...)
	roots, err := r.roots(ctx)
	if err != nil {
		return err
	}
	objects = append(objects, roots...)
	var spared []string
	for _, object := range objects {
		if object.Owned || r.kept(object) || object.Kind == "CustomResourceDefinition" {
			continue
		}
		if !r.mine(object) {
			spared = append(spared, object.String())
			continue
		}
		if err := r.remove(ctx, object); err != nil {
			return err
		}
	}
	if len(spared) > 0 {
		r.env.Progressf("left alone, because it belongs to a mesh [%s] in another namespace, or may do so: %s\n", r.mesh.Name, strings.Join(spared, ", "))
	}
	return nil
}

var (
	secrets = schema.GroupVersionResource{Version: "v1", Resource: "secrets"}
	leases  = schema.GroupVersionResource{Group: "coordination.k8s.io", Version: "v1", Resource: "leases"}
)

// named are the objects that the control plane makes under a fixed name, whatever their labels.
func (r *removal) named() []cluster.Object {
	home := r.mesh.Namespace
	objects := []cluster.Object{{Resource: leases, Kind: "Lease", Namespace: home, Name: api.ControllerLease, Home: home}}
	for _, name := range command.RootSecrets(r.info) {
		objects = append(objects, cluster.Object{Resource: secrets, Kind: "Secret", Namespace: home, Name: name, Home: home})
	}
	return objects
}

// roots are the MeshRootCertificates of the mesh's namespace, whoever made them.
func (r *removal) roots(ctx context.Context) ([]cluster.Object, error) {
	known, err := r.clients.ServesRoots()
	if err != nil || !known || !r.clusterWide {
		return nil, err
	}
	roots, err := r.clients.Roots(ctx, r.mesh.Namespace)
	objects := make([]cluster.Object, len(roots))
	for i := range roots {
		objects[i] = cluster.Object{
			Resource: v1alpha2.RootCertificateGroupVersionResource(), Kind: v1alpha2.RootCertificateKind, Namespace: r.mesh.Namespace, Name: roots[i].Name, Home: r.mesh.Namespace,
		}
	}
	return objects, err
}

// kept says whether an object outlives the mesh unless everything is to go. Any Secret of the mesh's
// own namespace may hold its root: which names it had, only a release that may be gone can tell.
func (r *removal) kept(object cluster.Object) bool {
	switch object.Kind {
	case "CustomResourceDefinition", "Namespace":
		return true // customResources and namespace see to them
	case v1alpha2.Kind, v1alpha2.RootCertificateKind:
		return !r.clusterWide
	case "Secret":
		return !r.clusterWide && object.Namespace == r.mesh.Namespace
	}
	return false
}

// customResources deletes osm's own definitions, unless anybody else needs them.
func (r *removal) customResources(ctx context.Context) error {
	meshes, err := cluster.Meshes(ctx, r.clients.Kube)
	if err != nil {
		return err
	}
	own := func(m cluster.Mesh) bool { return m.Name == r.mesh.Name && m.Namespace == r.mesh.Namespace }
	if meshes = slices.DeleteFunc(meshes, own); len(meshes) > 0 {
		r.env.Warnf("the CustomResourceDefinitions are kept, because other meshes use them: %s", command.MeshNames(meshes))
		return nil
	}
	all, err := crds.All()
	if err != nil {
		return err
	}
	for _, crd := range all {
		if err := r.customResource(ctx, crd.Name); err != nil {
			return err
		}
	}
	return nil
}

func (r *removal) customResource(ctx context.Context, name string) error {
	present, err := r.clients.Definition(ctx, name)
	if err != nil || present == nil {
		return err
	}
	if !crds.Own(present) {
		r.env.Warnf("CustomResourceDefinition %s is kept, because osm did not install it", name)
		return nil
	}
	objects, err := r.clients.Defined(ctx, present, r.mesh.Namespace)
	if err != nil {
		return err
	}
	if len(objects) > 0 {
		names := make([]string, len(objects))
		for i, object := range objects {
			names[i] = object.String()
		}
		r.env.Warnf("CustomResourceDefinition %s is kept, because other namespaces have objects of it: %s", name, some(names))
		return nil
	}
	return r.remove(ctx, cluster.DefinitionObject(name))
}

func (r *removal) remove(ctx context.Context, object cluster.Object) error {
	background := metav1.DeletePropagationBackground
	err := r.clients.Metadata.Resource(object.Resource).Namespace(object.Namespace).
		Delete(ctx, object.Name, metav1.DeleteOptions{PropagationPolicy: &background})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("delete %s: %w", object, err)
	}
	r.env.Progressf("deleted %s\n", object)
	return nil
}

func (r *removal) namespace(ctx context.Context) error {
	err := r.clients.Kube.CoreV1().Namespaces().Delete(ctx, r.mesh.Namespace, metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		r.env.Printf("OSM namespace [%s] not found\n", r.mesh.Namespace)
		return nil
	}
	if err != nil {
		return fmt.Errorf("delete namespace [%s]: %w", r.mesh.Namespace, err)
	}
	r.env.Printf("OSM namespace [%s] deleted successfully\n", r.mesh.Namespace)
	return nil
}

// verify waits until nothing that carries the mesh's label is left, except what is kept; pods take
// their time to end.
func (r *removal) verify(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, command.CleanupTimeout, errors.New("it did not go away in time"))
	defer cancel()
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		left, err := r.left(ctx)
		if len(left) == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("mesh [%s] is not gone completely: %s: %w; look what holds it (finalizers) and run the command again", r.mesh.Name, strings.Join(left, ", "), context.Cause(ctx))
		case <-ticker.C:
		}
	}
}

func (r *removal) left(ctx context.Context) ([]string, error) {
	objects, err := r.clients.Inventory(ctx, r.mesh.Name)
	if err != nil {
		err = fmt.Errorf("the mesh was removed, but it could not be checked that nothing is left: %w", err)
	}
	objects = slices.DeleteFunc(objects, func(o cluster.Object) bool { return r.kept(o) || !r.mine(o) })
	names := make([]string, 0, len(objects))
	for _, object := range objects {
		names = append(names, object.String())
	}
	return names, err
}
