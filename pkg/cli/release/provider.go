package release

import (
	"strings"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
)

// ProviderKind is the kind of provider that signs in a mesh without MeshRootCertificates.
func (v Values) ProviderKind() string { return v.String("osm.certificateProvider.kind") }

// Provider is the provider of a kind as the values describe it, for a mesh in the namespace.
func (v Values) Provider(kind, namespace string) v1alpha2.ProviderSpec {
	switch kind {
	case api.ProviderVault:
		port, _ := v.Int("osm.vault.port")
		vault := &v1alpha2.VaultProviderSpec{
			Host: strings.Trim(v.String("osm.vault.host"), "[]"), Port: int32(port), //nolint:gosec // the chart's schema bounds it
			Protocol: v.String("osm.vault.protocol"), Role: v.String("osm.vault.role"),
		}
		if name := v.String("osm.vault.secret.name"); name != "" {
			vault.Token = v1alpha2.VaultToken(namespace, name, v.String("osm.vault.secret.key"))
		}
		return v1alpha2.ProviderSpec{Vault: vault}
	case api.ProviderCertManager:
		return v1alpha2.ProviderSpec{CertManager: &v1alpha2.CertManagerProviderSpec{
			IssuerName: v.String("osm.certmanager.issuerName"), IssuerKind: v.String("osm.certmanager.issuerKind"), IssuerGroup: v.String("osm.certmanager.issuerGroup"),
		}}
	}
	return v1alpha2.TresorProvider(namespace, v.String("osm.caBundleSecretName"))
}
