package provider

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/ca/source"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/rotation"
	"github.com/osm-edge/osm/pkg/controlplane/wake"
)

// servingRetry is the longest pause between two attempts to get a first serving certificate.
const servingRetry = 5 * time.Second

// Readiness receives whether this replica may serve, as far as its root is concerned.
type Readiness interface {
	Met()
	Unmet(reason string)
}

// Config is what Open needs.
type Config struct {
	// Flags say who signs by default and what MeshRootCertificates may name instead.
	Flags Flags
	// Client and Dynamic are the connection to the API server; both are required.
	Client  kubernetes.Interface
	Dynamic dynamic.Interface
	// Namespace and Mesh are the mesh's, TrustDomain is its domain; required.
	Namespace, Mesh string
	TrustDomain     identity.TrustDomain
	// Metrics may be nil.
	Metrics *ca.Metrics
	// Ready receives what Open waits for, and later whether the provider still signs with the root
	// that was loaded; required.
	Ready Readiness
	// Now is the wall clock; nil means time.Now.
	Now func() time.Time
	// Log is required.
	Log *slog.Logger

	expected func(context.Context) ([]string, string, error) // of one root; see source.Env
}

// Provider is a provider whose root is loaded, or several while the mesh has several roots.
type Provider struct {
	// Roots sign, and hold the trusted CAs.
	Roots *ca.RootSet

	rootManager *rootManager
	// retry reports whether a failed request may succeed later.
	retry   bool
	log     *slog.Logger
	refresh wake.Signal // another CA signs

	mu      sync.Mutex
	serving []*ca.ServingCert
}

// Open waits until the roots that the mesh needs are loaded, or ctx ends: those of its
// MeshRootCertificates, and without any the one of the flags. It waits for a provider that is unavailable and for a root
// that is unusable; only a wrong configuration is an error at once.
func Open(ctx context.Context, cfg Config) (*Provider, error) {
	if err := cfg.Flags.Validate(); err != nil {
		return nil, err
	}
	if cfg.Ready == nil || cfg.Log == nil || cfg.Dynamic == nil {
		return nil, errors.New("open certificate provider: a dynamic client, readiness and a log are required")
	}
	return open(ctx, cfg, build)
}

// builder opens the provider of an accepted spec. It is build, except in tests.
type builder func(Config, v1alpha2.ProviderSpec) (source.Source, error)

func open(ctx context.Context, cfg Config, build builder) (*Provider, error) {
	k := newRootManager(cfg, build)
	if err := k.open(ctx); err != nil {
		return nil, err // names the provider and the fix
	}
	p := &Provider{Roots: k.roots, rootManager: k, retry: cfg.Flags.selected() != api.ProviderTresor, log: cfg.Log, refresh: wake.NewSignal()}
	p.Roots.Subscribe(p.changed)
	return p, nil
}

// build lets the provider's own package open it.
func build(cfg Config, spec v1alpha2.ProviderSpec) (source.Source, error) {
	return cfg.Flags.kind(spec.Kind()).Open(spec, source.Env{
		Client: cfg.Client, Dynamic: cfg.Dynamic, Namespace: cfg.Namespace, Mesh: cfg.Mesh, TrustDomain: cfg.TrustDomain,
		Expected: cfg.expected, Metrics: cfg.Metrics, Report: cfg.report, Now: cfg.Now, Log: cfg.Log,
	})
}

// report receives what providers report about their root.
func (c Config) report(status ca.RootStatus) {
	if status.Ready() {
		c.Ready.Met()
	} else {
		c.Ready.Unmet(status.String())
	}
	if status.State != ca.RootSame {
		c.Log.Error("root CA of the provider is not the one in use", "status", status.String())
	}
}

// String returns the name of the provider that signs, for messages.
func (p *Provider) String() string { return p.rootManager.String() }

// Loaded returns the roots that this replica uses, with the roles that it has seen; problems says why
// others are not among them, by name.
func (p *Provider) Loaded() (roots []rotation.Loaded, problems map[string]string) {
	return p.rootManager.loadedRoots()
}

// RefreshServing replaces this replica's serving certificates unless the current signer has signed them. It returns
// the fingerprint of the CA that signed them; if they differ, one that is not the signer's.
func (p *Provider) RefreshServing(ctx context.Context) (string, error) {
	p.mu.Lock()
	certs := p.serving
	p.mu.Unlock()
	signer := p.Roots.Trust().Fingerprint
	for _, cert := range certs {
		if err := cert.Refresh(ctx); err != nil {
			return "", err
		}
		if by := cert.Signer(); by != signer {
			return by, nil
		}
	}
	return signer, nil
}

// Run follows the mesh's roots and refreshes serving certificates until ctx ends, and returns its cause.
func (p *Provider) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return p.rootManager.run(ctx) })
	group.Go(func() error { return p.refreshServing(ctx) })
	return group.Wait()
}

// changed is called for each change of the roots; it must not block.
func (p *Provider) changed(change ca.Change) {
	if !change.Signer {
		return
	}
	p.refresh.Wake()
}

// refreshServing replaces serving certificates soon after another CA signs, instead of at the next
// handshake, which may be much later.
func (p *Provider) refreshServing(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-p.refresh:
		}
		p.mu.Lock()
		certs := p.serving
		p.mu.Unlock()
		for _, cert := range certs {
			if err := cert.Refresh(ctx); err != nil && ctx.Err() == nil {
				p.log.Warn("serving certificate not replaced yet, the next handshake will try", "error", err)
			}
		}
	}
}

// ServingCert issues a server's own certificate, which Run then keeps up to date. It
// retries while an external provider is unavailable, until ctx ends.
func (p *Provider) ServingCert(ctx context.Context, cfg ca.ServingConfig) (*ca.ServingCert, error) {
	cfg.Authority, cfg.Log = p.Roots, p.log
	for {
		cert, err := ca.NewServingCert(ctx, cfg)
		if err == nil {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.serving = append(p.serving, cert)
			return cert, nil
		}
		if !p.retry || ctx.Err() != nil {
			return nil, err
		}
		p.log.Warn("serving certificate not issued yet, will retry", "error", err)
		timer := time.NewTimer(servingRetry/2 + rand.N(servingRetry/2)) //nolint:gosec // jitter is no secret
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, errors.Join(context.Cause(ctx), err)
		case <-timer.C:
		}
	}
}
