package secrets

import (
	"context"
	"errors"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/osm-edge/osm/pkg/controlplane/identity"
)

// defaultSweep is the pause of Sweep between two accounts.
const defaultSweep = 200 * time.Millisecond

// Swept is what a Sweep did.
type Swept struct {
	// Probed, Deleted and Failed count accounts. The next leader retries those that failed.
	Probed, Deleted, Failed int
}

// Sweep deletes the Secrets of accounts that should have none, for a replica that has just become
// the leader: its predecessor may have left some in namespaces that have left the mesh since. Call
// it with the ServiceAccounts outside the mesh's namespaces, in a goroutine beside Run, after the
// first report of Run. It is slow on purpose, yields to Reconcile between two accounts, and does not
// touch Secrets that Reconcile knows or that belong to something else. It works once for each
// ProxyController, which serves one term as the leader.
func (p *ProxyController) Sweep(ctx context.Context, leftovers []identity.Identity) (Swept, error) {
	p.mu.Lock()
	again := p.swept
	p.swept = true
	p.mu.Unlock()
	if again {
		return Swept{}, errors.New("sweep proxy certificates: already done in this term as the leader")
	}
	var done Swept
	for _, id := range leftovers {
		select {
		case <-ctx.Done():
			return done, context.Cause(ctx)
		case <-time.After(p.cfg.SweepEvery):
		}
		p.sweepOne(ctx, id, &done)
	}
	return done, nil
}

// sweepOne probes one Secret and deletes it if it is ours. p.mu keeps Reconcile from adopting it
// between the probe and the deletion.
func (p *ProxyController) sweepOne(ctx context.Context, id identity.Identity, done *Swept) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.records[id] != nil || ctx.Err() != nil {
		return // its namespace has joined the mesh, or it is being removed
	}
	done.Probed++
	secret, err := p.probe(ctx, id)
	var foreign *foreignError
	if errors.As(err, &foreign) || apierrors.IsForbidden(err) || apierrors.IsNotFound(err) || err == nil && secret == nil {
		return // not ours, not there, or the namespace is being deleted
	}
	if err == nil {
		err = p.removeNow(ctx, id, &record{uid: secret.UID})
	}
	if err != nil {
		done.Failed++
		p.cfg.Log.Debug("leftover proxy certificate not removed", "secret", secretName(id), "error", err)
		return
	}
	done.Deleted++
}
