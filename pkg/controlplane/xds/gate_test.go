package xds

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/osm-edge/osm/pkg/controlplane/envoy"
)

// gating is a gate without a network.
type gating struct {
	*gate
	t    *testing.T
	conn map[string][]*connection // by address
}

// fakeConn is a connection from an address.
type fakeConn struct {
	net.Conn
	from   net.Addr
	closed bool
}

func (c *fakeConn) RemoteAddr() net.Addr { return c.from }
func (c *fakeConn) Close() error         { c.closed = true; return nil }

// Read reports that the peer has disconnected.
func (*fakeConn) Read([]byte) (int, error) { return 0, io.EOF }

func newGating(t *testing.T, limits Limits) *gating {
	metrics := NewMetrics(prometheus.NewRegistry())
	limits = limits.withDefaults()
	return &gating{newGate(limits, metrics, newOffenders(textLog(io.Discard), metrics, limits.LogLines)), t, map[string][]*connection{}}
}

// enters reports whether a connection from the address is accepted.
func (g *gating) enters(address string) bool {
	c := g.enter(&fakeConn{from: from(address)}, time.Now())
	if c != nil {
		g.conn[address] = append(g.conn[address], c)
	}
	return c != nil
}

// open returns how many connections of 10.0.0.6 are open.
func (g *gating) open() int {
	n := 0
	for _, c := range g.conn["10.0.0.6"] {
		if !c.Conn.(*fakeConn).closed {
			n++
		}
	}
	return n
}

