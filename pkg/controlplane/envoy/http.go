package envoy

import (
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	streamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stream/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	previoushostsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

const (
	filterHCM      = "envoy.filters.network.http_connection_manager"
	filterTCPProxy = "envoy.filters.network.tcp_proxy"
)

// outboundHTTP forwards requests by the named route configuration. An application may direct its own
// proxy with headers such as x-envoy-retry-on; the proxy at the other end drops them.
func outboundHTTP(route string) *listenerv3.Filter {
	return networkFilter(filterHCM, httpConnectionManager("outbound", route))
}

// inboundHTTP tells the application who called: the peer's SPIFFE id, as its certificate proved
// it, in x-forwarded-client-cert; whatever a client wrote there itself is dropped.
func inboundHTTP(route string, limits mesh.Limits) *listenerv3.Filter {
	manager := httpConnectionManager("inbound", route)
	protect(manager, limits)
	manager.ForwardClientCertDetails = hcmv3.HttpConnectionManager_SANITIZE_SET
	manager.SetCurrentClientCertDetails = &hcmv3.HttpConnectionManager_SetCurrentClientCertDetails{Uri: true}
	return networkFilter(filterHCM, manager)
}

// httpConnectionManager adds no timeouts of its own and no server header, and lets protocol
// upgrades through.
func httpConnectionManager(statPrefix, route string) *hcmv3.HttpConnectionManager {
	return &hcmv3.HttpConnectionManager{
		StatPrefix: statPrefix,
		CodecType:  hcmv3.HttpConnectionManager_AUTO,
		RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{
			ConfigSource:    ads(),
			RouteConfigName: route,
		}},
		HttpFilters: []*hcmv3.HttpFilter{{
			Name:       "envoy.filters.http.router",
			ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: packed(&routerv3.Router{})},
		}},
		HttpProtocolOptions:        &corev3.Http1ProtocolOptions{AcceptHttp_10: true},
		ServerHeaderTransformation: hcmv3.HttpConnectionManager_PASS_THROUGH,
		StreamIdleTimeout:          durationpb.New(0),
		UseRemoteAddress:           wrapperspb.Bool(false),
		UpgradeConfigs:             []*hcmv3.HttpConnectionManager_UpgradeConfig{{UpgradeType: "websocket"}},
		AccessLog:                  []*accesslogv3.AccessLog{accessLog(httpLogFormat())},
	}
}

func tcpProxy(statPrefix, cluster string) *listenerv3.Filter {
	return tcpForward(statPrefix, cluster, accessLog(tcpLogFormat()))
}

// serviceTCP balances connections over a Service's endpoints.
func serviceTCP(s *mesh.Service, cluster string) *listenerv3.Filter {
	proxy := tryOthers(tcpTo("outbound", cluster, accessLog(tcpLogFormat())))
	if s.Sticky {
		proxy.HashPolicy = stickyConnections()
	}
	return networkFilter(filterTCPProxy, proxy)
}

func tcpForward(statPrefix, cluster string, logs ...*accesslogv3.AccessLog) *listenerv3.Filter {
	return networkFilter(filterTCPProxy, tcpTo(statPrefix, cluster, logs...))
}

func tcpTo(statPrefix, cluster string, logs ...*accesslogv3.AccessLog) *tcpproxyv3.TcpProxy {
	return &tcpproxyv3.TcpProxy{
		StatPrefix:       statPrefix,
		ClusterSpecifier: &tcpproxyv3.TcpProxy_Cluster{Cluster: cluster},
		IdleTimeout:      durationpb.New(0), // a quiet connection is the application's business
		AccessLog:        logs,
	}
}

func networkFilter(name string, config proto.Message) *listenerv3.Filter {
	return &listenerv3.Filter{
		Name:       name,
		ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: packed(config)},
	}
}

// everythingTo is a route configuration with one route: all requests, whatever their Host, to the
// cluster. The filter chain was chosen by address, so Host is the application's to use.
func everythingTo(name, cluster string, retry *routev3.RetryPolicy) *routev3.RouteConfiguration {
	return &routev3.RouteConfiguration{
		Name: name,
		VirtualHosts: []*routev3.VirtualHost{{
			Name:    cluster,
			Domains: []string{"*"},
			Routes: []*routev3.Route{{
				Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
				Action: &routev3.Route_Route{Route: &routev3.RouteAction{
					ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: cluster},
					Timeout:          durationpb.New(0),
					RetryPolicy:      retry,
				}},
			}},
		}},
		ValidateClusters: wrapperspb.Bool(false),
	}
}

// unsentOnly retries, on another endpoint, what no application has seen: safe for every method.
// It bridges the moment between a pod's end and the news of it.
func unsentOnly() *routev3.RetryPolicy {
	return &routev3.RetryPolicy{
		RetryOn:    "connect-failure,refused-stream,reset-before-request",
		NumRetries: wrapperspb.UInt32(2),
		RetryHostPredicate: []*routev3.RetryPolicy_RetryHostPredicate{{
			Name: "envoy.retry_host_predicates.previous_hosts",
			ConfigType: &routev3.RetryPolicy_RetryHostPredicate_TypedConfig{
				TypedConfig: packed(&previoushostsv3.PreviousHostsPredicate{}),
			},
		}},
		// The balancer does not know who failed and prefers an endpoint without requests, as a dead one is: with three
		// picks, one retry in three goes to the same of two endpoints again.
		HostSelectionRetryMaxAttempts: 20,
	}
}

func accessLog(format map[string]string) *accesslogv3.AccessLog {
	fields := map[string]*structpb.Value{}
	for key, command := range format {
		fields[key] = structpb.NewStringValue(command)
	}
	return &accesslogv3.AccessLog{
		Name: "envoy.access_loggers.stdout",
		ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: packed(&streamv3.StdoutAccessLog{
			AccessLogFormat: &streamv3.StdoutAccessLog_LogFormat{LogFormat: &corev3.SubstitutionFormatString{
				Format: &corev3.SubstitutionFormatString_JsonFormat{JsonFormat: &structpb.Struct{Fields: fields}},
			}},
		})},
	}
}

func tcpLogFormat() map[string]string {
	return map[string]string{
		"start_time":       "%START_TIME%",
		"duration_ms":      "%DURATION%",
		"bytes_received":   "%BYTES_RECEIVED%",
		"bytes_sent":       "%BYTES_SENT%",
		"response_flags":   "%RESPONSE_FLAGS%",
		"source_address":   "%DOWNSTREAM_REMOTE_ADDRESS%",
		"requested_server": "%DOWNSTREAM_LOCAL_ADDRESS%",
		"peer":             "%DOWNSTREAM_PEER_URI_SAN%",
		"upstream_cluster": "%UPSTREAM_CLUSTER%",
		"upstream_host":    "%UPSTREAM_HOST%",
		"failure":          "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
	}
}

func httpLogFormat() map[string]string {
	format := tcpLogFormat()
	format["method"] = "%REQ(:METHOD)%"
	format["path"] = "%REQ(:PATH)%"
	format["authority"] = "%REQ(:AUTHORITY)%"
	format["protocol"] = "%PROTOCOL%"
	format["response_code"] = "%RESPONSE_CODE%"
	format["request_id"] = "%REQ(X-REQUEST-ID)%"
	return format
}
