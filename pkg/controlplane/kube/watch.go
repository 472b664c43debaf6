package kube

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/osm-edge/osm/pkg/api"
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
	// Changed is called after each relevant change, with what changed: kind, namespace and name. For pods it
	// is only kind and namespace, since each new pod has a new name.
	Changed func(object string)
	// MembersChanged is called after changes of namespaces and ServiceAccounts, and when a pod begins to start. Neither
	// may block.
	MembersChanged func()
}

// pods is the name of the source whose objects always have new names.
const pods = "pods"

// Watch follows the objects that a mesh is made of. Create one with New, then Run it.
type Watch struct {
	cfg                                                  Config
	sources                                              []*source
	namespaces, pods, services, accounts, slices, config *source

	starting   *starting
	lastConfig atomic.Pointer[v1alpha2.MeshConfig]
}

// source follows one kind, and knows whether requests for it fail.
type source struct {
	name     string
	informer cache.SharedIndexInformer
	synced   cache.InformerSynced // whether the handler has seen the initial list
	failing  atomic.Pointer[failure]

	mu sync.Mutex
	// changed are the objects that Update has not read yet, each once however many events it had.
	changed map[cache.ObjectName]struct{}
}

type failure struct {
	since time.Time
	err   error
}

// New returns a Watch. now is the clock.
func New(cfg Config, now func() time.Time) (*Watch, error) {
	if cfg.Client == nil || cfg.Dynamic == nil || cfg.MeshName == "" || cfg.Namespace == "" || cfg.Log == nil || cfg.Changed == nil || cfg.MembersChanged == nil {
		return nil, errors.New("kube: clients, mesh name, namespace, log and both callbacks are required")
	}
	w := &Watch{cfg: cfg, starting: newStarting()}
	both := func(object string) { cfg.Changed(object); cfg.MembersChanged() }
	w.namespaces = w.follow("namespaces", kind{namespaceLists(cfg.Client), cfg.Client, &corev1.Namespace{}, trimNamespace}, both, now)
	w.pods = w.follow(pods, kind{podLists(cfg.Client), cfg.Client, &corev1.Pod{}, trimPod}, cfg.Changed, now)
	_, err := w.pods.informer.AddEventHandler(w.starting.handler(cfg.MembersChanged))
	must(err)
	w.services = w.follow("services", kind{serviceLists(cfg.Client), cfg.Client, &corev1.Service{}, trimService}, cfg.Changed, now)
	w.accounts = w.follow("serviceaccounts", kind{accountLists(cfg.Client), cfg.Client, &corev1.ServiceAccount{}, trimAccount}, both, now)
	w.slices = w.follow("endpointslices", kind{sliceLists(cfg.Client), cfg.Client, &discoveryv1.EndpointSlice{}, trimSlice}, cfg.Changed, now)
	w.config = w.follow("meshconfigs", kind{meshConfigLists(cfg.Dynamic, cfg.Namespace), cfg.Dynamic, meshConfigObject(), trimMeshConfig}, cfg.Changed, now)
	return w, nil
}

// kind describes how to watch a kind of object.
type kind struct {
	lists   *cache.ListWatch
	client  any // what lists uses; with a fake, it shows which requests are unsupported
	example runtime.Object
	trim    cache.TransformFunc
}

// follow creates an informer that reports only changes of what trim keeps.
func (w *Watch) follow(name string, k kind, changed func(string), now func() time.Time) *source {
	src := &source{name: name, changed: map[cache.ObjectName]struct{}{}}
	lists := cache.ToListWatcherWithWatchListSemantics(src.noting(k.lists, w.cfg.Log, now), k.client)
	src.informer = cache.NewSharedIndexInformer(lists, k.example, 0, cache.Indexers{})
	w.sources = append(w.sources, src)
	must(src.informer.SetTransform(k.trim))
	note := func(object any) {
		changed(src.note(object))
	}
	handler, err := src.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: note,
		UpdateFunc: func(before, after any) {
			if !sameContent(before, after) {
				note(after)
			}
		},
		DeleteFunc: note,
	})
	must(err)
	src.synced = handler.HasSynced
	return src
}

// note records that an object changed. Update reads its state from the informer's store, which is never
// behind an event, so neither the order of events nor a tombstone's content matters. It returns the
// argument of Config.Changed.
func (s *source) note(object any) string {
	name, err := cache.DeletionHandlingObjectToName(object)
	must(err)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changed[name] = struct{}{}
	if s.name == pods {
		return s.name + "/" + name.Namespace
	}
	return s.name + "/" + name.String()
}

// take returns the objects that changed since the last call.
func (s *source) take() map[cache.ObjectName]struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	taken := s.changed
	s.changed = map[cache.ObjectName]struct{}{}
	return taken
}