func TestGate(t *testing.T) {
	cases := []struct {
		name   string
		limits Limits
		play   func(*gating)
		limit  string // the limit that is counted
		times  int
	}{
		{"a number of one address", Limits{PendingPerAddress: 3}, func(g *gating) {
			for i := range 5 {
				if got := g.enters("10.0.0.6"); got != (i < 3) {
					g.t.Errorf("connection %d: %t", i, got)
				}
			}
			if !g.enters("10.0.0.7") {
				g.t.Error("another address is refused")
			}
		}, "pending-connections-per-address", 2},
		{"an accepted stream makes room, its end takes it", Limits{PendingPerAddress: 1}, func(g *gating) {
			g.enters("10.0.0.6")
			first := g.conn["10.0.0.6"][0]
			if err := first.wait(); err != nil {
				g.t.Error(err)
			}
			first.waited(true)
			if !g.enters("10.0.0.6") {
				g.t.Error("no room beside an accepted stream")
			}
			first.left()
			if g.enters("10.0.0.6") {
				g.t.Error("an idle connection counts for nothing")
			}
		}, "pending-connections-per-address", 1},
		{"a connection that closes makes room", Limits{PendingPerAddress: 1}, func(g *gating) {
			g.enters("10.0.0.6")
			_ = g.conn["10.0.0.6"][0].Close()
			if !g.enters("10.0.0.6") {
				g.t.Error("no room after the close")
			}
		}, "", 0},
		{"when all places are taken, the greediest address loses one", Limits{PendingConnections: 16, PendingPerAddress: 16}, func(g *gating) {
			for range 16 {
				g.enters("10.0.0.6")
			}
			if !g.enters("10.0.0.7") || g.open() != 15 || !g.conn["10.0.0.6"][0].Conn.(*fakeConn).closed {
				g.t.Errorf("%d of 16 are left, want all but the oldest", g.open())
			}
		}, "displaced", 1},
		{"when all addresses have the same number, the newest is refused", Limits{PendingConnections: 16}, func(g *gating) {
			for i := range 17 {
				if got := g.enters(fmt.Sprintf("10.0.0.%d", i)); got != (i < 16) {
					g.t.Errorf("connection %d: %t", i, got)
				}
			}
		}, "pending-connections", 1},
		{"a number a second", Limits{ConnectionsPerAddress: 1}, func(g *gating) {
			for i := range 12 {
				got := g.enters("10.0.0.6")
				if got != (i < 10) {
					g.t.Errorf("connection %d: %t", i, got)
				}
			}
			time.Sleep(time.Second)
			if !g.enters("10.0.0.6") {
				g.t.Error("refused a second later")
			}
		}, "connections-per-address-per-second", 2},
		{"an idle one is closed", Limits{PendingSeconds: 10}, func(g *gating) {
			g.enters("10.0.0.6")
			time.Sleep(10 * time.Second)
			synctest.Wait()
			if g.open() != 0 {
				g.t.Error("it is still open")
			}
		}, "pending-seconds", 1},
		{"one waits for its first stream at a time", Limits{}, func(g *gating) {
			g.enters("10.0.0.6")
			c := g.conn["10.0.0.6"][0]
			if c.wait() != nil || status.Code(c.wait()) != codes.ResourceExhausted {
				g.t.Error("two streams wait on one connection")
			}
			c.waited(false)
			if c.wait() != nil {
				g.t.Error("no stream may wait after the first")
			}
		}, "", 0},
		{"a retired one takes no stream and is closed", Limits{}, func(g *gating) {
			g.enters("10.0.0.6")
			c := g.conn["10.0.0.6"][0]
			c.retire()
			if status.Code(c.wait()) != codes.Unavailable {
				g.t.Error("it accepts a stream")
			}
			time.Sleep(closeDelay)
			synctest.Wait()
			if g.open() != 0 {
				g.t.Error("it is still open")
			}
		}, "", 0},
		{"a closed one counts once", Limits{}, func(g *gating) {
			g.enters("10.0.0.6")
			for range 3 { // a flood continues until gRPC notices
				g.conn["10.0.0.6"][0].drop("streams-per-connection")
			}
		}, "streams-per-connection", 1},
		{"a handshake that fails counts", Limits{}, func(g *gating) {
			g.enters("10.0.0.6")
			if _, _, err := newCredentials(&tls.Config{MinVersion: tls.VersionTLS13}).ServerHandshake(g.conn["10.0.0.6"][0]); err == nil {
				g.t.Error("it succeeds")
			}
		}, "handshake", 1},
		{"a handshake that the gate ended does not count as failed", Limits{PendingSeconds: 10}, func(g *gating) {
			g.enters("10.0.0.6")
			time.Sleep(10 * time.Second)
			synctest.Wait()
			if _, _, err := newCredentials(&tls.Config{MinVersion: tls.VersionTLS13}).ServerHandshake(g.conn["10.0.0.6"][0]); err == nil {
				g.t.Error("it succeeds")
			}
			if n := testutil.CollectAndCount(g.metrics.connections); n != 1 {
				g.t.Errorf("counted under %d limits, want one", n)
			}
		}, "pending-seconds", 1},
		{"idle addresses are forgotten", Limits{}, func(g *gating) {
			for i := range 20_000 {
				address := netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}).String()
				if g.enters(address) {
					_ = g.conn[address][0].Close()
				}
				time.Sleep(10 * time.Millisecond)
			}
			if n := len(g.sources.entries); n > 3000 {
				g.t.Errorf("%d addresses are remembered", n)
			}
		}, "", 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGating(t, c.limits)
				c.play(g)
				if c.limit != "" {
					if n := testutil.ToFloat64(g.metrics.connections.WithLabelValues(c.limit)); n != float64(c.times) {
						t.Errorf("%v connections counted as %s, want %d", n, c.limit, c.times)
					}
					if n := testutil.ToFloat64(g.metrics.limited.WithLabelValues(c.limit, "address 10.0.0.6")); c.limit != "pending-connections" && n != float64(c.times) {
						t.Errorf("the metric names 10.0.0.6 %v times, want %d", n, c.times)
					}
				}
				for _, all := range g.conn {
					for _, conn := range all {
						_ = conn.Close()
					}
				}
				if g.pending != 0 {
					t.Errorf("%d are pending when all are closed", g.pending)
				}
			})
		})
	}
}

// dialFrom connects from a loopback address.
func (r *rig) dialFrom(address string) (net.Conn, error) {
	r.t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}, Timeout: 10 * time.Second}
	conn, err := dialer.DialContext(r.t.Context(), "tcp", r.address)
	if err == nil {
		r.t.Cleanup(func() { _ = conn.Close() })
	}
	return conn, err
}

// ended waits for the server to close a connection.
func ended(conn net.Conn) error {
	if err := conn.SetReadDeadline(time.Now().Add(15 * time.Second)); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, conn)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return err
	}
	return nil
}

