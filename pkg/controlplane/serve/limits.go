package serve

import (
	"cmp"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
)

// Limits bound the resources of a server that its clients may hold, whoever they are. A zero field means
// its default.
type Limits struct {
	// Read is the time for a TLS handshake, and then for each request with its body; 10 s.
	Read time.Duration
	// Write is the time from the end of a request's header to the end of its response; 30 s.
	Write time.Duration
	// Idle is how long a connection may wait for its next request; 90 s.
	Idle time.Duration
	// Connections is the maximum number of concurrent connections; 512.
	Connections int
	// PerSource is the maximum number of concurrent connections from one IP address; 128. It has to leave
	// room for an API server that creates many pods at once, or for all of them behind one address.
	PerSource int
}

const (
	defaultRead        = 10 * time.Second
	defaultWrite       = 30 * time.Second
	defaultIdle        = 90 * time.Second
	defaultConnections = 512
	defaultPerSource   = 128
	maxHeaderBytes     = 32 << 10
)

func (l Limits) withDefaults() Limits {
	return Limits{
		Read: cmp.Or(l.Read, defaultRead), Write: cmp.Or(l.Write, defaultWrite), Idle: cmp.Or(l.Idle, defaultIdle),
		Connections: cmp.Or(l.Connections, defaultConnections), PerSource: cmp.Or(l.PerSource, defaultPerSource),
	}
}

// Reasons for which a connection is refused.
const (
	refusedTotal  = "connections"
	refusedSource = "source"
)

// refusalLogInterval keeps a flood of connections from becoming a flood of log lines.
const refusalLogInterval = time.Minute

// Refusals counts the connections that the servers of one process refuse.
type Refusals struct {
	connections *prometheus.CounterVec
	log         *slog.Logger
}

// NewRefusals registers osm_http_refused_connections_total.
func NewRefusals(registerer prometheus.Registerer, log *slog.Logger) (*Refusals, error) {
	r := &Refusals{log: log, connections: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "osm_http_refused_connections_total", Help: "Connections refused by server (webhook, http, evidence) and reason (connections: too many in all, source: too many from one address).",
	}, []string{"server", "reason"})}
	if err := registerer.Register(r.connections); err != nil {
		return nil, fmt.Errorf("register metrics of HTTP servers: %w", err)
	}
	return r, nil
}

// Of returns the function that the named server calls for each connection that it refuses. The log
// names the address, at most once a minute. A nil Refusals returns nil.
func (r *Refusals) Of(server string) func(reason string, source netip.Addr) {
	if r == nil {
		return nil
	}
	for _, reason := range []string{refusedTotal, refusedSource} {
		r.connections.WithLabelValues(server, reason)
	}
	seldom := map[string]*rate.Sometimes{
		refusedTotal:  {Interval: refusalLogInterval},
		refusedSource: {Interval: refusalLogInterval},
	}
	return func(reason string, source netip.Addr) {
		r.connections.WithLabelValues(server, reason).Inc()
		seldom[reason].Do(func() {
			r.log.Warn("connections refused, see osm_http_refused_connections_total", "server", server, "reason", reason, "source", source.String())
		})
	}
}

// limitedListener closes connections over the limits at once. Unlike a listener that stops accepting, it
// leaves no queue in which honest clients would wait behind others.
type limitedListener struct {
	net.Listener
	limits  Limits
	refused func(reason string, source netip.Addr)
	closed  func()

	mu      sync.Mutex
	total   int
	sources map[netip.Addr]int
}

func (s HTTPServer) limit(inner net.Listener, limits Limits) *limitedListener {
	l := &limitedListener{Listener: inner, limits: limits, refused: s.Refused, closed: s.Closed, sources: map[netip.Addr]int{}}
	if l.refused == nil {
		l.refused = func(string, netip.Addr) {}
	}
	if l.closed == nil {
		l.closed = func() {}
	}
	return l
}

// Accept returns the next connection that is within the limits.
func (l *limitedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		source := SourceOf(conn.RemoteAddr().String())
		reason := l.admit(source)
		if reason == "" {
			return &limitedConn{Conn: conn, release: func() { l.release(source); l.closed() }}, nil
		}
		_ = conn.Close()
		l.refused(reason, source)
	}
}

// admit counts a connection, or returns why it is refused.
func (l *limitedListener) admit(source netip.Addr) (reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.sources[source] >= l.limits.PerSource:
		return refusedSource
	case l.total >= l.limits.Connections:
		return refusedTotal
	}
	l.total++
	l.sources[source]++
	return ""
}

func (l *limitedListener) release(source netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total--
	if l.sources[source]--; l.sources[source] == 0 {
		delete(l.sources, source)
	}
}

// limitedConn releases its place when it is closed.
type limitedConn struct {
	net.Conn
	once    sync.Once
	release func()
}

// Close closes the connection.
func (c *limitedConn) Close() error {
	c.once.Do(c.release)
	return c.Conn.Close()
}

// SourceOf returns the IP address in host:port; the zero Addr if there is none.
func SourceOf(address string) netip.Addr {
	parsed, err := netip.ParseAddrPort(address)
	if err != nil {
		return netip.Addr{}
	}
	return parsed.Addr().Unmap()
}
