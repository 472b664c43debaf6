package realapi

import (
	"context"
	"errors"
	"net"
	"sync"
)

// Link is a network between a client and the API server that a test can break. Use Dial as the Dial of
// a rest.Config, and Close at the end.
type Link struct {
	mu     sync.Mutex
	conns  map[*linkConn]bool
	refuse bool
	deaf   chan struct{} // closed when packets pass; nil if they do
}

// errCut is what a client of a cut Link gets.
var errCut = errors.New("the test has cut the network")

// Dial connects through the link.
func (l *Link) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	if err := l.pass(ctx); err != nil {
		return nil, err
	}
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c := &linkConn{Conn: conn, link: l, closed: make(chan struct{})}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refuse { // since it was asked
		_ = conn.Close()
		return nil, errCut
	}
	if l.conns == nil {
		l.conns = map[*linkConn]bool{}
	}
	l.conns[c] = true
	return c, nil
}

// Cut closes all connections and refuses new ones, as a host without the server does.
func (l *Link) Cut() {
	l.mu.Lock()
	l.refuse = true
	l.mu.Unlock()
	l.Close()
}

// Drop swallows packets in both directions, as a firewall does: nobody is told.
func (l *Link) Drop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.deaf == nil {
		l.deaf = make(chan struct{})
	}
}

// Heal undoes Cut and Drop.
func (l *Link) Heal() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refuse = false
	if l.deaf != nil {
		close(l.deaf)
		l.deaf = nil
	}
}

// Close closes all connections.
func (l *Link) Close() {
	l.mu.Lock()
	conns := make([]*linkConn, 0, len(l.conns))
	for c := range l.conns {
		conns = append(conns, c)
	}
	l.mu.Unlock()
	for _, c := range conns {
		_ = c.Close() // the client may have closed it
	}
}

// Open is how many connections are open.
func (l *Link) Open() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.conns)
}

// pass waits until packets pass.
func (l *Link) pass(ctx context.Context) error {
	l.mu.Lock()
	refuse, deaf := l.refuse, l.deaf
	l.mu.Unlock()
	switch {
	case refuse:
		return errCut
	case deaf == nil:
		return nil
	}
	select {
	case <-deaf:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// linkConn holds back what it reads while packets are dropped. What was written before is delivered by
// the kernel; what is written meanwhile waits, as it does in a socket's buffer.
type linkConn struct {
	net.Conn
	link   *Link
	once   sync.Once
	closed chan struct{}
}

func (c *linkConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if waited := c.wait(); waited != nil {
		return 0, waited
	}
	return n, err
}

func (c *linkConn) Write(b []byte) (int, error) {
	if err := c.wait(); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

func (c *linkConn) Close() error {
	c.once.Do(func() {
		close(c.closed)
		c.link.mu.Lock()
		delete(c.link.conns, c)
		c.link.mu.Unlock()
	})
	return c.Conn.Close()
}

func (c *linkConn) wait() error {
	c.link.mu.Lock()
	deaf := c.link.deaf
	c.link.mu.Unlock()
	if deaf == nil {
		return nil
	}
	select {
	case <-deaf:
		return nil
	case <-c.closed:
		return net.ErrClosed
	}
}
