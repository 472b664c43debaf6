package injector

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/serve"
)

const (
	syncPoll        = 50 * time.Millisecond
	shutdownTimeout = 5 * time.Second
)

// Config is what Run needs.
type Config struct {
	// REST is the way to the API server; required.
	REST *rest.Config
	// Settings of the patches; their Mesh field is ignored, the API server's MeshConfig counts.
	Settings Settings
	// Address is where the webhook listens, for example ":9090"; required.
	Address string
	// Roots shows which CAs the serving certificate is of and goes with; nil shows none.
	Roots func(ca.Trust)
	// Drain is how long the webhook keeps answering after ctx ended and readiness turned; zero is not at all.
	Drain time.Duration
	// Health gets the conditions that readiness waits for; required.
	Health *serve.Health
	// Refused hears of each connection over the limits; nil ignores them.
	Refused func(reason string, source netip.Addr)
	// Metrics registers osm_admission_*; required.
	Metrics prometheus.Registerer
	// Logger is required.
	Logger *slog.Logger
	// Level is Logger's, for the MeshConfig to change; nil leaves it alone.
	Level *serve.LogLevel
	// Now is the clock of the duration metric and of the certificate's end; nil is time.Now.
	Now func() time.Time
}

// Validate reports everything that is wrong with c, joined.
func (c Config) Validate() error {
	errs := []error{c.Settings.Validate()}
	require := func(set bool, what string) {
		if !set {
			errs = append(errs, errors.New(what))
		}
	}
	require(c.REST != nil, "no API server configuration")
	require(c.Address != "", "--webhook-address is empty: want host:port, for example :9090")
	require(c.Health != nil, "no health")
	require(c.Metrics != nil, "no metrics registry")
	require(c.Logger != nil, "no logger")
	require(c.Drain >= 0, "--drain-period is negative: want 0 or more")
	return errors.Join(errs...)
}

// Run serves the webhook until ctx ends and the drain is over. It listens only once it knows the
// mesh's namespaces and MeshConfig, before which it could only guess, and has its certificate.
func Run(ctx context.Context, c Config) error {
	if err := c.Validate(); err != nil {
		return fmt.Errorf("injector: %w", err)
	}
	p, err := newProcess(c)
	if err != nil {
		return fmt.Errorf("injector: %w", err)
	}
	return p.run(ctx)
}

// process is a running injector.
type process struct {
	cfg        Config
	namespaces *namespaceCache
	mesh       *meshConfigCache
	served     *certificateCache
	handler    http.Handler
	metrics    *metrics
	synced     *serve.Condition
}

func newProcess(c Config) (*process, error) {
	objects, err := metadata.NewForConfig(c.REST)
	if err != nil {
		return nil, fmt.Errorf("make metadata client: %w", err)
	}
	configs, err := dynamic.NewForConfig(c.REST)
	if err != nil {
		return nil, fmt.Errorf("make MeshConfig client: %w", err)
	}
	client, err := kubernetes.NewForConfig(c.REST)
	if err != nil {
		return nil, fmt.Errorf("make Secret client: %w", err)
	}
	return assemble(c, objects, configs, client)
}

func assemble(c Config, objects metadata.Interface, configs dynamic.Interface, client kubernetes.Interface) (*process, error) {
	counts, err := newMetrics(c.Metrics)
	if err != nil {
		return nil, err
	}
	namespaces, err := newNamespaceCache(objects, c.Settings.MeshName)
	if err != nil {
		return nil, err
	}
	mesh, err := newMeshConfigCache(configs, c.Settings.Namespace, c.Logger, c.Level)
	if err != nil {
		return nil, err
	}
	p := &process{cfg: c, namespaces: namespaces, mesh: mesh, metrics: counts, synced: c.Health.Require("informers", "namespaces and MeshConfig not read yet")}
	if p.served, err = newCertificateCache(client, c); err != nil {
		return nil, err
	}
	p.handler = newHandler(newWebhook(namespaces, p.settings, counts, c.Logger, clock(c.Now)))
	return p, nil
}

func newHandler(w *webhook) http.Handler {
	mux := http.NewServeMux()
	mux.Handle(WebhookPath, w)
	return mux
}

func clock(now func() time.Time) func() time.Time {
	if now == nil {
		return time.Now
	}
	return now
}

// settings are the configured ones with the MeshConfig of the moment.
func (p *process) settings() Settings {
	s := p.cfg.Settings
	s.Mesh = *p.mesh.spec.Load()
	return s
}

// run serves until ctx ends, and keeps the caches fresh until the last request is answered.
func (p *process) run(ctx context.Context) error {
	inner, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	group, inner := errgroup.WithContext(inner)
	for _, informer := range []cache.SharedIndexInformer{p.namespaces.informer, p.mesh.informer, p.served.informer} {
		group.Go(func() error {
			informer.RunWithContext(inner)
			return nil
		})
	}
	group.Go(func() error { return p.served.run(inner) })
	group.Go(func() error {
		defer stop()
		if !p.awaitSync(ctx, inner) {
			return nil
		}
		return p.serve(ctx, inner)
	})
	if err := group.Wait(); err != nil {
		return fmt.Errorf("injector: %w", err)
	}
	return nil
}

// awaitSync reports whether the caches are filled and there is a certificate; otherwise one of the
// contexts ended.
func (p *process) awaitSync(ctx, inner context.Context) bool {
	ticker := time.NewTicker(syncPoll)
	defer ticker.Stop()
	for !p.namespaces.informer.HasSynced() || !p.mesh.synced() {
		select {
		case <-ctx.Done():
			return false
		case <-inner.Done():
			return false
		case <-ticker.C:
		}
	}
	p.synced.Met()
	select {
	case <-ctx.Done():
		return false
	case <-inner.Done():
		return false
	case <-p.served.first:
		return true
	}
}

// serve answers until ctx ended and the drain period passed, in which the API server learns that
// this replica is no endpoint any more.
func (p *process) serve(ctx, inner context.Context) error {
	serving, end := context.WithCancel(inner)
	defer end()
	finished := make(chan error, 1)
	limits := p.cfg.Settings.Limits.WithDefaults()
	server := serve.HTTPServer{
		Limits:  serve.Limits{Read: limits.Read, Write: reviewWrite, Connections: limits.Connections, PerSource: limits.PerSource},
		Refused: p.cfg.Refused,
		Addr:    p.cfg.Address, Handler: p.handler, Log: p.cfg.Logger, Shutdown: shutdownTimeout,
		TLS: &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: p.served.certificate},
	}
	go func() { finished <- server.Run(serving) }()
	select {
	case err := <-finished:
		return err
	case <-ctx.Done():
	}
	drain := serve.Drain{Health: p.cfg.Health, Settle: p.cfg.Drain, Period: p.cfg.Drain + shutdownTimeout, Log: p.cfg.Logger}
	return drain.Run(ctx, serve.Step{Name: "finish admission requests", Run: func(context.Context) error {
		end()
		return <-finished
	}})
}
