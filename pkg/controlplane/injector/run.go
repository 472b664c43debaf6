package injector

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/serve"
)

const (
	syncPoll        = 50 * time.Millisecond
	shutdownTimeout = 5 * time.Second
)

// Config configures osm-injector.
type Config struct {
	// REST is the way to the API server; required.
	REST *rest.Config
	// Settings of the patches. Mesh is ignored, since the API server's MeshConfig counts, and
	// PlainContainer is set for clusters that are too old for native sidecars.
	Settings Settings
	// Address is where the webhook listens, for example ":9090"; required.
	Address string
	// HTTPAddress is where /livez, /readyz, /metrics and /version are served; defaults to :9091.
	HTTPAddress string
	// Drain is how long the webhook keeps answering after ctx ended and the replica turned unready; zero
	// is not at all.
	Drain   time.Duration
	Version serve.Version
	// Health and Metrics are what HTTPAddress shows; nil means new ones.
	Health  *serve.Health
	Metrics *prometheus.Registry
	// Roots is told which CAs the serving certificate is of; nil shows them as metrics.
	Roots func(ca.Trust)
	// Refused is told of each connection that the webhook refuses; nil counts and logs them.
	Refused func(reason string, source netip.Addr)
	// Log is required.
	Log *slog.Logger
	// Level is the level of Log, which the MeshConfig may change; nil leaves it alone.
	Level *serve.LogLevel
	// Now is the wall clock; nil means time.Now.
	Now func() time.Time
}

func (c Config) withDefaults() Config {
	if c.HTTPAddress == "" {
		c.HTTPAddress = fmt.Sprintf(":%d", api.PortHTTP)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
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
	require(c.Log != nil, "no logger")
	require(c.Drain >= 0, "--drain-period is negative: want 0 or more")
	return errors.Join(errs...)
}

// Run runs osm-injector until ctx ends and the drain is over. The webhook listens only once it knows the
// mesh's namespaces and MeshConfig, before which it could only guess, and has its certificate.
func Run(ctx context.Context, cfg Config) error {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("injector: %w", err)
	}
	process, err := serve.NewProcess(serve.ProcessConfig{HTTPAddress: cfg.HTTPAddress, Version: cfg.Version, Health: cfg.Health, Metrics: cfg.Metrics, Log: cfg.Log})
	if err != nil {
		return fmt.Errorf("injector: %w", err)
	}
	return process.Run(ctx, func(starting, _ context.Context, _ *errgroup.Group) error {
		p, err := start(cfg, process)
		if err != nil {
			return fmt.Errorf("injector: %w", err)
		}
		return p.run(starting)
	})
}

// start makes the webhook inside a process.
func start(cfg Config, process *serve.Process) (*server, error) {
	started := process.Health.Require("webhook", "not started yet")
	cfg.Health, cfg.Metrics = process.Health, process.Metrics
	if cfg.Refused == nil {
		cfg.Refused = process.Refusals.Of("webhook")
	}
	if cfg.Roots == nil {
		roots, err := ca.NewMetrics(process.Metrics)
		if err != nil {
			return nil, err
		}
		cfg.Roots = roots.ShowRoots
	}
	p, err := connect(cfg)
	if err == nil {
		started.Met()
	}
	return p, err
}

// server is the running webhook with its caches.
type server struct {
	cfg        Config
	namespaces *namespaceCache
	mesh       *meshConfigCache
	served     *certificateCache
	handler    http.Handler
	metrics    *metrics
	synced     *serve.Condition
	leaving    atomic.Bool
}

// connect makes the clients and asks the API server what it can do.
func connect(c Config) (*server, error) {
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
	if c.Settings.PlainContainer, err = needsPlainContainers(client); err != nil {
		return nil, err
	}
	return assemble(c, objects, configs, client)
}

