package controller

import (
	"context"
	"errors"
	"sync"

	"github.com/osm-edge/osm/pkg/controlplane/ca/leafcache"
	"github.com/osm-edge/osm/pkg/controlplane/ca/secrets"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/kube"
	"github.com/osm-edge/osm/pkg/controlplane/provider"
)

// loadRoot opens the certificate provider, whose root all replicas share.
func (p *parts) loadRoot(ctx context.Context, ready provider.Readiness) error {
	var err error
	p.provider, err = provider.Open(ctx, provider.Config{
		Flags: p.cfg.Provider, Allowed: p.cfg.Allowed, Client: p.client, Dynamic: p.dynamic, Namespace: p.cfg.Namespace, Mesh: p.cfg.MeshName,
		TrustDomain: p.cfg.TrustDomain, CASecret: p.cfg.CASecret, Metrics: p.metrics, Ready: ready, Log: p.cfg.Log,
	})
	if err != nil {
		return err // names the provider and what to do
	}
	p.roots = p.provider.Roots
	p.driver = p.newDriver()
	p.leaves, err = leafcache.New(leafcache.Config{Authority: p.roots, Log: p.cfg.Log, Metrics: p.metrics})
	return err
}

// rootsChanged hands other roots to all who use them, the bundle first. It must not block: what
// takes time is only asked for. The serving certificate is the provider's own business.
func (p *parts) rootsChanged(change ca.Change) {
	if change.Trust {
		if err := p.xds.Retrust(); err != nil {
			p.cfg.Log.Error("proxies are not told of the changed roots", "error", err)
		}
	}
	if change.Signer {
		over := leafcache.ReissueTime(p.xds.Connected())
		p.leaves.Reissue(over)
		p.xds.Reissue(over)
	}
	p.accounts.Wake() // the proxies' Secrets hold the bundle and a leaf
	p.hook.Wake()     // and so do the webhook and its Secret
}

func (p *parts) lease() kube.Lease {
	return kube.Lease{Client: p.client, Namespace: p.cfg.Namespace, Name: api.ControllerLease, Holder: p.cfg.Holder, Log: p.cfg.Log}
}

// lead does what one replica does for all, for as long as this one holds the Lease.
func (p *parts) lead(ctx context.Context) {
	var work sync.WaitGroup
	work.Go(func() { p.writeProxySecrets(ctx) })
	work.Go(func() { p.keepWebhook(ctx) })
	work.Go(func() {
		if err := orderly(ctx, p.driver.Run(ctx)); err != nil {
			p.cfg.Log.Error("the root is not being rotated", "error", err)
		}
	})
	work.Wait()
}

// writeProxySecrets keeps the proxies' own certificates.
func (p *parts) writeProxySecrets(ctx context.Context) {
	writer, err := secrets.NewProxyController(secrets.ProxyConfig{
		Client: p.client, Authority: p.roots, Mesh: p.cfg.MeshName, TrustDomain: p.cfg.TrustDomain,
		Log: p.cfg.Log, Metrics: p.metrics,
	})
	if err == nil {
		p.secrets.Store(writer)
		defer p.secrets.Store(nil)
		err = p.keepProxySecrets(ctx, writer)
	}
	if err = orderly(ctx, err); err != nil {
		p.cfg.Log.Error("the proxies' certificates are not being written", "error", err)
	}
}

// keepProxySecrets writes what is wanted, and once in the term of the Lease, when that is done for
// the first time, removes what an earlier holder may have left behind.
func (p *parts) keepProxySecrets(ctx context.Context, writer *secrets.ProxyController) error {
	group, ctx := errgroup.WithContext(ctx)
	done := make(chan struct{})
	first := sync.OnceFunc(func() { close(done) })
	group.Go(func() error {
		return writer.Run(ctx, p.meshAccounts, p.accounts, func(r secrets.Result) {
			p.reportSecrets(r)
			first()
		})
	})
	group.Go(func() error {
		select {
		case <-ctx.Done():
			return nil
		case <-done:
		}
		swept, err := writer.Sweep(ctx, p.otherAccounts())
		if err == nil && swept.Deleted+swept.Failed > 0 {
			p.cfg.Log.Info("proxy certificates that an earlier holder of the lease left behind", "removed", swept.Deleted, "failed", swept.Failed)
		}
		return orderly(ctx, err)
	})
	return group.Wait()
}

// reportSecrets tells people of the Secrets that they have to mend.
func (p *parts) reportSecrets(r secrets.Result) {
	texts := make([]string, len(r.Problems))
	for i, problem := range r.Problems {
		texts[i] = problem.Object + ": " + problem.Message
	}
	p.pipeline.problems.report("proxy certificates", texts...)
}

// meshAccounts are the ServiceAccounts of the mesh's namespaces.
func (p *parts) meshAccounts() []secrets.Account {
	var accounts []secrets.Account
	for _, account := range p.watch.MemberAccounts() {
		accounts = append(accounts, secrets.Account{Identity: identityOf(account), UID: account.UID})
	}
	return accounts
}

// otherAccounts are the ServiceAccounts outside the mesh.
func (p *parts) otherAccounts() []identity.Identity {
	var accounts []identity.Identity
	for _, account := range p.watch.OtherAccounts() {
		accounts = append(accounts, identityOf(account))
	}
	return accounts
}

func identityOf(account *corev1.ServiceAccount) identity.Identity {
	return identity.Identity{Namespace: account.Namespace, ServiceAccount: account.Name}
}

// orderly drops the error of a loop that ended because it was told to.
func orderly(ctx context.Context, err error) error {
	if ctx.Err() != nil && (errors.Is(err, ctx.Err()) || errors.Is(err, context.Cause(ctx))) {
		return nil
	}
	return err
}
