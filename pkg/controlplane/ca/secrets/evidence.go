package secrets

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/rotation"
)

// Evidence lists what the Secrets hold, as of the last Reconcile, sorted by account. An account
// whose Secret is not known yet is missing. The caller must not change the slices in it.
func (p *ProxyController) Evidence() []rotation.Secret {
	p.reading.Lock()
	defer p.reading.Unlock()
	return slices.Clone(p.evidence)
}

// publish makes the evidence of all records readable. p.mu is held.
func (p *ProxyController) publish() {
	evidence := make([]rotation.Secret, 0, len(p.records))
	for _, r := range p.records {
		if r.holds.Serial != "" {
			evidence = append(evidence, r.holds.Secret)
		}
	}
	slices.SortFunc(evidence, func(a, b rotation.Secret) int { return strings.Compare(a.Account, b.Account) })
	p.reading.Lock()
	defer p.reading.Unlock()
	p.evidence = evidence
}

// contents is what a Secret holds: the evidence, and the fingerprint of the whole trust bundle.
type contents struct {
	rotation.Secret
	bundle string
}

// contentsOf reads a Secret. They are empty if its certificate cannot be read.
func contentsOf(id identity.Identity, secret *corev1.Secret, trust ca.Trust) contents {
	chain, err := ca.ParseChain(secret.Data[api.ProxyCertFile])
	if err != nil {
		return contents{}
	}
	held := ca.Trust{Bundle: secret.Data[api.ProxyTrustFile]}
	return contents{
		Secret: rotation.Secret{
			Account: id.Namespace + "/" + id.ServiceAccount, Trusts: held.Fingerprints(),
			Signer: trust.SignerOf(chain), Serial: chain[0].SerialNumber.Text(16), Since: writtenAt(secret),
		},
		bundle: held.BundleFingerprint(),
	}
}

// writtenAt is when the control plane last changed the Secret, according to its managed fields; zero
// if they do not say.
func writtenAt(secret *corev1.Secret) time.Time {
	var last time.Time
	for _, m := range secret.ManagedFields {
		if m.Manager == fieldManager && m.Time != nil && m.Time.After(last) {
			last = m.Time.Time
		}
	}
	return last
}
