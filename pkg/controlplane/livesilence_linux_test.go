package controlplane_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"
)

// serveHTTP answers HTTP/2 at an address, and names it.
func (p *livePod) serveHTTP(address string) {
	p.t.Helper()
	p.client.IP(p.t, "address replace "+address+"/24 dev eth0 nodad")
	listener := p.client.Listen(p.t, address+":8080")
	server := &http.Server{ReadHeaderTimeout: time.Minute, Protocols: new(http.Protocols), Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Server-Address", address)
	})}
	server.Protocols.SetUnencryptedHTTP2(true)
	p.t.Cleanup(func() { _ = server.Close() })
	go func() { _ = server.Serve(listener) }()
}

// caller asks the Service again and again, on connections that stay open.
type caller struct {
	transport *http.Transport
	limit     time.Duration // of one request
}

// transport connects to the Service from the application.
func (p *livePod) transport() *http.Transport {
	transport := &http.Transport{Protocols: new(http.Protocols), DialContext: func(context.Context, string, string) (net.Conn, error) {
		return p.pod.Dial(net.Dialer{Timeout: time.Second}, "10.96.0.50:80", appUID)
	}}
	transport.Protocols.SetHTTP1(true)
	p.t.Cleanup(transport.CloseIdleConnections)
	return transport
}

// caller returns one that speaks HTTP/2.
func (p *livePod) caller(limit time.Duration) caller {
	transport := p.transport()
	transport.Protocols.SetHTTP1(false)
	transport.Protocols.SetUnencryptedHTTP2(true)
	return caller{transport, limit}
}

func (c caller) ask(ctx context.Context) (server string, took time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.limit)
	defer cancel()
	begun := time.Now()
	server, err = askOnce(ctx, c.transport)
	return server, time.Since(begun), err
}

// TestSilentEndpoint cuts off one of two endpoints to which a real Envoy has HTTP/2 connections, as happens when a node loses
// power: nothing comes back, not even an error. Each caller may lose the request that is in flight and one that finds out; later
// ones go to the other endpoint. Fails without pings: requests are sent to the silent endpoint again and again.
func TestSilentEndpoint(t *testing.T) {
	const (
		loops = 4
		limit = 5 * time.Second // of one request
		// noticed is a request that began before the silence, and one whose ping is not answered.
		noticed = 10 * time.Second
	)
	p := startClientOf(t, liveEndpoint, deadEndpoint)
	p.serveHTTP(liveEndpoint)
	p.serveHTTP(deadEndpoint)
	c := p.caller(limit)
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
	lost := 0
	begun := time.Now()
	var all sync.WaitGroup
	for range loops {
		all.Go(func() {
			for time.Since(begun) < noticed {
				if _, _, err := c.ask(t.Context()); err != nil {
					mu.Lock()
					lost++
					mu.Unlock()
				}
			}
		})
	}
	all.Wait()
	for range 20 {
		if server, took, err := c.ask(t.Context()); err != nil || server != liveEndpoint || took > oneTimeout {
			t.Errorf("later, %q answered after %v: %v", server, took, err)
			break
		}
	}
	t.Logf("%d requests of %d callers were lost at first", lost, loops)
}

// TestServerThatReadsLater: an upload to a server that reads nothing for longer than it takes to notice a silent one is
// not broken off. Fails with a limit for unacknowledged bytes of a few seconds, which counts those that wait for a window, too.
func TestServerThatReadsLater(t *testing.T) {
	const pause, size = 7 * time.Second, 32 << 20
	p := startClientOf(t, liveEndpoint)
	p.client.IP(t, "address replace "+liveEndpoint+"/24 dev eth0 nodad")
	listener := p.client.Listen(t, liveEndpoint+":8080")
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		timer := time.NewTimer(pause) // what is under test is a time
		defer timer.Stop()
		<-timer.C
		n, err := io.Copy(io.Discard, r.Body)
		w.Header().Set("Server-Address", fmt.Sprintf("%d bytes, %v", n, err))
	})}
	t.Cleanup(func() { _ = server.Close() })
	go func() { _ = server.Serve(listener) }()
	transport := p.transport()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://web.shop/", io.LimitReader(zeros{}, size))
	if err != nil {
		t.Fatal(err)
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if got, want := response.Header.Get("Server-Address"), fmt.Sprintf("%d bytes, <nil>", size); got != want {
		t.Errorf("the server got %q (status %d), want %q", got, response.StatusCode, want)
	}
}

// zeros is endless.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
