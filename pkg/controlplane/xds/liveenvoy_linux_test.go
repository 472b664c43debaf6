package xds

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/osm-edge/osm/pkg/api/debug"
	"github.com/osm-edge/osm/pkg/controlplane/envoy"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/mesh"
	"github.com/osm-edge/osm/tests/redirecttest"
)

const (
	liveXDS   = "127.0.0.1:15128"
	liveAdmin = "127.0.0.1:15000"
)

// liveEnvoy is a real Envoy in a network namespace of its own, which speaks to a rig there.
type liveEnvoy struct {
	t         *testing.T
	namespace *redirecttest.Namespace
	admin     *http.Client
	output    output
}

// output holds what a process has written so far.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

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

// startEnvoy starts one as the proxy of the pod, with a certificate of the rig's authority.
func startEnvoy(t *testing.T, namespace *redirecttest.Namespace, r *rig, pod string, api string) *liveEnvoy {
	t.Helper()
	binary, dir := envoyBinary(t), t.TempDir()
	leaf := r.leaf(accountOf(pod))
	for name, content := range map[string][]byte{
		"ca.pem": r.issuer.Trust().Bundle, "cert.pem": leaf.CertPEM, "key.pem": leaf.KeyPEM(), "envoy.json": liveBootstrap(t, dir, pod, api),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	e := &liveEnvoy{t: t, namespace: namespace, admin: &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(_ context.Context, _, address string) (net.Conn, error) {
			return namespace.Dial(net.Dialer{Timeout: time.Second}, address, 0)
		},
	}}}
	cmd := exec.Command(binary, "-c", filepath.Join(dir, "envoy.json"), "--disable-hot-restart", "--concurrency", "1", "--drain-time-s", "1", "--log-level", "warning")
	cmd.Stdout, cmd.Stderr = &e.output, &e.output
	var err error
	namespace.Do(func() { err = cmd.Start() })
	if err != nil {
		t.Fatalf("start Envoy: %v", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("Envoy said:\n%s", e.output.String())
		}
	})
	return e
}

