package controller_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/controlplane/bootstrap"
	"github.com/osm-edge/osm/pkg/controlplane/controller"
	"github.com/osm-edge/osm/pkg/controlplane/serve"
	"github.com/osm-edge/osm/tests/realapi"
	"github.com/osm-edge/osm/tests/sim/fleet"
	"github.com/osm-edge/osm/tests/sim/server"
	"github.com/osm-edge/osm/tests/sim/world"
)

const (
	longest = time.Minute
	// drainPeriod is short, and its first quarter is the time in which the replica still serves.
	drainPeriod = 12 * time.Second
)

// TestMain finds goroutines that a test leaves behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture is a mesh on a real API server, whose replicas run in the test's process.
type fixture struct {
	t      *testing.T
	api    *realapi.Server
	client *kubernetes.Clientset
	world  *world.World
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{t: t, api: realapi.Start(t)}
	f.client = f.api.Client(t)
	var link realapi.Link
	t.Cleanup(link.Close)
	config := f.api.Config()
	config.Dial = link.Dial
	f.must(bootstrap.Run(t.Context(), bootstrap.Config{REST: config, Logger: slog.New(slog.DiscardHandler)}))
	var err error
	f.world, err = world.New(config, world.Shape{Services: 4, Pods: 3, Namespaces: 2}, api.DefaultMeshName)
	f.must(err)
	f.must(f.world.Create(t.Context(), api.DefaultNamespace))
	return f
}

func (f *fixture) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// await polls, for at most a minute, what has no event of its own.
func (f *fixture) await(what string, holds func() bool) {
	f.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(longest); !holds(); <-tick.C {
		if time.Now().After(end) {
			f.t.Fatalf("%s: not within %v", what, longest)
		}
	}
}

// replica is one controller.Run with a network of its own to the API server.
type replica struct {
	f       *fixture
	name    string
	link    realapi.Link
	health  *serve.Health
	metrics *prometheus.Registry
	xds     string
	cancel  context.CancelFunc
	ended   chan struct{}
	err     error
	log     lines
}

// start starts a replica. gate may be nil.
func (f *fixture) start(name string, gate *realapi.Gate) *replica {
	f.t.Helper()
	r := &replica{f: f, name: name, health: serve.NewHealth(nil), metrics: prometheus.NewRegistry(), ended: make(chan struct{})}
	r.xds = "127.0.0.1:" + realapi.FreePort(f.t)
	config := f.api.Config()
	config.Dial = r.link.Dial
	if gate != nil {
		config.Wrap(gate.Wrap)
	}
	ctx, cancel := context.WithCancel(f.t.Context())
	r.cancel = cancel
	go func() {
		defer close(r.ended)
		r.err = controller.Run(ctx, controller.Config{
			REST: config, Holder: name, XDSAddress: r.xds, HTTPAddress: "127.0.0.1:0", DrainPeriod: drainPeriod,
			Health: r.health, Metrics: r.metrics, Log: slog.New(slog.NewTextHandler(&r.log, nil)),
		})
	}()
	f.t.Cleanup(func() {
		r.link.Heal()
		r.stop()
		r.link.Close()
		if f.t.Failed() {
			f.t.Logf("the log of %s:\n%s", name, r.log.String())
		}
	})
	return r
}

// stop ends the replica as SIGTERM does and waits for the end.
func (r *replica) stop() {
	r.f.t.Helper()
	r.cancel()
	select {
	case <-r.ended:
	case <-time.After(longest):
		r.f.t.Errorf("%s does not end", r.name)
	}
	if r.err != nil {
		r.f.t.Errorf("%s ended: %v", r.name, r.err)
	}
}

// ready reports whether the replica is ready. Before it has begun to start, it waits for nothing yet.
func (r *replica) ready() bool {
	ok, _ := r.health.Ready()
	return ok && strings.Contains(r.log.String(), "osm-controller is ready")
}

// waitsFor reports whether a text is among what readiness waits for.
func (r *replica) waitsFor(text string) bool {
	_, reasons := r.health.Ready()
	return strings.Contains(fmt.Sprint(reasons), text)
}

// notesOutage reports whether /readyz says that the API server does not answer.
func (r *replica) notesOutage() bool {
	return strings.Contains(fmt.Sprint(r.health.Notes()), "has not answered")
}

func (r *replica) awaitReady() *replica {
	r.f.t.Helper()
	r.f.await(r.name+" is ready", r.ready)
	return r
}

// listens reports whether the xDS port is open.
func (r *replica) listens() bool {
	conn, err := net.Dial("tcp", r.xds)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// gauge is the value of a metric without labels.
func (r *replica) gauge(name string) float64 {
	r.f.t.Helper()
	families, err := r.metrics.Gather()
	r.f.must(err)
	for _, family := range families {
		if family.GetName() == name {
			return family.GetMetric()[0].GetGauge().GetValue()
		}
	}
	return -1
}

func (r *replica) proxies() int { return int(r.gauge("osm_proxy_connect_count")) }

// fleet starts a proxy for every pod of the world. Each connects to one of the replicas at random.
func (f *fixture) fleet(targets ...*replica) *fleet.Fleet {
	f.t.Helper()
	secret, err := f.client.CoreV1().Secrets(api.DefaultNamespace).Get(f.t.Context(), api.CABundleSecret, metav1.GetOptions{})
	f.must(err)
	root, err := server.LoadAuthority(secret.Data[api.CAKeyCert], secret.Data[api.CAKeyPrivate])
	f.must(err)
	config := fleet.Config{Seed: 1}
	for _, r := range targets {
		config.Targets = append(config.Targets, r.xds)
	}
	proxies := fleet.New(config)
	f.t.Cleanup(proxies.Close)
	for _, pod := range f.world.Pods() {
		tls, err := server.ProxyTLS(root, pod.Namespace, pod.Account)
		f.must(err)
		proxies.Add(fleet.Proxy{Node: pod.String(), TLS: tls})
	}
	f.configured(proxies)
	return proxies
}

// configured waits until all proxies have all that they need.
func (f *fixture) configured(proxies *fleet.Fleet) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), longest)
	defer cancel()
	if _, err := proxies.AwaitConfigured(ctx); err != nil {
		f.t.Fatal(err)
	}
	f.must(proxies.Err())
}

// toggled makes an endpoint unready, or ready again, and returns when every proxy knows.
func (f *fixture) toggled(proxies *fleet.Fleet) {
	f.t.Helper()
	service := f.world.Services[0]
	pods := service.Pods()
	probe, err := proxies.Probe(pods[0].Addr.String(), !pods[0].Ready, pods[1].Addr.String())
	f.must(err)
	_, err = f.world.Toggle(f.t.Context(), service, 0)
	f.must(err)
	ctx, cancel := context.WithTimeout(f.t.Context(), longest)
	defer cancel()
	if _, missing := probe.Result(ctx); missing > 0 {
		f.t.Errorf("%d proxies were not told of a change", missing)
	}
}

// holder is who has the Lease, "" if nobody.
func (f *fixture) holder() string {
	lease, err := f.client.CoordinationV1().Leases(api.DefaultNamespace).Get(f.t.Context(), api.ControllerLease, metav1.GetOptions{})
	if err != nil || lease.Spec.HolderIdentity == nil {
		return ""
	}
	return *lease.Spec.HolderIdentity
}

// lines is a log that can be read while it is written.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
