package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/cli/cluster"
	"github.com/osm-edge/osm/pkg/cli/release"
)

// removal takes a mesh out of a cluster, in an order in which nothing that still runs is harmed:
// the webhook first, so that pods can be created again, then the members, then the release, then
// what was made at run time.
type removal struct {
	env         *Env
	clients     *cluster.Clients
	engine      *release.Engine
	mesh        cluster.Mesh
	info        *release.Info // nil when Helm knows nothing of the mesh
	others      bool          // other meshes use the same CRDs
	clusterWide bool
}

// anything says whether the cluster holds anything of the mesh.
func (r *removal) anything(ctx context.Context) (bool, error) {
	if r.info != nil {
		return true, nil
	}
	objects, err := r.clients.Inventory(ctx, r.mesh.Name)
	if len(objects) > 0 {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	members, err := cluster.Members(ctx, r.clients.Kube, r.mesh.Name)
	return len(members) > 0, err
}

func (r *removal) run(ctx context.Context) error {
	steps := []func(context.Context) error{r.webhook, r.members, r.release, r.leftovers}
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

func (r *removal) webhook(ctx context.Context) error {
	name := api.WebhookConfigName(r.mesh.Name)
	err := r.clients.Kube.AdmissionregistrationV1().MutatingWebhookConfigurations().Delete(ctx, name, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete MutatingWebhookConfiguration %s: %w", name, err)
	}
	return nil
}

func (r *removal) members(ctx context.Context) error {
	members, err := cluster.Members(ctx, r.clients.Kube, r.mesh.Name)
	if err != nil {
		return err
	}
	for i := range members {
		if err := leaveMesh(ctx, r.clients.Kube, members[i].Name); err != nil {
			return err
		}
		r.env.errorf("namespace [%s] removed from mesh [%s]\n", members[i].Name, r.mesh.Name)
	}
	return nil
}

func (r *removal) release(ctx context.Context) error {
	if r.info == nil {
		return nil
	}
	r.env.errorf("removing the control plane from namespace [%s]\n", r.mesh.Namespace)
	return r.engine.Uninstall(ctx, r.mesh.Name)
}

// leftovers deletes what the release did not own: certificates of proxies, the Lease, objects of a
// hook that failed.
func (r *removal) leftovers(ctx context.Context) error {
	objects, err := r.clients.Inventory(ctx, r.mesh.Name)
	if err != nil {
		r.env.errorf("Warning: not everything could be searched: %v\n", err)
	}
	objects = append(objects, r.named()...)
	roots, err := r.roots(ctx)
	if err != nil {
		return err
	}
	objects = append(objects, roots...)
	for _, object := range objects {
		if object.Owned || r.kept(object) || object.Kind == "CustomResourceDefinition" {
			continue
		}
		if err := r.remove(ctx, object); err != nil {
			return err
		}
	}
	return nil
}

var (
	secrets = schema.GroupVersionResource{Version: "v1", Resource: "secrets"}
	leases  = schema.GroupVersionResource{Group: "coordination.k8s.io", Version: "v1", Resource: "leases"}
)

// named are the objects that the control plane makes under a fixed name, whatever their labels.
func (r *removal) named() []cluster.Object {
	objects := []cluster.Object{{Resource: leases, Kind: "Lease", Namespace: r.mesh.Namespace, Name: api.ControllerLease}}
	for _, name := range caSecrets(r.info) {
		objects = append(objects, cluster.Object{Resource: secrets, Kind: "Secret", Namespace: r.mesh.Namespace, Name: name})
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
			Resource: v1alpha2.RootCertificateGroupVersionResource(), Kind: v1alpha2.RootCertificateKind, Namespace: r.mesh.Namespace, Name: roots[i].Name,
		}
	}
	return objects, err
}

// kept says whether an object outlives the mesh unless everything is to go.
func (r *removal) kept(object cluster.Object) bool {
	if object.Kind == "CustomResourceDefinition" {
		return !r.clusterWide || r.others
	}
	precious := object.Kind == v1alpha2.Kind || object.Kind == v1alpha2.RootCertificateKind || object.Kind == "Namespace" ||
		(object.Kind == "Secret" && object.Namespace == r.mesh.Namespace && slices.Contains(caSecrets(r.info), object.Name))
	return precious && (!r.clusterWide || object.Kind == "Namespace")
}

func (r *removal) customResources(ctx context.Context) error {
	if r.others {
		r.env.errorf("Warning: the CustomResourceDefinitions are kept, because other meshes use them\n")
		return nil
	}
	definitions, err := r.clients.CustomResourceDefinitions(ctx)
	if err != nil {
		return err
	}
	for _, definition := range definitions {
		if err := r.remove(ctx, definition); err != nil {
			return err
		}
	}
	return nil
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
	r.env.errorf("deleted %s\n", object)
	return nil
}

func (r *removal) namespace(ctx context.Context) error {
	err := r.clients.Kube.CoreV1().Namespaces().Delete(ctx, r.mesh.Namespace, metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		r.env.printf("OSM namespace [%s] not found\n", r.mesh.Namespace)
		return nil
	}
	if err != nil {
		return fmt.Errorf("delete namespace [%s]: %w", r.mesh.Namespace, err)
	}
	r.env.printf("OSM namespace [%s] deleted successfully\n", r.mesh.Namespace)
	return nil
}

// verify waits until nothing that carries the mesh's label is left, except what is kept; pods take
// their time to end.
func (r *removal) verify(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, cleanup, errors.New("it did not go away in time"))
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
	objects = slices.DeleteFunc(objects, r.kept)
	names := make([]string, 0, len(objects))
	for _, object := range objects {
		names = append(names, object.String())
	}
	return names, err
}
