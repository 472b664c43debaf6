package secrets

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
)

// remove deletes a Secret that is known to be ours. It does not delete another Secret that has taken its name since.
func (p *ProxyController) remove(ctx context.Context, id identity.Identity, r *record) outcome {
	switch {
	case r.removing && p.now().Before(r.nextAt):
		return failed
	case r.uid == "" && r.failures == 0:
		return absent
	}
	r.removing = true
	if err := p.removeNow(ctx, id, r); err != nil {
		return p.fail(ctx, id, r, err)
	}
	existed := r.uid != ""
	*r = record{}
	if !existed {
		return absent
	}
	return deleted
}

func (p *ProxyController) removeNow(ctx context.Context, id identity.Identity, r *record) error {
	if r.uid == "" { // the last write failed, but may have been carried out
		secret, err := p.probe(ctx, id)
		var foreign *foreignError
		if errors.As(err, &foreign) || apierrors.IsForbidden(err) || err == nil && secret == nil {
			return nil
		}
		if err != nil {
			return err
		}
		r.uid = secret.UID
	}
	err := p.cfg.Client.CoreV1().Secrets(id.Namespace).Delete(ctx, api.ProxySecretName(id.ServiceAccount),
		metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &r.uid}})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		err = nil // already deleted, or replaced
	}
	p.cfg.Metrics.CountSecret("delete", err)
	if err != nil {
		return fmt.Errorf("delete Secret %s: %w", secretName(id), err)
	}
	return nil
}
