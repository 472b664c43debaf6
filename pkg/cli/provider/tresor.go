package provider

import (
	"context"

	"github.com/spf13/pflag"
	authorizationv1 "k8s.io/api/authorization/v1"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/cli/cluster"
)

// tresor is the built-in provider.
type tresor struct{}

func (tresor) Name() string { return api.ProviderTresor }

func (tresor) FromValues(values Values, namespace string) v1alpha2.ProviderSpec {
	return v1alpha2.TresorProvider(namespace, values.String("osm.caBundleSecretName"))
}

func (tresor) Location(spec v1alpha2.ProviderSpec) string { return "Secret " + RootSecret(spec) }

func (tresor) Flags() Flags { return tresorFlags{} }

// Check has nothing to do: the control plane creates the Secret.
func (tresor) Check(context.Context, *cluster.Clients, Target) (unchecked, err error) {
	return nil, nil
}

func (tresor) Permission(target Target) authorizationv1.ResourceAttributes {
	return authorizationv1.ResourceAttributes{Verb: "get", Resource: "secrets", Name: RootSecret(target.Spec), Namespace: target.Namespace}
}

func (tresor) Prepared(Installation, v1alpha2.ProviderSpec) error { return nil }

func (tresor) Settings(v1alpha2.ProviderSpec) string { return "" }

// RootSecret is the Secret that holds a root's key, "" if the key is elsewhere.
func RootSecret(spec v1alpha2.ProviderSpec) string {
	if spec.Tresor == nil {
		return ""
	}
	return spec.Tresor.CA.SecretRef.Name
}

// tresorFlags are none: osm chooses the Secret.
type tresorFlags struct{}

func (tresorFlags) Bind(*pflag.FlagSet) {}

func (tresorFlags) Validate() error { return nil }

func (tresorFlags) Complete(v1alpha2.ProviderSpec, string) (v1alpha2.ProviderSpec, error) {
	return v1alpha2.ProviderSpec{Tresor: &v1alpha2.TresorProviderSpec{}}, nil
}