// Clients without a valid certificate connect in every wrong way, and are disconnected; a proxy is still served.
func TestServerShutsOutStrangers(t *testing.T) {
	r := newLimitedRig(t, Limits{HandshakeSeconds: 1, PendingPerAddress: 20})
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(r.issuer.Trust().Bundle)
	wrong := map[string]func(net.Conn) error{
		"says nothing":       func(net.Conn) error { return nil },
		"plain text":         func(c net.Conn) error { _, err := io.WriteString(c, http2.ClientPreface); return err },
		"half a ClientHello": func(c net.Conn) error { _, err := c.Write([]byte{0x16, 3, 1, 2, 0, 1, 0}); return err },
		"TLS 1.2": func(c net.Conn) error {
			config := &tls.Config{RootCAs: trusted, ServerName: "localhost", MaxVersion: tls.VersionTLS12, MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{r.certificate("store")}}
			if tls.Client(c, config).HandshakeContext(t.Context()) == nil {
				t.Error("TLS 1.2 is accepted")
			}
			return nil
		},
		"TLS without certificate": func(c net.Conn) error {
			_ = tls.Client(c, &tls.Config{RootCAs: trusted, ServerName: "localhost", MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}}).HandshakeContext(t.Context())
			return nil
		},
	}
	for name, say := range wrong {
		conn, err := r.dialFrom("127.0.0.2")
		if err != nil {
			t.Fatal(err)
		}
		if err := say(conn); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := ended(conn); err != nil {
			t.Errorf("%s: the connection is still open: %v", name, err)
		}
	}
	awaitMetric(t, "all of them are counted", func() bool {
		return testutil.ToFloat64(r.metrics.connections.WithLabelValues("handshake")) == float64(len(wrong))
	})
	// It holds all that one address may, which is not all that the server has.
	for range 40 {
		_, _ = r.dialFrom("127.0.0.2") // some are reset so soon that it is seen here
	}
	c := r.dial("store")
	ask(t, c, "shop/store-0", envoy.TypeCluster)
	receiveAndAck(t, c)
	awaitMetric(t, "the others were closed", func() bool {
		return testutil.ToFloat64(r.metrics.limited.WithLabelValues("pending-connections-per-address", "address 127.0.0.2")) >= 20
	})
}

func newLimitedRig(t *testing.T, limits Limits) *rig {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := newReplica(t, newAuthority(t), limits)
	r.publish(1, "store-0", "buyer-0")
	r.serve(listener)
	return r
}

// A proxy of the mesh that floods the server with streams, or with connections that it does not use, loses them.
func TestServerEndsFloods(t *testing.T) {
	t.Run("streams on one connection", func(t *testing.T) {
		r := newLimitedRig(t, Limits{})
		client := discoveryv3.NewAggregatedDiscoveryServiceClient(r.connect([]tls.Certificate{r.certificate("store")}))
		for range 500 {
			ctx, cancel := context.WithCancel(t.Context())
			if _, err := client.DeltaAggregatedResources(ctx); err != nil {
				cancel()
				break
			}
			cancel()
		}
		awaitMetric(t, "the connection was closed", func() bool {
			return testutil.ToFloat64(r.metrics.connections.WithLabelValues("streams-per-connection")) >= 1
		})
	})
	t.Run("an unknown method", func(t *testing.T) {
		r := newLimitedRig(t, Limits{})
		conn := r.connect([]tls.Certificate{r.certificate("store")})
		for range 100 {
			_ = conn.Invoke(t.Context(), "/none/None", &discoveryv3.DiscoveryRequest{}, &discoveryv3.DiscoveryResponse{})
		}
		if n := testutil.ToFloat64(r.metrics.connections.WithLabelValues("streams-per-connection")); n < 1 {
			t.Error("it is never disconnected")
		}
	})
	t.Run("requests that are too large", func(t *testing.T) {
		r := newLimitedRig(t, Limits{})
		c := r.dial("store")
		ask(t, c, "shop/store-0", envoy.TypeEndpoint, strings.Repeat("x", 2<<20))
		if _, err := c.Recv(); status.Code(err) != codes.ResourceExhausted {
			t.Errorf("got %v, want ResourceExhausted", err)
		}
		awaitMetric(t, "the metric names it", func() bool {
			return testutil.ToFloat64(r.metrics.limited.WithLabelValues("request-bytes", "identity shop/store")) == 1
		})
	})
}

// known returns how many pending connections an address has.
func (g *gate) known(address string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	if s := g.sources.entries[netip.MustParseAddr(address)]; s != nil {
		return len(s.pending)
	}
	return 0
}
