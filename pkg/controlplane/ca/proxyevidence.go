package ca

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
)

// SecretEvidence is what one account's Secret carries, as far as the holder of the Lease wrote or
// saw it. The kubelet brings it to the pods within about two minutes after Since.
type SecretEvidence struct {
	// Account is namespace/name of the ServiceAccount.
	Account string `json:"account"`
	// Bundle is the fingerprint of the trust bundle, and Trusts are those of the CAs in it.
	Bundle string   `json:"bundle"`
	Trusts []string `json:"trusts"`
	// Signer is the fingerprint of the CA that signed the certificate; empty if it is none that is trusted.
	Signer string `json:"signer"`
	// Serial and NotAfter are the certificate's.
	Serial   string    `json:"serial"`
	NotAfter time.Time `json:"notAfter"`
	// Since is when the Secret got this bundle and a certificate of this signer, at the latest.
	Since time.Time `json:"since"`
}

// Evidence tells what the Secrets carry, as of the last Reconcile, sorted by account. An account
// whose Secret is not known yet is missing. The caller must not change the slices in it.
func (p *ProxySecrets) Evidence() []SecretEvidence {
	p.reading.Lock()
	defer p.reading.Unlock()
	return slices.Clone(p.evidence)
}

// note publishes what the records hold. p.mu is held.
func (p *ProxySecrets) note() {
	evidence := make([]SecretEvidence, 0, len(p.records))
	for _, r := range p.records {
		if r.holds.Serial != "" {
			evidence = append(evidence, r.holds)
		}
	}
	slices.SortFunc(evidence, func(a, b SecretEvidence) int { return strings.Compare(a.Account, b.Account) })
	p.reading.Lock()
	defer p.reading.Unlock()
	p.evidence = evidence
}

// evidenceOf reads a Secret. A Secret without a readable certificate gives no evidence.
func evidenceOf(id identity.Identity, secret *corev1.Secret, trust Trust) SecretEvidence {
	chain, err := parseProvided(secret.Data[api.ProxyCertFile])
	if err != nil {
		return SecretEvidence{}
	}
	held := Trust{Bundle: secret.Data[api.ProxyTrustFile]}
	return SecretEvidence{
		Account: id.Namespace + "/" + id.ServiceAccount,
		Bundle:  held.BundleFingerprint(), Trusts: held.Fingerprints(),
		Signer: trust.SignerOf(chain), Serial: chain[0].SerialNumber.Text(16), NotAfter: chain[0].NotAfter,
		Since: writtenAt(secret),
	}
}

// writtenAt is when the control plane last changed the Secret, by the API server's book; zero
// when that does not say.
func writtenAt(secret *corev1.Secret) time.Time {
	var last time.Time
	for _, m := range secret.ManagedFields {
		if m.Manager == proxyManager && m.Time != nil && m.Time.After(last) {
			last = m.Time.Time
		}
	}
	return last
}
