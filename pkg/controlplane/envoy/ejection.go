package envoy

import (
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// An endpoint that is gone is listed until the control plane says otherwise, which takes a moment, or longer if no
// controller runs. Meanwhile a proxy finds out by itself: it tries another endpoint, and ejects the one that fails.

const (
	// endpointTimeout bounds a connection to one of several endpoints, handshake included. The kernel repeats a lost
	// SYN after a second; another second is left for the handshake of a server that is short of CPU.
	endpointTimeout = 2 * time.Second
	// onlyTimeout bounds a connection that has no other endpoint to go to.
	onlyTimeout = 5 * time.Second
	// ejectAfter is the number of failures in a row. One or two may be streams that a server ended.
	ejectAfter = 3
	// ejectFor is multiplied by the number of ejections in a row. Envoy looks every 10 s who may return.
	ejectFor = 10 * time.Second
	// tcpAttempts is one more than it takes to eject an endpoint: with one dead endpoint, no connection is lost.
	tcpAttempts = ejectAfter + 1
	// pingAfter is how long an HTTP/2 connection may have been silent when a request is sent on it without a ping, and
	// pingTimeout how long the answer may take.
	pingAfter, pingTimeout = time.Second, 3 * time.Second
	// idleAfter, probeEvery and probes are TCP's keepalive: a connection on which nothing is sent ends after 16 s of silence.
	idleAfter, probeEvery, probes = 10, 2, 3
	// tcpPause lets an ejection reach the thread that connects.
	tcpPause = 25 * time.Millisecond
)

// ejectUnreachable ejects endpoints to which no connection can be made. An answer, even a 5xx, ejects nobody: the
// application's errors are its own. Neither do statistics about endpoints.
func ejectUnreachable(c *clusterv3.Cluster) {
	c.ConnectTimeout = durationpb.New(endpointTimeout)
	never, all := wrapperspb.UInt32(0), wrapperspb.UInt32(100)
	c.OutlierDetection = &clusterv3.OutlierDetection{
		SplitExternalLocalOriginErrors:  true,
		ConsecutiveLocalOriginFailure:   wrapperspb.UInt32(ejectAfter),
		BaseEjectionTime:                durationpb.New(ejectFor),
		MaxEjectionPercent:              all,
		Consecutive_5Xx:                 never,
		EnforcingSuccessRate:            never,
		EnforcingLocalOriginSuccessRate: never,
	}
	// If all endpoints are ejected, all are tried again: the fault may be on this side. Envoy's default does so if
	// fewer than half are left, which sends most connections to dead endpoints.
	c.CommonLbConfig = &clusterv3.Cluster_CommonLbConfig{HealthyPanicThreshold: &typev3.Percent{Value: 1}}
}

// closeSilent ends HTTP connections to a peer that has gone silent, such as one whose node lost power. The kernel would hold
// them for a quarter of an hour, and all requests of an HTTP/2 connection would wait that long. A ping goes with a request,
// never alone: servers of gRPC take frequent pings on an idle connection for an attack. There is no limit for
// unacknowledged bytes (TCP_USER_TIMEOUT): it would also end a connection to a server that does not read for a while.
func closeSilent(c *clusterv3.Cluster) {
	c.TypedExtensionProtocolOptions = downstreamHTTPVersion(&corev3.Http2ProtocolOptions{ConnectionKeepalive: &corev3.KeepaliveSettings{
		ConnectionIdleInterval: durationpb.New(pingAfter), Timeout: durationpb.New(pingTimeout),
	}})
	c.UpstreamConnectionOptions = &clusterv3.UpstreamConnectionOptions{TcpKeepalive: &corev3.TcpKeepalive{
		KeepaliveTime: wrapperspb.UInt32(idleAfter), KeepaliveInterval: wrapperspb.UInt32(probeEvery), KeepaliveProbes: wrapperspb.UInt32(probes),
	}}
}

// tryOthers makes a proxy of bytes try several endpoints. Nothing of a connection has been sent before one accepts.
func tryOthers(proxy *tcpproxyv3.TcpProxy) *tcpproxyv3.TcpProxy {
	proxy.MaxConnectAttempts = wrapperspb.UInt32(tcpAttempts)
	proxy.BackoffOptions = &corev3.BackoffStrategy{BaseInterval: durationpb.New(tcpPause)}
	return proxy
}
