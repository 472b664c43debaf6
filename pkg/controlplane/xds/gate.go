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
	// parting is how long a connection stays open after its stream was ended, for the proxy to read why.
	parting = time.Second
	// opening and openings bound the streams of one connection: so many a second, and so many at once.
	// Envoy opens one, and another with its back-off after the first has ended.
	opening, openings = 1, 20
	// inflow is how many bytes a second a connection may send, beside the size of four requests at once.
	// It slows floods of frames down, of whatever kind; Envoy sends some hundred bytes for each push.
	inflow = 256 << 10
	// burst is how many seconds' worth of connections an address may open at once.
	burst = 10
)

// gate stands between the listener and gRPC. It bounds, in number and time, the connections that carry no
// accepted stream ("pending"): nobody who has proved nothing, or does nothing, may hold the server up.
// Connections that carry one are bounded by the limits of their pods.
type gate struct {
	limits  Limits
	metrics *Metrics
	notes   *notes

	mu      sync.Mutex
	pending int
	sources ledger[netip.Addr, *origin]
}

// origin is what is known of an address.
type origin struct {
	pending []*connection // the oldest first
	opened  *rate.Limiter
}

func (o *origin) idle(now time.Time) bool { return len(o.pending) == 0 && full(o.opened, now) }

func newGate(limits Limits, metrics *Metrics, notes *notes) *gate {
	return &gate{limits: limits, metrics: metrics, notes: notes, sources: newLedger(func(netip.Addr) *origin {
		return &origin{opened: rate.NewLimiter(rate.Limit(limits.ConnectionsPerAddress), burst*limits.ConnectionsPerAddress)}
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
	streams int         // that are accepted
	retired bool        // no further stream
	closed  bool        // it is out of the books for good
	late    *time.Timer // closes it if it is still pending
}

// gatedListener is a listener whose connections have passed the gate.
type gatedListener struct {
	net.Listener
	gate *gate
}

// Accept waits for the next connection that is let in.
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

// enter lets a connection in, or closes it and returns nil.
func (g *gate) enter(conn net.Conn, now time.Time) *connection {
	address := addressOf(conn.RemoteAddr())
	c := &connection{
		Conn: conn, gate: g, source: address, pending: true,
		reads: rate.NewLimiter(inflow, 4*g.limits.RequestBytes), opened: rate.NewLimiter(opening, openings),
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
	setUserTimeout(conn, pingTimeout)
	return c
}

// admit books a connection, or says which limit it is over. When too many are pending in all, the oldest
// of the address that has most makes room for one of an address that has less.
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

// greediest is the oldest pending connection of the address that has most of them, nil when none has more
// than that. g.mu is held.
func (g *gate) greediest(than int) *connection {
	var most *connection
	for _, s := range g.sources.entries {
		if len(s.pending) > than {
			most, than = s.pending[0], len(s.pending)
		}
	}
	return most
}

// book makes a connection a pending one, for longer than the 30 s that Envoy may wait before it tries another
// stream: a handshake costs more than the wait. g.mu is held.
func (g *gate) book(c *connection) {
	s := g.sources.of(c.source, time.Now())
	s.pending = append(s.pending, c)
	g.pending++
	c.pending = true
	c.late = time.AfterFunc(g.limits.pending(), c.expire)
	g.metrics.pending.Set(float64(g.pending))
}

// unbook is its opposite. g.mu is held.
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

// refuse counts a connection that was closed and says so.
func (g *gate) refuse(limit string, address netip.Addr) {
	g.metrics.connections.WithLabelValues(limit).Inc()
	g.notes.offence(limit, "address "+address.String(), "xDS connection closed", "limit", limit, "address", address.String())
}

// leaveLocked takes the connection out of the books for good, and says whether it was in them. gate.mu is held.
func (c *connection) leaveLocked() bool {
	if c.closed {
		return false
	}
	c.closed = true
	c.gate.unbook(c)
	return true
}

// drop closes a connection that is over a limit.
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

// end counts and closes a connection that was just taken out of the books.
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

// abort closes a connection without the goodbyes that would wait for its peer.
func abort(conn net.Conn) {
	if tcp, ok := conn.(interface{ SetLinger(int) error }); ok {
		_ = tcp.SetLinger(0) // else the kernel keeps what was not sent for a while
	}
	_ = conn.Close() // the peer's loss
}

// Read slows a peer down that sends more than any proxy has reason to.
func (c *connection) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 && !c.reads.AllowN(time.Now(), n) {
		if r := c.reads.ReserveN(time.Now(), n); r.OK() {
			time.Sleep(r.Delay()) // at most the time for one read: a TLS record or a little more
		}
	}
	return n, err
}

// Close takes the connection out of the books, too.
func (c *connection) Close() error {
	c.leave()
	return c.Conn.Close()
}

// wait says that a stream waits to be accepted: one at a time, since it holds its first request.
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

// waited ends what wait began; accepted says how.
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

// left says that an accepted stream has ended. A connection without one is pending again.
func (c *connection) left() {
	g := c.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	if c.streams--; c.streams == 0 && !c.closed && !c.retired {
		g.book(c)
	}
}

// retire lets no further stream begin and closes the connection when the proxy had the time to read why
// its stream ended: what proved the proxy's identity, or its claim to a stream, does not count any more.
func (c *connection) retire() {
	g := c.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	if !c.retired && !c.closed {
		c.retired = true
		time.AfterFunc(parting, func() { abort(c.Conn) }) // gRPC then closes the rest
	}
}

// tapped is asked before each stream of a connection.
func tapped(ctx context.Context, _ *tap.Info) (context.Context, error) {
	c := connectionOf(ctx)
	if c == nil || c.opened.Allow() {
		return ctx, nil
	}
	go c.drop("streams-per-connection") // gRPC holds a lock
	return nil, status.Error(codes.ResourceExhausted, "too many streams on one connection")
}

// proof is what a handshake leaves: TLS, and the connection.
type proof struct {
	credentials.TLSInfo
	connection *connection
}

// gatedCredentials are gRPC's, which add the connection, and count handshakes that fail.
type gatedCredentials struct {
	credentials.TransportCredentials
}

func newCredentials(cfg *tls.Config) gatedCredentials {
	return gatedCredentials{credentials.NewTLS(cfg)}
}

// ServerHandshake makes the connection a TLS one.
func (g gatedCredentials) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := g.TransportCredentials.ServerHandshake(raw)
	c, gated := raw.(*connection)
	if err != nil {
		if gated {
			c.refuse("handshake") // unless the gate ended it, and counted that
		}
		return nil, nil, io.EOF // for gRPC that is nothing to log: the gate did
	}
	if tlsInfo, ok := info.(credentials.TLSInfo); ok && gated {
		info = proof{tlsInfo, c}
		conn = limitFrames(conn, func() { c.gate.notes.count("frames-per-connection-per-second", "address "+c.source.String()) })
	}
	return conn, info, nil
}

// Clone is part of the interface.
func (g gatedCredentials) Clone() credentials.TransportCredentials {
	return gatedCredentials{g.TransportCredentials.Clone()}
}

// connectionOf is the connection of a stream, nil in tests without a network.
func connectionOf(ctx context.Context) *connection {
	if p, ok := grpcpeer.FromContext(ctx); ok {
		if known, ok := p.AuthInfo.(proof); ok {
			return known.connection
		}
	}
	return nil
}

// addressOf is the address without the port, in one form for each.
func addressOf(addr net.Addr) netip.Addr {
	if tcp, ok := addr.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}