// liveBootstrap returns the xDS part of the injector's bootstrap.
func liveBootstrap(t *testing.T, dir, pod, api string) []byte {
	t.Helper()
	type object = map[string]any
	host, port, _ := net.SplitHostPort(liveXDS)
	adminHost, adminPort, _ := net.SplitHostPort(liveAdmin)
	file := func(name string) object { return object{"filename": filepath.Join(dir, name)} }
	ads := object{"ads": object{}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}
	text, err := json.Marshal(object{
		"node":  object{"id": "shop/" + pod, "cluster": "shop"},
		"admin": object{"address": object{"socket_address": object{"address": adminHost, "port_value": json.Number(adminPort)}}},
		"dynamic_resources": object{
			"ads_config": object{
				"api_type": api, "transport_api_version": "V3", "set_node_on_first_message_only": true,
				"grpc_services": []object{{"envoy_grpc": object{"cluster_name": "control", "retry_policy": object{"retry_back_off": object{"base_interval": "0.1s", "max_interval": "0.5s"}}}}},
			},
			"cds_config": ads, "lds_config": ads,
		},
		"bootstrap_extensions": []object{{"name": "envoy.bootstrap.internal_listener", "typed_config": object{
			"@type": "type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener",
		}}},
		"static_resources": object{"clusters": []object{{
			"name": "control", "type": "STATIC", "connect_timeout": "1s",
			"load_assignment": object{"cluster_name": "control", "endpoints": []object{{"lb_endpoints": []object{{"endpoint": object{"address": object{"socket_address": object{"address": host, "port_value": json.Number(port)}}}}}}}},
			"typed_extension_protocol_options": object{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": object{
				"@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions", "explicit_http_config": object{"http2_protocol_options": object{}},
			}},
			"transport_socket": object{"name": "tls", "typed_config": object{
				"@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", "sni": "localhost",
				"common_tls_context": object{
					"alpn_protocols": []string{"h2"}, "tls_params": object{"tls_maximum_protocol_version": "TLSv1_3"},
					"tls_certificates":   []object{{"certificate_chain": file("cert.pem"), "private_key": file("key.pem")}},
					"validation_context": object{"trusted_ca": file("ca.pem")},
				},
			}},
		}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// ask reads a page of Envoy's admin interface; the result is empty if there is no response.
func (e *liveEnvoy) ask(path string) []byte {
	response, err := e.admin.Get("http://" + liveAdmin + path)
	if err != nil {
		return nil
	}
	defer func() { _ = response.Body.Close() }()
	text, _ := io.ReadAll(response.Body)
	return text
}

// await waits until Envoy holds exactly what was published. Listeners that were replaced keep their
// routes until they have drained.
func (e *liveEnvoy) await(want holding, drained bool) {
	e.t.Helper()
	ticker, deadline := time.NewTicker(20*time.Millisecond), time.After(20*time.Second)
	defer ticker.Stop()
	for {
		got := e.holds()
		if !drained {
			maps.DeleteFunc(got["rds"], func(name, _ string) bool { return want["rds"][name] == "" })
		}
		diff := cmp.Diff(want, got)
		if diff == "" {
			return
		}
		select {
		case <-deadline:
			e.t.Fatalf("Envoy does not hold what was published:\n%s", diff)
		case <-ticker.C:
		}
	}
}

// total adds up the counters whose name matches.
func (e *liveEnvoy) total(name string) (total int) {
	for line := range strings.SplitSeq(string(e.ask("/stats?filter="+name)), "\n") {
		var n int
		if _, value, ok := strings.Cut(line, ": "); ok {
			_, _ = fmt.Sscan(value, &n)
		}
		total += n
	}
	return total
}

// randomMesh returns some services with some endpoints, and the pod of service0.
func randomMesh(random *rand.Rand) *mesh.Snapshot {
	var services []*mesh.Service
	for i := range 1 + random.IntN(8) {
		if i > 0 && random.IntN(4) == 0 {
			continue
		}
		name := fmt.Sprintf("service%d", i)
		id := identity.Identity{Namespace: "shop", ServiceAccount: name}
		s := &mesh.Service{Name: mesh.ServiceName{Namespace: "shop", Name: name}, Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 1, 0, byte(i)})}}
		for p := range 1 + random.IntN(2) {
			port := mesh.ServicePort{Number: uint16(80 + p), Protocol: mesh.Protocol(random.IntN(3)), Identities: []identity.Identity{id}}
			for a := range 1 + random.IntN(3) {
				port.Endpoints = append(port.Endpoints, mesh.Endpoint{Address: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(2 + a), byte(random.IntN(5)), byte(i)}), 8080), Meshed: random.IntN(2) == 0})
			}
			s.Ports = append(s.Ports, port)
		}
		services = append(services, s)
	}
	pod := &mesh.Workload{
		Name: mesh.PodName{Namespace: "shop", Name: "service0-0"}, Identity: identity.Identity{Namespace: "shop", ServiceAccount: "service0"},
		Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 9, 0, 1})}, Inbound: []mesh.InboundPort{{Number: uint16(8080 + random.IntN(2)), Protocol: mesh.HTTP}},
	}
	return mesh.New(mesh.Settings{TrustDomain: trustDomain, Permissive: true, Egress: true}, services, []*mesh.Workload{pod})
}

// TestEnvoyHoldsWhatIsPublished publishes random meshes to a real Envoy, with either variant, and then
// moves it to another replica.
func TestEnvoyHoldsWhatIsPublished(t *testing.T) {
	envoyBinary(t) // or skip
	for _, api := range []string{"DELTA_GRPC", "GRPC"} {
		t.Run(api, func(t *testing.T) { testLiveEnvoy(t, api) })
	}
}

func testLiveEnvoy(t *testing.T, api string) {
	random := rand.New(rand.NewPCG(7, uint64(len(api))))
	namespace := redirecttest.New(t)
	a := newAuthority(t)
	first, second := newReplica(t, a), newReplica(t, a)
	var snapshot *mesh.Snapshot
	publish := func(r *rig, of *mesh.Snapshot) holding {
		snapshot = of
		config := built(t, r.builder, of)
		r.server.Publish(config)
		view, _ := config.View(mesh.PodName{Namespace: "shop", Name: "service0-0"})
		return published(t, view)
	}
	want := publish(first, randomMesh(random))
	stop := first.serve(namespace.Listen(t, liveXDS))
	e := startEnvoy(t, namespace, first, "service0-0", api)
	sotw := api == "GRPC"
	e.await(want, false)
	for range 25 {
		want = publish(first, randomMesh(random))
		e.await(want, false)
	}
	for range 3 {
		for range 50 { // faster than Envoy takes them
			want = publish(first, randomMesh(random))
		}
		e.await(want, false)
	}
	e.await(want, true)
	// Envoy answers nothing about clusters while it waits for a resource that they refer to.
	if strings.Contains(e.output.String(), "timed out") {
		t.Error("Envoy never got a resource that it waited for")
	}
	if n := e.total("update_rejected"); n != 0 {
		t.Errorf("Envoy rejected %d updates", n)
	}
	if n := testutil.ToFloat64(first.metrics.rejected); n != 0 {
		t.Errorf("%v resources rejected", n)
	}

	a.issued.Store(0)
	publish(second, snapshot)
	stop()
	second.serve(namespace.Listen(t, liveXDS))
	awaitMetric(t, "Envoy at the second replica", func() bool {
		d := second.server.Debug()
		return len(d.Proxies) == 1 && len(d.Proxies[0].Types) == int(envoy.NumKinds)
	})
	if got := second.server.Debug().Proxies[0].ProxyVersion; !strings.HasPrefix(got, "1.") {
		t.Errorf("Envoy's version is %q", got)
	}
	want = publish(second, withOneEndpointMore(snapshot))
	e.await(want, false)
	second.checkFailover(t, a, sotw)
	rejectOne(t, second, api)
}

