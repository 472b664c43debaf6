package injector

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/osm-edge/osm/pkg/api"
)

const (
	podIP     = "10.77.0.2"
	kubeletIP = "10.77.0.1"

	controllerSPIFFE = "spiffe://cluster.local/ns/osm-system/sa/osm-controller"

	patience = 20 * time.Second
	pause    = 50 * time.Millisecond
)

// envoyBinary finds Envoy by $ENVOY or in the path.
func envoyBinary(t *testing.T) string {
	t.Helper()
	if file := os.Getenv("ENVOY"); file != "" {
		return file
	}
	file, err := exec.LookPath("envoy")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("CI needs Envoy: set ENVOY to its binary")
		}
		t.Skip("SKIPPED: no Envoy to ask; set ENVOY to its binary")
	}
	return file
}

// expand does what the kubelet does to a container's argument.
func expand(text string) string {
	return strings.NewReplacer("$$", "$", podIPReference, podIP).Replace(text)
}

func TestEnvoyAcceptsEveryBootstrap(t *testing.T) {
	envoy := envoyBinary(t)
	certs := newCertificates(t)
	seen := 0
	for _, s := range stories(t) {
		t.Run(s.name, func(t *testing.T) {
			if _, err := Patch(s.request, s.settings); err != nil {
				return
			}
			pod, _, _ := undone(s.request.Pod, s.settings)
			rules, err := redirection(s.request.Pod.Annotations, s.settings.Mesh.Traffic)
			if err != nil {
				t.Fatal(err)
			}
			found, err := probes(pod, rules.ExcludeInboundPorts)
			if err != nil {
				t.Fatal(err)
			}
			b := newProxyBootstrap(s.settings, found)
			b.certDir = certs.dir
			if b.resolvers, err = s.settings.resolvers(s.request.Pod); err != nil {
				t.Fatal(err)
			}
			text, err := b.text()
			if err != nil {
				t.Fatal(err)
			}
			args := sidecarArgs(s.settings, "default", "bookstore", expand(text))
			out, err := exec.CommandContext(t.Context(), envoy, append(args, "--mode", "validate")...).CombinedOutput()
			if err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
		seen++
	}
	if seen < 5 {
		t.Errorf("only %d bootstraps checked", seen)
	}
}

// application is what the probes of livePod ask for.
type application struct {
	mu   sync.Mutex
	last *http.Request
}

func (a *application) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	a.last = r
	a.mu.Unlock()
	switch r.URL.Path {
	case "/broken":
		w.WriteHeader(http.StatusInternalServerError)
	case "/moved":
		http.Redirect(w, r, "/elsewhere", http.StatusFound)
	default:
		_, _ = fmt.Fprintf(w, "app %s %s", r.Host, r.RequestURI)
	}
}

func httpProbe(path string, port int, scheme corev1.URIScheme, headers ...corev1.HTTPHeader) *corev1.Probe {
	return &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: path, Port: intstr.FromInt(port), Scheme: scheme, HTTPHeaders: headers}}}
}

func livePod() *corev1.Pod {
	service := "shop.v1"
	grpcProbe := &corev1.Probe{ProbeHandler: corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: 9090, Service: &service}}}
	tcpProbe := &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt(7070)}}}
	return &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{
		{
			Name:           "web",
			LivenessProbe:  httpProbe("/live?q=$(X)&y=1", 8080, "", corev1.HTTPHeader{Name: "Host", Value: "shop.example"}, corev1.HTTPHeader{Name: "X-Probe", Value: "1"}),
			ReadinessProbe: httpProbe("/secure", 8443, corev1.URISchemeHTTPS),
			StartupProbe:   httpProbe("broken", 8080, ""),
		},
		{Name: "other", LivenessProbe: httpProbe("/moved", 8080, ""), ReadinessProbe: grpcProbe, StartupProbe: tcpProbe},
	}}}
}

func TestProbesWithEnvoy(t *testing.T) {
	for _, mode := range []string{"Localhost", "PodIP"} {
		t.Run(mode, func(t *testing.T) { testProbes(t, mode) })
	}
}

