package xds

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	grpcpeer "google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"
)

const (
	// closeDelay is how long a connection stays open after its stream ended, for the proxy to read why.
	closeDelay = time.Second
	// streamRate and streamsAtOnce bound how many streams one connection opens, per second and at once.
	// Envoy opens one, and another with its back-off after the first has ended.
	streamRate, streamsAtOnce = 1, 20
	// readRate is how many bytes a second a connection may send, beside four requests of full size at once.
	// It slows down floods of frames of any kind; Envoy sends some hundred bytes for each push.
	readRate = 256 << 10
	// connectionBurst is how many seconds' worth of connections an address may open at once.
	connectionBurst = 10
)

// gate stands between the listener and gRPC. It bounds, in number and time, the connections without an
// accepted stream ("pending"), so that clients that prove nothing, or do nothing, cannot exhaust the server.
// Connections with an accepted stream are bounded by the limits of their pods.
type gate struct {
	limits    Limits
	metrics   *Metrics
	offenders *offenders

	mu      sync.Mutex
	pending int
	sources ledger[netip.Addr, *origin]
}

// origin is the state of an address.
type origin struct {
	pending []*connection // the oldest first
	opened  *rate.Limiter
}

func (o *origin) idle(now time.Time) bool { return len(o.pending) == 0 && full(o.opened, now) }

func newGate(limits Limits, metrics *Metrics, notes *offenders) *gate {
	return &gate{limits: limits, metrics: metrics, offenders: notes, sources: newLedger(func(netip.Addr) *origin {
		return &origin{opened: rate.NewLimiter(rate.Limit(limits.ConnectionsPerAddress), connectionBurst*limits.ConnectionsPerAddress)}
	})}
}

// connection is a proxy's connection.
type connection struct {
	net.Conn
	gate   *gate
	source netip.Addr
	reads  *rate.Limiter
	opened *rate.Limiter
	// counted says that the gate has counted why the connection ended: it does so once.
	counted atomic.Bool

	// Guarded by gate.mu.
	pending bool
	waiting bool        // a stream waits to be accepted
	streams int         // accepted streams
	retired bool        // it takes no further stream
	closed  bool        // it was removed from the books for good
	late    *time.Timer // closes it if it stays pending
}

// gatedListener returns only connections that passed the gate.
type gatedListener struct {
	net.Listener
	gate *gate
}

// Accept waits for the next connection that the gate admits.
func (l gatedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c := l.gate.enter(conn, time.Now()); c != nil {
			return c, nil
		}
	}
}

// enter admits a connection, or closes it and returns nil.
func (g *gate) enter(conn net.Conn, now time.Time) *connection {
	address := addressOf(conn.RemoteAddr())
	c := &connection{
		Conn: conn, gate: g, source: address, pending: true,
		reads: rate.NewLimiter(readRate, 4*g.limits.RequestBytes), opened: rate.NewLimiter(streamRate, streamsAtOnce),
	}
	refused, displaced := g.admit(c, now)
	if displaced != nil {
		displaced.end("displaced")
	}
	if refused != "" {
		g.refuse(refused, address)
		abort(conn)
		return nil
	}
	setUserTimeout(conn, g.limits.keepalive().Timeout)
	return c
}

// admit books a connection, or returns the limit that it exceeds. When too many are pending in total, the
// oldest of the address that has the most makes room for one of an address that has fewer.
func (g *gate) admit(c *connection, now time.Time) (refused string, displaced *connection) {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.sources.of(c.source, now)
	switch {
	case !s.opened.AllowN(now, 1):
		return "connections-per-address-per-second", nil
	case len(s.pending) >= g.limits.PendingPerAddress:
		return "pending-connections-per-address", nil
	case g.pending >= g.limits.PendingConnections:
		if displaced = g.greediest(len(s.pending) + 1); displaced == nil {
			return "pending-connections", nil
		}
		displaced.leaveLocked()
	}
	g.book(c)
	return "", displaced
}

// greediest returns the oldest pending connection of the address that has the most, nil if no address has
// more than the given number. g.mu is held.
func (g *gate) greediest(than int) *connection {
	var most *connection
	for _, s := range g.sources.entries {
		if len(s.pending) > than {
			most, than = s.pending[0], len(s.pending)
		}
	}
	return most
}

// book makes a connection pending. It may stay so for longer than the 30 s that Envoy waits at most before it
// opens another stream: a new handshake would cost more than the wait. g.mu is held.
func (g *gate) book(c *connection) {
	s := g.sources.of(c.source, time.Now())
	s.pending = append(s.pending, c)
	g.pending++
	c.pending = true
	c.late = time.AfterFunc(g.limits.pending(), c.expire)
	g.metrics.pending.Set(float64(g.pending))
}

// unbook reverses book. g.mu is held.
func (g *gate) unbook(c *connection) {
	if !c.pending {
		return
	}
	c.pending = false
	c.late.Stop()
	c.late = nil
	g.pending--
	s := g.sources.entries[c.source]
	s.pending = slices.DeleteFunc(s.pending, func(other *connection) bool { return other == c })
	g.metrics.pending.Set(float64(g.pending))
}

// refuse counts and logs a connection that was closed.
func (g *gate) refuse(limit string, address netip.Addr) {
	g.metrics.connections.WithLabelValues(limit).Inc()
	g.offenders.report(limit, "address "+address.String(), "xDS connection closed", "limit", limit, "address", address.String())
}

// leaveLocked removes the connection from the books for good, and reports whether it was in them. gate.mu is held.
func (c *connection) leaveLocked() bool {
	if c.closed {
		return false
	}
	c.closed = true
	c.gate.unbook(c)
	return true
}

