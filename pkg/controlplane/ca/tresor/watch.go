package tresor

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/wake"
)

// Watch compares the root in the cluster with the loaded one. It reports the first result and every
// change, from one goroutine at a time. It reads only that Secret, keeps running while the API server
// is unavailable, and returns the cause of ctx when ctx ends.
func (s Store) Watch(ctx context.Context, loaded *ca.Root, report func(ca.RootStatus)) error {
	factory := informers.NewSharedInformerFactoryWithOptions(s.Client, 0,
		informers.WithNamespace(s.Namespace),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) {
			o.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, s.secretName()).String()
		}))
	informer := factory.Core().V1().Secrets().Informer()
	changed := wake.NewSignal()
	registration, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { changed.Wake() },
		UpdateFunc: func(_, _ any) { changed.Wake() },
		DeleteFunc: func(any) { changed.Wake() },
	})
	if err != nil {
		return fmt.Errorf("watch Secret %s: %w", s.object(), err)
	}
	factory.Start(ctx.Done())
	defer factory.Shutdown()
	if !cache.WaitForCacheSync(ctx.Done(), registration.HasSynced) {
		return context.Cause(ctx)
	}
	changed.Wake() // a Secret that does not exist fires no event
	return s.compareOn(ctx, changed, informer.GetStore(), comparison{loaded, report})
}

// comparison is the root that Watch compares with, and the function that it reports to.
type comparison struct {
	loaded *ca.Root
	report func(ca.RootStatus)
}

func (s Store) compareOn(ctx context.Context, changed <-chan struct{}, store cache.Store, c comparison) error {
	var last string
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-changed:
		}
		status := s.compare(store, c.loaded)
		if key := string(status.State) + status.String(); key != last {
			last = key
			c.report(status)
		}
	}
}

func (s Store) compare(store cache.Store, loaded *ca.Root) ca.RootStatus {
	status := ca.RootStatus{State: ca.RootMissing, Secret: s.object(), Loaded: loaded.Fingerprint()}
	object, exists, err := store.GetByKey(s.object())
	secret, isSecret := object.(*corev1.Secret)
	if err != nil || !exists || !isSecret {
		return status
	}
	found, err := ca.ParseRoot(secret.Data, s.now())
	if err != nil {
		status.State, status.Err = ca.RootBroken, err
		return status
	}
	status.State, status.Found = ca.RootSame, found.Fingerprint()
	if status.Found != status.Loaded {
		status.State = ca.RootDiffers
	}
	return status
}