// withOneEndpointMore changes one endpoint of the first service.
func withOneEndpointMore(of *mesh.Snapshot) *mesh.Snapshot {
	services := append([]*mesh.Service{}, of.Services()...)
	changed := *services[0]
	changed.Ports = append([]mesh.ServicePort{}, changed.Ports...)
	changed.Ports[0].Endpoints = append([]mesh.Endpoint{{Address: netip.MustParseAddrPort("10.0.0.1:8080"), Meshed: true}}, changed.Ports[0].Endpoints...)
	services[0] = &changed
	return mesh.New(of.Settings(), services, of.Workloads())
}

// checkFailover checks what the second replica sent to a proxy that held everything.
func (r *rig) checkFailover(t *testing.T, a *authority, sotw bool) {
	t.Helper()
	for typ := range envoy.NumKinds {
		bytes, pushes := testutil.ToFloat64(r.metrics.bytes[typ]), testutil.ToFloat64(r.metrics.pushes[typ])
		switch {
		case sotw && pushes == 0:
			t.Errorf("no %s for a proxy that cannot report what it holds", typ)
		case !sotw && typ == envoy.Endpoints && pushes != 1:
			t.Errorf("%v responses with endpoints, want the changed one", pushes)
		case !sotw && typ != envoy.Endpoints && bytes != 0:
			t.Errorf("%v bytes of %s for a proxy that held them", bytes, typ)
		}
	}
	if n := a.issued.Load(); !sotw && n != 0 {
		t.Errorf("%d certificates issued for a proxy that brought a valid one", n)
	}
}

// rejectOne publishes a listener that Envoy cannot use.
func rejectOne(t *testing.T, r *rig, api string) {
	t.Helper()
	view, _ := r.server.source().View(mesh.PodName{Namespace: "shop", Name: "service0-0"})
	bad, err := envoy.NewResource("bad", &listenerv3.Listener{Name: "bad", FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{{
		Name: "nonsense", ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: &anypb.Any{TypeUrl: "type.googleapis.com/osm.Nonsense"}},
	}}}}})
	if err != nil {
		t.Fatal(err)
	}
	own := map[envoy.Kind][]*envoy.Resource{}
	for _, k := range envoy.Kinds() {
		own[k] = append([]*envoy.Resource{}, view.Own.Set(k).All()...)
	}
	own[envoy.Listeners] = append(own[envoy.Listeners], bad)
	withBad := &table{views: map[string]envoy.View{"service0-0": {Shared: view.Shared, Own: envoy.NewLayer(own)}}}
	r.server.publish(withBad)
	awaitMetric(t, "the rejected listener", func() bool { return testutil.ToFloat64(r.metrics.nacks[envoy.Listeners]) == 1 })
	rejected := func() []debug.Rejection {
		for _, typ := range r.server.Debug().Proxies[0].Types {
			if typ.Type == "lds" {
				return typ.Rejected
			}
		}
		return nil
	}()
	if len(rejected) != 1 || !strings.Contains(rejected[0].Message, "bad") {
		t.Errorf("%s: rejected: %+v, want one response and Envoy's reason", api, rejected)
	}
	r.server.publish(&table{views: map[string]envoy.View{"service0-0": view}})
	awaitMetric(t, "nothing rejected", func() bool { return testutil.ToFloat64(r.metrics.rejected) == 0 })
	if n := testutil.ToFloat64(r.metrics.nacks[envoy.Listeners]); n != 1 {
		t.Errorf("%v rejections of one listener", n)
	}
}
