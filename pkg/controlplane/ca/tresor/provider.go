package tresor

import (
	"cmp"
	"context"
	"fmt"
	"sync"

	"github.com/spf13/pflag"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/ca/source"
)

// Flags are what the installation says about the built-in provider. It is a source.Kind.
type Flags struct {
	// Secret holds the root; empty means api.CABundleSecret. Its flag belongs to the command, because
	// all processes of the control plane have it.
	Secret string
}

var _ source.Kind = (*Flags)(nil)

// Name is the kind.
func (f *Flags) Name() string { return api.ProviderTresor }

// Bind adds no flags.
func (f *Flags) Bind(*pflag.FlagSet) {}

// Validate accepts every Secret name: the API server validates it.
func (f *Flags) Validate(string) error { return nil }

// Spec is the built-in provider with the root in the installation's Secret.
func (f *Flags) Spec(namespace string) (v1alpha2.ProviderSpec, error) {
	return v1alpha2.TresorProvider(namespace, cmp.Or(f.Secret, api.CABundleSecret)), nil
}

// Accept rejects Secrets in other namespaces.
func (f *Flags) Accept(spec v1alpha2.ProviderSpec, namespace string) (v1alpha2.ProviderSpec, error) {
	ref := spec.Tresor.CA.SecretRef
	if ref.Namespace != namespace {
		return v1alpha2.ProviderSpec{}, fmt.Errorf("spec.provider.tresor.ca.secretRef.namespace is %q: only Secrets of the mesh's namespace %s can be read", ref.Namespace, namespace)
	}
	return v1alpha2.TresorProvider(namespace, cmp.Or(ref.Name, api.CABundleSecret)), nil
}

// Open opens the root in a Secret.
func (f *Flags) Open(spec v1alpha2.ProviderSpec, env source.Env) (source.Source, error) {
	return &builtin{env: env, store: Store{
		Client: env.Client, Namespace: env.Namespace, Mesh: env.Mesh, SecretName: spec.Tresor.CA.SecretRef.Name,
		Expected: expectation(env), Now: env.Now, Log: env.Log,
	}}, nil
}

// builtin is the root in a Secret as a source.
type builtin struct {
	env   source.Env
	store Store
	root  *ca.Root
}

func (b *builtin) String() string { return "Secret " + b.store.object() }

func (b *builtin) Load(ctx context.Context, waiting func(string)) (ca.Authority, error) {
	root, err := b.store.Await(ctx, func(fault *ca.RootError) {
		text := fmt.Sprintf("%s: %v", b, fault)
		waiting(text)
		b.env.Log.Error("root CA cannot be used, waiting until it is repaired", "problem", text)
	})
	if err != nil {
		return nil, err
	}
	b.root = root
	issuer, err := ca.NewIssuer(ca.IssuerConfig{Root: root, TrustDomain: b.env.TrustDomain, Now: b.env.Now, Metrics: b.env.Metrics})
	if err != nil {
		return nil, fmt.Errorf("sign with the root CA: %w", err)
	}
	return issuer, nil
}

// Run watches the root's Secret and restores it after a deletion.
func (b *builtin) Run(ctx context.Context) error {
	var restoring sync.WaitGroup
	defer restoring.Wait()
	stop := context.CancelFunc(func() {})
	defer func() { stop() }()
	return b.store.Watch(ctx, b.root, func(status ca.RootStatus) {
		b.env.Report(status)
		stop()
		if status.State == ca.RootMissing {
			var restore context.Context
			restore, stop = context.WithCancel(ctx)
			restoring.Go(func() { b.store.Restore(restore, b.root) })
		}
	})
}

// expectation adapts what the mesh knows of its roots.
func expectation(env source.Env) func(context.Context) (Expected, error) {
	if env.Expected == nil {
		return nil
	}
	return func(ctx context.Context) (Expected, error) {
		fingerprints, where, err := env.Expected(ctx)
		return Expected{Fingerprints: fingerprints, Source: where}, err
	}
}
