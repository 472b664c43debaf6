package ca

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	applycore "k8s.io/client-go/applyconfigurations/core/v1"
	applymeta "k8s.io/client-go/applyconfigurations/meta/v1"

	"github.com/osm-edge/osm/pkg/api"
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

// proxySecretData is the content of a proxy's Secret.
func proxySecretData(leaf *Leaf, trust Trust) map[string][]byte {
	return map[string][]byte{
		api.ProxyCertFile:  leaf.CertPEM,
		api.ProxyKeyFile:   leaf.KeyPEM(),
		api.ProxyTrustFile: trust.Bundle,
		api.ProxySDSCert:   []byte(sdsCert),
		api.ProxySDSTrust:  []byte(sdsTrust),
	}
}

// probeConfig claims nothing but the label. Applied in dry-run mode it makes the API server show
// the Secret that exists, and refuse when there is none, because a TLS Secret must hold data.
func (p *ProxySecrets) probeConfig(id identity.Identity) *applycore.SecretApplyConfiguration {
	return applycore.Secret(api.ProxySecretName(id.ServiceAccount), id.Namespace).
		WithLabels(map[string]string{api.LabelProxyCertificate: p.cfg.Mesh}).
		WithType(corev1.SecretTypeTLS)
}

// fullConfig is the whole Secret. It belongs to its ServiceAccount, so that the cluster's garbage
// collector removes it even when no replica remembers it.
func (p *ProxySecrets) fullConfig(account Account, leaf *Leaf, trust Trust) *applycore.SecretApplyConfiguration {
	config := p.probeConfig(account.Identity).
		WithLabels(map[string]string{api.LabelName: api.NameValue, api.LabelInstance: p.cfg.Mesh}).
		WithData(proxySecretData(leaf, trust))
	return ownedBy(config, account)
}

// ownedBy makes a ServiceAccount the owner of a Secret, if its uid is known.
func ownedBy(config *applycore.SecretApplyConfiguration, account Account) *applycore.SecretApplyConfiguration {
	if account.UID == "" {
		return config
	}
	return config.WithOwnerReferences(applymeta.OwnerReference().
		WithAPIVersion("v1").WithKind("ServiceAccount").WithName(account.ServiceAccount).WithUID(account.UID))
}

// ours says whether a probed Secret carried the label before the probe: then somebody else owns the
// label too. The admission policy of the chart refuses others already; this holds where that policy
// is absent.
func ours(secret *corev1.Secret, label string) bool {
	field := []byte(`"f:` + label + `"`)
	return slices.ContainsFunc(secret.ManagedFields, func(m metav1.ManagedFieldsEntry) bool {
		return m.Manager != probeManager && m.FieldsV1 != nil && bytes.Contains(m.FieldsV1.GetRawBytes(), field)
	})
}

// fit says until when a Secret may stay as it is, or why it has to be replaced at once. A Secret of
// before a change of the roots may stay for a while: its holder is served, and serves, as before.
func (p *ProxySecrets) fit(secret *corev1.Secret, account Account, trust Trust) (renewAt time.Time, err error) {
	for key, want := range map[string][]byte{api.ProxySDSCert: []byte(sdsCert), api.ProxySDSTrust: []byte(sdsTrust)} {
		if !bytes.Equal(secret.Data[key], want) {
			return time.Time{}, fmt.Errorf("%s is not current", key)
		}
	}
	if !shareCA(secret.Data[api.ProxyTrustFile], trust.Bundle) {
		return time.Time{}, fmt.Errorf("%s holds no CA of the mesh", api.ProxyTrustFile)
	}
	if !owned(secret, account.UID) {
		return time.Time{}, fmt.Errorf("owner is not ServiceAccount %s with uid %s", account.Identity, account.UID)
	}
	if _, err := tls.X509KeyPair(secret.Data[api.ProxyCertFile], secret.Data[api.ProxyKeyFile]); err != nil {
		return time.Time{}, fmt.Errorf("certificate and key: %w", err)
	}
	chain, err := parseProvided(secret.Data[api.ProxyCertFile])
	if err != nil {
		return time.Time{}, err
	}
	return leafRule{
		names: account.Identity.SPIFFE(p.cfg.TrustDomain), usage: x509.ExtKeyUsageClientAuth, ttl: p.cfg.TTL,
	}.fit(chain, trust, p.now())
}

// shareCA says whether two bundles have a certificate in common.
func shareCA(a, b []byte) bool {
	known := certificatesIn(b)
	for fingerprint := range certificatesIn(a) {
		if known[fingerprint] != nil {
			return true
		}
	}
	return false
}

// leafRule is what a certificate in a Secret has to be.
type leafRule struct {
	names string // the SPIFFE id
	host  string // a DNS name that it must hold; empty for none
	usage x509.ExtKeyUsage
	ttl   time.Duration
}

// fit checks identity, signature and age, and returns until when the certificate may stay.
func (r leafRule) fit(chain []*x509.Certificate, trust Trust, now time.Time) (renewAt time.Time, err error) {
	cert := chain[0]
	if len(cert.URIs) != 1 || cert.URIs[0].String() != r.names {
		return time.Time{}, fmt.Errorf("certificate names %v, want %s", cert.URIs, r.names)
	}
	_, err = cert.Verify(x509.VerifyOptions{
		DNSName: r.host, Roots: trust.Pool(), Intermediates: poolOf(chain[1:]), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{r.usage},
	})
	if err != nil {
		return time.Time{}, fmt.Errorf("certificate: %w", err)
	}
	issued := cert.NotBefore.Add(leafBackdate)
	life := cert.NotAfter.Sub(issued)
	if life > r.ttl+leafBackdate {
		return time.Time{}, fmt.Errorf("certificate lives for %v, want %v", life, r.ttl)
	}
	renewAt = issued.Add(fraction(life, proxyRenew))
	if !now.Before(renewAt) {
		return time.Time{}, fmt.Errorf("half of the certificate's life was over at %s", stamp(renewAt))
	}
	return renewAt, nil
}

// owned says whether the Secret will be collected together with its ServiceAccount.
func owned(secret *corev1.Secret, owner types.UID) bool {
	return owner == "" || slices.ContainsFunc(secret.OwnerReferences, func(o metav1.OwnerReference) bool { return o.UID == owner })
}

// missingData says whether the API server refused the probe because there is no Secret to show:
// it asks for the data of a new TLS Secret then, and for nothing else.
func missingData(causes []metav1.StatusCause) bool {
	if len(causes) == 0 {
		return false
	}
	for _, cause := range causes {
		if cause.Type != metav1.CauseTypeFieldValueRequired || !strings.HasPrefix(cause.Field, "data[") {
			return false
		}
	}
	return true
}
