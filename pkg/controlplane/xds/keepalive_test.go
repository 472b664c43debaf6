package xds

import (
	"context"
	"crypto/tls"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"

	"github.com/osm-edge/osm/pkg/controlplane/envoy"
)

// silentConn is a client's end of a connection that can lose all that the client sends.
type silentConn struct {
	net.Conn
	lost *atomic.Bool
}

func (c silentConn) Write(p []byte) (int, error) {
	if c.lost.Load() {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

// A proxy that answers no ping is gone: the server closes its connection after the two keepalive times. A proxy
// that answers is quiet for hours and stays. Fails without keepalives of the server, and if connections are cut
// because of their age.
func TestSilentProxyIsDisconnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limits := Limits{KeepaliveSeconds: 40, KeepaliveTimeoutSeconds: 15}
		r := newReplica(t, newAuthority(t), limits)
		r.publish(1, "store-0", "buyer-0")
		listener := bufconn.Listen(64 << 10)
		r.serve(listener)
		r.address = "passthrough:///controller"

		var lost atomic.Bool
		dial := func(ctx context.Context, _ string) (net.Conn, error) {
			conn, err := listener.DialContext(ctx)
			return silentConn{conn, &lost}, err
		}
		conn := r.connect([]tls.Certificate{r.certificate("store")}, grpc.WithContextDialer(dial))
		proxy, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ask(t, proxy, "shop/store-0", envoy.TypeCluster)
		receiveAndAck(t, proxy)

		time.Sleep(20 * time.Hour)
		synctest.Wait()
		if n := r.server.Connected(); n != 1 {
			t.Fatalf("%d proxies are connected after a quiet day, want 1", n)
		}
		lost.Store(true)
		time.Sleep(14 * time.Second)
		synctest.Wait()
		if n := r.server.Connected(); n != 1 {
			t.Errorf("%d proxies are connected before the keepalive times are over, want 1", n)
		}
		time.Sleep(2 * 55 * time.Second) // the time of the last activity is only known to be less than 40 s ago
		synctest.Wait()
		if n := r.server.Connected(); n != 0 {
			t.Errorf("%d proxies are connected after they have not answered a ping, want 0", n)
		}
	})
}
