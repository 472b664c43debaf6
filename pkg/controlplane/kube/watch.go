package kube

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/controlplane/ingest"
)

// Config says what to watch. All fields are required.
type Config struct {
	Client   kubernetes.Interface
	Dynamic  dynamic.Interface
	MeshName string
	// Namespace is the mesh's own, where its MeshConfig is.
	Namespace string
	Log       *slog.Logger
}

// Watch follows the objects that a mesh is made of. Make one with New, then Run it.
type Watch struct {
	cfg     Config
	sources []source
	changed func()

	namespaces, pods, services, accounts, slices, config cache.SharedIndexInformer

	failing atomic.Pointer[failure]
}

type source struct {
	name     string
	informer cache.SharedIndexInformer
}

type failure struct {
	since time.Time
	err   error
}

// New returns a Watch that calls changed, which must not block, after each change that something
// reads. now is the clock.
func New(cfg Config, changed func(), now func() time.Time) (*Watch, error) {
	if cfg.Client == nil || cfg.Dynamic == nil || cfg.MeshName == "" || cfg.Namespace == "" || cfg.Log == nil {
		return nil, errors.New("kube: clients, mesh name, namespace and log are required")
	}
	w := &Watch{cfg: cfg, changed: changed}
	w.namespaces = w.source("namespaces", namespaceLists(cfg.Client), &corev1.Namespace{}, trimNamespace, now)
	w.pods = w.source("pods", podLists(cfg.Client), &corev1.Pod{}, trimPod, now)
	w.services = w.source("services", serviceLists(cfg.Client), &corev1.Service{}, trimService, now)
	w.accounts = w.source("serviceaccounts", accountLists(cfg.Client), &corev1.ServiceAccount{}, trimAccount, now)
	w.slices = w.source("endpointslices", sliceLists(cfg.Client), &discoveryv1.EndpointSlice{}, trimSlice, now)
	w.config = w.source("meshconfigs", MeshConfigLists(cfg.Dynamic, cfg.Namespace), MeshConfigObject(), TrimMeshConfig, now)
	return w, nil
}

func (w *Watch) source(name string, lists *cache.ListWatch, example runtime.Object, trim cache.TransformFunc, now func() time.Time) cache.SharedIndexInformer {
	informer := cache.NewSharedIndexInformer(lists, example, 0, cache.Indexers{})
	w.sources = append(w.sources, source{name, informer})
	// These fail only on an informer that runs already.
	must(informer.SetTransform(trim))
	must(informer.SetWatchErrorHandlerWithContext(func(ctx context.Context, r *cache.Reflector, err error) {
		w.failing.CompareAndSwap(nil, &failure{since: now(), err: err})
		cache.DefaultWatchErrorHandler(ctx, r, err)
	}))
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { w.saw() },
		UpdateFunc: func(before, after any) {
			if w.failing.Store(nil); !sameContent(before, after) {
				w.changed()
			}
		},
		DeleteFunc: func(any) { w.saw() }, // a tombstone is a delete too: nothing is read from it
	})
	must(err)
	return informer
}

func must(err error) {
	if err != nil {
		panic(fmt.Sprintf("kube: informer set up twice: %v", err))
	}
}

func (w *Watch) saw() {
	w.failing.Store(nil)
	w.changed()
}

// Run watches until ctx ends, and returns its cause.
func (w *Watch) Run(ctx context.Context) error {
	done := make(chan struct{}, len(w.sources))
	for _, s := range w.sources {
		go func() {
			s.informer.RunWithContext(ctx)
			done <- struct{}{}
		}()
	}
	for range w.sources {
		<-done
	}
	return context.Cause(ctx)
}

// Waiting lists the kinds that have not been read once yet, sorted. When it is empty the Watch
// has seen everything; a kind without objects has been read too.
func (w *Watch) Waiting() []string {
	var waiting []string
	for _, s := range w.sources {
		if !s.informer.HasSynced() {
			waiting = append(waiting, s.name)
		}
	}
	slices.Sort(waiting)
	return waiting
}

// Failing returns since when a watch has been failing without any news in between, and why; ok is
// false when all is well.
func (w *Watch) Failing() (since time.Time, err error, ok bool) { //nolint:revive // the error is data here
	f := w.failing.Load()
	if f == nil {
		return time.Time{}, nil, false
	}
	return f.since, f.err, true
}

// Objects returns what is known now, for ingest.
func (w *Watch) Objects() ingest.Objects {
	return ingest.Objects{
		MeshName:       w.cfg.MeshName,
		MeshConfig:     w.MeshConfig(),
		Namespaces:     all[corev1.Namespace](w.namespaces),
		Pods:           all[corev1.Pod](w.pods),
		Services:       all[corev1.Service](w.services),
		EndpointSlices: all[discoveryv1.EndpointSlice](w.slices),
	}
}

// ServiceAccounts returns the ServiceAccounts of all namespaces.
func (w *Watch) ServiceAccounts() []*corev1.ServiceAccount {
	return all[corev1.ServiceAccount](w.accounts)
}

// MeshConfig returns the mesh's configuration, nil while it has none.
func (w *Watch) MeshConfig() *v1alpha2.MeshConfig {
	for _, config := range all[v1alpha2.MeshConfig](w.config) {
		return config
	}
	return nil
}

func all[T any](informer cache.SharedIndexInformer) []*T {
	var objects []*T
	// Everything is selected, so there is no error that could come of it.
	_ = cache.ListAll(informer.GetStore(), labels.Everything(), func(object any) {
		if typed, ok := object.(*T); ok {
			objects = append(objects, typed)
		}
	})
	return objects
}
