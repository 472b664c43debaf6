package fleet

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/status"
)

// The back-off of Envoy between streams: up to the interval, chosen at random; the interval doubles
// until a response arrives. These are the values in osm's bootstrap.
const (
	backoffBase = 500 * time.Millisecond
	backoffMax  = 10 * time.Second
)

// Limits of connecting.
const connectTimeout = 10 * time.Second

// envoy is one fake Envoy. Its variant and its random numbers belong to its goroutine.
type envoy struct {
	fleet   *Fleet
	index   int
	proxy   Proxy
	variant variant
	random  *rand.Rand
	next    time.Duration // interval of the next back-off
	stop    context.CancelFunc

	// configuredAt is when it had everything that it needs, in nanoseconds since the fleet's start; 0 if
	// it does not have that yet.
	configuredAt atomic.Int64
	// messages counts the responses that it has received.
	messages atomic.Int64

	mu     sync.Mutex
	conn   net.Conn // the open one
	forget bool     // forget the state before the next connection
	lives  int      // how often it had to
}

// run connects and serves streams until ctx ends.
func (e *envoy) run(ctx context.Context) {
	for ctx.Err() == nil {
		err := e.connected(ctx)
		e.fleet.count.lost(err)
		e.pause(ctx)
	}
}

// pause waits as Envoy does before a retry.
func (e *envoy) pause(ctx context.Context) {
	wait := time.Duration(e.random.Int64N(int64(e.next)))
	e.next = min(2*e.next, backoffMax)
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// connected opens a connection and uses it for one stream after another as long as it works.
func (e *envoy) connected(ctx context.Context) error {
	conn, target, err := e.dial(ctx)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	defer e.leave(conn)
	c, err := newChannel(conn, &e.fleet.large)
	if err != nil {
		return err
	}
	e.fleet.count.connections.Add(1)
	for {
		answered, err := e.stream(c, target)
		var ended interface{ GRPCStatus() *status.Status }
		if !errors.As(err, &ended) || c.done() {
			return err
		}
		if !answered {
			e.fleet.count.refuse(status.Code(err).String())
		}
		e.pause(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

func (e *envoy) dial(ctx context.Context) (net.Conn, string, error) {
	target, err := e.fleet.target(e.random)
	if err != nil {
		return nil, "", err
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	raw, err := (&net.Dialer{LocalAddr: e.address()}).DialContext(ctx, "tcp", target)
	if err != nil {
		return nil, "", err
	}
	conn := tls.Client(raw, e.proxy.TLS)
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, "", fmt.Errorf("TLS: %w", err)
	}
	e.mu.Lock()
	e.conn = conn
	e.mu.Unlock()
	return conn, target, nil
}

// address is the Envoy's own: each pod has one, and the control plane limits unauthenticated clients by address.
func (e *envoy) address() net.Addr {
	return &net.TCPAddr{IP: net.IPv4(127, 1, byte(e.index>>8), byte(e.index))}
}

func (e *envoy) leave(conn net.Conn) {
	e.mu.Lock()
	e.conn = nil
	e.mu.Unlock()
	conn.Close()
}

// cut closes the connection, if there is one. With forget the Envoy reconnects as a new one.
func (e *envoy) cut(forget bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if forget {
		e.forget = true
		e.lives++
		e.configuredAt.Store(0)
	}
	if e.conn != nil {
		// Close the raw connection: a TLS close_notify would wait for a writer.
		if c, ok := e.conn.(interface{ NetConn() net.Conn }); ok {
			c.NetConn().Close()
		}
	}
}

// begin returns the current life, after forgetting the last one if it is over.
func (e *envoy) begin() (life int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.forget {
		e.variant.forget()
		e.forget = false
	}
	return e.lives
}

// stream runs one stream to its end. answered reports whether any response arrived.
func (e *envoy) stream(c *channel, target string) (answered bool, err error) {
	life := e.begin()
	if err := c.open(e.variant.path(), target); err != nil {
		return false, err
	}
	if err := c.send(e.variant.begin(e.proxy.Node)); err != nil {
		return false, err
	}
	e.fleet.count.streams.Add(1)
	for {
		message, err := c.receive()
		if err != nil {
			return answered, err
		}
		got, out, err := e.variant.take(message, e.changed)
		if err != nil {
			e.fleet.fail(fmt.Errorf("proxy %s: %w", e.proxy.Node, err))
			return answered, err
		}
		answered, e.next = true, backoffBase
		e.fleet.count.take(got, len(message))
		e.messages.Add(1)
		if err := c.send(out); err != nil {
			return answered, err
		}
		if e.configuredAt.Load() == 0 && e.variant.configured() {
			e.settled(life)
		}
	}
}

// settled records that the Envoy has everything that it needs, unless it was reset since.
func (e *envoy) settled(life int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.lives == life {
		e.configuredAt.Store(int64(time.Since(e.fleet.began)))
	}
}

// changed is called for every received resource.
func (e *envoy) changed(r *resource) {
	if p := r.name.probe.Load(); p != nil && p.fleet == e.fleet && r.has(p.address) == p.present {
		p.arrive(e.index)
	}
}
