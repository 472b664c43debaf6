package controller

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/api/debug"
	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/ca/leafcache"
	"github.com/osm-edge/osm/pkg/controlplane/ca/secrets"
	"github.com/osm-edge/osm/pkg/controlplane/coalesce"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/kube"
	"github.com/osm-edge/osm/pkg/controlplane/provider"
	"github.com/osm-edge/osm/pkg/controlplane/rebalance"
	"github.com/osm-edge/osm/pkg/controlplane/rotation/driver"
	"github.com/osm-edge/osm/pkg/controlplane/serve"
	"github.com/osm-edge/osm/pkg/controlplane/wake"
	"github.com/osm-edge/osm/pkg/controlplane/webhook"
	"github.com/osm-edge/osm/pkg/controlplane/xds"
)

// settle is how long a draining replica keeps serving, until it is no longer an endpoint.
const settle = 3 * time.Second

// process is a running controller: its long-lived parts.
type process struct {
	cfg      Config
	client   kubernetes.Interface
	dynamic  dynamic.Interface
	registry *prometheus.Registry
	health   *serve.Health
	refusals *serve.Refusals // of connections to the HTTP servers
	metrics  *ca.Metrics
	provider *provider.Provider
	roots    *ca.RootSet // of the provider
	leaves   *leafcache.Cache
	trigger  *coalesce.Trigger
	contact  *kube.Contact // with the API server
	watch    *kube.Watch
	xds      *xds.Server
	pipeline *pipeline
	urgent   prometheus.Counter // changes that went out at once
	merged   prometheus.Counter // and those that waited for others
	dirty    atomic.Bool        // an object changed since the last configuration was built
	balance  *rebalance.Runner
	accounts wake.Signal // the ServiceAccounts of the mesh may have changed
	driver   *driver.Driver
	secrets  atomic.Pointer[secrets.ProxyController] // what writes them, while this replica holds the Lease
	hook     wake.Signal                             // the roots have changed, for the webhook
	hooks    *webhook.Metrics
	serving  atomic.Pointer[secrets.ServingController] // the injectors' certificate, while this replica holds the Lease
}

// Run runs osm-controller until ctx ends and the drain is over.
func Run(ctx context.Context, cfg Config) error {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return err
	}
	frame, err := serve.NewProcess(serve.ProcessConfig{HTTPAddress: cfg.HTTPAddress, Version: cfg.Version, Health: cfg.Health, Metrics: cfg.Metrics, Log: cfg.Log})
	if err != nil {
		return err
	}
	p := &process{cfg: cfg, registry: frame.Metrics, health: frame.Health, refusals: frame.Refusals, accounts: wake.NewSignal(), hook: wake.NewSignal()}
	return frame.Run(ctx, func(starting, serving context.Context, group *errgroup.Group) error {
		if err := p.start(starting, serving, group); err != nil {
			return err
		}
		<-starting.Done()
		return p.drain(ctx)
	})
}

// debugTime bounds a profile.
const debugTime = 5 * time.Minute

// serveDebug shows what each proxy holds and rejects, the state of a rotation, the load, and profiles. It starts a
// rebalancing on demand.
func (p *process) serveDebug(ctx context.Context) error {
	if p.cfg.DebugAddress == "" {
		return nil
	}
	pages := map[string]func() any{
		debug.XDSPath:       func() any { return p.xds.Debug() },
		debug.RotationPath:  func() any { return p.driver.Debug(ctx) },
		debug.RebalancePath: func() any { return p.rebalancing() },
	}
	actions := map[string]func() any{debug.RebalancePath: func() any {
		p.cfg.Log.Info("told to send surplus proxies to other replicas once")
		p.balance.Order()
		return p.rebalancing()
	}}
	// A profile takes as long as its request says.
	limits := serve.Limits{Write: debugTime}
	return serve.HTTPServer{Addr: p.cfg.DebugAddress, Handler: serve.Debug(pages, actions), Limits: limits, Log: p.cfg.Log}.Run(ctx)
}

// start starts the parts one after another. What runs in the background joins the group.
func (p *process) start(starting, serving context.Context, group *errgroup.Group) error {
	root := p.health.Require("root CA", "the certificate provider is not open yet")
	objects := p.health.Require("objects", "reading the mesh from the API server")
	proxies := p.health.Require("xDS", "the port is not open yet")

	if err := p.connect(); err != nil {
		return err
	}
	if err := p.loadRoot(starting, root); err != nil {
		return err
	}
	group.Go(func() error { return orderly(serving, p.provider.Run(serving)) })

	group.Go(func() error { return p.watch.Run(serving) })
	if err := p.awaitObjects(starting, objects); err != nil {
		return err
	}
	if err := p.openXDS(starting, serving, group); err != nil {
		return err
	}
	objects.Met()
	proxies.Met()
	group.Go(func() error { return p.leaves.Run(serving) })
	group.Go(func() error { return p.trigger.Run(serving, p.pipeline.rebuild) })
	if err := p.rebalance(starting, group); err != nil {
		return err
	}
	group.Go(func() error { return p.serveDebug(serving) })
	group.Go(func() error { return p.pipeline.beat(serving) })
	group.Go(func() error { return orderly(starting, p.lease().Run(starting, p.lead)) })
	p.cfg.Log.Info("osm-controller is ready", "mesh", p.cfg.MeshName, "xds", p.cfg.XDSAddress, "provider", p.provider.String(), "root", p.roots.Trust().Fingerprint)
	return nil
}

