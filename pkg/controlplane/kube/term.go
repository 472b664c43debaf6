package kube

import (
	"context"
	"errors"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
)

// term is one replica's part in one election, from its first request to the end of its leadership. It looks at what
// the leader election reads and writes. The election of client-go takes a Lease that somebody has deleted for one that
// never existed: the leader and another replica both create it, and the one that fails keeps leading until its
// renewal has failed for leaseRenew.
type term struct {
	Lease
	lost    func() // ends the leadership at once
	seen    bool   // this process has seen a Lease
	created bool   // in this term, after there was another
	held    types.UID
}

// errLost keeps a leader whose Lease is gone from creating another in the same term.
var errLost = errors.New("the Lease that this replica held is gone")

// waitForPredecessor waits, if the Lease was created anew, until a leader that does not know yet has stopped: one that
// cannot renew the deleted Lease stops after leaseRenew at the latest, counted from its next try. It reports false if the
// leadership ends meanwhile. The first Lease of a mesh has no predecessor, and a process that has seen none takes it
// for the first.
func (t *term) waitForPredecessor(leading context.Context) bool {
	if t.created {
		timer := time.NewTimer(leaseDuration)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-leading.Done():
		}
	}
	return leading.Err() == nil
}

// giveUpTime bounds the requests with which a Lease is given up; without them it expires.
const giveUpTime = 5 * time.Second

// giveUp makes the Lease free, after the work has ended, so that another replica need not wait until it expires. It changes
// only a Lease that this replica still holds.
func (t *term) giveUp(ctx context.Context) {
	if t.held == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, giveUpTime)
	defer cancel()
	leases := t.Client.CoordinationV1().Leases(t.Namespace)
	lease, err := leases.Get(ctx, t.Name, metav1.GetOptions{})
	if err == nil {
		if lease.UID != t.held || lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity != t.Holder {
			return
		}
		nobody := ""
		lease.Spec.HolderIdentity = &nobody
		_, err = leases.Update(ctx, lease, metav1.UpdateOptions{}) // refused if it has changed since
	}
	if err != nil {
		t.Log.Info("the Lease is not given up, and expires", "lease", t.Namespace+"/"+t.Name, "error", err)
	}
}

// Leases makes term the client of the election.
func (t *term) Leases(namespace string) coordinationclient.LeaseInterface {
	return termClient{t.Client.CoordinationV1().Leases(namespace), t}
}

// termClient tells a term about each answer.
type termClient struct {
	coordinationclient.LeaseInterface
	term *term
}

func (c termClient) Get(ctx context.Context, name string, options metav1.GetOptions) (*coordinationv1.Lease, error) {
	lease, err := c.LeaseInterface.Get(ctx, name, options)
	c.term.look(lease, err)
	return lease, err
}

func (c termClient) Update(ctx context.Context, lease *coordinationv1.Lease, options metav1.UpdateOptions) (*coordinationv1.Lease, error) {
	updated, err := c.LeaseInterface.Update(ctx, lease, options)
	if apierrors.IsConflict(err) {
		return nil, err // the election reads the Lease next
	}
	c.term.look(updated, err)
	return updated, err
}

func (c termClient) Create(ctx context.Context, lease *coordinationv1.Lease, options metav1.CreateOptions) (*coordinationv1.Lease, error) {
	if c.term.held != "" {
		return nil, errLost
	}
	created, err := c.LeaseInterface.Create(ctx, lease, options)
	switch {
	case apierrors.IsAlreadyExists(err):
		c.term.seen = true
	case err == nil:
		c.term.created = c.term.seen
		c.term.look(created, nil)
	}
	return created, err
}

// look compares the Lease with the one that is held.
func (t *term) look(lease *coordinationv1.Lease, err error) {
	switch {
	case err != nil && !apierrors.IsNotFound(err):
		return // nothing is known
	case err != nil:
		if t.held != "" {
			t.lost()
		}
		return
	}
	t.seen = true
	mine := lease.Spec.HolderIdentity != nil && *lease.Spec.HolderIdentity == t.Holder
	switch {
	case t.held == "" && mine:
		t.held = lease.UID
	case t.held != "" && (!mine || lease.UID != t.held):
		t.lost()
	}
}
