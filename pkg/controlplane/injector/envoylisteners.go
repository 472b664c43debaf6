package injector

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	healthv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/health_check/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/osm-edge/osm/pkg/api"
)

const (
	readyPath   = "/ready"
	metricsPath = "/stats/prometheus"

	// healthInterval bounds how old an answer to a TCP or gRPC probe can be.
	healthInterval = time.Second
	allOfThem      = 100 // per cent
	adminTimeout   = 10 * time.Second
)

// listeners are static, so that probes and metrics are answered when the control plane is away.
func (b proxyBootstrap) listeners() ([]*listenerv3.Listener, error) {
	listeners := []*listenerv3.Listener{
		httpListener("osm-metrics", api.PortEnvoyMetrics, nil, []*routev3.Route{adminRoute(getOf(metricsPath))}),
		httpListener("osm-ready", api.PortEnvoyReadyProbe, nil, []*routev3.Route{adminRoute(exactly(readyPath))}),
	}
	sorted := slices.SortedFunc(slices.Values(b.probes), compareProbes)
	for len(sorted) > 0 {
		port := sorted[0].kind.port
		n := slices.IndexFunc(sorted, func(p probe) bool { return p.kind.port != port })
		if n < 0 {
			n = len(sorted)
		}
		listeners = append(listeners, probeListener(sorted[:n]))
		sorted = sorted[n:]
	}
	for _, l := range listeners {
		if err := l.ValidateAll(); err != nil {
			return nil, fmt.Errorf("listener %s: %w", l.GetName(), err)
		}
	}
	return listeners, nil
}

// probeListener routes HTTP probes and hooks to the application, and answers TCP and gRPC probes with what
// Envoy's own health checks last found: a 200 or a 503. All of them are served at the same port.
func probeListener(of []probe) *listenerv3.Listener {
	var filters []*hcmv3.HttpFilter
	var routes []*routev3.Route
	for _, p := range of {
		switch p.protocol {
		case protocolHTTP, protocolHTTPS:
			routes = append(routes, p.route())
		default:
			filters = append(filters, p.healthFilter())
		}
	}
	kind := of[0].kind
	if kind.hook {
		return httpListener("osm-lifecycle-hooks", uint32(kind.port), filters, routes, failHooks)
	}
	return httpListener("osm-"+kind.name+"-probe", uint32(kind.port), filters, routes)
}

// failHooks makes a hook fail that the application does not answer. The kubelet takes any response for a
// success and fails the hook only when there is none. So what Envoy answers by itself becomes a redirect that
// the kubelet cannot follow; its error, which becomes the event of the pod, quotes the target.
func failHooks(m *hcmv3.HttpConnectionManager) {
	m.LocalReplyConfig = &hcmv3.LocalReplyConfig{Mappers: []*hcmv3.ResponseMapper{{
		Filter: &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_StatusCodeFilter{StatusCodeFilter: &accesslogv3.StatusCodeFilter{
			Comparison: &accesslogv3.ComparisonFilter{
				Op:    accesslogv3.ComparisonFilter_GE,
				Value: &corev3.RuntimeUInt32{DefaultValue: http.StatusInternalServerError, RuntimeKey: "osm.hooks.failed"},
			},
		}}},
		StatusCode:   wrapperspb.UInt32(http.StatusFound),
		HeadersToAdd: []*corev3.HeaderValueOption{{Header: &corev3.HeaderValue{Key: "location", Value: "http://the application does not answer"}}},
	}}}
	// A hook may take as long as the pod's grace period, which is anything.
	m.StreamIdleTimeout = durationpb.New(0)
}

func httpListener(name string, port uint32, filters []*hcmv3.HttpFilter, routes []*routev3.Route, options ...func(*hcmv3.HttpConnectionManager)) *listenerv3.Listener {
	filters = append(filters, &hcmv3.HttpFilter{
		Name:       "envoy.filters.http.router",
		ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: packed(&routerv3.Router{SuppressEnvoyHeaders: true})},
	})
	manager := &hcmv3.HttpConnectionManager{
		StatPrefix: name, HttpFilters: filters,
		// The application must see the probe as the kubelet sent it.
		GenerateRequestId:          wrapperspb.Bool(false),
		ServerHeaderTransformation: hcmv3.HttpConnectionManager_PASS_THROUGH,
		RouteSpecifier: &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: &routev3.RouteConfiguration{
			Name:         name,
			VirtualHosts: []*routev3.VirtualHost{{Name: name, Domains: []string{"*"}, Routes: routes}},
		}},
	}
	limitManager(manager)
	for _, option := range options {
		option(manager)
	}
	l := &listenerv3.Listener{
		Name: name, Address: address(anyAddress, port), StatPrefix: name,
		FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{{
			Name:       "envoy.filters.network.http_connection_manager",
			ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: packed(manager)},
		}}}},
	}
	limitStatic(l)
	return l
}

