package provider

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"

	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/controlplane/rotation"
)

// look is the longest pause until the roots are looked at again while something is not as it is to
// be. Nothing depends on it as long as events come.
const look = 5 * time.Second

// open reads which roots there are and loads those that are needed, until it has them or ctx ends.
func (k *keeper) open(ctx context.Context) error {
	loading, stop := context.WithCancel(ctx)
	var loads sync.WaitGroup
	defer loads.Wait()
	defer stop() // Run loads the rest
	for {
		missing, err := k.attempt(loading, loads.Go)
		if err != nil {
			return err
		}
		if len(missing) == 0 {
			return k.apply()
		}
		k.cfg.Ready.Unmet(strings.Join(missing, "; "))
		if !k.pause(ctx) {
			return errors.Join(context.Cause(ctx), errors.New("the root CA is not loaded: "+strings.Join(missing, "; ")))
		}
	}
}

// attempt begins to load what is needed, and says what is not there yet.
func (k *keeper) attempt(ctx context.Context, begin func(func())) (missing []string, err error) {
	if err := k.read(ctx); err != nil {
		return []string{err.Error()}, nil //nolint:nilerr // waited for, and told by readiness
	}
	k.load(ctx, begin)
	return k.missing()
}

// read asks the API server which roots the mesh has. A mesh that had MeshRootCertificates never
// goes back to the root of its installation by itself: that one may be of years ago.
func (k *keeper) read(ctx context.Context) error {
	objects, err := MeshRoots(ctx, k.cfg.Dynamic, k.cfg.Namespace)
	if err != nil {
		return err
	}
	if len(objects) == 0 && k.hasObjects() {
		k.cfg.Log.Error("all MeshRootCertificates are gone, going on with the roots of before; make them again before a replica restarts, which would use the root of the installation",
			"namespace", k.cfg.Namespace)
		return nil
	}
	k.wish(k.cfg.wishes(objects))
	return nil
}

func (k *keeper) hasObjects() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.wishes) > 0 && k.wishes[0].Name != Installation
}

// pause waits for something to look at, or a while; false when ctx ended.
func (k *keeper) pause(ctx context.Context) bool {
	timer := time.NewTimer(look/2 + rand.N(look/2)) //nolint:gosec // jitter is no secret
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-k.changed:
	case <-timer.C:
	}
	return true
}

// run keeps to the roots that the mesh has until ctx ends, and returns its cause.
func (k *keeper) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	begin := func(work func()) {
		group.Go(func() error {
			work()
			return nil
		})
	}
	informer := dynamicinformer.NewFilteredDynamicInformer(k.cfg.Dynamic, v1alpha2.RootCertificateGroupVersionResource(), k.cfg.Namespace,
		0, cache.Indexers{}, func(*metav1.ListOptions) {}).Informer()
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { k.changed.Wake() }, UpdateFunc: func(_, _ any) { k.changed.Wake() }, DeleteFunc: func(any) { k.changed.Wake() },
	})
	if err != nil {
		return err
	}
	begin(func() { informer.RunWithContext(ctx) })
	group.Go(func() error { return k.follow(ctx, begin) })
	return group.Wait()
}

func (k *keeper) follow(ctx context.Context, begin func(func())) error {
	told := ""
	for {
		failed := k.read(ctx)
		k.load(ctx, begin)
		if err := k.apply(); err != nil {
			failed = errors.Join(failed, err)
		}
		k.watch(ctx, begin)
		if ctx.Err() == nil {
			told = k.tell(failed, told)
		}
		if !k.await(ctx, failed != nil || !k.complete()) {
			return context.Cause(ctx)
		}
	}
}

// tell logs what is amiss when that is something else than was told last: an outage is one line, not
// one every few seconds. It returns what was told.
func (k *keeper) tell(failed error, told string) string {
	if failed == nil {
		return ""
	}
	text := failed.Error()
	if text != told {
		k.cfg.Log.Warn("the mesh's roots are not up to date, going on with those of before", "error", failed)
	}
	return text
}

// await waits for a change; while something is amiss, for a while at most.
func (k *keeper) await(ctx context.Context, amiss bool) bool {
	if amiss {
		return k.pause(ctx)
	}
	select {
	case <-ctx.Done():
		return false
	case <-k.changed:
		return true
	}
}

// complete says whether everything that is to be loaded is.
func (k *keeper) complete() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return !slices.ContainsFunc(slices.Collect(maps.Values(k.members)), func(m *member) bool { return m.authority == nil })
}

// watch begins to watch the roots that are loaded and that nobody watches.
func (k *keeper) watch(ctx context.Context, begin func(func())) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, m := range k.members {
		if m.authority == nil || m.busy {
			continue
		}
		ctx, stop := context.WithCancel(ctx)
		m.busy, m.stop = true, stop
		begin(func() {
			defer stop()
			if err := m.source.run(ctx); ctx.Err() == nil {
				k.cfg.Log.Error("a root CA is not watched any more: a change of it would go unnoticed", "root", m.source.String(), "error", err)
			}
		})
	}
}

// String names what signs.
func (k *keeper) String() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.members[k.signing].source.String()
}

func (k *keeper) loadedRoots() (roots []rotation.Loaded, problems map[string]string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	problems = map[string]string{}
	for _, w := range k.wishes {
		m := k.members[w.origin]
		switch {
		case w.Problem != "":
			problems[w.Name] = w.Problem
		case m != nil && m.authority == nil:
			problems[w.Name] = m.waiting
		}
	}
	return slices.Clone(k.applied), problems
}
