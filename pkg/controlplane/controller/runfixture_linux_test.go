package controller_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/controlplane/bootstrap"
	"github.com/osm-edge/osm/pkg/controlplane/controller"
	"github.com/osm-edge/osm/tests/realapi"
	"github.com/osm-edge/osm/tests/sim/fleet"
	"github.com/osm-edge/osm/tests/sim/server"
	"github.com/osm-edge/osm/tests/sim/world"
)

// drainPeriod is short, and its first quarter is the time in which the replica still serves.
const drainPeriod = 12 * time.Second

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

func (f *fixture) await(what string, holds func() bool) {
	f.t.Helper()
	realapi.Await(f.t, what, holds)
}

// replica is one controller.Run.
type replica struct {
	*realapi.Replica
	f   *fixture
	xds string
}

// start starts a replica. gate may be nil.
func (f *fixture) start(name string, gate *realapi.Gate) *replica {
	f.t.Helper()
	whole, config := f.api.NewReplica(f.t, name, gate)
	r := &replica{Replica: whole, f: f, xds: "127.0.0.1:" + realapi.FreePort(f.t)}
	r.Run(func(ctx context.Context) error {
		return controller.Run(ctx, controller.Config{
			REST: config, Holder: name, XDSAddress: r.xds, HTTPAddress: "127.0.0.1:0", DrainPeriod: drainPeriod,
			Health: r.Health, Metrics: r.Metrics, Log: r.Log(),
		})
	})
	return r
}

// ready reports whether the replica is ready. Before it has begun to start, it waits for nothing yet.
func (r *replica) ready() bool {
	ok, _ := r.Health.Ready()
	return ok && r.Logged("osm-controller is ready")
}

// notesOutage reports whether /readyz says that the API server does not answer.
func (r *replica) notesOutage() bool {
	return strings.Contains(fmt.Sprint(r.Health.Notes()), "has not answered")
}

func (r *replica) awaitReady() *replica {
	r.f.t.Helper()
	r.f.await(r.Name+" is ready", r.ready)
	return r
}

// listens reports whether the xDS port is open.
func (r *replica) listens() bool { return realapi.Listens(r.xds) }

// gauge is the value of a metric without labels.
func (r *replica) gauge(name string) float64 {
	r.f.t.Helper()
	families, err := r.Metrics.Gather()
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
	ctx, cancel := context.WithTimeout(f.t.Context(), realapi.Longest)
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
	ctx, cancel := context.WithTimeout(f.t.Context(), realapi.Longest)
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
