package injector

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/controlplane/serve"
)

// meshConfigCache follows the mesh's MeshConfig. While there is none its spec is the zero spec; one
// that cannot be decoded leaves the last good one in force.
type meshConfigCache struct {
	informer cache.SharedIndexInformer
	absent   atomic.Bool // the API server does not serve the kind
	spec     atomic.Pointer[v1alpha2.MeshConfigSpec]
	log      *slog.Logger
	level    *serve.LogLevel
}

func newMeshConfigCache(client dynamic.Interface, namespace string, log *slog.Logger, level *serve.LogLevel) (*meshConfigCache, error) {
	onlyOurs := func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector("metadata.name", api.MeshConfigName).String()
	}
	informer := dynamicinformer.NewFilteredDynamicInformer(client, v1alpha2.GroupVersionResource(), namespace, 0, cache.Indexers{}, onlyOurs).Informer()
	c := &meshConfigCache{informer: informer, log: log, level: level}
	c.spec.Store(&v1alpha2.MeshConfigSpec{})
	// A kind that does not exist has no objects: readiness must not wait for it. The reflector
	// keeps trying, so the kind is picked up when it appears.
	if err := informer.SetWatchErrorHandlerWithContext(func(ctx context.Context, r *cache.Reflector, err error) {
		c.absent.Store(apierrors.IsNotFound(err))
		cache.DefaultWatchErrorHandler(ctx, r, err)
	}); err != nil {
		return nil, fmt.Errorf("watch MeshConfig: %w", err)
	}
	if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: c.set, UpdateFunc: func(_, object any) { c.set(object) }, DeleteFunc: func(any) { c.spec.Store(&v1alpha2.MeshConfigSpec{}) },
	}); err != nil {
		return nil, fmt.Errorf("watch MeshConfig: %w", err)
	}
	return c, nil
}

func (c *meshConfigCache) set(object any) {
	u, ok := object.(*unstructured.Unstructured)
	if !ok || u.GetName() != api.MeshConfigName {
		return
	}
	config := &v1alpha2.MeshConfig{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, config); err != nil {
		c.log.Error("MeshConfig not understood, the last good one stays in force", "namespace", u.GetNamespace(), "name", u.GetName(), "error", err)
		return
	}
	c.spec.Store(&config.Spec)
	c.level.Override(config.Spec.Observability.OSMLogLevel)
}

// synced reports whether the spec is what the API server holds.
func (c *meshConfigCache) synced() bool { return c.informer.HasSynced() || c.absent.Load() }
