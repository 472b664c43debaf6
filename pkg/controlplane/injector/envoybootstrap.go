package injector

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"path"
	"strings"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	internallistenerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/bootstrap/internal_listener/v3"
	caresv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/network/dns_resolver/cares/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
)

const (
	clusterController = "osm-controller"
	clusterAdmin      = "osm-admin"
	// sdsCertName and sdsTrustName are the resources in the files beside the proxy's certificate.
	sdsCertName  = "proxy-certificate"
	sdsTrustName = "proxy-trust"

	httpOptions  = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
	tlsTransport = "envoy.transport_sockets.tls"
	loopback     = "127.0.0.1"
	anyAddress   = "0.0.0.0"
	// podIPReference is expanded by the kubelet, from the environment variable of that name.
	podIPReference = "$(" + envPodIP + ")"

	portDNS = 53

	connectTimeout   = 5 * time.Second
	dnsRefresh       = 30 * time.Second
	keepaliveEvery   = 30 * time.Second
	keepaliveTimeout = 10 * time.Second
	keepaliveJitter  = 15 // per cent
	reconnectBase    = 500 * time.Millisecond
	reconnectMax     = 10 * time.Second // a longer one would keep proxies away after an outage of all controllers
)

// proxyBootstrap is the bootstrap configuration of one pod's Envoy.
type proxyBootstrap struct {
	controllerHost string       // resolved again and again
	resolvers      []netip.Addr // that resolve it; none are those of the pod
	controllerPort uint32
	controllerName string // what TLS asks for by SNI
	controllerID   string // the SPIFFE id that TLS demands
	certDir        string
	probes         []probe
	appOnPodIP     bool
	connections    int64 // at a time, of all listeners but the static ones
	memory         int64 // the container's limit; zero is none
}

func newProxyBootstrap(s Settings, found []probe) proxyBootstrap {
	controller := identity.Identity{Namespace: s.Namespace, ServiceAccount: api.AppController}
	return proxyBootstrap{
		// The dot at the end makes the name absolute: a search domain with a wildcard record, which resolvers
		// try first, would send the proxy to a stranger.
		controllerHost: s.controllerName() + ".", controllerPort: api.PortXDS, controllerName: s.controllerName(),
		controllerID: controller.SPIFFE(s.trustDomain()), certDir: api.ProxyCertDir,
		probes: found, appOnPodIP: s.appOnPodIP(),
		connections: s.connections(), memory: s.sidecarMemory(),
	}
}

// config builds the bootstrap. It contains no node, which Envoy's arguments name, and no secret.
func (b proxyBootstrap) config() (*bootstrapv3.Bootstrap, error) {
	clusters := []*clusterv3.Cluster{b.controllerCluster(), adminCluster()}
	for _, p := range b.probes {
		clusters = append(clusters, b.probeCluster(p))
	}
	listeners, err := b.listeners()
	if err != nil {
		return nil, err
	}
	internal, err := anypb.New(&internallistenerv3.InternalListener{})
	if err != nil {
		return nil, err
	}
	config := &bootstrapv3.Bootstrap{
		// The control plane's listeners for pods' addresses are inside Envoy.
		BootstrapExtensions: []*corev3.TypedExtensionConfig{{Name: "envoy.bootstrap.internal_listener", TypedConfig: internal}},
		Admin:               adminInterface(address(loopback, api.PortEnvoyAdmin)),
		LayeredRuntime:      connectionLimits(listeners),
		OverloadManager:     b.overload(),
		DynamicResources: &bootstrapv3.Bootstrap_DynamicResources{
			AdsConfig: adsConfig(), CdsConfig: fromADS(), LdsConfig: fromADS(),
		},
		StaticResources: &bootstrapv3.Bootstrap_StaticResources{Clusters: clusters, Listeners: listeners},
	}
	return config, config.ValidateAll()
}

