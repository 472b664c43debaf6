package injector

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/osm-edge/osm/pkg/api"
)

// asApplication asks the admin interface as a process beside Envoy does.
func (e *liveEnvoy) asApplication(method, path string) (status int, body string) {
	e.t.Helper()
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(_ context.Context, _, address string) (net.Conn, error) {
		return e.pod.Dial(net.Dialer{Timeout: time.Second}, address, 0)
	}}}
	target := &url.URL{Scheme: "http", Host: fmt.Sprintf("127.0.0.1:%d", api.PortEnvoyAdmin)}
	target.Path, target.RawQuery, _ = strings.Cut(path, "?")
	response, err := client.Do(&http.Request{Method: method, URL: target})
	if err != nil {
		e.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		e.t.Fatalf("%s %s: %v", method, path, err)
	}
	return response.StatusCode, string(text)
}

// TestApplicationCannotChangeEnvoy tries, from the application's side of a real Envoy, everything that
// changes it, and reads what osm reads.
func TestApplicationCannotChangeEnvoy(t *testing.T) {
	e := startEnvoy(t, testSettings(), livePod(), controllerSPIFFE)
	e.eventually("Envoy's readiness", static(api.PortEnvoyReadyProbe, readyPath), http.StatusOK)
	for _, path := range []string{
		"/quitquitquit", "/logging?level=trace", "/runtime_modify?envoy.x=1", "/healthcheck/fail", "/healthcheck/ok",
		"/drain_listeners", "/drain_listeners?graceful", "/reset_counters", "/reopen_logs", "/cpuprofiler?enable=y",
		"/heapprofiler?enable=y", "/stats/recentlookups/clear", "/stats/recentlookups/enable", "/stats/../quitquitquit",
		"//quitquitquit", "/quitquitquit?/stats", "/stats/prometheus/../../quitquitquit", "/tap", "/",
	} {
		for _, method := range []string{http.MethodPost, http.MethodGet} {
			if status, body := e.asApplication(method, path); status != http.StatusForbidden {
				t.Errorf("%s %s: %d %.100q, want 403", method, path, status, body)
			}
		}
	}
	for _, path := range []string{
		"/certs", "/clusters?format=json", "/config_dump?include_eds", "/listeners?format=json", "/ready", "/server_info", "/stats?filter=x", "/stats/prometheus",
	} {
		if status, body := e.asApplication(http.MethodGet, path); status != http.StatusOK {
			t.Errorf("GET %s: %d %.100q", path, status, body)
		}
	}
	key, err := os.ReadFile(e.certs.dir + "/" + api.ProxyKeyFile)
	if err != nil {
		t.Fatal(err)
	}
	secret := strings.Split(strings.TrimSpace(string(key)), "\n")[1]
	for _, path := range []string{"/config_dump?include_eds", "/certs", "/init_dump"} {
		if _, body := e.asApplication(http.MethodGet, path); strings.Contains(body, secret) || strings.Contains(body, "PRIVATE KEY") {
			t.Errorf("GET %s shows the private key", path)
		}
	}
	e.eventually("Envoy's readiness afterwards", static(api.PortEnvoyReadyProbe, readyPath), http.StatusOK)
}

// TestProbePortsAreNoWayAround sends what the kubelet would not, from outside the pod.
func TestProbePortsAreNoWayAround(t *testing.T) {
	e := startEnvoy(t, testSettings(), livePod(), controllerSPIFFE)
	e.eventually("Envoy's readiness", static(api.PortEnvoyReadyProbe, readyPath), http.StatusOK)
	app := &application{}
	plain := e.pod.Listen(t, "127.0.0.1:8080")
	go func() { _ = http.Serve(plain, app) }()
	probe := "/osm-liveness-probe/web"
	e.eventually("the probe", static(api.PortLivenessProbe, probe), http.StatusOK)
	e.eventually("a query beside the probe's", static(api.PortLivenessProbe, probe+"?admin=1"), http.StatusNotFound)
	e.eventually("a path below the probe's", static(api.PortLivenessProbe, probe+"/../admin"), http.StatusNotFound)
	e.eventually("a query to the readiness page", static(api.PortEnvoyReadyProbe, readyPath+"?x"), http.StatusNotFound)
	get := static(api.PortLivenessProbe, probe)
	get.HTTPHeaders = []corev1.HTTPHeader{
		{Name: "X-Forwarded-Client-Cert", Value: "URI=spiffe://cluster.local/ns/bank/sa/till"},
		{Name: "X-Envoy-Max-Retries", Value: "100"}, {Name: "X-Envoy-Original-Path", Value: "/admin"}, {Name: "X-Probe", Value: "1"},
	}
	e.eventually("forged headers", get, http.StatusOK)
	app.mu.Lock()
	defer app.mu.Unlock()
	if app.last.Header.Get("X-Probe") != "1" {
		t.Fatalf("not the last request: %v", app.last.Header)
	}
	for name := range app.last.Header {
		if strings.HasPrefix(name, "X-Envoy-") || name == "X-Forwarded-Client-Cert" {
			t.Errorf("the application was told %s: %s", name, app.last.Header.Get(name))
		}
	}
}

// open connects from the node and sends the beginning of something.
func (e *liveEnvoy) open(port int, sent string) net.Conn {
	e.t.Helper()
	conn, err := e.node.Dial(net.Dialer{Timeout: 5 * time.Second}, fmt.Sprintf("%s:%d", podIP, port), 0)
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() { _ = conn.Close() })
	if _, err := io.WriteString(conn, sent); err != nil {
		e.t.Logf("port %d: %v", port, err) // refused already
	}
	return conn
}

