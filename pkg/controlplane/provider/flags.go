package provider

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/controlplane/ca/certmanager"
	"github.com/osm-edge/osm/pkg/controlplane/ca/source"
	"github.com/osm-edge/osm/pkg/controlplane/ca/tresor"
	"github.com/osm-edge/osm/pkg/controlplane/ca/vault"
)

// Flags name the provider that signs by default and the others that MeshRootCertificates may name, and say how each
// is reached. The zero value is Tresor alone.
type Flags struct {
	// Kind signs in a mesh without MeshRootCertificates; empty means Tresor.
	Kind string
	// AdditionalKinds are further kinds that MeshRootCertificates may name.
	AdditionalKinds []string

	// Each provider has its own flags. A new one is registered here and in kinds.
	Tresor      tresor.Flags
	Vault       vault.Flags
	CertManager certmanager.Flags
}

// kinds are the registered providers.
func (f *Flags) kinds() []source.Kind {
	return []source.Kind{&f.Tresor, &f.Vault, &f.CertManager}
}

// kind returns a registered provider, or nil.
func (f *Flags) kind(name string) source.Kind {
	for _, kind := range f.kinds() {
		if kind.Name() == name {
			return kind
		}
	}
	return nil
}

// selected is the kind that signs in a mesh without MeshRootCertificates.
func (f *Flags) selected() string { return cmp.Or(f.Kind, api.ProviderTresor) }

// Bind adds the flags to a set, with their defaults.
func (f *Flags) Bind(set *pflag.FlagSet) {
	set.StringVar(&f.Kind, "certificate-provider", api.ProviderTresor, "who signs certificates: "+api.ProviderChoice())
	set.StringSliceVar(&f.AdditionalKinds, "additional-certificate-providers", nil, "kinds that MeshRootCertificates may name in addition to --certificate-provider: "+strings.Join(api.ProviderKinds(), ", "))
	for _, kind := range f.kinds() {
		kind.Bind(set)
	}
}

// Validate returns an error that names the wrong flag and what to write instead.
func (f Flags) Validate() error {
	if f.kind(f.selected()) == nil {
		return fmt.Errorf("--certificate-provider %q: use %s", f.Kind, api.ProviderChoice())
	}
	var errs []error
	for _, name := range f.AdditionalKinds {
		if f.kind(name) == nil {
			errs = append(errs, fmt.Errorf("--additional-certificate-providers %q: use %s", name, api.ProviderChoice()))
		}
	}
	for _, kind := range f.kinds() {
		errs = append(errs, kind.Validate(f.selected()))
	}
	return errors.Join(errs...)
}

// spec is the provider that signs in a mesh without MeshRootCertificates.
func (f *Flags) spec(namespace string) (v1alpha2.ProviderSpec, error) {
	return f.kind(f.selected()).Spec(namespace)
}

// accept completes the spec of a MeshRootCertificate in the namespace, or returns why it is refused.
func (f *Flags) accept(spec v1alpha2.ProviderSpec, namespace string) (v1alpha2.ProviderSpec, error) {
	if kinds := spec.Kinds(); len(kinds) != 1 {
		return v1alpha2.ProviderSpec{}, fmt.Errorf("spec.provider names %d of tresor, vault and certManager: it takes exactly one", len(kinds))
	}
	if err := f.allows(spec.Kind()); err != nil {
		return v1alpha2.ProviderSpec{}, err
	}
	return f.kind(spec.Kind()).Accept(spec, namespace)
}

// allows returns an error if an object may not name a kind of provider.
func (f *Flags) allows(kind string) error {
	if kind == f.selected() || slices.Contains(f.AdditionalKinds, kind) {
		return nil
	}
	// --set replaces a list, so the kinds that are allowed already are repeated.
	return fmt.Errorf("spec.provider is of kind %s, which is neither osm.certificateProvider.kind (%s) nor in additionalKinds (%s): make another MeshRootCertificate, or allow the kind with osm upgrade --set osm.certificateProvider.additionalKinds={%s}",
		kind, f.selected(), cmp.Or(strings.Join(f.AdditionalKinds, ", "), "none"), strings.Join(append(slices.Clone(f.AdditionalKinds), kind), ","))
}
