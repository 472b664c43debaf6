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
// is, and returns the cause of ctx's end. A replica that loses leadership keeps serving.
func (l Lease) Run(ctx context.Context, lead func(context.Context)) error {
	if l.Client == nil || l.Namespace == "" || l.Name == "" || l.Holder == "" || l.Log == nil {
		return errors.New("kube: lease needs client, namespace, name, holder and log")
	}
	for ctx.Err() == nil {
		elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
			Lock: &resourcelock.LeaseLock{
				LeaseMeta:  metav1.ObjectMeta{Namespace: l.Namespace, Name: l.Name},
				Client:     l.Client.CoordinationV1(),
				LockConfig: resourcelock.ResourceLockConfig{Identity: l.Holder},
			},
			LeaseDuration: leaseDuration, RenewDeadline: leaseRenew, RetryPeriod: leaseRetry,
			ReleaseOnCancel: true,
			Name:            l.Name,
			Callbacks: leaderelection.LeaderCallbacks{
				OnStartedLeading: func(ctx context.Context) {
					l.Log.Info("acquired leadership", "lease", l.Namespace+"/"+l.Name)
					lead(ctx)
				},
				OnStoppedLeading: func() { l.Log.Info("not the leader", "lease", l.Namespace+"/"+l.Name) },
			},
		})
		if err != nil {
			return fmt.Errorf("join the leader election of Lease %s/%s: %w", l.Namespace, l.Name, err)
		}
		elector.Run(ctx)
	}
	return context.Cause(ctx)
}
