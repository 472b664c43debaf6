package controlplane_test

import (
	"context"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"
)

// serveHTTP answers HTTP/1.1 and HTTP/2 at an address, and names it.
func (p *livePod) serveHTTP(address string) {
	p.t.Helper()
	p.client.IP(p.t, "address replace "+address+"/24 dev eth0 nodad")
	listener := p.client.Listen(p.t, address+":8080")
	server := &http.Server{ReadHeaderTimeout: time.Minute, Protocols: new(http.Protocols), Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Server-Address", address)
	})}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	p.t.Cleanup(func() { _ = server.Close() })
	go func() { _ = server.Serve(listener) }()
}

// caller asks the Service again and again, on connections that stay open.
type caller struct {
	transport *http.Transport
	limit     time.Duration // of one request
}

func (p *livePod) caller(http2 bool, limit time.Duration) caller {
	transport := &http.Transport{Protocols: new(http.Protocols), DialContext: func(context.Context, string, string) (net.Conn, error) {
		return p.pod.Dial(net.Dialer{Timeout: time.Second}, "10.96.0.50:80", appUID)
	}}
	transport.Protocols.SetHTTP1(!http2)
	transport.Protocols.SetUnencryptedHTTP2(http2)
	p.t.Cleanup(transport.CloseIdleConnections)
	return caller{transport, limit}
}

func (c caller) ask(ctx context.Context) (server string, took time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.limit)
	defer cancel()
	begun := time.Now()
	server, err = askOnce(ctx, c.transport)
	return server, time.Since(begun), err
}

// TestSilentEndpoint cuts off one of two endpoints to which a real Envoy has connections, as happens when a node loses power:
// nothing comes back, not even an error. Requests on these connections must fail soon, and later ones go to the other endpoint.
// Fails without a limit for unacknowledged bytes: all requests of an HTTP/2 connection then wait for the limit of the client.
func TestSilentEndpoint(t *testing.T) {
	const (
		loops = 4
		limit = 20 * time.Second // of a patient client
		// noticed is the limit for unacknowledged bytes, and what the kernel's timer and a busy machine add.
		noticed = 7 * time.Second
	)
	for name, http2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
		t.Run(name, func(t *testing.T) {
			p := startClientOf(t, liveEndpoint, deadEndpoint)
			p.serveHTTP(liveEndpoint)
			p.serveHTTP(deadEndpoint)
			c := p.caller(http2, limit)
			var found []string
			for deadline := time.Now().Add(limit); len(found) < 2 && time.Now().Before(deadline); {
				if server, _, err := c.ask(t.Context()); err == nil && !slices.Contains(found, server) {
					found = append(found, server)
				}
			}
			if len(found) < 2 {
				t.Fatalf("only %v answer", found)
			}
			p.client.IP(t, "address del "+deadEndpoint+"/24 dev eth0")

			var mu sync.Mutex
			var longest time.Duration
			lost := 0
			begun := time.Now()
			var all sync.WaitGroup
			for range loops {
				all.Go(func() {
					for time.Since(begun) < noticed {
						_, took, err := c.ask(t.Context())
						mu.Lock()
						if longest = max(longest, took); err != nil {
							lost++
						}
						mu.Unlock()
					}
				})
			}
			all.Wait()
			if longest > noticed {
				t.Errorf("a request took %v, want at most %v", longest, noticed)
			}
			if lost > 2*loops {
				t.Errorf("%d requests of %d callers are lost, want at most two each", lost, loops)
			}
			for range 20 {
				if server, took, err := c.ask(t.Context()); err != nil || server != liveEndpoint || took > oneTimeout {
					t.Errorf("later, %q answered after %v: %v", server, took, err)
					break
				}
			}
			t.Logf("%d requests lost, the longest took %v", lost, longest)
		})
	}
}