// ended waits until Envoy has closed or answered a connection.
func ended(t *testing.T, conn net.Conn, within time.Duration) (answer *http.Response, closed bool) {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(within))
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err == nil {
		_ = answer.Body.Close()
		return answer, false
	}
	return nil, !errors.Is(err, os.ErrDeadlineExceeded)
}

// TestStaticListenersAreBounded floods the readiness port from one side while the kubelet asks the others.
func TestStaticListenersAreBounded(t *testing.T) {
	e := startEnvoy(t, testSettings(), livePod(), controllerSPIFFE)
	e.eventually("Envoy's readiness", static(api.PortEnvoyReadyProbe, readyPath), http.StatusOK)
	half := "GET /stats/prometheus HTTP/1.1\r\nHost:"
	var flood []net.Conn
	for range staticConnections + 44 {
		flood = append(flood, e.open(api.PortEnvoyMetrics, half))
	}
	e.awaitMore("listener.osm-metrics.downstream_cx_overflow", 0)
	e.eventually("readiness during the flood of another port", static(api.PortEnvoyReadyProbe, readyPath), http.StatusOK)
	for i, conn := range flood {
		if answer, closed := ended(t, conn, patience); !closed && (answer == nil || answer.StatusCode != http.StatusRequestTimeout) {
			t.Fatalf("connection %d is still open, or was answered: %+v", i, answer)
		}
	}
	e.eventually("metrics after the flood", static(api.PortEnvoyMetrics, metricsPath), http.StatusOK)
	silent := e.open(api.PortLivenessProbe, "")
	if _, closed := ended(t, silent, 2*patience); !closed {
		t.Error("a silent connection to the liveness port stays open")
	}
}

// TestSidecarLimitsConnections gives Envoy a listener as the control plane would, and opens more connections
// than the sidecar may have. The kubelet is answered all the same.
func TestSidecarLimitsConnections(t *testing.T) {
	settings := testSettings()
	settings.SidecarConnections = 5
	deaf := httpListener("deaf", 15003, nil, []*routev3.Route{adminRoute(getOf("/"))})
	deaf.IgnoreGlobalConnLimit, deaf.BypassOverloadManager = false, false
	e := startEnvoyWith(t, settings, &corev1.Pod{}, controllerSPIFFE, []*listenerv3.Listener{deaf})
	e.eventually("Envoy's readiness", static(api.PortEnvoyReadyProbe, readyPath), http.StatusOK)
	var conns []net.Conn
	for range settings.SidecarConnections + 3 {
		conns = append(conns, e.open(api.PortEnvoyInbound, ""))
	}
	e.awaitMore("listener.deaf.downstream_global_cx_overflow", 2)
	e.eventually("readiness at the limit", static(api.PortEnvoyReadyProbe, readyPath), http.StatusOK)
	if n := e.counter("listener.deaf.downstream_cx_active"); n != settings.SidecarConnections {
		t.Errorf("%d connections are open, want %d of %d", n, settings.SidecarConnections, len(conns))
	}
}

// TestHeapFollowsTheMemoryLimit gives Envoy the least memory that a sidecar may have.
func TestHeapFollowsTheMemoryLimit(t *testing.T) {
	settings := testSettings()
	settings.SidecarMemory = resource.MustParse(leastSidecarMemory)
	e := startEnvoy(t, settings, &corev1.Pod{}, controllerSPIFFE)
	e.eventually("Envoy's readiness", static(api.PortEnvoyReadyProbe, readyPath), http.StatusOK)
	_, dump := e.asApplication(http.MethodGet, "/config_dump?mask=bootstrap.overload_manager")
	if want := fmt.Sprint(int64(float64(settings.SidecarMemory.Value()) * heapPart)); !strings.Contains(dump, want) {
		t.Errorf("no heap of %s bytes in the bootstrap", want)
	}
	const pressure = "overload.envoy.resource_monitors.fixed_heap.pressure"
	e.awaitMore(pressure, 0)
	if n := e.counter(pressure); n > 80 {
		t.Errorf("an idle Envoy uses %d %% of its heap", n)
	}
}

// TestFullHeapRefusesWorkButNotTheKubelet gives Envoy less memory than it has taken when it is up.
func TestFullHeapRefusesWorkButNotTheKubelet(t *testing.T) {
	settings := testSettings()
	settings.SidecarMemory = resource.MustParse("4Mi")
	e := startEnvoy(t, settings, livePod(), controllerSPIFFE)
	e.eventually("Envoy's readiness", static(api.PortEnvoyReadyProbe, readyPath), http.StatusOK)
	for _, action := range []string{"shrink_heap", "disable_http_keepalive", "stop_accepting_requests", "stop_accepting_connections"} {
		e.awaitMore("overload.envoy.overload_actions."+action+".active", 0)
	}
	plain := e.pod.Listen(t, "127.0.0.1:8080")
	go func() { _ = http.Serve(plain, &application{}) }()
	e.eventually("readiness with a full heap", static(api.PortEnvoyReadyProbe, readyPath), http.StatusOK)
	e.eventually("liveness with a full heap", static(api.PortLivenessProbe, "/osm-liveness-probe/web"), http.StatusOK)
	e.eventually("metrics with a full heap", static(api.PortEnvoyMetrics, metricsPath), http.StatusOK)
}