// assemble connects the parts of the webhook. It asks the API server nothing.
func assemble(c Config, objects metadata.Interface, configs dynamic.Interface, client kubernetes.Interface) (*server, error) {
	counts, err := newMetrics(c.Metrics)
	if err != nil {
		return nil, err
	}
	namespaces, err := newNamespaceCache(objects, c.Settings.MeshName)
	if err != nil {
		return nil, err
	}
	mesh, err := newMeshConfigCache(configs, c.Settings.Namespace, c.Log, c.Level)
	if err != nil {
		return nil, err
	}
	p := &server{cfg: c, namespaces: namespaces, mesh: mesh, metrics: counts, synced: c.Health.Require("informers", "namespaces and MeshConfig not read yet")}
	if p.served, err = newCertificateCache(client, c); err != nil {
		return nil, err
	}
	p.handler = newHandler(newWebhook(namespaces, p.settings, counts, c.Log, c.Now))
	return p, nil
}

func newHandler(w *webhook) http.Handler {
	mux := http.NewServeMux()
	mux.Handle(WebhookPath, w)
	return mux
}

// settings are the configured ones with the MeshConfig of the moment.
func (p *server) settings() Settings {
	s := p.cfg.Settings
	s.Mesh = *p.mesh.spec.Load()
	return s
}

// run serves until ctx ends, and keeps the caches fresh until the last request is answered.
func (p *server) run(ctx context.Context) error {
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
func (p *server) awaitSync(ctx, inner context.Context) bool {
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
// this replica is no endpoint any more and leaves its connections.
func (p *server) serve(ctx, inner context.Context) error {
	serving, end := context.WithCancel(inner)
	defer end()
	finished := make(chan error, 1)
	go func() { finished <- p.https().Run(serving) }()
	select {
	case err := <-finished:
		return err
	case <-ctx.Done():
	}
	p.leaving.Store(true)
	drain := serve.Drain{Health: p.cfg.Health, Settle: p.cfg.Drain, Period: p.cfg.Drain + shutdownTimeout, Log: p.cfg.Log}
	return drain.Run(ctx, serve.Step{Name: "finish admission requests", Run: func(context.Context) error {
		end()
		return <-finished
	}})
}

func (p *server) https() serve.HTTPServer {
	limits := p.cfg.Settings.Limits.WithDefaults()
	return serve.HTTPServer{
		Limits:  serve.Limits{Read: limits.Read, Write: reviewWrite, Idle: reviewIdle, Connections: limits.Connections, PerSource: limits.PerSource},
		Refused: p.cfg.Refused,
		Addr:    p.cfg.Address, Handler: p.untilLeaving(p.handler), Log: p.cfg.Log, Shutdown: shutdownTimeout,
		TLS: &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: p.served.certificate},
	}
}

// untilLeaving makes the API server end a connection after its next review once the replica drains. A kept connection
// leads to this replica although it is no endpoint any more, and a review that is sent while the server closes the
// connection is lost: the API server does not repeat it.
func (p *server) untilLeaving(next http.Handler) http.Handler {
	return http.HandlerFunc(func(out http.ResponseWriter, in *http.Request) {
		if p.leaving.Load() {
			out.Header().Set("Connection", "close")
		}
		next.ServeHTTP(out, in)
	})
}

// nativeSidecars is the first minor version of Kubernetes 1 in which native sidecars are on by default.
const nativeSidecars = 29

// needsPlainContainers reports whether the cluster is too old for native sidecars.
func needsPlainContainers(client kubernetes.Interface) (bool, error) {
	version, err := client.Discovery().ServerVersion()
	if err != nil {
		return false, fmt.Errorf("ask the API server for its version: %w", err)
	}
	minor, err := strconv.Atoi(strings.TrimRight(version.Minor, "+"))
	if err != nil {
		return false, fmt.Errorf("the API server's minor version %q is not a number", version.Minor)
	}
	return version.Major == "1" && minor < nativeSidecars, nil
}
