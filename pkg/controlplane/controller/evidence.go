package controller

import (
	"context"
	"time"

	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/rotation"
	"github.com/osm-edge/osm/pkg/controlplane/rotation/collect"
	"github.com/osm-edge/osm/pkg/controlplane/rotation/driver"
	"github.com/osm-edge/osm/pkg/controlplane/serve"
)

// newDriver returns the driver that rotates the root while this replica is the leader.
func (p *process) newDriver() *driver.Driver {
	collector := p.newCollector()
	return driver.New(driver.Config{
		Dynamic: p.dynamic, Namespace: p.cfg.Namespace, Roots: p.provider, Collect: collector.Collect,
		Delivery: p.cfg.SecretDelivery, Now: time.Now, Log: p.cfg.Log,
	})
}

func (p *process) newCollector() *collect.Collector {
	return &collect.Collector{
		Client: p.client, Namespace: p.cfg.Namespace, Mesh: p.cfg.MeshName, TrustDomain: p.cfg.TrustDomain,
		Roots: p.roots, Self: p.cfg.Holder, Own: p.evidence, Now: time.Now,
	}
}

// serveEvidence serves this replica's evidence to the leader, and its load to all replicas.
func (p *process) serveEvidence(ctx context.Context, cert *ca.ServingCert) error {
	if p.cfg.EvidenceAddress == "" {
		return nil
	}
	handler := collect.Handler(p.cfg.Namespace, p.cfg.TrustDomain, p.roots.Trust, collect.Pages{
		collect.Path:     func(ctx context.Context) any { return p.evidence(ctx) },
		collect.LoadPath: func(context.Context) any { return p.load() },
	})
	return serve.HTTPServer{Addr: p.cfg.EvidenceAddress, Handler: handler, TLS: cert.MutualTLS(), Refused: p.refusals.Of("evidence"), Log: p.cfg.Log}.Run(ctx)
}

// evidence returns which roots and certificates this replica and its proxies have.
func (p *process) evidence(ctx context.Context) rotation.Replica {
	self := rotation.Replica{Name: p.cfg.Holder, Component: rotation.Controller, At: time.Now()}
	signer := func() string { return p.roots.Trust().Fingerprint }
	return collect.Replica(ctx, self, p.provider, signer, func(r *rotation.Replica) {
		connected := map[string]bool{}
		r.Proxies = p.xds.Evidence()
		for _, e := range r.Proxies {
			connected[e.Pod] = true
		}
		for _, pod := range p.pipeline.runningPods() {
			if !connected[pod.String()] {
				r.Unknown = append(r.Unknown, pod.String())
			}
		}
		r.Secrets, r.Leads = p.written()
	})
}

// written returns the Secrets that this replica wrote as the leader. leads is false until it knows the
// content of the injectors' Secret.
func (p *process) written() (secrets []rotation.Secret, leads bool) {
	writer, serving := p.secrets.Load(), p.serving.Load()
	if writer == nil || serving == nil {
		return nil, false
	}
	injectors, known := serving.Evidence()
	if !known {
		return nil, false
	}
	injectors.Since = time.Time{} // injectors watch their Secret and use its content at once
	return append(writer.Evidence(), injectors), true
}
