package uninstall

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/cli/cluster"
	"github.com/osm-edge/osm/pkg/cli/command"
)

// leftovers deletes what is not part of the release: certificates of proxies, the Lease, and objects
// of a hook that failed.
func (r *removal) leftovers(ctx context.Context) error {
	objects, err := r.clients.Inventory(ctx, r.mesh.Name)
	if err != nil {
		r.env.Warnf("cannot search all resources: %v", err)
	}
	objects = append(objects, r.named()...)
	roots, err := r.roots(ctx)
	if err != nil {
		return err
	}
	objects = append(objects, roots...)
	var skipped []string
	for _, object := range objects {
		if object.Owned || r.kept(object) || object.Kind == "CustomResourceDefinition" {
			continue
		}
		if !r.mine(object) {
			skipped = append(skipped, object.String())
			continue
		}
		if err := r.remove(ctx, object); err != nil {
			return err
		}
	}
	if len(skipped) > 0 {
		r.env.Progressf("not deleted, because another namespace has a mesh [%s] to which it belongs or may belong: %s\n", r.mesh.Name, strings.Join(skipped, ", "))
	}
	return nil
}

var (
	secrets = schema.GroupVersionResource{Version: "v1", Resource: "secrets"}
	leases  = schema.GroupVersionResource{Group: "coordination.k8s.io", Version: "v1", Resource: "leases"}
)

// named are the objects that the control plane creates under a fixed name, whatever their labels.
func (r *removal) named() []cluster.Object {
	home := r.mesh.Namespace
	objects := []cluster.Object{{Resource: leases, Kind: "Lease", Namespace: home, Name: api.ControllerLease, Home: home}}
	for _, name := range command.RootSecrets(r.info) {
		objects = append(objects, cluster.Object{Resource: secrets, Kind: "Secret", Namespace: home, Name: name, Home: home})
	}
	return objects
}

// roots are all MeshRootCertificates in the mesh's namespace, whoever created them.
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

// verify waits until nothing with the mesh's label is left, except what is kept. Pods take some time
// to terminate.
func (r *removal) verify(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, command.CleanupTimeout, fmt.Errorf("still there after %s", command.CleanupTimeout))
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
			return fmt.Errorf("mesh [%s] is not completely removed: %s: %w; find out what blocks the deletion (finalizers), then run the command again", r.mesh.Name, strings.Join(left, ", "), context.Cause(ctx))
		case <-ticker.C:
		}
	}
}

func (r *removal) left(ctx context.Context) ([]string, error) {
	objects, err := r.clients.Inventory(ctx, r.mesh.Name)
	if err != nil {
		err = fmt.Errorf("the mesh was removed, but cannot check that nothing is left: %w", err)
	}
	objects = slices.DeleteFunc(objects, func(o cluster.Object) bool { return r.kept(o) || !r.mine(o) })
	names := make([]string, 0, len(objects))
	for _, object := range objects {
		names = append(names, object.String())
	}
	return names, err
}
