package secrets

import (
	"context"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
)

// due reports whether an account's Secret has to be probed.
func (p *ProxyController) due(r *record, account Account) bool {
	now := p.now()
	if r.failures > 0 && !r.removing && r.owner == account.UID {
		return !now.Before(r.nextAt)
	}
	return r.uid == "" || r.owner != account.UID || !now.Before(p.nextProbe(account.Identity, r))
}

// nextProbe is when a known Secret has to be probed again.
func (p *ProxyController) nextProbe(id identity.Identity, r *record) time.Time {
	next := r.nextAt
	if r.failures > 0 {
		return next
	}
	if r.renewAt.Before(next) {
		next = r.renewAt
	}
	if at := p.target.rewriteAt(id); !p.target.met(r.holds) && at.Before(next) {
		next = at
	}
	return r.awaited.before(next)
}

// unprobed is the outcome of a Secret that is not due.
func (r *record) unprobed() outcome {
	if r.failures > 0 {
		return failed
	}
	return kept
}

// ensure probes one Secret and writes it if necessary.
func (p *ProxyController) ensure(ctx context.Context, account Account, r *record) outcome {
	r.owner, r.removing = account.UID, false
	r.awaited.probed(p.now(), p.cfg.ProbeEvery)
	secret, err := p.probe(ctx, account.Identity)
	if err != nil {
		return p.fail(ctx, account.Identity, r, err)
	}
	if secret != nil {
		renewAt, reason := p.fit(secret, account, p.target.trust)
		holds := contentsOf(account.Identity, secret, p.target.trust)
		if reason == nil && !p.target.met(holds) && !p.now().Before(p.target.rewriteAt(account.Identity)) {
			reason = errors.New("the roots have changed")
		}
		if reason == nil {
			p.settle(account.Identity, r, secret, holds, renewAt)
			return kept
		}
		p.cfg.Log.Debug("replacing proxy certificate", "secret", secretName(account.Identity), "reason", reason)
	}
	return p.write(ctx, account, r)
}

// write issues a certificate and applies the whole Secret.
func (p *ProxyController) write(ctx context.Context, account Account, r *record) outcome {
	leaf, err := p.cfg.Authority.Issue(ctx, ca.Request{Identity: account.Identity, TTL: p.cfg.TTL, Usage: ca.UsageProxy})
	if err != nil {
		return p.fail(ctx, account.Identity, r, err)
	}
	trust := p.cfg.Authority.Trust() // after Issue, so that it holds the leaf's CA
	secret, err := applySecret(ctx, p.cfg.Client, p.fullConfig(account, leaf, trust), p.cfg.Metrics)
	if err != nil {
		return p.fail(ctx, account.Identity, r, err)
	}
	holds := contentsOf(account.Identity, secret, trust)
	holds.Since = p.now()
	p.settle(account.Identity, r, secret, holds, renewalOf(leaf))
	return written
}

// settle records a Secret that is in order.
func (p *ProxyController) settle(id identity.Identity, r *record, secret *corev1.Secret, holds contents, renewAt time.Time) {
	if holds.Since.IsZero() {
		holds.Since = p.now()
	}
	if r.holds.Signer == holds.Signer && r.holds.bundle == holds.bundle {
		holds.Since = r.holds.Since
	}
	// Half of the pause is jitter, so that Secrets written together are not always probed together.
	pause := p.cfg.ProbeEvery/2 + ca.Spread(id, p.cfg.ProbeEvery/2)
	*r = record{owner: r.owner, uid: secret.UID, holds: holds, nextAt: p.now().Add(pause), renewAt: renewAt, awaited: r.awaited}
}

// probe returns the current Secret, nil if there is none, or a foreignError.
func (p *ProxyController) probe(ctx context.Context, id identity.Identity) (*corev1.Secret, error) {
	return probeSecret(ctx, p.cfg.Client, p.probeConfig(id), api.LabelProxyCertificate, p.cfg.Metrics)
}

func secretName(id identity.Identity) string {
	return id.Namespace + "/" + api.ProxySecretName(id.ServiceAccount)
}
