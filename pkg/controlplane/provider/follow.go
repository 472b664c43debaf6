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

// recheck is the maximum pause before the roots are checked again while something is wrong. Usually an
// event comes first.
const recheck = 5 * time.Second

// open reads which roots the mesh has and loads the needed ones. It returns when they are loaded or ctx ends.
func (k *rootManager) open(ctx context.Context) error {
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

// attempt starts to load the roots that are needed, and returns what is still missing.
func (k *rootManager) attempt(ctx context.Context, begin func(func())) (missing []string, err error) {
	if err := k.read(ctx); err != nil {
		return []string{err.Error()}, nil //nolint:nilerr // waited for, and shown by readiness
	}
	k.load(ctx, begin)
	return k.missing()
}

// read reads from the API server which roots the mesh has. A mesh that had MeshRootCertificates never goes
// back to the root of its installation by itself: that root may be years old.
func (k *rootManager) read(ctx context.Context) error {
	objects, err := MeshRoots(ctx, k.cfg.Dynamic, k.cfg.Namespace)
	if err != nil {
		return err
	}
	if len(objects) == 0 && k.hasObjects() {
		k.cfg.Log.Error("all MeshRootCertificates are gone, keeping the roots already loaded; create them again before a replica restarts, which would not know the root",
			"namespace", k.cfg.Namespace)
		return nil
	}
	k.setWanted(k.cfg.wanted(objects))
	return nil
}

func (k *rootManager) hasObjects() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.wanted) > 0 && k.wanted[0].Name != Installation
}

// pause waits for a change, at most for recheck. It returns false if ctx ended.
func (k *rootManager) pause(ctx context.Context) bool {
	timer := time.NewTimer(recheck/2 + rand.N(recheck/2)) //nolint:gosec // jitter is no secret
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-k.changed:
	case <-timer.C:
	}
	return true
}

// run follows the roots of the mesh until ctx ends, and returns its cause.
func (k *rootManager) run(ctx context.Context) error {
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

func (k *rootManager) follow(ctx context.Context, begin func(func())) error {
	lastError := ""
	for {
		failed := k.read(ctx)
		k.load(ctx, begin)
		if err := k.apply(); err != nil {
			failed = errors.Join(failed, err)
		}
		k.watch(ctx, begin)
		if ctx.Err() == nil {
			lastError = k.logError(failed, lastError)
		}
		if !k.await(ctx, failed != nil || !k.complete()) {
			return context.Cause(ctx)
		}
	}
}

// logError logs an error unless it is the last one logged, so that an outage is one line and not one every few
// seconds. It returns the text of the error.
func (k *rootManager) logError(failed error, last string) string {
	if failed == nil {
		return ""
	}
	text := failed.Error()
	if text != last {
		k.cfg.Log.Warn("roots not up to date, keeping the roots already loaded", "error", failed)
	}
	return text
}

// await waits for a change, and at most for recheck if something is wrong.
func (k *rootManager) await(ctx context.Context, wrong bool) bool {
	if wrong {
		return k.pause(ctx)
	}
	select {
	case <-ctx.Done():
		return false
	case <-k.changed:
		return true
	}
}

// complete reports whether all wanted roots are loaded.
func (k *rootManager) complete() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return !slices.ContainsFunc(slices.Collect(maps.Values(k.managed)), func(m *managedRoot) bool { return m.authority == nil })
}

// watch starts to watch the loaded roots that are not watched yet.
func (k *rootManager) watch(ctx context.Context, begin func(func())) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, m := range k.managed {
		if m.authority == nil || m.busy {
			continue
		}
		ctx, stop := context.WithCancel(ctx)
		m.busy, m.stop = true, stop
		begin(func() {
			defer stop()
			if err := m.source.Run(ctx); ctx.Err() == nil {
				k.cfg.Log.Error("root CA is no longer watched: changes to it will go unnoticed", "root", m.source.String(), "error", err)
			}
		})
	}
}

// String returns the name of the root that signs.
func (k *rootManager) String() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.managed[k.signing].source.String()
}

func (k *rootManager) loadedRoots() (roots []rotation.Loaded, problems map[string]string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	problems = map[string]string{}
	for _, w := range k.wanted {
		m := k.managed[w.key]
		switch {
		case w.Problem != "":
			problems[w.Name] = w.Problem
		case m != nil && m.authority == nil:
			problems[w.Name] = m.waiting
		}
	}
	return slices.Clone(k.applied), problems
}
