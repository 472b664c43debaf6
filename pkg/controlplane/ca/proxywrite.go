package ca

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
)

// due says whether an account's Secret has to be looked at.
func (p *ProxySecrets) due(r *record, account Account) bool {
	now := p.now()
	if r.failures > 0 && !r.removing && r.owner == account.UID {
		return !now.Before(r.nextAt)
	}
	return r.uid == "" || r.owner != account.UID || !now.Before(p.nextLook(account.Identity, r))
}

// nextLook is when a Secret that is known has to be looked at again.
func (p *ProxySecrets) nextLook(id identity.Identity, r *record) time.Time {
	next := r.nextAt
	if r.failures > 0 {
		return next
	}
	if r.renewAt.Before(next) {
		next = r.renewAt
	}
	if at := p.aim.rewriteAt(id); !p.aim.met(r.holds) && at.Before(next) {
		next = at
	}
	return next
}

// aim is what all Secrets are to carry, since when, and how long the rewriting may take.
type aim struct {
	trust  Trust
	bundle string // fingerprint of the whole bundle
	since  time.Time
	over   time.Duration
}

// retarget notices that the roots have changed. The rewriting is spread so that it costs the API
// server a bounded rate; each account has its own moment in it.
func (p *ProxySecrets) retarget(accounts int) {
	next := aim{trust: p.cfg.Authority.Trust(), since: p.now()}
	next.bundle = next.trust.BundleFingerprint()
	next.over = time.Duration(accounts) * time.Second / time.Duration(p.cfg.RewritesPerSecond)
	if next.bundle != p.aim.bundle || next.trust.Fingerprint != p.aim.trust.Fingerprint {
		p.aim = next
	}
}

func (a aim) rewriteAt(id identity.Identity) time.Time {
	return a.since.Add(fraction(a.over, jitter(id)))
}

func (a aim) met(holds SecretEvidence) bool {
	return holds.Bundle == a.bundle && holds.Signer == a.trust.Fingerprint
}

// standing is the outcome of a Secret that is not looked at.
func (r *record) standing() outcome {
	if r.failures > 0 {
		return failed
	}
	return kept
}

// ensure looks at one Secret and writes it if it must.
func (p *ProxySecrets) ensure(ctx context.Context, account Account, r *record) outcome {
	r.owner, r.removing = account.UID, false
	secret, err := p.probe(ctx, account.Identity)
	if err != nil {
		return p.fail(ctx, account.Identity, r, err)
	}
	if secret != nil {
		renewAt, unfit := p.fit(secret, account, p.aim.trust)
		holds := evidenceOf(account.Identity, secret, p.aim.trust)
		if unfit == nil && !p.aim.met(holds) && !p.now().Before(p.aim.rewriteAt(account.Identity)) {
			unfit = errors.New("the roots have changed")
		}
		if unfit == nil {
			p.settle(account.Identity, r, secret, holds, renewAt)
			return kept
		}
		p.cfg.Log.Debug("proxy certificate to be replaced", "secret", secretName(account.Identity), "reason", unfit)
	}
	return p.write(ctx, account, r)
}

// write issues a certificate and applies the whole Secret.
func (p *ProxySecrets) write(ctx context.Context, account Account, r *record) outcome {
	leaf, err := p.cfg.Authority.Issue(ctx, Request{Identity: account.Identity, TTL: p.cfg.TTL, Usage: UsageProxy})
	if err != nil {
		return p.fail(ctx, account.Identity, r, err)
	}
	trust := p.cfg.Authority.Trust() // after Issue: it holds the leaf's CA in any case
	secret, err := applySecret(ctx, p.cfg.Client, p.fullConfig(account, leaf, trust), p.cfg.Metrics)
	if err != nil {
		return p.fail(ctx, account.Identity, r, err)
	}
	holds := evidenceOf(account.Identity, secret, trust)
	holds.Since = p.now()
	p.settle(account.Identity, r, secret, holds, renewalOf(leaf))
	return written
}

// settle records a Secret that is as it should be, for now.
func (p *ProxySecrets) settle(id identity.Identity, r *record, secret *corev1.Secret, holds SecretEvidence, renewAt time.Time) {
	if holds.Since.IsZero() {
		holds.Since = p.now()
	}
	if r.holds.Signer == holds.Signer && r.holds.Bundle == holds.Bundle {
		holds.Since = r.holds.Since
	}
	// Half of the pause is jittered: Secrets written together are not looked at together for ever.
	pause := p.cfg.ProbeEvery/2 + fraction(p.cfg.ProbeEvery/2, jitter(id))
	*r = record{owner: r.owner, uid: secret.UID, holds: holds, nextAt: p.now().Add(pause), renewAt: renewAt}
}

// probe returns the Secret as it is, nil if there is none, or a foreignError.
func (p *ProxySecrets) probe(ctx context.Context, id identity.Identity) (*corev1.Secret, error) {
	return probeSecret(ctx, p.cfg.Client, p.probeConfig(id), api.LabelProxyCertificate, p.cfg.Metrics)
}

// fail postpones the next attempt, and keeps what a user has to fix as a problem.
func (p *ProxySecrets) fail(ctx context.Context, id identity.Identity, r *record, err error) outcome {
	if ctx.Err() != nil {
		return failed // the Lease is lost or the replica stops: nobody's fault
	}
	delay := min(retryFirst<<min(r.failures, 10), retryLast)
	r.failures++
	r.nextAt = p.now().Add(delay/2 + fraction(delay/2, jitter(id)))
	r.problem = p.problemOf(id, err)
	if r.failures == 1 { // a fault that stays is a Problem, and need not fill the log as well
		p.cfg.Log.Warn("proxy certificate Secret failed, will retry", "secret", secretName(id), "error", err)
	}
	return failed
}

// problemOf words the faults that a user has to fix; others pass by themselves.
func (p *ProxySecrets) problemOf(id identity.Identity, err error) string {
	var foreign *foreignError
	switch {
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause), apierrors.IsNotFound(err):
		return "" // the namespace is going, and its ServiceAccounts with it
	case errors.As(err, &foreign):
		return fmt.Sprintf("proxies of ServiceAccount %s get no certificate because a Secret of this name exists that is not the mesh's (%v): rename or delete it", id, foreign.reason)
	case apierrors.IsForbidden(err):
		return fmt.Sprintf("proxies of ServiceAccount %s get no certificate because the API server refuses to write it (%v): rename or delete a foreign Secret of this name, or restore the control plane's ClusterRole", id, err)
	case apierrors.IsInvalid(err):
		return fmt.Sprintf("proxies of ServiceAccount %s get no certificate because the API server refuses it (%v): delete the Secret to have it made anew", id, err)
	}
	return ""
}

// remove deletes a Secret that is known to be ours, and no other that has taken its name since.
func (p *ProxySecrets) remove(ctx context.Context, id identity.Identity, r *record) outcome {
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

func (p *ProxySecrets) removeNow(ctx context.Context, id identity.Identity, r *record) error {
	if r.uid == "" { // the last write failed, which does not prove that nothing was written
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
		err = nil // gone, or replaced by somebody
	}
	p.cfg.Metrics.secret("delete", err)
	if err != nil {
		return fmt.Errorf("delete Secret %s: %w", secretName(id), err)
	}
	return nil
}

func secretName(id identity.Identity) string {
	return id.Namespace + "/" + api.ProxySecretName(id.ServiceAccount)
}