func testProbes(t *testing.T, mode string) {
	settings, host := testSettings(), "127.0.0.1"
	if mode == "PodIP" {
		settings.Mesh.Sidecar.LocalProxyMode, host = "PodIP", podIP
	}
	pod := livePod()
	e := startEnvoy(t, settings, pod, controllerSPIFFE)
	e.eventually("Envoy's readiness", static(api.PortEnvoyReadyProbe, readyPath), http.StatusOK)
	if stream := <-e.control.streams; stream.node != "bookstore/web-0 default.bookstore spiffe://cluster.local/ns/bookstore/sa/default" {
		t.Errorf("the control plane saw %+v", stream)
	}
	app := &application{}
	plain := e.pod.Listen(t, host+":8080")
	go func() { _ = http.Serve(plain, app) }()
	secure := tls.NewListener(e.pod.Listen(t, host+":8443"), &tls.Config{MinVersion: tls.VersionTLS13, Certificates: e.certs.serverTLS("spiffe://any/self-made").Certificates})
	go func() { _ = http.Serve(secure, app) }()

	found, err := probes(pod, nil)
	if err != nil {
		t.Fatal(err)
	}
	asked := map[string]*corev1.HTTPGetAction{}
	for _, p := range found {
		asked[p.container+" "+p.kind.name] = p.handler()
	}
	if body := e.eventually("HTTP", asked["web liveness"], http.StatusOK); body != "app shop.example /live?q=$(X)&y=1" {
		t.Errorf("HTTP: the application answered %q", body)
	}
	app.mu.Lock()
	if app.last.Header.Get("X-Probe") != "1" || app.last.Header.Get("User-Agent") != "Go-http-client/1.1" {
		t.Errorf("HTTP: the application saw headers %v", app.last.Header)
	}
	app.mu.Unlock()
	if body := e.eventually("HTTPS", asked["web readiness"], http.StatusOK); !strings.HasSuffix(body, " /secure") {
		t.Errorf("HTTPS: the application answered %q", body)
	}
	e.eventually("failing HTTP", asked["web startup"], http.StatusInternalServerError)
	e.eventually("redirect", asked["other liveness"], http.StatusFound)

	e.eventually("TCP before the port is open", asked["other startup"], http.StatusServiceUnavailable)
	port := e.pod.Listen(t, host+":7070")
	go accept(port)
	e.eventually("TCP, port open", asked["other startup"], http.StatusOK)
	_ = port.Close()
	e.eventually("TCP, port closed again", asked["other startup"], http.StatusServiceUnavailable)

	e.eventually("gRPC before the server is up", asked["other readiness"], http.StatusServiceUnavailable)
	state := health.NewServer()
	server := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(server, state)
	listener := e.pod.Listen(t, host+":9090")
	go func() { _ = server.Serve(listener) }()
	defer server.Stop()
	state.SetServingStatus("shop.v1", grpc_health_v1.HealthCheckResponse_SERVING)
	e.eventually("gRPC, serving", asked["other readiness"], http.StatusOK)
	state.SetServingStatus("shop.v1", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	e.eventually("gRPC, not serving", asked["other readiness"], http.StatusServiceUnavailable)

	e.checkStatic()
	_ = plain.Close()
	e.eventually("HTTP, port closed", asked["web liveness"], http.StatusServiceUnavailable)
}

// checkStatic asks what must be open and what must not.
func (e *liveEnvoy) checkStatic() {
	e.t.Helper()
	if body := e.eventually("metrics", static(api.PortEnvoyMetrics, metricsPath), http.StatusOK); !strings.Contains(body, "envoy_server_live{} 1") {
		e.t.Error("no envoy_server_live in the metrics")
	}
	for _, get := range []*corev1.HTTPGetAction{
		static(api.PortEnvoyMetrics, "/config_dump"), static(api.PortEnvoyMetrics, "/quitquitquit"),
		static(api.PortEnvoyReadyProbe, "/certs"), static(api.PortLivenessProbe, "/"), static(api.PortLivenessProbe, "/live"),
	} {
		e.eventually("closed "+get.Path, get, http.StatusNotFound)
	}
	if _, _, err := e.get(static(api.PortEnvoyAdmin, readyPath)); !errors.Is(err, syscall.ECONNREFUSED) {
		e.t.Errorf("the admin port answers the network: %v", err)
	}
	post, err := e.client.Post(fmt.Sprintf("http://%s:%d%s", podIP, api.PortEnvoyReadyProbe, readyPath), "text/plain", nil)
	if err != nil || post.StatusCode != http.StatusNotFound {
		e.t.Errorf("POST to %s: %v, %v; want 404", readyPath, post, err)
	}
	if err == nil {
		_ = post.Body.Close()
	}
}

func accept(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		_ = conn.Close()
	}
}

// TestEnvoyReadsRenewedCertificate swaps the mounted Secret and expects the next connection to the
// control plane to show the new certificate.
func TestEnvoyReadsRenewedCertificate(t *testing.T) {
	e := startEnvoy(t, testSettings(), &corev1.Pod{}, controllerSPIFFE)
	e.eventually("Envoy's readiness", static(api.PortEnvoyReadyProbe, readyPath), http.StatusOK)
	before := <-e.control.streams
	const updates = "cluster.osm-controller.client_ssl_socket_factory.ssl_context_update_by_sds"
	taken := e.counter(updates)
	e.certs.write()
	e.awaitMore(updates, taken)
	e.stopControl()
	e.serveControl(controllerSPIFFE)
	select {
	case after := <-e.control.streams:
		if after.serial <= before.serial {
			t.Errorf("certificate %d after the renewal, %d before", after.serial, before.serial)
		}
	case <-time.After(patience):
		t.Fatal("Envoy did not come back")
	}
}

// TestEnvoyRefusesAnotherControlPlane gives the right root, but another workload's certificate.
func TestEnvoyRefusesAnotherControlPlane(t *testing.T) {
	e := startEnvoy(t, testSettings(), &corev1.Pod{}, "spiffe://cluster.local/ns/bookstore/sa/thief")
	e.awaitMore("cluster.osm-controller.ssl.fail_verify_san", 0)
	select {
	case stream := <-e.control.streams:
		t.Errorf("Envoy spoke to a thief: %+v", stream)
	default:
	}
	if status, _, err := e.get(static(api.PortEnvoyReadyProbe, readyPath)); err == nil && status == http.StatusOK {
		t.Error("Envoy is ready without a configuration")
	}
}
