package provider

import (
	"context"

	"github.com/spf13/pflag"
	authorizationv1 "k8s.io/api/authorization/v1"

	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/cli/cluster"
)

// Kind is a kind of provider.
type Kind interface {
	// Name is the kind as osm.certificateProvider.kind spells it. The kind's flags start with it.
	Name() string
	// FromValues is the provider of this kind that chart values describe, for a mesh in the namespace.
	FromValues(values Values, namespace string) v1alpha2.ProviderSpec
	// Location describes where the key of the provider's root is.
	Location(spec v1alpha2.ProviderSpec) string
	// Flags are the flags that describe a provider of this kind. They are not yet set.
	Flags() Flags
	// Check checks from outside the cluster what the control plane would otherwise wait for forever.
	// unchecked says what nobody can check from there; it is no failure.
	Check(ctx context.Context, clients *cluster.Clients, target Target) (unchecked, err error)
	// Permission is the one without which the control plane cannot sign. An empty verb means that it
	// needs none.
	Permission(target Target) authorizationv1.ResourceAttributes
	// Prepared returns an error if the control plane of an installation would refuse the provider.
	Prepared(installation Installation, spec v1alpha2.ProviderSpec) error
	// Settings are the chart settings, as --set takes them, that prepare the control plane for the
	// provider, apart from its kind.
	Settings(spec v1alpha2.ProviderSpec) string
}

// Flags are flags of one kind of provider.
type Flags interface {
	// Bind adds the flags to a set.
	Bind(set *pflag.FlagSet)
	// Validate checks each flag by itself.
	Validate() error
	// Complete returns base, which is of this kind, with the flags that are set. It returns an error if
	// something is still missing.
	Complete(base v1alpha2.ProviderSpec, namespace string) (v1alpha2.ProviderSpec, error)
}

// Values are chart values, read by dotted keys.
type Values interface {
	String(key string) string
	Strings(key string) []string
	Int(key string) (int, bool)
}

// Target is a provider that a mesh is to sign with.
type Target struct {
	Spec      v1alpha2.ProviderSpec
	Namespace string // of the mesh
	// Rotation is set if the mesh runs and is to rotate to the provider. Flags describe it then; otherwise,
	// chart values do.
	Rotation bool
}

// name is the setting's name where the user wrote it.
func (t Target) name(flag, value string) string {
	if t.Rotation {
		return flag
	}
	return value
}

// Kinds are all kinds, in the order in which users see them.
func Kinds() []Kind { return []Kind{tresor{}, vault{}, certManager{}} }

// Of is the kind of a spec. A spec without a provider counts as tresor, the default of the chart.
func Of(spec v1alpha2.ProviderSpec) Kind { return Named(spec.Kind()) }

// Named is the kind of a name. Other names, which no chart accepts, give tresor.
func Named(name string) Kind {
	for _, kind := range Kinds() {
		if kind.Name() == name {
			return kind
		}
	}
	return tresor{}
}

// FromValues is the provider that signs in a mesh without MeshRootCertificates, as chart values
// describe it.
func FromValues(values Values, namespace string) v1alpha2.ProviderSpec {
	return Named(values.String("osm.certificateProvider.kind")).FromValues(values, namespace)
}
