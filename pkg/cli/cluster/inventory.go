package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"

	"github.com/osm-edge/osm/pkg/api"
)

// Object is one object of the cluster, whatever its kind.
type Object struct {
	Resource  schema.GroupVersionResource
	Kind      string
	Namespace string // "" for a cluster-wide object
	Name      string
	Owned     bool // another object owns it, and its deletion deletes this one

	// Home is the namespace of the mesh that it belongs to, or "" if it does not say.
	Home string
	// Release is the Helm release that it belongs to, as namespace/name, or "" if it does not say.
	Release string
}

// String reads "Secret osm-system/osm-ca-bundle".
func (o Object) String() string {
	if o.Namespace == "" {
		return o.Kind + " " + o.Name
	}
	return o.Kind + " " + o.Namespace + "/" + o.Name
}

// Selectors for the objects of a mesh.
func meshSelector(mesh string) string {
	return api.LabelName + "=" + api.NameValue + "," + api.LabelInstance + "=" + mesh
}

func proxySecretSelector(mesh string) string { return api.LabelProxyCertificate + "=" + mesh }

// Inventory lists all objects in the cluster with a mesh's labels, of every kind, so that no list of
// kinds must be maintained. The error joins the kinds that the user may not list; the objects of the
// others are returned with it.
func (c *Clients) Inventory(ctx context.Context, mesh string) ([]Object, error) {
	kinds, err := c.deletable()
	if err != nil {
		return nil, err
	}
	var (
		lock   sync.Mutex
		found  []Object
		faults []error
	)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	look := func(kind kindOf, selector string) {
		group.Go(func() error {
			objects, err := c.list(ctx, kind, selector)
			lock.Lock()
			defer lock.Unlock()
			found = append(found, objects...)
			if err != nil {
				faults = append(faults, err)
			}
			return nil
		})
	}
	for _, kind := range kinds {
		look(kind, meshSelector(mesh))
		if kind.kind == "Secret" && kind.resource.Group == "" {
			look(kind, proxySecretSelector(mesh))
		}
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	slices.SortFunc(found, func(a, b Object) int { return strings.Compare(a.String(), b.String()) })
	found = slices.CompactFunc(found, func(a, b Object) bool { return a.String() == b.String() })
	return found, errors.Join(faults...)
}

type kindOf struct {
	resource schema.GroupVersionResource
	kind     string
}

func (c *Clients) deletable() ([]kindOf, error) {
	lists, err := c.Discovery.ServerPreferredResources()
	// A broken aggregated API hides only its own kinds, none of which is osm's.
	if err != nil && !discovery.IsGroupDiscoveryFailedError(err) {
		return nil, fmt.Errorf("ask the API server for its kinds: %w", err)
	}
	var kinds []kindOf
	for _, list := range lists {
		version, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			continue
		}
		for _, resource := range list.APIResources {
			if resource.Kind != "Event" && slices.Contains(resource.Verbs, "list") && slices.Contains(resource.Verbs, "delete") {
				kinds = append(kinds, kindOf{version.WithResource(resource.Name), resource.Kind})
			}
		}
	}
	return kinds, nil
}

func (c *Clients) list(ctx context.Context, kind kindOf, selector string) ([]Object, error) {
	items, err := c.Metadata.Resource(kind.resource).List(ctx, metav1.ListOptions{LabelSelector: selector})
	switch {
	case apierrors.IsNotFound(err), apierrors.IsMethodNotSupported(err):
		return nil, nil // the kind went away in the meantime
	case err != nil:
		return nil, fmt.Errorf("list %s: %w", kind.resource.GroupResource(), err)
	}
	var objects []Object
	for i := range items.Items {
		objects = append(objects, describe(kind, &items.Items[i]))
	}
	return objects, nil
}

func describe(kind kindOf, item *metav1.PartialObjectMetadata) Object {
	object := Object{Resource: kind.resource, Kind: kind.kind, Namespace: item.Namespace, Name: item.Name, Owned: len(item.OwnerReferences) > 0}
	owner := OwnerOf(item)
	if owner.ReleaseNamespace != "" {
		object.Release = owner.ReleaseNamespace + "/" + owner.Release
	}
	object.Home = owner.Namespace()
	// A proxy's certificate is in the application's namespace, everything else in the mesh's.
	if object.Home == "" && item.Labels[api.LabelProxyCertificate] == "" {
		object.Home = item.Namespace
	}
	return object
}

// helmSecrets selects the Secrets in which Helm keeps its releases.
var helmSecrets = kindOf{schema.GroupVersionResource{Version: "v1", Resource: "secrets"}, "Secret"}

// ReleaseNamespaces lists the namespaces with a Helm release of a name, whatever its chart.
func (c *Clients) ReleaseNamespaces(ctx context.Context, name string) ([]string, error) {
	records, err := c.list(ctx, helmSecrets, "owner=helm,name="+name)
	var namespaces []string
	for _, record := range records {
		namespaces = append(namespaces, record.Namespace)
	}
	slices.Sort(namespaces)
	return slices.Compact(namespaces), err
}
