package controller

import (
	"context"
	"errors"
	"sync"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/ca/leafcache"
	"github.com/osm-edge/osm/pkg/controlplane/ca/secrets"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/kube"
	"github.com/osm-edge/osm/pkg/controlplane/provider"
)

// loadRoot opens the certificate provider, whose root all replicas share.
func (p *process) loadRoot(ctx context.Context, ready provider.Readiness) error {
	var err error
	p.provider, err = provider.Open(ctx, provider.Config{
		Flags: p.cfg.Provider, Client: p.client, Dynamic: p.dynamic, Namespace: p.cfg.Namespace, Mesh: p.cfg.MeshName,
		TrustDomain: p.cfg.TrustDomain, Metrics: p.metrics, Ready: ready, Log: p.cfg.Log,
	})
	if err != nil {
		return err // names the provider and what to do
	}
	p.roots = p.provider.Roots
	p.driver = p.newDriver()
	p.leaves, err = leafcache.New(leafcache.Config{Authority: p.roots, Log: p.cfg.Log, Metrics: p.metrics})
	return err
}

// rootsChanged passes changed roots to everything that uses them, the bundle first. It must not block, so it
// only starts slow work. The provider renews the serving certificate itself.
func (p *process) rootsChanged(change ca.Change) {
	if change.Trust {
		if err := p.xds.Retrust(); err != nil {
			p.cfg.Log.Error("cannot send the changed roots to proxies", "error", err)
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

func (p *process) lease() kube.Lease {
	return kube.Lease{Client: p.client, Namespace: p.cfg.Namespace, Name: api.ControllerLease, Holder: p.cfg.Holder, Log: p.cfg.Log}
}

// lead does the leader's work until ctx ends.
func (p *process) lead(ctx context.Context) {
	var work sync.WaitGroup
	work.Go(func() { p.writeProxySecrets(ctx) })
	work.Go(func() { p.keepWebhook(ctx) })
	work.Go(func() {
		if err := orderly(ctx, p.driver.Run(ctx)); err != nil {
			p.cfg.Log.Error("root rotation stopped", "error", err)
		}
	})
	work.Wait()
}

// writeProxySecrets keeps the Secrets with the proxies' client certificates up to date.
func (p *process) writeProxySecrets(ctx context.Context) {
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
		p.cfg.Log.Error("cannot keep the proxies' certificates up to date", "error", err)
	}
}

// keepProxySecrets reconciles the Secrets. After the first round, once per term, it removes Secrets that an
// earlier leader may have left behind.
func (p *process) keepProxySecrets(ctx context.Context, writer *secrets.ProxyController) error {
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
			p.cfg.Log.Info("removed proxy certificates that an earlier leader left behind", "removed", swept.Deleted, "failed", swept.Failed)
		}
		return orderly(ctx, err)
	})
	return group.Wait()
}

// reportSecrets logs the Secrets that users have to fix.
func (p *process) reportSecrets(r secrets.Result) {
	texts := make([]string, len(r.Problems))
	for i, problem := range r.Problems {
		texts[i] = problem.Object + ": " + problem.Message
	}
	p.pipeline.problems.report("proxy certificates", texts...)
}

// meshAccounts are the ServiceAccounts of the mesh's namespaces.
func (p *process) meshAccounts() []secrets.Account {
	var accounts []secrets.Account
	for _, account := range p.watch.MemberAccounts() {
		accounts = append(accounts, secrets.Account{Identity: identityOf(account), UID: account.UID, Starting: p.watch.StartingPods(account)})
	}
	return accounts
}

// otherAccounts are the ServiceAccounts outside the mesh.
func (p *process) otherAccounts() []identity.Identity {
	var accounts []identity.Identity
	for _, account := range p.watch.OtherAccounts() {
		accounts = append(accounts, identityOf(account))
	}
	return accounts
}

func identityOf(account *corev1.ServiceAccount) identity.Identity {
	return identity.Identity{Namespace: account.Namespace, ServiceAccount: account.Name}
}

// orderly drops the error of a loop that ended because ctx did.
func orderly(ctx context.Context, err error) error {
	if ctx.Err() != nil && (errors.Is(err, ctx.Err()) || errors.Is(err, context.Cause(ctx))) {
		return nil
	}
	return err
}
