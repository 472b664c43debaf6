package xds

import (
	"crypto/tls"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/osm-edge/osm/pkg/controlplane/envoy"
)

// A stream that the server ends because another displaced it loses its connection, and the others stay.
func TestServerClosesTheConnectionOfADisplacedStream(t *testing.T) {
	r := newLimitedRig(t, Limits{StreamsPerPod: 1})
	conn := r.connect([]tls.Certificate{r.certificate("store")})
	old := openOn(t, conn)
	ask(t, old, "shop/store-0", envoy.TypeCluster)
	receiveAndAck(t, old)
	second := r.dial("store")
	ask(t, second, "shop/store-0", envoy.TypeCluster)
	receiveAndAck(t, second)
	if _, err := old.Recv(); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("the older stream ended with %v, want ResourceExhausted", err)
	}
	awaitMetric(t, "the connection is closed", func() bool { return r.server.gate.known("127.0.0.1") == 0 && r.server.Connected() == 1 && left(conn) })
}

// A proxy that this replica does not know is sent to another one: its connection closes, so that Envoy does
// not ask again on it. One that serves another stream stays.
func TestServerClosesTheConnectionOfAnUnknownPod(t *testing.T) {
	r := newLimitedRig(t, Limits{})
	conn := r.connect([]tls.Certificate{r.certificate("store")})
	stranger := openOn(t, conn)
	ask(t, stranger, "shop/store-9", envoy.TypeCluster)
	if _, err := stranger.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("the stream ended with %v, want Unavailable", err)
	}
	awaitMetric(t, "the connection is closed", func() bool { return r.server.gate.known("127.0.0.1") == 0 && left(conn) })

	busy := r.connect([]tls.Certificate{r.certificate("store")})
	served := openOn(t, busy)
	ask(t, served, "shop/store-0", envoy.TypeCluster)
	receiveAndAck(t, served)
	second := openOn(t, busy)
	ask(t, second, "shop/store-9", envoy.TypeCluster)
	if _, err := second.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("the second stream ended with %v, want Unavailable", err)
	}
	ask(t, served, "shop/store-0", envoy.TypeListener)
	receiveAndAck(t, served)
}

// left reports whether a client has lost its connection.
func left(conn *grpc.ClientConn) bool { return conn.GetState().String() != "READY" }
