package controller

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/controlplane/ca/secrets"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/webhook"
)

// keepWebhook reconciles what the API server needs to call the injectors, while this replica is the leader.
func (p *process) keepWebhook(ctx context.Context) {
	id := identity.Identity{Namespace: p.cfg.Namespace, ServiceAccount: api.AppInjector}
	secret, err := secrets.NewServingController(secrets.ServingConfig{
		Client: p.client, Authority: p.roots, Mesh: p.cfg.MeshName, TrustDomain: p.cfg.TrustDomain, Identity: id,
		Host: api.InjectorHost(p.cfg.Namespace), Name: api.InjectorCertificateSecret, Label: api.LabelInjectorCertificate,
		Log: p.cfg.Log, Metrics: p.metrics,
	})
	if err == nil {
		p.serving.Store(secret)
		defer p.serving.Store(nil)
		err = webhook.New(webhook.Config{
			Mesh: p.cfg.MeshName, Webhooks: p.client.AdmissionregistrationV1().MutatingWebhookConfigurations(), Certificate: secret,
			Roots: p.roots, Owner: func() types.UID { return p.accountUID(id) }, Metrics: p.hooks, Log: p.cfg.Log, Now: time.Now,
		}).Run(ctx, p.hook)
	}
	if err = orderly(ctx, err); err != nil {
		p.cfg.Log.Error("cannot keep the admission webhook up to date", "error", err)
	}
}

// accountUID returns the UID of a ServiceAccount, empty if there is none.
func (p *process) accountUID(id identity.Identity) types.UID {
	for _, account := range p.watch.ServiceAccounts() {
		if account.Namespace == id.Namespace && account.Name == id.ServiceAccount {
			return account.UID
		}
	}
	return ""
}
