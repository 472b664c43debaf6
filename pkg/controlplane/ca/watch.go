package ca

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
)

// RootState is how the cluster's root compares with the one that a replica loaded.
type RootState string

// The states.
const (
	// RootSame: the Secret holds the loaded root.
	RootSame RootState = "same"
	// RootDiffers: the Secret holds another valid root. Leaves that this replica signs are no
	// longer accepted where the other root is trusted.
	RootDiffers RootState = "differs"
	// RootBroken: the Secret holds no usable root. All replicas that run share the loaded one.
	RootBroken RootState = "broken"
	// RootMissing: the Secret was deleted. All replicas that run share the loaded one.
	RootMissing RootState = "missing"
)

// RootStatus is what Watch reports, and what outside providers report of their CA.
type RootStatus struct {
	State RootState
	// Secret is namespace/name of the root's Secret; it is empty with an outside provider.
	Secret string
	// Provider names the outside provider, for example "Vault at https://vault:8200".
	Provider string
	// Loaded and Found are fingerprints; Found is empty unless the Secret holds a root.
	Loaded, Found string
	// Err says why the Secret holds no usable root.
	Err error
}

// Ready says whether a replica with the loaded root should be sent proxies. Only another root in
// the cluster speaks against it: without any, the replicas that run are all that the mesh has.
func (s RootStatus) Ready() bool { return s.State != RootDiffers }

// String says in one sentence what is the matter and what to do; it is empty when nothing is.
func (s RootStatus) String() string {
	switch s.State {
	case RootSame:
		return ""
	case RootDiffers:
		return fmt.Sprintf("%s holds another root CA (sha256:%s) than this replica loaded (sha256:%s): restore it, or restart the control plane to use the new one",
			s.holder(), s.Found, s.Loaded)
	case RootBroken:
		return fmt.Sprintf("Secret %s holds no usable root CA, serving with the one loaded before (sha256:%s): %v", s.Secret, s.Loaded, s.Err)
	case RootMissing:
		return fmt.Sprintf("Secret %s is gone, serving with the root CA loaded before (sha256:%s): restore it before a replica restarts, which would make a new one",
			s.Secret, s.Loaded)
	}
	return fmt.Sprintf("root CA in unknown state %q", s.State)
}

// holder is where the root is kept.
func (s RootStatus) holder() string {
	if s.Provider != "" {
		return s.Provider
	}
	return "Secret " + s.Secret
}

// Watch compares the root in the cluster with the loaded one and reports each change of the
// comparison, beginning with the first, from one goroutine at a time. It reads that one Secret
// only, outlasts times without API server, and runs until ctx ends; then it returns its cause.
func (t Tresor) Watch(ctx context.Context, loaded *Root, report func(RootStatus)) error {
	factory := informers.NewSharedInformerFactoryWithOptions(t.Client, 0,
		informers.WithNamespace(t.Namespace),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) {
			o.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, t.secretName()).String()
		}))
	informer := factory.Core().V1().Secrets().Informer()
	changed := make(chan struct{}, 1)
	kick := func() { poke(changed) }
	registration, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { kick() },
		UpdateFunc: func(_, _ any) { kick() },
		DeleteFunc: func(any) { kick() },
	})
	if err != nil {
		return fmt.Errorf("watch Secret %s: %w", t.object(), err)
	}
	factory.Start(ctx.Done())
	defer factory.Shutdown()
	if !cache.WaitForCacheSync(ctx.Done(), registration.HasSynced) {
		return context.Cause(ctx)
	}
	kick() // a Secret that is missing from the start fires no event
	return t.compareOn(ctx, changed, informer.GetStore(), comparison{loaded, report})
}

// comparison is what Watch compares with and whom it tells.
type comparison struct {
	loaded *Root
	report func(RootStatus)
}

func (t Tresor) compareOn(ctx context.Context, changed <-chan struct{}, store cache.Store, c comparison) error {
	var last string
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-changed:
		}
		status := t.compare(store, c.loaded)
		if key := string(status.State) + status.String(); key != last {
			last = key
			c.report(status)
		}
	}
}

func (t Tresor) compare(store cache.Store, loaded *Root) RootStatus {
	status := RootStatus{State: RootMissing, Secret: t.object(), Loaded: loaded.Fingerprint()}
	object, exists, err := store.GetByKey(t.object())
	secret, isSecret := object.(*corev1.Secret)
	if err != nil || !exists || !isSecret {
		return status
	}
	found, err := ParseRoot(secret.Data, t.now())
	if err != nil {
		status.State, status.Err = RootBroken, err
		return status
	}
	status.State, status.Found = RootSame, found.Fingerprint()
	if status.Found != status.Loaded {
		status.State = RootDiffers
	}
	return status
}
