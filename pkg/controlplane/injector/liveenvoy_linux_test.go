package injector

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/controlplane/redirect"
	"github.com/osm-edge/osm/tests/redirecttest"
)

// controlPlane answers every subscription with nothing, which is all that Envoy needs to start.
type controlPlane struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	streams chan streamStart
	// listeners are sent to who subscribes to them.
	listeners []*listenerv3.Listener
}

// streamStart is who opened a stream.
type streamStart struct {
	node   string // "<node id> <cluster> <SPIFFE id>"
	serial int64
}

func (c *controlPlane) DeltaAggregatedResources(stream discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	for first := true; ; first = false {
		request, err := stream.Recv()
		if err != nil {
			return err
		}
		if first {
			p, _ := peer.FromContext(stream.Context())
			cert := p.AuthInfo.(credentials.TLSInfo).State.PeerCertificates[0]
			node := request.GetNode().GetId() + " " + request.GetNode().GetCluster() + " " + cert.URIs[0].String()
			c.streams <- streamStart{node, cert.SerialNumber.Int64()}
		}
		if request.GetResponseNonce() != "" {
			continue
		}
		response := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: request.GetTypeUrl(), Nonce: "1"}
		for _, l := range c.listeners {
			if resource := packed(l); resource.GetTypeUrl() == request.GetTypeUrl() {
				response.Resources = append(response.Resources, &discoveryv3.Resource{Name: l.GetName(), Version: "1", Resource: resource})
			}
		}
		if err := stream.Send(response); err != nil {
			return err
		}
	}
}

// liveEnvoy is a pod in a namespace of its own: redirection, Envoy and the control plane are real,
// and a second namespace, the node, asks the probes.
type liveEnvoy struct {
	t       *testing.T
	pod     *redirecttest.Namespace
	node    *redirecttest.Namespace
	certs   *certificates
	control *controlPlane
	client  *http.Client

	stopControl func()
}

func startEnvoy(t *testing.T, settings Settings, pod *corev1.Pod, controllerID string) *liveEnvoy {
	t.Helper()
	return startEnvoyWith(t, settings, pod, controllerID, nil)
}

// startEnvoyWith has listeners from the control plane, too.
func startEnvoyWith(t *testing.T, settings Settings, pod *corev1.Pod, controllerID string, listeners []*listenerv3.Listener) *liveEnvoy {
	t.Helper()
	binary := forEverybody(t, envoyBinary(t))
	e := &liveEnvoy{t: t, pod: redirecttest.New(t), node: redirecttest.New(t), certs: newCertificates(t), control: &controlPlane{streams: make(chan streamStart, 16), listeners: listeners}}
	redirecttest.Connect(t, e.pod, e.node, podIP+"/24", kubeletIP+"/24")
	e.client = &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(_ context.Context, _, address string) (net.Conn, error) {
			return e.node.Dial(net.Dialer{Timeout: 2 * time.Second}, address, 0)
		},
	}, CheckRedirect: func(*http.Request, []*http.Request) error { return nil }}
	e.serveControl(controllerID)
	rules, err := redirection(pod.Annotations, settings.Mesh.Traffic)
	if err != nil {
		t.Fatal(err)
	}
	e.pod.Do(func() { err = redirect.Apply(rules) })
	if err != nil {
		t.Fatal(err)
	}
	found, err := probes(pod, rules.ExcludeInboundPorts)
	if err != nil {
		t.Fatal(err)
	}
	b := newProxyBootstrap(settings, found)
	b.certDir, b.controllerHost = e.certs.dir, "127.0.0.1"
	text, err := b.text()
	if err != nil {
		t.Fatal(err)
	}
	e.run(binary, sidecarArgs(settings, "default", "bookstore", expand(text)))
	return e
}

