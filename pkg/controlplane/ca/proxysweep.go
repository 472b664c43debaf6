package ca

import (
	"context"
	"errors"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/osm-edge/osm/pkg/controlplane/identity"
)

// defaultSweep is the pause between two accounts of a sweep.
const defaultSweep = 200 * time.Millisecond

// Swept is what a Sweep did.
type Swept struct {
	// Looked, Deleted and Failed count accounts. What failed is left to the next holder of the Lease.
	Looked, Deleted, Failed int
}

// Sweep deletes the Secrets of accounts that should have none, for a replica that has just
// obtained the Lease: its predecessor may have left some in namespaces that left the mesh
// meanwhile. Run it beside Run, in a goroutine of its own, with the ServiceAccounts that are in no
// namespace of the mesh, once the first report of Run has come: it takes its time, gives way to
// Reconcile between any two accounts, and leaves alone what Reconcile knows or what is not this
// mesh's. It works once in the life of p, which is one term of the Lease.
func (p *ProxySecrets) Sweep(ctx context.Context, leftovers []identity.Identity) (Swept, error) {
	p.mu.Lock()
	again := p.swept
	p.swept = true
	p.mu.Unlock()
	if again {
		return Swept{}, errors.New("sweep proxy certificates: done once already in this term of the lease")
	}
	var done Swept
	for _, id := range leftovers {
		if !pauseFor(ctx, p.cfg.SweepEvery) {
			return done, context.Cause(ctx)
		}
		p.sweepOne(ctx, id, &done)
	}
	return done, nil
}

// sweepOne looks at one Secret and deletes it if it is ours. p.mu keeps Reconcile from adopting it
// between the look and the deletion.
func (p *ProxySecrets) sweepOne(ctx context.Context, id identity.Identity, done *Swept) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.records[id] != nil || ctx.Err() != nil {
		return // its namespace has joined the mesh, or its removal is under way
	}
	done.Looked++
	secret, err := p.probe(ctx, id)
	var foreign *foreignError
	if errors.As(err, &foreign) || apierrors.IsForbidden(err) || apierrors.IsNotFound(err) || err == nil && secret == nil {
		return // not ours, not there, or the whole namespace is going
	}
	if err == nil {
		err = p.removeNow(ctx, id, &record{uid: secret.UID})
	}
	if err != nil {
		done.Failed++
		p.cfg.Log.Debug("left-over proxy certificate not removed", "secret", secretName(id), "error", err)
		return
	}
	done.Deleted++
}