// adsConfig is the stream to the control plane: incremental, and with a jittered back-off, so that not all
// proxies reconnect to a restarted control plane at once.
func adsConfig() *corev3.ApiConfigSource {
	return &corev3.ApiConfigSource{
		ApiType: corev3.ApiConfigSource_DELTA_GRPC, TransportApiVersion: corev3.ApiVersion_V3,
		SetNodeOnFirstMessageOnly: true,
		GrpcServices: []*corev3.GrpcService{{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{
			ClusterName: clusterController,
			RetryPolicy: &corev3.RetryPolicy{RetryBackOff: &corev3.BackoffStrategy{
				BaseInterval: durationpb.New(reconnectBase), MaxInterval: durationpb.New(reconnectMax),
			}},
		}}}},
	}
}

// fromADS waits for the first response without a limit: an Envoy without configuration would turn ready
// and drop the pod's traffic.
func fromADS() *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
		ResourceApiVersion:    corev3.ApiVersion_V3,
		InitialFetchTimeout:   durationpb.New(0),
	}
}

func (b proxyBootstrap) controllerCluster() *clusterv3.Cluster {
	return &clusterv3.Cluster{
		Name:                   clusterController,
		ClusterDiscoveryType:   &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STRICT_DNS},
		DnsLookupFamily:        clusterv3.Cluster_V4_PREFERRED,
		TypedDnsResolverConfig: b.resolver(),
		DnsRefreshRate:         durationpb.New(dnsRefresh), //nolint:staticcheck // its successor is a resolver extension that not every build of Envoy has
		ConnectTimeout:         durationpb.New(connectTimeout),
		LoadAssignment:         assignment(clusterController, address(b.controllerHost, b.controllerPort)),
		UpstreamConnectionOptions: &clusterv3.UpstreamConnectionOptions{TcpKeepalive: &corev3.TcpKeepalive{
			KeepaliveProbes: wrapperspb.UInt32(3), KeepaliveTime: wrapperspb.UInt32(30), KeepaliveInterval: wrapperspb.UInt32(5),
		}},
		TypedExtensionProtocolOptions: http2(&corev3.Http2ProtocolOptions{ConnectionKeepalive: &corev3.KeepaliveSettings{
			Interval: durationpb.New(keepaliveEvery), Timeout: durationpb.New(keepaliveTimeout), IntervalJitter: percent(keepaliveJitter),
		}}),
		TransportSocket: tlsSocket(b.controllerTLS()),
	}
}

// resolver asks the given servers instead of the pod's.
func (b proxyBootstrap) resolver() *corev3.TypedExtensionConfig {
	if len(b.resolvers) == 0 {
		return nil
	}
	servers := &caresv3.CaresDnsResolverConfig{DnsResolverOptions: &corev3.DnsResolverOptions{NoDefaultSearchDomain: true}}
	for _, server := range b.resolvers {
		servers.Resolvers = append(servers.Resolvers, address(server.String(), portDNS))
	}
	return &corev3.TypedExtensionConfig{Name: "envoy.network.dns_resolver.cares", TypedConfig: packed(servers)}
}

// controllerTLS proves the pod's ServiceAccount and accepts only the control plane.
func (b proxyBootstrap) controllerTLS() *tlsv3.UpstreamTlsContext {
	return &tlsv3.UpstreamTlsContext{
		Sni: b.controllerName,
		CommonTlsContext: &tlsv3.CommonTlsContext{
			AlpnProtocols: []string{"h2"},
			// As a client Envoy uses at most TLS 1.2 by default.
			TlsParams: &tlsv3.TlsParameters{
				TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_3,
				TlsMaximumProtocolVersion: tlsv3.TlsParameters_TLSv1_3,
			},
			TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{b.fileSecret(sdsCertName, api.ProxySDSCert)},
			ValidationContextType: &tlsv3.CommonTlsContext_CombinedValidationContext{
				CombinedValidationContext: &tlsv3.CommonTlsContext_CombinedCertificateValidationContext{
					DefaultValidationContext: &tlsv3.CertificateValidationContext{
						MatchTypedSubjectAltNames: []*tlsv3.SubjectAltNameMatcher{{
							SanType: tlsv3.SubjectAltNameMatcher_URI,
							Matcher: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: b.controllerID}},
						}},
					},
					ValidationContextSdsSecretConfig: b.fileSecret(sdsTrustName, api.ProxySDSTrust),
				},
			},
		},
	}
}

