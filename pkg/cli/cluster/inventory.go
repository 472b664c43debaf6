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
	Namespace string // "" for an object of the cluster
	Name      string
	Owned     bool // some other object owns it: it goes when that goes
}

// String reads "Secret osm-system/osm-ca-bundle".
func (o Object) String() string {
	if o.Namespace == "" {
		return o.Kind + " " + o.Name
	}
	return o.Kind + " " + o.Namespace + "/" + o.Name
}

// Selectors of what belongs to a mesh.
func meshSelector(mesh string) string {
	return api.LabelName + "=" + api.NameValue + "," + api.LabelInstance + "=" + mesh
}

func proxySecretSelector(mesh string) string { return api.LabelProxyCertificate + "=" + mesh }

// Inventory lists everything in the cluster that carries a mesh's labels, of whatever kind: no
// list of kinds has to be kept. Kinds that the user may not list are in the error, joined; what
// could be listed is returned beside it.
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
	found = slices.Compact(found)
	return found, errors.Join(faults...)
}

// CustomResourceDefinitions lists the CRDs of osm's API groups.
func (c *Clients) CustomResourceDefinitions(ctx context.Context) ([]Object, error) {
	kind := kindOf{schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}, "CustomResourceDefinition"}
	all, err := c.list(ctx, kind, "")
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(o Object) bool { return !strings.HasSuffix(o.Name, "."+api.NameValue) }), nil
}

type kindOf struct {
	resource schema.GroupVersionResource
	kind     string
}

func (c *Clients) deletable() ([]kindOf, error) {
	lists, err := c.Discovery.ServerPreferredResources()
	// A broken aggregated API hides its own kinds only; none of them is ours.
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
	for _, item := range items.Items {
		objects = append(objects, Object{kind.resource, kind.kind, item.Namespace, item.Name, len(item.OwnerReferences) > 0})
	}
	return objects, nil
}
