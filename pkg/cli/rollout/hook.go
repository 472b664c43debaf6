package rollout

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/cli/cluster"
	"github.com/osm-edge/osm/pkg/cli/command"
	"github.com/osm-edge/osm/pkg/cli/release"
)

const rbac = "rbac.authorization.k8s.io"

// hookResources are the resources of the kinds that the install hook is made of.
func hookResources() map[string]schema.GroupVersionResource {
	return map[string]schema.GroupVersionResource{
		"ServiceAccount":     {Version: "v1", Resource: "serviceaccounts"},
		"ConfigMap":          {Version: "v1", Resource: "configmaps"},
		"Role":               {Group: rbac, Version: "v1", Resource: "roles"},
		"RoleBinding":        {Group: rbac, Version: "v1", Resource: "rolebindings"},
		"ClusterRole":        {Group: rbac, Version: "v1", Resource: "clusterroles"},
		"ClusterRoleBinding": {Group: rbac, Version: "v1", Resource: "clusterrolebindings"},
		"Job":                {Group: "batch", Version: "v1", Resource: "jobs"},
	}
}

// RemoveHook removes what a failed or interrupted install hook left behind. Helm does not
// always do so, and the hook's account may install CRDs. The Job is kept for its log, unless
// everything is to be removed.
func (c *Change) RemoveHook(ctx context.Context, clients *cluster.Clients, t Target, everything bool) {
	ctx, cancel := command.Cleanup(ctx)
	defer cancel()
	objects, err := release.Objects(t.manifest)
	if err != nil {
		c.Env.Warnf("cannot tell what the install hook left behind: %v", err)
		return
	}
	resources := hookResources()
	for _, object := range objects {
		resource, known := resources[object.Kind]
		if !object.Hook || !known || (object.Kind == "Job" && !everything) {
			continue
		}
		if err := c.removeHookObject(ctx, clients, t, resource, object); err != nil {
			c.Env.Warnf("cannot remove %s %s of the install hook: %v", object.Kind, object.Name, err)
		}
	}
}

func (c *Change) removeHookObject(ctx context.Context, clients *cluster.Clients, t Target, resource schema.GroupVersionResource, object release.Object) error {
	client := clients.Metadata.Resource(resource).Namespace(object.Namespace)
	found, err := client.Get(ctx, object.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	owner := cluster.OwnerOf(found)
	if found.Labels[api.LabelApp] != api.AppBootstrap || owner.Mesh != t.Name || owner.MeshNamespace != t.Namespace {
		return nil // it does not belong to this hook
	}
	background := metav1.DeletePropagationBackground
	err = client.Delete(ctx, object.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &found.UID}, PropagationPolicy: &background})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
