package serve_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/osm-edge/osm/pkg/controlplane/serve"
)

// TestMain finds goroutines that a test leaves behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is a wall clock that stands still until it is moved.
type clock struct{ time time.Time }

func newClock() *clock                   { return &clock{time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)} }
func (c *clock) now() time.Time          { return c.time }
func (c *clock) advance(d time.Duration) { c.time = c.time.Add(d) }
func get(t *testing.T, h http.Handler, path string) (status int, body string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w.Code, w.Body.String()
}

func TestReadyz(t *testing.T) {
	c := newClock()
	health := serve.NewHealth(c.now)
	handler := serve.Handler(health, prometheus.NewRegistry(), serve.Version{})
	informers := health.Require("informers", "waiting for pods, services")
	snapshot := health.Require("snapshot", "first one is not built")
	away := ""
	health.Note("api-server", func() string { return away })

	steps := []struct {
		name   string
		do     func()
		status int
		body   string
	}{
		{"at start", func() { c.advance(3 * time.Second) }, 503,
			"not ok\ninformers: waiting for pods, services (for 3s)\nsnapshot: first one is not built (for 3s)"},
		{"another reason keeps the age", func() { informers.Unmet("waiting for\nservices"); c.advance(time.Second) }, 503,
			"not ok\ninformers: waiting for services (for 4s)\nsnapshot: first one is not built (for 4s)"},
		{"one is met", func() { informers.Met() }, 503, "not ok\nsnapshot: first one is not built (for 4s)"},
		{"all are met", func() { snapshot.Met() }, 200, "ok\n"},
		{"a note leaves it ready", func() { away = "unreachable for 30s: serving the last snapshot" }, 200,
			"ok\nnote: api-server: unreachable for 30s: serving the last snapshot"},
		{"a condition may break again", func() { away = ""; snapshot.Unmet("") }, 503, "not ok\nsnapshot: not met (for 0s)"},
		{"a clock that is set back", func() { c.advance(-time.Hour) }, 503, "not ok\nsnapshot: not met (for 0s)"},
		{"draining is for good", func() { snapshot.Met(); health.Drain() }, 503, "not ok\ndraining: this replica is shutting down"},
	}
	for _, s := range steps {
		s.do()
		status, body := get(t, handler, "/readyz")
		if status != s.status || body != s.body {
			t.Errorf("%s: got %d\n%s\nwant %d\n%s", s.name, status, body, s.status, s.body)
		}
	}
}

// TestNoteMayCallHealth: a note's function is called outside Health's lock.
func TestNoteMayCallHealth(t *testing.T) {
	health := serve.NewHealth(nil)
	health.Note("self", func() string {
		if ready, _ := health.Ready(); ready {
			return "ready"
		}
		return "not ready"
	})
	if diff := cmp.Diff([]string{"self: ready"}, health.Notes()); diff != "" {
		t.Error(diff)
	}
}

func TestLivez(t *testing.T) {
	c := newClock()
	health := serve.NewHealth(c.now)
	handler := serve.Handler(health, prometheus.NewRegistry(), serve.Version{})
	health.Require("informers", "API server unreachable")
	loop := health.Heartbeat("event loop", 30*time.Second)
	check := func(name string, want int, words string) {
		t.Helper()
		if status, body := get(t, handler, "/livez"); status != want || !strings.Contains(body, words) {
			t.Errorf("%s: got %d %q, want %d and %q", name, status, body, want, words)
		}
	}
	check("not ready is alive", 200, "ok")
	c.advance(30 * time.Second)
	check("at the limit", 200, "ok")
	c.advance(2 * time.Second)
	check("over the limit", 503, "event loop: no heartbeat for 32s, the limit is 30s")
	loop.Beat()
	check("running again", 200, "ok")
	c.advance(time.Hour)
	loop.Stop()
	check("stopped", 200, "ok")
}

func TestHandler(t *testing.T) {
	registry := prometheus.NewRegistry()
	counter := prometheus.NewCounter(prometheus.CounterOpts{Name: "osm_tests_total", Help: "Tests."})
	registry.MustRegister(counter)
	counter.Inc()
	handler := serve.Handler(serve.NewHealth(nil), registry, serve.Version{Version: "v1.2.3", GitCommit: "abc", BuildDate: "2026-01-02"})
	tests := map[string]struct {
		method string
		path   string
		status int
		words  string
	}{
		"metrics":       {http.MethodGet, "/metrics", 200, "osm_tests_total 1"},
		"version":       {http.MethodGet, "/version", 200, `{"version":"v1.2.3","gitCommit":"abc","buildDate":"2026-01-02"}`},
		"unknown path":  {http.MethodGet, "/debug/pprof", 404, ""},
		"wrong method":  {http.MethodPost, "/readyz", 405, ""},
		"head is a get": {http.MethodHead, "/livez", 200, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, httptest.NewRequest(tt.method, tt.path, nil))
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.words) {
				t.Errorf("got %d %q, want %d and %q", w.Code, w.Body, tt.status, tt.words)
			}
		})
	}
}

// serving starts a server on a free port and returns its URL and what Serve returns.
func serving(t *testing.T, ctx context.Context, s serve.HTTPServer) (url string, result <-chan error) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, listener) }()
	return "http://" + listener.Addr().String(), done
}

