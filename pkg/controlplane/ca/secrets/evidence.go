package secrets

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
)

// Evidence is what one account's Secret holds, as the leader last wrote or saw it. The kubelet
// delivers it to the pods within about two minutes after Since.
type Evidence struct {
	// Account is namespace/name of the ServiceAccount.
	Account string `json:"account"`
	// Bundle is the fingerprint of the trust bundle, and Trusts are those of the CAs in it.
	Bundle string   `json:"bundle"`
	Trusts []string `json:"trusts"`
	// Signer is the fingerprint of the CA that signed the certificate; empty if that CA is not trusted.
	Signer string `json:"signer"`
	// Serial and NotAfter are the certificate's.
	Serial   string    `json:"serial"`
	NotAfter time.Time `json:"notAfter"`
	// Since is when the Secret got this bundle and a certificate of this signer, at the latest.
	Since time.Time `json:"since"`
}

// Evidence lists what the Secrets hold, as of the last Reconcile, sorted by account. An account
// whose Secret is not known yet is missing. The caller must not change the slices in it.
func (p *ProxyController) Evidence() []Evidence {
	p.reading.Lock()
	defer p.reading.Unlock()
	return slices.Clone(p.evidence)
}

// publish makes the evidence of all records readable. p.mu is held.
func (p *ProxyController) publish() {
	evidence := make([]Evidence, 0, len(p.records))
	for _, r := range p.records {
		if r.holds.Serial != "" {
			evidence = append(evidence, r.holds)
		}
	}
	slices.SortFunc(evidence, func(a, b Evidence) int { return strings.Compare(a.Account, b.Account) })
	p.reading.Lock()
	defer p.reading.Unlock()
	p.evidence = evidence
}

// evidenceOf reads a Secret. A Secret without a readable certificate gives no evidence.
func evidenceOf(id identity.Identity, secret *corev1.Secret, trust ca.Trust) Evidence {
	chain, err := ca.ParseChain(secret.Data[api.ProxyCertFile])
	if err != nil {
		return Evidence{}
	}
	held := ca.Trust{Bundle: secret.Data[api.ProxyTrustFile]}
	return Evidence{
		Account: id.Namespace + "/" + id.ServiceAccount,
		Bundle:  held.BundleFingerprint(), Trusts: held.Fingerprints(),
		Signer: trust.SignerOf(chain), Serial: chain[0].SerialNumber.Text(16), NotAfter: chain[0].NotAfter,
		Since: writtenAt(secret),
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