// serveControl starts the control plane, with the certificate of an identity.
func (e *liveEnvoy) serveControl(id string) {
	e.t.Helper()
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(e.certs.serverTLS(id))))
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(server, e.control)
	listener := e.pod.Listen(e.t, "127.0.0.1:15128")
	go func() { _ = server.Serve(listener) }()
	e.stopControl = server.Stop
	e.t.Cleanup(server.Stop)
}

// forEverybody returns a path of the binary that Envoy's user may run, too: root's cache is root's alone.
func forEverybody(t *testing.T, binary string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "osm-envoy-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "envoy")
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if os.Link(binary, path) == nil {
		return path
	}
	content, err := os.ReadFile(binary) // on another file system: a copy
	if err == nil {
		err = os.WriteFile(path, content, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// run starts Envoy as its own user, with nothing but what the container gives it.
func (e *liveEnvoy) run(binary string, args []string) {
	e.t.Helper()
	var output bytes.Buffer
	replace := strings.NewReplacer("$(POD_NAMESPACE)", "bookstore", "$(POD_NAME)", "web-0")
	for i := range args {
		args[i] = replace.Replace(args[i])
	}
	cmd := exec.Command(binary, args...)
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: api.ProxyUID, Gid: api.ProxyUID}}
	var err error
	e.pod.Do(func() { err = cmd.Start() })
	if err != nil {
		e.t.Fatalf("start Envoy (its user %d must be able to read and run %s): %v", api.ProxyUID, binary, err)
	}
	e.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if e.t.Failed() {
			e.t.Logf("Envoy said:\n%s", output.String())
		}
	})
}

// get asks from the node, as the kubelet does.
func (e *liveEnvoy) get(get *corev1.HTTPGetAction) (status int, body string, err error) {
	request, err := http.NewRequest(http.MethodGet, fmt.Sprintf("http://%s:%d%s", podIP, get.Port.IntValue(), get.Path), nil)
	if err != nil {
		return 0, "", err
	}
	for _, h := range get.HTTPHeaders {
		if h.Name == "Host" {
			request.Host = h.Value
			continue
		}
		request.Header.Add(h.Name, h.Value)
	}
	response, err := e.client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, string(text), err
}

// eventually asks until the status is the wanted one.
func (e *liveEnvoy) eventually(what string, get *corev1.HTTPGetAction, want int) string {
	e.t.Helper()
	ticker, deadline := time.NewTicker(pause), time.After(patience)
	defer ticker.Stop()
	for {
		status, body, err := e.get(get)
		if err == nil && status == want {
			return body
		}
		select {
		case <-deadline:
			e.t.Fatalf("%s: status %d, error %v, want %d", what, status, err, want)
		case <-ticker.C:
		}
	}
}

func static(port int, path string) *corev1.HTTPGetAction {
	return &corev1.HTTPGetAction{Port: intstr.FromInt(port), Path: path}
}

// counter reads one of Envoy's counters; one that does not exist yet is zero.
func (e *liveEnvoy) counter(name string) int {
	inPod := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(_ context.Context, _, address string) (net.Conn, error) {
		return e.pod.Dial(net.Dialer{Timeout: time.Second}, address, 0)
	}}}
	response, err := inPod.Get("http://127.0.0.1:15000/stats?filter=" + url.QueryEscape(name))
	if err != nil {
		return 0
	}
	defer func() { _ = response.Body.Close() }()
	text, _ := io.ReadAll(response.Body)
	total := 0
	for line := range strings.SplitSeq(strings.TrimSpace(string(text)), "\n") {
		n := 0
		if _, value, ok := strings.Cut(line, ": "); ok {
			_, _ = fmt.Sscan(value, &n)
		}
		total += n
	}
	return total
}

// awaitMore waits until a counter has passed a value.
func (e *liveEnvoy) awaitMore(name string, before int) {
	e.t.Helper()
	ticker, deadline := time.NewTicker(pause), time.After(patience)
	defer ticker.Stop()
	for e.counter(name) <= before {
		select {
		case <-deadline:
			e.t.Fatalf("%s stays at %d", name, before)
		case <-ticker.C:
		}
	}
}