// must panics on errors that only a bug in osm can cause: an informer that is configured while it runs, or
// that holds something other than an object.
func must(err error) {
	if err != nil {
		panic(fmt.Sprintf("kube: informer misused: %v", err))
	}
}

// noting records whether the API server responds, and persists while it does not. It checks each request: a reflector
// retries a refused connection by itself, without calling its error handler.
func (s *source) noting(lists *cache.ListWatch, log *slog.Logger, now func() time.Time) *cache.ListWatch {
	note := func(ctx context.Context, err error) {
		switch {
		case err == nil, apierrors.IsNotFound(err): // it responded, if only that the kind is unknown
			if f := s.failing.Swap(nil); f != nil {
				log.Info("the API server answers again", "kind", s.name, "after", now().Sub(f.since).String())
			}
		case ctx.Err() == nil && s.failing.CompareAndSwap(nil, &failure{since: now(), err: err}):
			log.Warn("a request to the API server failed, keeping the last known state", "kind", s.name, "error", err)
		}
	}
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			return persist(ctx, func() (runtime.Object, error) {
				list, err := lists.ListWithContextFunc(ctx, options)
				note(ctx, err)
				return list, err
			})
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			return persist(ctx, func() (watch.Interface, error) {
				events, err := lists.WatchFuncWithContext(ctx, options)
				note(ctx, err)
				return events, err
			})
		},
	}
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

// Waiting lists the kinds that are not synced yet, sorted. When it is empty the Watch has seen everything. A
// kind without objects counts as synced.
func (w *Watch) Waiting() []string {
	var waiting []string
	for _, s := range w.sources {
		if !s.synced() {
			waiting = append(waiting, s.name)
		}
	}
	if len(waiting) == 0 && w.unreadable() {
		waiting = append(waiting, "a MeshConfig "+w.cfg.Namespace+"/"+api.MeshConfigName+" whose fields have the right types")
	}
	slices.Sort(waiting)
	return waiting
}

// Failing returns since when requests for some kind have failed, and the error; ok is false if no request fails.
func (w *Watch) Failing() (since time.Time, err error, ok bool) { //nolint:revive // the error is data here
	for _, s := range w.sources {
		if f := s.failing.Load(); f != nil && (!ok || f.since.Before(since)) {
			since, err, ok = f.since, f.err, true
		}
	}
	return since, err, ok
}

// Update applies everything that changed since the last Update to state.
func (w *Watch) Update(state *ingest.State) {
	update(w.namespaces, func(_, name string, ns *corev1.Namespace) { state.SetNamespace(name, ns) })
	update(w.pods, state.SetPod)
	update(w.services, state.SetService)
	update(w.slices, state.SetEndpointSlice)
	if len(w.config.take()) > 0 {
		state.SetMeshConfig(w.MeshConfig())
	}
}

// update calls set for each object that changed, with nil for a deleted one.
func update[T any](s *source, set func(namespace, name string, object *T)) {
	for name := range s.take() {
		// The store is a map in memory: it has no errors to return.
		object, _, _ := s.informer.GetStore().GetByKey(name.String())
		typed, _ := object.(*T)
		set(name.Namespace, name.Name, typed)
	}
}

// ServiceAccounts returns the ServiceAccounts of all namespaces.
func (w *Watch) ServiceAccounts() []*corev1.ServiceAccount {
	return all[corev1.ServiceAccount](w.accounts)
}

// MeshConfig returns the mesh's configuration, nil if there is none. An invalid one leaves the last valid one
// in force.
func (w *Watch) MeshConfig() *v1alpha2.MeshConfig {
	if len(all[unstructured.Unstructured](w.config)) > 0 {
		return w.lastConfig.Load()
	}
	var config *v1alpha2.MeshConfig
	for _, found := range all[v1alpha2.MeshConfig](w.config) {
		config = found
	}
	w.lastConfig.Store(config)
	return config
}

// unreadable reports whether there is only an invalid MeshConfig, and no earlier one.
func (w *Watch) unreadable() bool {
	return len(all[unstructured.Unstructured](w.config)) > 0 && w.lastConfig.Load() == nil
}

// Namespaces returns all namespaces.
func (w *Watch) Namespaces() []*corev1.Namespace { return all[corev1.Namespace](w.namespaces) }

// EndpointSlices returns those of a Service.
func (w *Watch) EndpointSlices(namespace, service string) []*discoveryv1.EndpointSlice {
	return slices.DeleteFunc(all[discoveryv1.EndpointSlice](w.slices), func(s *discoveryv1.EndpointSlice) bool {
		return s.Namespace != namespace || s.Labels[discoveryv1.LabelServiceName] != service
	})
}

func all[T any](s *source) []*T {
	var objects []*T
	// Selecting everything cannot fail.
	_ = cache.ListAll(s.informer.GetStore(), labels.Everything(), func(object any) {
		if typed, ok := object.(*T); ok {
			objects = append(objects, typed)
		}
	})
	return objects
}
