package source

import (
	"context"
	"log/slog"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
)

// Kind is a kind of provider with its flags. A provider's package implements it, and package
// provider lists it.
type Kind interface {
	// Name is the kind as osm.certificateProvider.kind spells it.
	Name() string
	// Bind adds the flags of the kind to a set, with their defaults.
	Bind(set *pflag.FlagSet)
	// Validate returns an error that names the wrong flag. selected is the kind that signs by default.
	Validate(selected string) error
	// Spec is the provider of this kind that the flags name, for a mesh in the namespace.
	Spec(namespace string) (v1alpha2.ProviderSpec, error)
	// Accept completes the spec of a MeshRootCertificate in the namespace with its defaults, or explains
	// why the installation does not allow it. Permission to write such an object gives no access to
	// the control plane's credentials. Two specs of the same root are equal once they are accepted.
	Accept(spec v1alpha2.ProviderSpec, namespace string) (v1alpha2.ProviderSpec, error)
	// Open opens the provider of an accepted spec. It sends no request yet.
	Open(spec v1alpha2.ProviderSpec, env Env) (Source, error)
}

// Env is what a provider needs to know about the mesh and the process that opens it.
type Env struct {
	// Client and Dynamic are the connection to the API server.
	Client  kubernetes.Interface
	Dynamic dynamic.Interface
	// Namespace, Mesh and TrustDomain are the mesh's.
	Namespace, Mesh string
	TrustDomain     identity.TrustDomain
	// Expected returns the fingerprints of the roots that the mesh is known to use, and where they were seen;
	// nil, or none, if it may not have used one yet.
	Expected func(context.Context) (fingerprints []string, where string, err error)
	// Metrics may be nil.
	Metrics *ca.Metrics
	// Report receives how the provider's root compares with the loaded one.
	Report func(ca.RootStatus)
	// Now is the wall clock; nil means time.Now.
	Now func() time.Time
	Log *slog.Logger
}

// Source is an opened provider, before and after its root is loaded.
type Source interface {
	// String names the provider in messages.
	String() string
	// Load waits until the root is loaded, calls waiting with what it waits for, and returns the authority.
	Load(ctx context.Context, waiting func(reason string)) (ca.Authority, error)
	// Run watches the root until ctx ends.
	Run(ctx context.Context) error
}

// RemoteAuthority is an authority in another process.
type RemoteAuthority interface {
	ca.Authority
	// Load learns the CA. It retries until that succeeds or ctx ends.
	Load(ctx context.Context) error
	// Run watches the CA until ctx ends.
	Run(ctx context.Context) error
}

// Remote makes a Source of an authority in another process. metrics may be nil.
func Remote(authority RemoteAuthority, name string, metrics *ca.Metrics) Source {
	return &remote{authority, name, metrics}
}

type remote struct {
	authority RemoteAuthority
	name      string
	metrics   *ca.Metrics
}

func (r *remote) String() string { return r.name }

func (r *remote) Load(ctx context.Context, waiting func(string)) (ca.Authority, error) {
	waiting("waiting for " + r.name + " to sign; see the log for what prevents it")
	if err := r.authority.Load(ctx); err != nil {
		return nil, err
	}
	return ca.Measured(r.authority, r.metrics), nil
}

func (r *remote) Run(ctx context.Context) error { return r.authority.Run(ctx) }
