package envoy

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/osm-edge/osm/pkg/controlplane/identity"
)

const transportSocketTLS = "envoy.transport_sockets.tls"

// exactly accepts the given identities and no other. With none it accepts nobody: an empty list of
// names would mean "any name" to Envoy.
func exactly(td identity.TrustDomain, accept []identity.Identity) []*matcherv3.StringMatcher {
	var names []*matcherv3.StringMatcher
	for _, id := range accept {
		names = append(names, &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: id.SPIFFE(td)}})
	}
	if len(names) == 0 {
		names = append(names, &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: "spiffe://" + string(td) + "/nobody"}})
	}
	return names
}

// anyWorkload accepts every workload of the trust domain.
func anyWorkload(td identity.TrustDomain) []*matcherv3.StringMatcher {
	return []*matcherv3.StringMatcher{{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: "spiffe://" + string(td) + "/ns/"}}}
}

// upstreamTLS presents the proxy's own certificate and accepts peers by their names.
func upstreamTLS(accept []*matcherv3.StringMatcher) *corev3.TransportSocket {
	return tlsSocket(&tlsv3.UpstreamTlsContext{CommonTlsContext: commonTLS(accept, alpnMesh)})
}

// downstreamTLS demands a certificate of any workload of the trust domain. It offers no ALPN of
// its own: with one negotiated, Envoy would take it for the HTTP version.
func downstreamTLS(td identity.TrustDomain) *corev3.TransportSocket {
	return tlsSocket(&tlsv3.DownstreamTlsContext{
		CommonTlsContext:         commonTLS(anyWorkload(td)),
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
func commonTLS(peerNames []*matcherv3.StringMatcher, alpn ...string) *tlsv3.CommonTlsContext {
	var sans []*tlsv3.SubjectAltNameMatcher
	for _, name := range peerNames {
		sans = append(sans, &tlsv3.SubjectAltNameMatcher{SanType: tlsv3.SubjectAltNameMatcher_URI, Matcher: name})
	}
	return &tlsv3.CommonTlsContext{
		TlsParams: &tlsv3.TlsParameters{
			TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_3,
			TlsMaximumProtocolVersion: tlsv3.TlsParameters_TLSv1_3,
		},
		AlpnProtocols:                  alpn,
		TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{sds(SecretWorkload)},
		ValidationContextType: &tlsv3.CommonTlsContext_CombinedValidationContext{
			CombinedValidationContext: &tlsv3.CommonTlsContext_CombinedCertificateValidationContext{
				DefaultValidationContext:         &tlsv3.CertificateValidationContext{MatchTypedSubjectAltNames: sans},
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
