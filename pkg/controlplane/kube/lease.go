package kube

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// Times of the Lease: how long it is valid without renewal, how long the leader tries to renew it, and
// how often every replica tries.
const (
	leaseDuration = 15 * time.Second
	leaseRenew    = 10 * time.Second
	leaseRetry    = 2 * time.Second
)

// Lease is the Kubernetes Lease by which replicas elect the leader, the one that writes.
type Lease struct {
	Client kubernetes.Interface
	// Namespace and Name of the Lease object, Holder the name of this replica. All are required.
	Namespace, Name, Holder string
	Log                     *slog.Logger
}

// Run calls lead whenever this replica becomes the leader, with a context that ends when it no longer
// is, and returns the cause of ctx's end. A replica that loses leadership keeps serving. Run waits for lead to
// return before it gives the Lease up or takes it again.
func (l Lease) Run(ctx context.Context, lead func(context.Context)) error {
	if l.Client == nil || l.Namespace == "" || l.Name == "" || l.Holder == "" || l.Log == nil {
		return errors.New("kube: lease needs client, namespace, name, holder and log")
	}
	seen := false
	for ctx.Err() == nil {
		t := &term{Lease: l, seen: seen}
		if err := t.run(ctx, lead); err != nil {
			return fmt.Errorf("join the leader election of Lease %s/%s: %w", l.Namespace, l.Name, err)
		}
		seen = t.seen
	}
	return context.Cause(ctx)
}

// run waits until this replica is the leader, and returns when it no longer is, or when ctx ends.
func (t *term) run(ctx context.Context, lead func(context.Context)) error {
	// The election goes on until the work has ended: whoever gives the Lease up must have stopped writing.
	electing, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	leading, end := context.WithCancel(ctx)
	defer end()
	working := make(chan struct{}, 1) // full while lead runs
	idle := func() { working <- struct{}{}; <-working }
	t.lost = func() { end(); stop() }
	defer context.AfterFunc(ctx, func() { idle(); stop() })()
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: t.Namespace, Name: t.Name},
			Client:     t,
			LockConfig: resourcelock.ResourceLockConfig{Identity: t.Holder},
		},
		LeaseDuration: leaseDuration, RenewDeadline: leaseRenew, RetryPeriod: leaseRetry,
		// client-go would give the Lease up while the work goes on, and one that another replica holds meanwhile.
		ReleaseOnCancel: false,
		Name:            t.Name,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(elected context.Context) {
				working <- struct{}{}
				defer func() { <-working }()
				defer context.AfterFunc(elected, end)()
				if t.waitForPredecessor(leading) {
					t.Log.Info("acquired leadership", "lease", t.Namespace+"/"+t.Name)
					lead(leading)
				}
			},
			OnStoppedLeading: func() { t.Log.Info("not the leader", "lease", t.Namespace+"/"+t.Name) },
		},
	})
	if err != nil {
		return err
	}
	elector.Run(electing)
	end()
	idle()
	t.giveUp(context.WithoutCancel(ctx))
	return nil
}
