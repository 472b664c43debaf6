package cli

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

// hookKinds are the kinds of the install hook's objects.
var hookKinds = map[string]schema.GroupVersionResource{
	"ServiceAccount":     {Version: "v1", Resource: "serviceaccounts"},
	"ConfigMap":          {Version: "v1", Resource: "configmaps"},
	"Role":               {Group: rbac, Version: "v1", Resource: "roles"},
	"RoleBinding":        {Group: rbac, Version: "v1", Resource: "rolebindings"},
	"ClusterRole":        {Group: rbac, Version: "v1", Resource: "clusterroles"},
	"ClusterRoleBinding": {Group: rbac, Version: "v1", Resource: "clusterrolebindings"},
	"Job":                {Group: "batch", Version: "v1", Resource: "jobs"},
}

// disarm removes what a hook that failed, or was interrupted, left behind: Helm does not always get
// to it, and the account may install CRDs. The Job stays, with its log, unless everything is to go.
func (c *change) disarm(ctx context.Context, clients *cluster.Clients, t target, everything bool) {
	ctx, cancel := command.Cleanup(ctx)
	defer cancel()
	objects, err := release.Objects(t.manifest)
	if err != nil {
		c.env.Warnf("what the hook left behind cannot be told: %v", err)
		return
	}
	for _, object := range objects {
		resource, known := hookKinds[object.Kind]
		if !object.Hook || !known || (object.Kind == "Job" && !everything) {
			continue
		}
		if err := c.disarmOne(ctx, clients, t, resource, object); err != nil {
			c.env.Warnf("%s %s of the hook stays behind: %v", object.Kind, object.Name, err)
		}
	}
}

func (c *change) disarmOne(ctx context.Context, clients *cluster.Clients, t target, resource schema.GroupVersionResource, object release.Object) error {
	client := clients.Metadata.Resource(resource).Namespace(object.Namespace)
	found, err := client.Get(ctx, object.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	owner := cluster.OwnerOf(found)
	if found.Labels[api.LabelApp] != api.AppBootstrap || owner.Mesh != t.name || owner.MeshNamespace != t.namespace {
		return nil // it is not this hook's
	}
	background := metav1.DeletePropagationBackground
	err = client.Delete(ctx, object.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &found.UID}, PropagationPolicy: &background})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
