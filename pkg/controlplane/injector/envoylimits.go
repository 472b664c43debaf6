package injector

import (
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	overloadv3 "github.com/envoyproxy/go-control-plane/envoy/config/overload/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	connectionsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3"
	heapv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/fixed_heap/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const (
	heapMonitor        = "envoy.resource_monitors.fixed_heap"
	connectionsMonitor = "envoy.resource_monitors.global_downstream_max_connections"
	overloadRefresh    = 250 * time.Millisecond

	// heapPart of the container's memory limit is for the heap; code, stacks and the kernel's buffers
	// take the rest.
	heapPart = 0.9
	// From these parts of the heap on Envoy gives memory back, refuses requests, and refuses connections.
	heapShrink      = 0.90
	heapRequests    = 0.95
	heapConnections = 0.98

	// The static listeners wait at most this long for a client.
	staticHeaderTimeout = 5 * time.Second
	staticIdleTimeout   = 15 * time.Second
	staticStreamTimeout = 15 * time.Second
	staticBuffer        = 32 << 10
	// staticConnections bounds each of them; the kubelet and a scraper need a handful.
	staticConnections = 256
)

// adminInterface listens on the pod's loopback, where the application is, too. So it has the pages that
// only tell, and none that changes anything (quitquitquit, logging, runtime_modify, drain_listeners,
// healthcheck/fail, cpuprofiler ...), whatever the method. Matchers see the path with its query and Envoy
// looks pages up by the whole path, so that "/stats?" does not open /stats/recentlookups/clear.
func adminInterface(at *corev3.Address) *bootstrapv3.Admin {
	admin := &bootstrapv3.Admin{Address: at, IgnoreGlobalConnLimit: true}
	for _, page := range []string{
		"/certs", "/clusters", "/config_dump", "/init_dump", "/listeners", "/memory", "/ready", "/server_info",
		"/stats", metricsPath,
	} {
		admin.AllowPaths = append(admin.AllowPaths,
			&matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: page}},
			&matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: page + "?"}})
	}
	return admin
}

// overload keeps Envoy below the container's memory limit and below the limit of connections. Without
// a memory limit, which an operator may have chosen, only connections are limited.
func (b proxyBootstrap) overload() *overloadv3.OverloadManager {
	manager := &overloadv3.OverloadManager{
		RefreshInterval: durationpb.New(overloadRefresh),
		ResourceMonitors: []*overloadv3.ResourceMonitor{{
			Name: connectionsMonitor,
			ConfigType: &overloadv3.ResourceMonitor_TypedConfig{TypedConfig: packed(&connectionsv3.DownstreamConnectionsConfig{
				MaxActiveDownstreamConnections: b.connections,
			})},
		}},
	}
	if b.memory <= 0 {
		return manager
	}
	manager.ResourceMonitors = append(manager.ResourceMonitors, &overloadv3.ResourceMonitor{
		Name: heapMonitor,
		ConfigType: &overloadv3.ResourceMonitor_TypedConfig{TypedConfig: packed(&heapv3.FixedHeapConfig{
			MaxHeapSizeBytes: uint64(float64(b.memory) * heapPart),
		})},
	})
	manager.Actions = []*overloadv3.OverloadAction{
		heapAction("envoy.overload_actions.shrink_heap", heapShrink),
		heapAction("envoy.overload_actions.disable_http_keepalive", heapShrink),
		heapAction("envoy.overload_actions.stop_accepting_requests", heapRequests),
		heapAction("envoy.overload_actions.stop_accepting_connections", heapConnections),
	}
	return manager
}

func heapAction(name string, from float64) *overloadv3.OverloadAction {
	return &overloadv3.OverloadAction{Name: name, Triggers: []*overloadv3.Trigger{{
		Name:         heapMonitor,
		TriggerOneof: &overloadv3.Trigger_Threshold{Threshold: &overloadv3.ThresholdTrigger{Value: from}},
	}}}
}

// limitStatic gives a static listener limits of its own: a flood of its connections ends at its own limit, and
// neither a flood of the application's connections nor a full heap keeps it from answering the kubelet, which
// would restart a busy pod.
func limitStatic(l *listenerv3.Listener) {
	l.IgnoreGlobalConnLimit = true
	l.BypassOverloadManager = true
	l.PerConnectionBufferLimitBytes = wrapperspb.UInt32(staticBuffer)
}

// connectionLimits are the static listeners' own. Envoy reads them as runtime settings.
func connectionLimits(listeners []*listenerv3.Listener) *bootstrapv3.LayeredRuntime {
	limits := &structpb.Struct{Fields: map[string]*structpb.Value{}}
	for _, l := range listeners {
		limits.Fields["envoy.resource_limits.listener."+l.GetName()+".connection_limit"] = structpb.NewNumberValue(staticConnections)
	}
	return &bootstrapv3.LayeredRuntime{Layers: []*bootstrapv3.RuntimeLayer{{
		Name: "limits", LayerSpecifier: &bootstrapv3.RuntimeLayer_StaticLayer{StaticLayer: limits},
	}}}
}

// limitManager ends slow requests and drops headers that a stranger must not send to the application: these
// ports are open to everyone who can reach the pod.
func limitManager(m *hcmv3.HttpConnectionManager) {
	m.CodecType = hcmv3.HttpConnectionManager_HTTP1
	m.RequestHeadersTimeout = durationpb.New(staticHeaderTimeout)
	m.RequestTimeout = durationpb.New(staticHeaderTimeout)
	m.StreamIdleTimeout = durationpb.New(longestAnswer(m))
	m.CommonHttpProtocolOptions = &corev3.HttpProtocolOptions{IdleTimeout: durationpb.New(staticIdleTimeout)}
	// With the remote address in use and nobody trusted as internal, Envoy drops the x-envoy-* headers
	// by which a client could ask for retries and timeouts.
	m.UseRemoteAddress = wrapperspb.Bool(true)
	m.SkipXffAppend = true
	m.InternalAddressConfig = &hcmv3.HttpConnectionManager_InternalAddressConfig{CidrRanges: []*corev3.CidrRange{
		{AddressPrefix: "255.255.255.255", PrefixLen: wrapperspb.UInt32(32)}, // without any, private addresses are trusted
	}}
}

// longestAnswer is how long a stream may wait for the application: as long as the slowest probe allows, since
// Envoy ends an idle stream regardless of its route's timeout.
func longestAnswer(m *hcmv3.HttpConnectionManager) time.Duration {
	longest := staticStreamTimeout
	for _, host := range m.GetRouteConfig().GetVirtualHosts() {
		for _, route := range host.GetRoutes() {
			longest = max(longest, route.GetRoute().GetTimeout().AsDuration())
		}
	}
	return longest
}
