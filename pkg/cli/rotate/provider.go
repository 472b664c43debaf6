package rotate

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/cli/provider"
	"github.com/osm-edge/osm/pkg/cli/release"
)

// providerFlags describe the provider of a new root. Flags that are not set default to the present root's
// settings if its provider is of the same kind, else to the chart's values.
type providerFlags struct {
	kind   string
	byKind map[string]provider.Flags
}

func (p *providerFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&p.kind, "provider", "", "provider of the new root: "+api.ProviderChoice()+" (default: the present root's)")
	p.byKind = map[string]provider.Flags{}
	for _, kind := range provider.Kinds() {
		p.byKind[kind.Name()] = kind.Flags()
		p.byKind[kind.Name()].Bind(flags)
	}
}

// changed returns the flags that were set, as --name, among those that start with one of the names.
func changed(flags *pflag.FlagSet, names ...string) []string {
	var given []string
	flags.Visit(func(f *pflag.Flag) {
		if slices.ContainsFunc(names, func(name string) bool { return f.Name == name || strings.HasPrefix(f.Name, name+"-") }) {
			given = append(given, "--"+f.Name)
		}
	})
	return given
}

func (p *providerFlags) changed(flags *pflag.FlagSet) []string {
	return changed(flags, append(api.ProviderKinds(), "provider")...)
}

// valid checks each flag on its own.
func (p *providerFlags) valid() error {
	if p.kind != "" && !slices.Contains(api.ProviderKinds(), p.kind) {
		return fmt.Errorf("--provider: %q is not a provider; use %s", p.kind, api.ProviderChoice())
	}
	for _, kind := range provider.Kinds() {
		if err := p.byKind[kind.Name()].Validate(); err != nil {
			return err
		}
	}
	return nil
}

// fits rejects flags of a provider other than that of the new root.
func (p *providerFlags) fits(flags *pflag.FlagSet, kind string) error {
	for _, other := range api.ProviderKinds() {
		if given := changed(flags, other); other != kind && len(given) > 0 {
			return fmt.Errorf("%s: the provider of the new root is %s, which has no such flag; add --provider %s, or remove the flag", strings.Join(given, ", "), kind, other)
		}
	}
	return nil
}

// complete returns the provider of a new root, without the Secret of a built-in CA.
func (p *providerFlags) complete(kind string, present v1alpha2.ProviderSpec, values release.Values, namespace string) (v1alpha2.ProviderSpec, error) {
	base := present
	if present.Kind() != kind {
		base = provider.Named(kind).FromValues(values, namespace)
	}
	return p.byKind[kind].Complete(base, namespace)
}

func validRootName(name string) error {
	if faults := validation.IsDNS1123Subdomain(name); len(faults) > 0 {
		return fmt.Errorf("%q cannot be the name of an object: %s", name, faults[0])
	}
	return nil
}
