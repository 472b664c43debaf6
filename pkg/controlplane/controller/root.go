package controller

import (
	"context"
	"errors"
	"fmt"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/kube"
	"github.com/osm-edge/osm/pkg/controlplane/serve"
)

// loadRoot gets the root that all replicas share and what signs with it.
func (p *parts) loadRoot(ctx context.Context) error {
	p.tresor = ca.Tresor{Client: p.client, Namespace: p.cfg.Namespace, Mesh: p.cfg.MeshName, SecretName: p.cfg.CASecret, Log: p.cfg.Log}
	var err error
	if p.root, err = p.tresor.Load(ctx); err != nil {
		return err // says which Secret, which key and what to do
	}
	p.issuer, err = ca.NewIssuer(ca.IssuerConfig{Root: p.root, TrustDomain: p.cfg.TrustDomain, Metrics: p.metrics})
	if err != nil {
		return fmt.Errorf("sign with the root CA: %w", err)
	}
	p.leaves, err = ca.NewLeaves(ca.LeavesConfig{Authority: p.issuer, Log: p.cfg.Log, Metrics: p.metrics})
	return err
}

// watchRoot makes the replica unready while the cluster has another root than the one it signs with.
func (p *parts) watchRoot(ctx context.Context, condition *serve.Condition) error {
	err := p.tresor.Watch(ctx, p.root, func(status ca.RootStatus) {
		if status.Ready() {
			condition.Met()
		} else {
			condition.Unmet(status.String())
		}
		if status.State != ca.RootSame {
			p.cfg.Log.Error("the root CA in the cluster is not the one in use", "status", status.String())
		}
	})
	return orderly(ctx, err)
}

func (p *parts) lease() kube.Lease {
	return kube.Lease{Client: p.client, Namespace: p.cfg.Namespace, Name: api.ControllerLease, Holder: p.cfg.Holder, Log: p.cfg.Log}
}

// writeProxySecrets keeps the proxies' own certificates for as long as this replica holds the Lease.
func (p *parts) writeProxySecrets(ctx context.Context) {
	writer, err := ca.NewProxySecrets(ca.ProxySecretsConfig{
		Client: p.client, Authority: p.issuer, Mesh: p.cfg.MeshName, TrustDomain: p.cfg.TrustDomain,
		Log: p.cfg.Log, Metrics: p.metrics,
	})
	if err == nil {
		err = writer.Run(ctx, p.meshAccounts, p.accounts, func(r ca.Result) {
			texts := make([]string, len(r.Problems))
			for i, problem := range r.Problems {
				texts[i] = problem.Object + ": " + problem.Message
			}
			p.pipeline.problems.report("proxy certificates", texts...)
		})
	}
	if err = orderly(ctx, err); err != nil {
		p.cfg.Log.Error("the proxies' certificates are not being written", "error", err)
	}
}

// meshAccounts are the ServiceAccounts of the mesh's namespaces.
func (p *parts) meshAccounts() []ca.Account {
	members := map[string]bool{}
	for _, ns := range p.watch.Namespaces() {
		members[ns.Name] = ns.Labels[api.LabelMonitoredBy] == p.cfg.MeshName && ns.Labels[api.LabelIgnore] != "true"
	}
	var accounts []ca.Account
	for _, account := range p.watch.ServiceAccounts() {
		if members[account.Namespace] {
			accounts = append(accounts, ca.Account{
				Identity: identity.Identity{Namespace: account.Namespace, ServiceAccount: account.Name},
				UID:      account.UID,
			})
		}
	}
	return accounts
}

// orderly drops the error of a loop that ended because it was told to.
func orderly(ctx context.Context, err error) error {
	if ctx.Err() != nil && (errors.Is(err, ctx.Err()) || errors.Is(err, context.Cause(ctx))) {
		return nil
	}
	return err
}