// fileSecret watches the directory, because the kubelet updates a mounted Secret by swapping a symbolic
// link beside the file.
func (b proxyBootstrap) fileSecret(name, file string) *tlsv3.SdsSecretConfig {
	return &tlsv3.SdsSecretConfig{Name: name, SdsConfig: &corev3.ConfigSource{
		ResourceApiVersion: corev3.ApiVersion_V3,
		ConfigSourceSpecifier: &corev3.ConfigSource_PathConfigSource{PathConfigSource: &corev3.PathConfigSource{
			Path: path.Join(b.certDir, file), WatchedDirectory: &corev3.WatchedDirectory{Path: b.certDir},
		}},
	}}
}

func adminCluster() *clusterv3.Cluster {
	return &clusterv3.Cluster{
		Name:                 clusterAdmin,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		ConnectTimeout:       durationpb.New(connectTimeout),
		LoadAssignment:       assignment(clusterAdmin, address(loopback, api.PortEnvoyAdmin)),
	}
}

// text renders the bootstrap for a container's argument: JSON, which is YAML too, with every dollar
// sign doubled, because the kubelet expands references in arguments, but for the reference to the pod's IP
// where an address belongs. What a user wrote in a probe never stands there: its quotes are escaped.
func (b proxyBootstrap) text() (string, error) {
	config, err := b.config()
	if err != nil {
		return "", fmt.Errorf("build Envoy's bootstrap: %w", err)
	}
	unstable, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(config)
	if err != nil {
		return "", fmt.Errorf("encode Envoy's bootstrap: %w", err)
	}
	// protojson varies its white space on purpose from build to build.
	var stable bytes.Buffer
	stable.Grow(len(unstable))
	if err := json.Compact(&stable, unstable); err != nil {
		return "", fmt.Errorf("encode Envoy's bootstrap: %w", err)
	}
	const key = `"address":"`
	doubled := strings.ReplaceAll(stable.String(), "$", "$$")
	return strings.ReplaceAll(doubled, key+"$"+podIPReference+`"`, key+podIPReference+`"`), nil
}

func address(host string, port uint32) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: host, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
	}}}
}

func assignment(cluster string, at *corev3.Address) *endpointv3.ClusterLoadAssignment {
	return &endpointv3.ClusterLoadAssignment{ClusterName: cluster, Endpoints: []*endpointv3.LocalityLbEndpoints{{
		LbEndpoints: []*endpointv3.LbEndpoint{{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: at}}}},
	}}}
}

func http2(options *corev3.Http2ProtocolOptions) map[string]*anypb.Any {
	return map[string]*anypb.Any{httpOptions: packed(&httpv3.HttpProtocolOptions{
		UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
			ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{Http2ProtocolOptions: options},
		}},
	})}
}

func tlsSocket(context *tlsv3.UpstreamTlsContext) *corev3.TransportSocket {
	return &corev3.TransportSocket{
		Name: tlsTransport, ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: packed(context)},
	}
}

// packed wraps a message of this package's own making.
func packed(message proto.Message) *anypb.Any {
	value, err := proto.MarshalOptions{Deterministic: true}.Marshal(message)
	if err != nil {
		// Only a message with invalid UTF-8 does not marshal, and those strings come from the API
		// server's JSON, which has none.
		panic(fmt.Sprintf("marshal %T: %v", message, err))
	}
	return &anypb.Any{TypeUrl: "type.googleapis.com/" + string(message.ProtoReflect().Descriptor().FullName()), Value: value}
}
