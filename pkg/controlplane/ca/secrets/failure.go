package secrets

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
)

// fail schedules a retry and records what a user has to fix as a problem.
func (p *ProxyController) fail(ctx context.Context, id identity.Identity, r *record, err error) outcome {
	if ctx.Err() != nil {
		return failed // the Lease was lost, or the replica is shutting down
	}
	r.nextAt = p.now().Add(ca.RetryDelay(id, r.failures))
	r.failures++
	r.problem = p.problemOf(id, err)
	if r.failures == 1 { // a persistent fault is a Problem; log it only once
		p.cfg.Log.Warn("proxy certificate Secret failed, will retry", "secret", secretName(id), "error", err)
	}
	return failed
}

// problemOf describes a fault that a user has to fix. It is empty for a transient one.
func (p *ProxyController) problemOf(id identity.Identity, err error) string {
	var foreign *foreignError
	switch {
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause), apierrors.IsNotFound(err):
		return "" // the namespace is being deleted, with its ServiceAccounts
	case errors.As(err, &foreign):
		return fmt.Sprintf("proxies of ServiceAccount %s get no certificate because a Secret of this name exists that is not the mesh's (%v): rename or delete it", id, foreign.reason)
	case apierrors.IsForbidden(err):
		return fmt.Sprintf("proxies of ServiceAccount %s get no certificate because the API server refuses to write it (%v): rename or delete a foreign Secret of this name, or restore the control plane's ClusterRole", id, err)
	case apierrors.IsInvalid(err):
		return fmt.Sprintf("proxies of ServiceAccount %s get no certificate because the API server refuses it (%v): delete the Secret so that it is created again", id, err)
	}
	return ""
}
