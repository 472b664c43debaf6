package controller

import (
	"context"
	"time"

	"github.com/osm-edge/osm/pkg/controlplane/ca/secrets"

	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/ca/rotation"
	"github.com/osm-edge/osm/pkg/controlplane/mesh"
	"github.com/osm-edge/osm/pkg/controlplane/rotate"
	"github.com/osm-edge/osm/pkg/controlplane/serve"
)

// newDriver is what rotates the root while this replica holds the Lease.
func (p *parts) newDriver() *rotate.Driver {
	collector := &rotate.Collector{
		Client: p.client, Namespace: p.cfg.Namespace, Mesh: p.cfg.MeshName, TrustDomain: p.cfg.TrustDomain,
		Roots: p.roots, Self: p.cfg.Holder, Own: p.evidence, Now: time.Now,
	}
	return rotate.NewDriver(rotate.Config{
		Dynamic: p.dynamic, Namespace: p.cfg.Namespace, Roots: p.provider, Collect: collector.Collect,
		Delivery: p.cfg.SecretDelivery, Now: time.Now, Log: p.cfg.Log,
	})
}

// serveEvidence lets the holder of the Lease see what this replica and its proxies have.
func (p *parts) serveEvidence(ctx context.Context, cert *ca.ServingCert) error {
	if p.cfg.EvidenceAddress == "" {
		return nil
	}
	handler := rotate.Handler(p.cfg.Namespace, p.cfg.TrustDomain, p.roots.Trust, p.evidence)
	return serve.HTTPServer{Addr: p.cfg.EvidenceAddress, Handler: handler, TLS: cert.MutualTLS(), Refused: p.refusals.Of("evidence"), Log: p.cfg.Log}.Run(ctx)
}

// evidence is what this replica and its proxies have.
func (p *parts) evidence(ctx context.Context) rotation.Replica {
	self := rotation.Replica{Name: p.cfg.Holder, Component: rotation.Controller, At: time.Now()}
	signer := func() string { return p.roots.Trust().Fingerprint }
	return rotate.Basics(ctx, self, p.provider, signer, func(r *rotation.Replica) {
		connected := map[mesh.PodName]bool{}
		for _, e := range p.xds.Evidence() {
			connected[e.Pod] = true
			r.Proxies = append(r.Proxies, rotation.Proxy{
				Pod: e.Pod.String(), Identity: e.Identity.String(), Trusts: e.Trusts,
				Serial: e.Serial, Root: e.Root, NotAfter: e.NotAfter, At: e.At,
			})
		}
		for _, pod := range p.pipeline.runningPods() {
			if !connected[pod] {
				r.Unknown = append(r.Unknown, pod.String())
			}
		}
		r.Secrets, r.Leads = p.written()
	})
}

// written is what this replica wrote as the holder of the Lease; leads is false until it knows what the
// injectors' Secret holds.
func (p *parts) written() (secrets []rotation.Secret, leads bool) {
	writer, serving := p.secrets.Load(), p.serving.Load()
	if writer == nil || serving == nil {
		return nil, false
	}
	injectors, known := serving.Evidence()
	if !known {
		return nil, false
	}
	injectors.Since = time.Time{} // injectors follow their Secret, and show what they serve
	return secretsOf(append(writer.Evidence(), injectors)), true
}

func secretsOf(evidence []secrets.Evidence) []rotation.Secret {
	secrets := make([]rotation.Secret, len(evidence))
	for i, e := range evidence {
		secrets[i] = rotation.Secret{Account: e.Account, Trusts: e.Trusts, Signer: e.Signer, Serial: e.Serial, Since: e.Since}
	}
	return secrets
}