// connect creates clients, metrics and the watch. It sends no request to the API server.
func (p *process) connect() error {
	p.contact = kube.NewContact(time.Now)
	config := rest.CopyConfig(p.cfg.REST)
	config.Wrap(p.contact.Wrap)
	transport, err := rest.HTTPClientFor(config) // one connection for all clients
	if err != nil {
		return fmt.Errorf("make a client of the API server: %w", err)
	}
	client, err := kubernetes.NewForConfigAndClient(config, transport)
	if err != nil {
		return fmt.Errorf("make a client of the API server: %w", err)
	}
	dyn, err := dynamic.NewForConfigAndClient(config, transport)
	if err != nil {
		return fmt.Errorf("make a client of the API server: %w", err)
	}
	p.client, p.dynamic = client, dyn
	if p.metrics, err = ca.NewMetrics(p.registry); err != nil {
		return err
	}
	if p.hooks, err = webhook.NewMetrics(p.registry); err != nil {
		return err
	}
	if p.trigger, err = coalesce.New(coalesce.FleetWindow(0)); err != nil {
		return err
	}
	changes := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "osm_changes_total", Help: "Changes of objects, by how they are published: urgent ones at once, those of objects that change all the time merged for up to 250 ms.",
	}, []string{"as"})
	p.registry.MustRegister(changes)
	p.urgent, p.merged = changes.WithLabelValues("urgent"), changes.WithLabelValues("merged")
	p.watch, err = kube.New(kube.Config{
		Client: client, Dynamic: dyn, MeshName: p.cfg.MeshName, Namespace: p.cfg.Namespace, Log: p.cfg.Log,
		Changed: p.changed, MembersChanged: p.accounts.Wake,
	}, time.Now)
	if err != nil {
		return err
	}
	p.health.Note("API server", p.staleness)
	return nil
}

// changed is called for each change of an object; it never blocks.
func (p *process) changed(object string) {
	p.dirty.Store(true)
	if p.trigger.Changed(object) {
		p.urgent.Inc()
	} else {
		p.merged.Inc()
	}
}

// unheard returns since when the API server has not been heard from, and what is known of why.
func (p *process) unheard() (since time.Time, why string, ok bool) {
	since, silent := p.contact.Silent()
	failed, err, failing := p.watch.Failing()
	switch {
	case failing && !since.IsZero() && since.Before(failed): // the connection that was lost had been silent before
		return since, err.Error(), true
	case failing:
		return failed, err.Error(), true
	}
	return since, "requests are not answered", silent
}

// staleness notes in /readyz that the last snapshot is served while the API server is unavailable.
func (p *process) staleness() string {
	since, why, ok := p.unheard()
	if !ok {
		return ""
	}
	return fmt.Sprintf("the API server has not answered for %s, serving the last snapshot: %s", time.Since(since).Round(time.Second), why)
}

func (p *process) awaitObjects(ctx context.Context, condition *serve.Condition) error {
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for {
		waiting := p.watch.Waiting()
		if len(waiting) == 0 {
			return nil
		}
		condition.Unmet(fmt.Sprintf("reading %v from the API server", waiting))
		select {
		case <-poll.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// openXDS builds the first configuration, then opens the port, in this order.
func (p *process) openXDS(starting, serving context.Context, group *errgroup.Group) error {
	host := api.AppController + "." + p.cfg.Namespace + ".svc"
	cert, err := p.provider.ServingCert(starting, ca.ServingConfig{
		Identity:  identity.Identity{Namespace: p.cfg.Namespace, ServiceAccount: api.AppController},
		DNSNames:  []string{host, host + "." + p.cfg.ClusterDomain, "localhost"},
		Addresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}, // outside a cluster, and through port-forwards
	})
	if err != nil {
		return fmt.Errorf("issue the certificate of the xDS server: %w", err)
	}
	p.xds, err = xds.New(xds.Config{
		TrustDomain: p.cfg.TrustDomain, TLS: cert.MutualTLS(), Leaves: p.leaves, Trust: p.roots.Trust,
		Metrics: xds.NewMetrics(p.registry), Log: p.cfg.Log, Limits: p.cfg.Limits,
		MovesPerSecond: p.cfg.Rebalance.movesPerSecond(), MaxAge: p.cfg.Rebalance.maxAge(),
	})
	if err != nil {
		return err
	}
	p.roots.Subscribe(p.rootsChanged)
	p.registry.MustRegister(newHeadless(p.xds.EarliestExpiry, time.Now))
	p.pipeline = newPipeline(p)
	if err := p.pipeline.build(); err != nil {
		return fmt.Errorf("build the first configuration: %w", err)
	}
	listener, err := (&net.ListenConfig{}).Listen(starting, "tcp", p.cfg.XDSAddress)
	if err != nil {
		return fmt.Errorf("listen for proxies on --xds-address %s: %w", p.cfg.XDSAddress, err)
	}
	group.Go(func() error { return p.xds.Serve(listener) })
	group.Go(func() error { return p.serveEvidence(serving, cert) })
	context.AfterFunc(serving, p.xds.Close)
	return nil
}

// drain makes the replica unready, then sends its proxies away, spread over the rest of the period.
func (p *process) drain(ctx context.Context) error {
	p.cfg.Log.Info("draining", "period", p.cfg.DrainPeriod.String(), "proxies", p.xds.Connected())
	return serve.Drain{Health: p.health, Settle: min(settle, p.cfg.DrainPeriod/4), Period: p.cfg.DrainPeriod, Log: p.cfg.Log}.Run(ctx,
		serve.Step{Name: "send proxies to other replicas", Run: func(ctx context.Context) error {
			ends := p.xds.BeginDrain()
			for i := range serve.Spread(ctx, len(ends), serve.Remaining(ctx)*3/4) {
				ends[i]()
			}
			return nil
		}})
}
