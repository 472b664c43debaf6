package v1alpha2

import (
	"cmp"
	"net"
	"strconv"

	"github.com/osm-edge/osm/pkg/api"
)

// Defaults of the providers' fields. DefaultVaultRole is what osm calls the role if nobody names one;
// the CRD spells the others too.
const (
	DefaultVaultRole     = "openservicemesh"
	DefaultVaultProtocol = "https"
	DefaultIssuerKind    = "Issuer"
	DefaultIssuerGroup   = "cert-manager.io"
)

// ProviderSpec says who signs, and holds exactly one provider. It is the one description of a
// provider: flags and chart values are read into it, and a MeshRootCertificate holds it. How the
// control plane reaches a provider, such as the files with its credentials, is not part of it: only
// the installation may say that.
//
// +kubebuilder:validation:XValidation:rule="(has(self.tresor) ? 1 : 0) + (has(self.vault) ? 1 : 0) + (has(self.certManager) ? 1 : 0) == 1",message="must have exactly one of tresor, vault and certManager"
type ProviderSpec struct {
	// Tresor is the built-in provider. It signs with a CA whose key is in a Secret.
	Tresor *TresorProviderSpec `json:"tresor,omitempty"`
	// Vault signs with Vault's PKI engine.
	Vault *VaultProviderSpec `json:"vault,omitempty"`
	// CertManager signs with a cert-manager issuer.
	CertManager *CertManagerProviderSpec `json:"certManager,omitempty"`
}

// TresorProviderSpec names the CA.
type TresorProviderSpec struct {
	CA TresorCASpec `json:"ca"`
}

// TresorCASpec names the CA's Secret, which is created if it does not exist.
type TresorCASpec struct {
	SecretRef SecretRef `json:"secretRef"`
}

// SecretRef names a Secret.
type SecretRef struct {
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// Namespace must be the mesh's namespace: the control plane may not read Secrets elsewhere.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace"`
}

// VaultProviderSpec names the Vault server and the role that signs.
type VaultProviderSpec struct {
	// Host is a host name or an IP address. Together with Port it must be a server that the installation
	// names in osm.vault.host or osm.vault.allowedHosts: no other server is sent a token.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[-A-Za-z0-9.:]+$`
	Host string `json:"host"`
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port"`
	// Role is the role of the PKI engine.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Role string `json:"role"`
	// Protocol is https, or http if the installation itself uses http.
	// +kubebuilder:validation:Enum=http;https
	// +kubebuilder:default=https
	Protocol string `json:"protocol,omitempty"`
	// Token names the Vault token. Without it, the control plane logs in with its ServiceAccount.
	Token *VaultTokenSpec `json:"token,omitempty"`
}

// VaultTokenSpec names a token, which must be in a Secret.
type VaultTokenSpec struct {
	SecretKeyRef SecretKeyRef `json:"secretKeyRef"`
}

// SecretKeyRef names one key of a Secret.
type SecretKeyRef struct {
	SecretRef `json:",inline"`
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Key string `json:"key"`
}

// CertManagerProviderSpec names the issuer.
type CertManagerProviderSpec struct {
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	IssuerName string `json:"issuerName"`
	// +kubebuilder:default=Issuer
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	IssuerKind string `json:"issuerKind,omitempty"`
	// +kubebuilder:default=cert-manager.io
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	IssuerGroup string `json:"issuerGroup,omitempty"`
}

// Kinds are the kinds of the providers that the spec holds, one if the spec is valid.
func (s ProviderSpec) Kinds() []string {
	var kinds []string
	if s.Tresor != nil {
		kinds = append(kinds, api.ProviderTresor)
	}
	if s.Vault != nil {
		kinds = append(kinds, api.ProviderVault)
	}
	if s.CertManager != nil {
		kinds = append(kinds, api.ProviderCertManager)
	}
	return kinds
}

// Kind is the kind of the provider; it is empty if the spec holds none or several.
func (s ProviderSpec) Kind() string {
	if kinds := s.Kinds(); len(kinds) == 1 {
		return kinds[0]
	}
	return ""
}

// TresorProvider is the built-in provider with its CA in a Secret.
func TresorProvider(namespace, secret string) ProviderSpec {
	return ProviderSpec{Tresor: &TresorProviderSpec{CA: TresorCASpec{SecretRef: SecretRef{Name: secret, Namespace: namespace}}}}
}

// VaultToken refers to a token in a Secret.
func VaultToken(namespace, secret, key string) *VaultTokenSpec {
	return &VaultTokenSpec{SecretKeyRef: SecretKeyRef{SecretRef: SecretRef{Name: secret, Namespace: namespace}, Key: key}}
}

// Server is Vault's server as HOST:PORT.
func (v VaultProviderSpec) Server() string {
	return net.JoinHostPort(v.Host, strconv.Itoa(int(v.Port)))
}

// Address is Vault's URL.
func (v VaultProviderSpec) Address() string { return v.WithDefaults().Protocol + "://" + v.Server() }

// WithDefaults fills in what the API server fills in when it stores the spec.
func (v VaultProviderSpec) WithDefaults() VaultProviderSpec {
	v.Protocol = cmp.Or(v.Protocol, DefaultVaultProtocol)
	return v
}

// WithDefaults fills in what the API server fills in when it stores the spec.
func (c CertManagerProviderSpec) WithDefaults() CertManagerProviderSpec {
	c.IssuerKind = cmp.Or(c.IssuerKind, DefaultIssuerKind)
	c.IssuerGroup = cmp.Or(c.IssuerGroup, DefaultIssuerGroup)
	return c
}