// adminRoute exposes one page of the admin interface and nothing else.
func adminRoute(match *routev3.RouteMatch) *routev3.Route {
	return &routev3.Route{
		Match: match,
		Action: &routev3.Route_Route{Route: &routev3.RouteAction{
			ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: clusterAdmin},
			Timeout:          durationpb.New(adminTimeout),
		}},
	}
}

// route takes the kubelet's request to the path that the user named. A redirect is passed on
// without its target, which the kubelet could not follow through Envoy: like a redirect to another
// host, it counts as success.
func (p probe) route() *routev3.Route {
	return &routev3.Route{
		Match: exactly(p.servedPath()),
		Action: &routev3.Route_Route{Route: &routev3.RouteAction{
			ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: p.clusterName()},
			PrefixRewrite:    p.path,
			Timeout:          durationpb.New(time.Duration(p.timeout) * time.Second),
		}},
		// What Envoy adds for a client that it does not trust, and the caller's name in the mesh, which
		// is nobody's here.
		RequestHeadersToRemove:  []string{"x-envoy-external-address", "x-envoy-internal", "x-envoy-original-path", "x-forwarded-client-cert"},
		ResponseHeadersToRemove: []string{"location"},
	}
}

func (p probe) healthFilter() *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{
		Name: "envoy.filters.http.health_check",
		ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: packed(&healthv3.HealthCheck{
			PassThroughMode:              wrapperspb.Bool(false),
			Headers:                      []*routev3.HeaderMatcher{header(":path", p.servedPath())},
			ClusterMinHealthyPercentages: map[string]*typev3.Percent{p.clusterName(): percent(allOfThem)},
		})},
	}
}

// probeCluster is the application's port, as the probe speaks to it.
func (b proxyBootstrap) probeCluster(p probe) *clusterv3.Cluster {
	host := loopback
	c := &clusterv3.Cluster{
		Name:                 p.clusterName(),
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		ConnectTimeout:       durationpb.New(cmp.Or(time.Duration(p.timeout)*time.Second, connectTimeout)),
	}
	if b.appOnPodIP {
		host = podIPReference
		// Without it the redirect would treat the connection as a call of the pod to itself.
		c.UpstreamBindConfig = &corev3.BindConfig{SourceAddress: address(api.InboundBind, 0).GetSocketAddress()}
	}
	c.LoadAssignment = assignment(c.Name, address(host, uint32(p.port)))
	switch p.protocol {
	case protocolHTTPS:
		// The kubelet does not verify the certificate of a probe either, and speaks these versions.
		c.TransportSocket = tlsSocket(&tlsv3.UpstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{
			TlsParams: &tlsv3.TlsParameters{
				TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_2,
				TlsMaximumProtocolVersion: tlsv3.TlsParameters_TLSv1_3,
			},
		}})
	case protocolTCP:
		check := p.healthCheck()
		check.HealthChecker = &corev3.HealthCheck_TcpHealthCheck_{TcpHealthCheck: &corev3.HealthCheck_TcpHealthCheck{}}
		c.HealthChecks = []*corev3.HealthCheck{check}
	case protocolGRPC:
		check := p.healthCheck()
		check.HealthChecker = &corev3.HealthCheck_GrpcHealthCheck_{GrpcHealthCheck: &corev3.HealthCheck_GrpcHealthCheck{ServiceName: p.service}}
		c.HealthChecks = []*corev3.HealthCheck{check}
		c.TypedExtensionProtocolOptions = http2(&corev3.Http2ProtocolOptions{})
	}
	return c
}

// healthCheck changes state on the first result: the kubelet counts towards its own thresholds.
func (p probe) healthCheck() *corev3.HealthCheck {
	interval := durationpb.New(healthInterval)
	return &corev3.HealthCheck{
		Timeout:  durationpb.New(time.Duration(p.timeout) * time.Second),
		Interval: interval, NoTrafficInterval: interval, UnhealthyInterval: interval,
		HealthyThreshold: wrapperspb.UInt32(1), UnhealthyThreshold: wrapperspb.UInt32(1),
	}
}

func getOf(path string) *routev3.RouteMatch {
	return &routev3.RouteMatch{
		PathSpecifier: &routev3.RouteMatch_Path{Path: path},
		Headers:       []*routev3.HeaderMatcher{header(":method", "GET")},
	}
}

// exactly matches a GET of the path without a query, which would be added to the probe's own.
func exactly(path string) *routev3.RouteMatch {
	match := getOf(path)
	match.Headers = append(match.Headers, header(":path", path))
	return match
}

func header(name, value string) *routev3.HeaderMatcher {
	return &routev3.HeaderMatcher{Name: name, HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{
		StringMatch: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: value}},
	}}
}

func percent(value float64) *typev3.Percent { return &typev3.Percent{Value: value} }
