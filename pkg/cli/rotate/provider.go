package rotate

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/cli/release"
)

// providerFlags describe the provider of a new root. Flags that are not set default to the present root's
// settings if its provider is of the same kind, else to the chart's values.
type providerFlags struct {
	kind   string
	vault  v1alpha2.VaultProviderSpec // without port and token
	port   int
	token  string // NAME/KEY
	issuer v1alpha2.CertManagerProviderSpec
}

func (p *providerFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&p.kind, "provider", "", "provider of the new root: "+api.ProviderChoice()+" (default: the present root's)")
	flags.StringVar(&p.vault.Host, "vault-host", "", "host name or IP address of Vault")
	flags.IntVar(&p.port, "vault-port", 0, "port of Vault (1-65535)")
	flags.StringVar(&p.vault.Protocol, "vault-protocol", "", "protocol to reach Vault: https or http")
	flags.StringVar(&p.vault.Role, "vault-role", "", "role of Vault's PKI engine that signs")
	flags.StringVar(&p.token, "vault-token-secret", "", "NAME/KEY of a Secret in the mesh's namespace with a Vault token, instead of a login with the ServiceAccount")
	flags.StringVar(&p.issuer.IssuerName, "cert-manager-issuer", "", "name of the issuer; an Issuer must be in the mesh's namespace")
	flags.StringVar(&p.issuer.IssuerKind, "cert-manager-issuer-kind", "", "kind of the issuer: Issuer, ClusterIssuer, or the kind of an external issuer")
	flags.StringVar(&p.issuer.IssuerGroup, "cert-manager-issuer-group", "", "API group of the issuer")
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
	return changed(flags, "provider", api.ProviderVault, api.ProviderCertManager)
}

// valid checks each flag by itself.
func (p *providerFlags) valid() error {
	name, key, pair := strings.Cut(p.token, "/")
	switch {
	case p.kind != "" && !slices.Contains(api.ProviderKinds(), p.kind):
		return fmt.Errorf("--provider: %q is not a provider; use %s", p.kind, api.ProviderChoice())
	case p.port < 0 || p.port > 65535:
		return fmt.Errorf("--vault-port: %d is not a port; use 1 to 65535", p.port)
	case !slices.Contains([]string{"", "http", "https"}, p.vault.Protocol):
		return fmt.Errorf("--vault-protocol: %q is not allowed; use https or http", p.vault.Protocol)
	case p.token != "" && (!pair || key == "" || len(validation.IsDNS1123Subdomain(name)) > 0):
		return fmt.Errorf("--vault-token-secret: %q does not name a Secret and a key; use NAME/KEY", p.token)
	}
	return nil
}

// fits refuses flags of a provider other than that of the new root.
func (p *providerFlags) fits(flags *pflag.FlagSet, kind string) error {
	for _, other := range []string{api.ProviderVault, api.ProviderCertManager} {
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
		base = values.Provider(kind, namespace)
	}
	switch kind {
	case api.ProviderVault:
		return p.completeVault(*base.Vault, namespace)
	case api.ProviderCertManager:
		issuer := *base.CertManager
		issuer.IssuerName = cmp.Or(p.issuer.IssuerName, issuer.IssuerName)
		issuer.IssuerKind = cmp.Or(p.issuer.IssuerKind, issuer.IssuerKind, v1alpha2.DefaultIssuerKind)
		issuer.IssuerGroup = cmp.Or(p.issuer.IssuerGroup, issuer.IssuerGroup, v1alpha2.DefaultIssuerGroup)
		if issuer.IssuerName == "" {
			return v1alpha2.ProviderSpec{}, errors.New("--cert-manager-issuer: set the name of the issuer")
		}
		return v1alpha2.ProviderSpec{CertManager: &issuer}, nil
	}
	return v1alpha2.ProviderSpec{Tresor: &v1alpha2.TresorProviderSpec{}}, nil
}

func (p *providerFlags) completeVault(vault v1alpha2.VaultProviderSpec, namespace string) (v1alpha2.ProviderSpec, error) {
	vault.Host = cmp.Or(p.vault.Host, vault.Host)
	vault.Port = cmp.Or(int32(p.port), vault.Port, 8200) //nolint:gosec // at most 65535
	vault.Protocol = cmp.Or(p.vault.Protocol, vault.Protocol, v1alpha2.DefaultVaultProtocol)
	vault.Role = cmp.Or(p.vault.Role, vault.Role, v1alpha2.DefaultVaultRole)
	if name, key, ok := strings.Cut(p.token, "/"); ok {
		vault.Token = v1alpha2.VaultToken(namespace, name, key)
	}
	if vault.Host == "" {
		return v1alpha2.ProviderSpec{}, errors.New("--vault-host: set the host name or IP address of Vault")
	}
	return v1alpha2.ProviderSpec{Vault: &vault}, nil
}

// secretOf is the Secret that holds a root's key, "" when the key is elsewhere.
func secretOf(spec v1alpha2.ProviderSpec) string {
	if spec.Tresor == nil {
		return ""
	}
	return spec.Tresor.CA.SecretRef.Name
}

// rootLocation describes where the key of a root is.
func rootLocation(spec v1alpha2.ProviderSpec) string {
	switch {
	case spec.Vault != nil:
		return fmt.Sprintf("role %s of Vault at %s", spec.Vault.Role, spec.Vault.Address())
	case spec.CertManager != nil:
		return fmt.Sprintf("cert-manager's %s %s", spec.CertManager.WithDefaults().IssuerKind, spec.CertManager.IssuerName)
	}
	return "Secret " + secretOf(spec)
}

func validRootName(name string) error {
	if faults := validation.IsDNS1123Subdomain(name); len(faults) > 0 {
		return fmt.Errorf("%q cannot be the name of an object: %s", name, faults[0])
	}
	return nil
}