// drop closes a connection that exceeds a limit.
func (c *connection) drop(limit string) {
	if c.leave() {
		c.end(limit)
	}
}

// leave is leaveLocked for callers that do not hold gate.mu.
func (c *connection) leave() bool {
	c.gate.mu.Lock()
	defer c.gate.mu.Unlock()
	return c.leaveLocked()
}

// expire drops a connection that is still pending: a stream may have been accepted at the last moment.
func (c *connection) expire() {
	c.gate.mu.Lock()
	over := c.pending && c.leaveLocked()
	c.gate.mu.Unlock()
	if over {
		c.end("pending-seconds")
	}
}

// end counts and closes a connection that was just removed from the books.
func (c *connection) end(limit string) {
	c.refuse(limit)
	abort(c.Conn)
}

// refuse counts the connection under the first limit that ended it.
func (c *connection) refuse(limit string) {
	if !c.counted.Swap(true) {
		c.gate.refuse(limit, c.source)
	}
}

// abort closes a connection without waiting for its peer.
func abort(conn net.Conn) {
	if tcp, ok := conn.(interface{ SetLinger(int) error }); ok {
		_ = tcp.SetLinger(0) // else the kernel keeps unsent data for a while
	}
	_ = conn.Close() // an error only concerns the peer
}

// Read slows down a peer that sends more than any proxy needs to.
func (c *connection) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 && !c.reads.AllowN(time.Now(), n) {
		if r := c.reads.ReserveN(time.Now(), n); r.OK() {
			time.Sleep(r.Delay()) // at most the time for one read: a TLS record or a little more
		}
	}
	return n, err
}

// Close also removes the connection from the books.
func (c *connection) Close() error {
	c.leave()
	return c.Conn.Close()
}

// wait notes that a stream waits to be accepted: one at a time, since each holds its first request.
func (c *connection) wait() error {
	g := c.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case c.retired:
		return status.Error(codes.Unavailable, "this connection is being closed: connect again")
	case c.waiting:
		return status.Error(codes.ResourceExhausted, "another stream of this connection waits to be accepted")
	}
	c.waiting = true
	return nil
}

// waited ends what wait began. accepted reports whether the stream was accepted.
func (c *connection) waited(accepted bool) {
	g := c.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	c.waiting = false
	if accepted {
		c.streams++
		g.unbook(c)
	}
}

// left notes that an accepted stream has ended. A connection without one is pending again.
func (c *connection) left() {
	g := c.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	if c.streams--; c.streams == 0 && !c.closed && !c.retired {
		g.book(c)
	}
}

// retire takes no further stream and closes the connection once the proxy has had time to read why its
// stream ended: what the proxy proved on this connection no longer counts.
func (c *connection) retire() {
	c.gate.mu.Lock()
	defer c.gate.mu.Unlock()
	c.retireLocked()
}

// turnAway retires a connection after a refusal that another replica might not repeat: on an open
// connection Envoy would ask this replica again and again. A connection that serves another stream stays.
func (c *connection) turnAway() {
	c.gate.mu.Lock()
	defer c.gate.mu.Unlock()
	if c.streams == 0 {
		c.retireLocked()
	}
}

func (c *connection) retireLocked() {
	if !c.retired && !c.closed {
		c.retired = true
		time.AfterFunc(closeDelay, func() { abort(c.Conn) }) // gRPC then closes the rest
	}
}

// tapped is called before each stream of a connection.
func tapped(ctx context.Context, _ *tap.Info) (context.Context, error) {
	c := connectionOf(ctx)
	if c == nil || c.opened.Allow() {
		return ctx, nil
	}
	go c.drop("streams-per-connection") // gRPC holds a lock
	return nil, status.Error(codes.ResourceExhausted, "too many streams on one connection")
}

// proof is the result of a handshake: the TLS state, and the connection.
type proof struct {
	credentials.TLSInfo
	connection *connection
}

// gatedCredentials wrap gRPC's: they add the connection to the result and count failed handshakes.
type gatedCredentials struct {
	credentials.TransportCredentials
}

func newCredentials(cfg *tls.Config) gatedCredentials {
	return gatedCredentials{credentials.NewTLS(cfg)}
}

// ServerHandshake performs the TLS handshake.
func (g gatedCredentials) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := g.TransportCredentials.ServerHandshake(raw)
	c, gated := raw.(*connection)
	if err != nil {
		if gated {
			c.refuse("handshake") // unless the gate ended it, and counted that
		}
		return nil, nil, io.EOF // gRPC does not log io.EOF: the gate has logged the failure
	}
	if tlsInfo, ok := info.(credentials.TLSInfo); ok && gated {
		info = proof{tlsInfo, c}
		conn = limitFrames(conn, func() { c.gate.offenders.count("frames-per-connection-per-second", "address "+c.source.String()) })
	}
	return conn, info, nil
}

// Clone implements credentials.TransportCredentials.
func (g gatedCredentials) Clone() credentials.TransportCredentials {
	return gatedCredentials{g.TransportCredentials.Clone()}
}

// connectionOf returns the connection of a stream, nil in tests without a network.
func connectionOf(ctx context.Context) *connection {
	if p, ok := grpcpeer.FromContext(ctx); ok {
		if known, ok := p.AuthInfo.(proof); ok {
			return known.connection
		}
	}
	return nil
}

// addressOf returns the address without the port, IPv4 in IPv6 unmapped.
func addressOf(addr net.Addr) netip.Addr {
	if tcp, ok := addr.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}
