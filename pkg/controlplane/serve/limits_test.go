package serve_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/osm-edge/osm/pkg/controlplane/serve"
)

// from dials from the given loopback address.
func from(t *testing.T, source, address string) net.Conn {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}, Timeout: 5 * time.Second}
	conn, err := dialer.DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// closedByServer waits until the server closes a connection, or 10 s.
func closedByServer(t *testing.T, conn net.Conn) {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("connection of %v is still open", conn.LocalAddr())
	}
}

func TestSlowClientsAreCutOff(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			http.Error(w, err.Error(), http.StatusRequestTimeout)
		}
	})
	url, _ := serving(t, t.Context(), serve.HTTPServer{Handler: handler, Limits: serve.Limits{Read: 200 * time.Millisecond, Idle: 200 * time.Millisecond}})
	for name, sent := range map[string]string{
		"silent":      "",
		"half header": "POST / HTTP/1.1\r\nHost:",
		"half body":   "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nx",
		"idle":        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := from(t, "127.0.0.1", strings.TrimPrefix(url, "http://"))
			if _, err := io.WriteString(conn, sent); err != nil {
				t.Fatal(err)
			}
			closedByServer(t, conn)
		})
	}
}

// answered reports whether a connection is served.
func answered(t *testing.T, conn net.Conn) bool {
	t.Helper()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		return false
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal("neither served nor closed")
	}
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return true
}

func TestConnectionsAreLimited(t *testing.T) {
	registry := prometheus.NewRegistry()
	refusals, err := serve.NewRefusals(registry, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	closed := make(chan struct{}, 16)
	url, _ := serving(t, t.Context(), serve.HTTPServer{
		Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}),
		Limits:  serve.Limits{Connections: 3, PerSource: 2}, Refused: refusals.Of("test"),
		Closed: func() { closed <- struct{}{} },
	})
	address := strings.TrimPrefix(url, "http://")
	first := from(t, "127.0.0.1", address)
	for i, step := range []struct {
		conn net.Conn
		want bool
	}{
		{first, true}, {from(t, "127.0.0.1", address), true},
		{from(t, "127.0.0.1", address), false}, // the source's limit
		{from(t, "127.0.0.2", address), true},
		{from(t, "127.0.0.3", address), false}, // the server's limit
	} {
		if got := answered(t, step.conn); got != step.want {
			t.Errorf("connection %d: served %v, want %v", i, got, step.want)
		}
	}
	const want = `
# HELP osm_http_refused_connections_total Connections refused by server (webhook, http, evidence) and reason (connections: too many in all, source: too many from one address).
# TYPE osm_http_refused_connections_total counter
osm_http_refused_connections_total{reason="connections",server="test"} 1
osm_http_refused_connections_total{reason="source",server="test"} 1
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "osm_http_refused_connections_total"); err != nil {
		t.Error(err)
	}
	_ = first.Close()
	<-closed
	if !answered(t, from(t, "127.0.0.3", address)) {
		t.Error("refused although a connection was closed")
	}
}

// TestOnlyHTTP1 sends HTTP/2 with prior knowledge.
func TestOnlyHTTP1(t *testing.T) {
	url, _ := serving(t, t.Context(), serve.HTTPServer{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})})
	protocols := &http.Protocols{}
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	request, _ := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if response, err := transport.RoundTrip(request); err == nil {
		_ = response.Body.Close()
		t.Errorf("HTTP/2 was served: %s", response.Proto)
	}
}

func TestSourceOf(t *testing.T) {
	for address, want := range map[string]string{
		"10.0.0.1:80": "10.0.0.1", "[::ffff:10.0.0.1]:80": "10.0.0.1", "[fd00::1]:80": "fd00::1", "@": "invalid IP", "": "invalid IP",
	} {
		if got := serve.SourceOf(address); got.String() != want {
			t.Errorf("SourceOf(%q) = %v, want %s", address, got, want)
		}
	}
	if serve.SourceOf("x") != (netip.Addr{}) {
		t.Error("want the zero Addr without an address")
	}
}
