package secrets

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	applycore "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
)

// Names of the SDS resources in the files beside the certificate.
const (
	sdsCertName  = "proxy-certificate"
	sdsTrustName = "proxy-trust"
)

// sdsCert and sdsTrust are Envoy's DiscoveryResponse files: they point at the PEM files beside
// them, and the watched directory makes Envoy read all of them again when the kubelet swaps it.
const (
	sdsCert = `resources:
- "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret
  name: ` + sdsCertName + `
  tls_certificate:
    certificate_chain:
      filename: ` + api.ProxyCertDir + `/` + api.ProxyCertFile + `
    private_key:
      filename: ` + api.ProxyCertDir + `/` + api.ProxyKeyFile + `
    watched_directory:
      path: ` + api.ProxyCertDir + `
`
	sdsTrust = `resources:
- "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret
  name: ` + sdsTrustName + `
  validation_context:
    trusted_ca:
      filename: ` + api.ProxyCertDir + `/` + api.ProxyTrustFile + `
    watched_directory:
      path: ` + api.ProxyCertDir + `
`
)

// proxySecretData is the data of a proxy's Secret.
func proxySecretData(leaf *ca.Leaf, trust ca.Trust) map[string][]byte {
	return map[string][]byte{
		api.ProxyCertFile:  leaf.CertPEM,
		api.ProxyKeyFile:   leaf.KeyPEM(),
		api.ProxyTrustFile: trust.Bundle,
		api.ProxySDSCert:   []byte(sdsCert),
		api.ProxySDSTrust:  []byte(sdsTrust),
	}
}

// probeConfig holds only the label and the type. Applied in dry-run mode, it makes the API server
// return the existing Secret, or refuse if there is none, because a TLS Secret must hold data.
func (p *ProxyController) probeConfig(id identity.Identity) *applycore.SecretApplyConfiguration {
	return applycore.Secret(api.ProxySecretName(id.ServiceAccount), id.Namespace).
		WithLabels(map[string]string{api.LabelProxyCertificate: p.cfg.Mesh}).
		WithType(corev1.SecretTypeTLS)
}

// fullConfig is the whole Secret. Its ServiceAccount owns it, so that the garbage collector removes it
// even if no replica knows it.
func (p *ProxyController) fullConfig(account Account, leaf *ca.Leaf, trust ca.Trust) *applycore.SecretApplyConfiguration {
	config := p.probeConfig(account.Identity).
		WithLabels(map[string]string{api.LabelName: api.NameValue, api.LabelInstance: p.cfg.Mesh}).
		WithData(proxySecretData(leaf, trust))
	return ownedBy(config, account)
}

// fit returns until when a Secret may stay unchanged, or why it has to be replaced at once. A Secret
// written before the roots changed may stay for a while: its proxies are still served.
func (p *ProxyController) fit(secret *corev1.Secret, account Account, trust ca.Trust) (renewAt time.Time, err error) {
	for key, want := range map[string][]byte{api.ProxySDSCert: []byte(sdsCert), api.ProxySDSTrust: []byte(sdsTrust)} {
		if !bytes.Equal(secret.Data[key], want) {
			return time.Time{}, fmt.Errorf("%s is not current", key)
		}
	}
	if !shareCA(secret.Data[api.ProxyTrustFile], trust.Bundle) {
		return time.Time{}, fmt.Errorf("%s holds no CA of the mesh", api.ProxyTrustFile)
	}
	chain, err := chainIn(secret, account)
	if err != nil {
		return time.Time{}, err
	}
	return leafRule{
		names: account.Identity.SPIFFE(p.cfg.TrustDomain), usage: x509.ExtKeyUsageClientAuth, ttl: p.cfg.TTL,
	}.fit(chain, trust, p.now())
}

// shareCA reports whether two bundles have a certificate in common.
func shareCA(a, b []byte) bool {
	known := ca.Trust{Bundle: b}.Fingerprints()
	return slices.ContainsFunc(ca.Trust{Bundle: a}.Fingerprints(), func(ca string) bool { return slices.Contains(known, ca) })
}
