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
	// silentAfter is how long a peer may leave bytes unacknowledged, five retransmissions. The kernel's own limit is a quarter of an hour: so long
	// would all requests of an HTTP/2 connection wait for a node that has lost power.
	silentAfter = 4 * time.Second
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

// closeSilent ends connections to a peer that acknowledges nothing, so that the next request goes elsewhere. A connection
// on which nothing is sent stays: probing it would end it after a single lost packet, or take much longer.
func closeSilent(c *clusterv3.Cluster) {
	const levelTCP, tcpUserTimeout = 6, 18 // of Linux
	c.UpstreamBindConfig = &corev3.BindConfig{SocketOptions: []*corev3.SocketOption{{
		Level: levelTCP, Name: tcpUserTimeout, Value: &corev3.SocketOption_IntValue{IntValue: silentAfter.Milliseconds()},
	}}}
}

// tryOthers makes a proxy of bytes try several endpoints. Nothing of a connection has been sent before one accepts.
func tryOthers(proxy *tcpproxyv3.TcpProxy) *tcpproxyv3.TcpProxy {
	proxy.MaxConnectAttempts = wrapperspb.UInt32(tcpAttempts)
	proxy.BackoffOptions = &corev3.BackoffStrategy{BaseInterval: durationpb.New(tcpPause)}
	return proxy
}
