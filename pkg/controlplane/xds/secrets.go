package xds

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/envoy"
)

// secretResources are what the constant SDS names stand for on one stream, sorted by name.
func secretResources(leaf *ca.Leaf, trust ca.Trust) ([]*envoy.Resource, error) {
	bundle, err := envoy.NewResource(envoy.SecretTrustBundle, &tlsv3.Secret{
		Name: envoy.SecretTrustBundle,
		Type: &tlsv3.Secret_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{TrustedCa: inline(trust.Bundle)}},
	})
	if err != nil {
		return nil, err
	}
	workload, err := envoy.NewResource(envoy.SecretWorkload, &tlsv3.Secret{
		Name: envoy.SecretWorkload,
		Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{
			CertificateChain: inline(leaf.CertPEM),
			PrivateKey:       inline(leaf.KeyPEM()),
		}},
	})
	if err != nil {
		return nil, err
	}
	return []*envoy.Resource{bundle, workload}, nil
}

func inline(pem []byte) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: pem}}
}