func TestServeFinishesRunningRequests(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	entered, leave := make(chan struct{}), make(chan struct{})
	url, result := serving(t, ctx, serve.HTTPServer{Shutdown: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-leave
		_, _ = io.WriteString(w, "done")
	})})
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	body := make(chan string, 1)
	go func() {
		response, err := client.Get(url)
		if err != nil {
			body <- err.Error()
			return
		}
		defer response.Body.Close()
		b, _ := io.ReadAll(response.Body)
		body <- string(b)
	}()
	<-entered
	cancel()
	close(leave)
	if got := <-body; got != "done" {
		t.Errorf("the running request got %q, want done", got)
	}
	if err := <-result; err != nil {
		t.Errorf("Serve returned %v after a graceful shutdown", err)
	}
	if _, err := client.Get(url); err == nil {
		t.Error("a connection was accepted after the shutdown")
	}
}

func TestServeAbortsRequestsThatDoNotFinish(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	entered := make(chan struct{})
	url, result := serving(t, ctx, serve.HTTPServer{Shutdown: time.Millisecond, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done() // ends when the server closes the connection
	})})
	failed := make(chan error, 1)
	go func() {
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		response, err := client.Get(url)
		if err == nil {
			err = response.Body.Close()
		}
		failed <- err
	}()
	<-entered
	cancel()
	if err := <-result; !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Serve returned %v, want a deadline error", err)
	}
	if err := <-failed; err == nil {
		t.Error("the request that did not finish got a response")
	}
}

// A TLS configuration made for gRPC offers HTTP/2, which this server does not support.
func TestClientsThatPreferHTTP2AreServed(t *testing.T) {
	reference := httptest.NewTLSServer(nil) // for its certificate
	defer reference.Close()
	grpc := &tls.Config{MinVersion: tls.VersionTLS13, Certificates: reference.TLS.Certificates, NextProtos: []string{"h2"}}
	chosen := grpc.Clone()
	grpc.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return chosen, nil }
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- serve.HTTPServer{Handler: http.NotFoundHandler(), TLS: grpc}.Serve(ctx, listener) }()

	roots := x509.NewCertPool()
	roots.AddCert(reference.Certificate())
	transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "example.com", MinVersion: tls.VersionTLS13}}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Get("https://" + listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.ProtoMajor != 1 {
		t.Errorf("served over %s", response.Proto)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestRunNamesTheAddress(t *testing.T) {
	err := serve.HTTPServer{Addr: "127.0.0.1:notaport"}.Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "127.0.0.1:notaport") {
		t.Errorf("got %v, want an error that names the address", err)
	}
}

func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // SIGTERM has ended the process's context
		start := time.Now()
		health := serve.NewHealth(nil)
		var trail []string
		note := func(name string) {
			ready, _ := health.Ready()
			trail = append(trail, name+" "+time.Since(start).String())
			if ready {
				t.Errorf("ready during %s", name)
			}
		}
		drain := serve.Drain{Health: health, Settle: 5 * time.Second, Period: 20 * time.Second, Log: slog.New(slog.DiscardHandler)}
		boom := errors.New("boom")
		err := drain.Run(ctx,
			serve.Step{Name: "stop accepting", Run: func(context.Context) error { note("stop"); return boom }},
			serve.Step{Name: "close streams", Run: func(ctx context.Context) error {
				for range serve.Spread(ctx, 3, serve.Remaining(ctx)) {
					continue
				}
				note("closed")
				<-ctx.Done()
				return ctx.Err()
			}},
			serve.Step{Name: "stop", Run: func(context.Context) error { note("last"); return nil }},
		)
		if !errors.Is(err, boom) || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "close streams") {
			t.Errorf("got %v, want both errors with the step's name", err)
		}
		if len(trail) != 3 || trail[0] != "stop 5s" || trail[2] != "last 20s" {
			t.Errorf("trail %v, want stop at 5s, closed between, last at 20s", trail)
		}
	})
}

func TestDrainRefusesBadTimes(t *testing.T) {
	health := serve.NewHealth(nil)
	if err := (serve.Drain{Health: health, Settle: 2, Period: 1}).Run(t.Context()); err == nil {
		t.Error("a settle time longer than the period was accepted")
	}
}

func TestSpread(t *testing.T) {
	const n, period = 100, 10 * time.Second
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var at []time.Duration
		var order []int
		for i := range serve.Spread(t.Context(), n, period) {
			order, at = append(order, i), append(at, time.Since(start))
		}
		if len(order) != n || !slices.IsSorted(order) {
			t.Fatalf("yielded %v, want 0 to %d in order", order, n-1)
		}
		jittered := false
		for i, got := range at {
			slot := period / n
			if got < time.Duration(i)*slot || got > time.Duration(i+1)*slot {
				t.Errorf("value %d was yielded at %v, want within its slot of %v", i, got, slot)
			}
			jittered = jittered || math.Mod(got.Seconds(), slot.Seconds()) > 1e-9
		}
		if !jittered {
			t.Error("no jitter")
		}
	})
}

func TestSpreadYieldsTheRestWhenContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		start, count := time.Now(), 0
		for range serve.Spread(ctx, 50, time.Hour) {
			count++
		}
		if took := time.Since(start); count != 50 || took != 2*time.Second {
			t.Errorf("yielded %d in %v, want 50 in 2s", count, took)
		}
	})
}

func TestSpreadStopsWithTheLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range serve.Spread(t.Context(), 5, 0) {
			break
		}
		for range serve.Spread(t.Context(), 0, time.Second) {
			t.Error("yielded a value for n = 0")
		}
	})
}
