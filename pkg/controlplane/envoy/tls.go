package envoy

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/policy"
)

const transportSocketTLS = "envoy.transport_sockets.tls"

// upstreamTLS presents the proxy's own certificate and accepts the given servers.
func upstreamTLS(td identity.TrustDomain, servers policy.Principals) *corev3.TransportSocket {
	return tlsSocket(&tlsv3.UpstreamTlsContext{CommonTlsContext: commonTLS(td, servers, alpnMesh)})
}

// downstreamTLS demands a certificate of one of the given clients. It offers no ALPN of its own: with
// one negotiated, Envoy would take it for the HTTP version.
func downstreamTLS(td identity.TrustDomain, clients policy.Principals) *corev3.TransportSocket {
	return tlsSocket(&tlsv3.DownstreamTlsContext{
		CommonTlsContext:         commonTLS(td, clients),
		RequireClientCertificate: wrapperspb.Bool(true),
	})
}

func tlsSocket(context proto.Message) *corev3.TransportSocket {
	return &corev3.TransportSocket{
		Name:       transportSocketTLS,
		ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: packed(context)},
	}
}

// commonTLS is TLS 1.3 only: both ends are the mesh's own proxies.
func commonTLS(td identity.TrustDomain, peers policy.Principals, alpn ...string) *tlsv3.CommonTlsContext {
	return &tlsv3.CommonTlsContext{
		TlsParams: &tlsv3.TlsParameters{
			TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_3,
			TlsMaximumProtocolVersion: tlsv3.TlsParameters_TLSv1_3,
		},
		AlpnProtocols:                  alpn,
		TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{sds(SecretWorkload)},
		ValidationContextType: &tlsv3.CommonTlsContext_CombinedValidationContext{
			CombinedValidationContext: &tlsv3.CommonTlsContext_CombinedCertificateValidationContext{
				DefaultValidationContext:         &tlsv3.CertificateValidationContext{MatchTypedSubjectAltNames: acceptedNames(td, peers)},
				ValidationContextSdsSecretConfig: sds(SecretTrustBundle),
			},
		},
	}
}

func sds(name string) *tlsv3.SdsSecretConfig {
	return &tlsv3.SdsSecretConfig{Name: name, SdsConfig: ads()}
}

// ads says "ask on the stream that this came by", and wait for the answer however long it takes: after
// the 15 seconds that Envoy waits by itself it would open listeners without a certificate, and the pod
// would be ready and refuse every connection.
func ads() *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ResourceApiVersion:    corev3.ApiVersion_V3,
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
		InitialFetchTimeout:   durationpb.New(0),
	}
}
