package rotate

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/osm-edge/osm/pkg/api"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/cli/check"
	"github.com/osm-edge/osm/pkg/cli/release"
)

// providerFlags say who signs with a new root. What is not given is as the present root has it, if
// that is of the same kind, or else as the chart's values have it.
type providerFlags struct {
	kind  string
	vault struct {
		host, protocol, role, token string
		port                        int
	}
	issuer check.Issuer
}

func (p *providerFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&p.kind, "provider", "", "who signs with the new root: tresor (built in), vault or cert-manager (default: that of the present root)")
	flags.StringVar(&p.vault.host, "vault-host", "", "host name or IP address of Vault")
	flags.IntVar(&p.vault.port, "vault-port", 0, "port of Vault (1-65535)")
	flags.StringVar(&p.vault.protocol, "vault-protocol", "", "how Vault is asked: https or http")
	flags.StringVar(&p.vault.role, "vault-role", "", "role of Vault's PKI engine that signs")
	flags.StringVar(&p.vault.token, "vault-token-secret", "", "NAME/KEY of a Secret in the mesh's namespace with a Vault token, instead of the login by ServiceAccount")
	flags.StringVar(&p.issuer.Name, "cert-manager-issuer", "", "name of the issuer; an Issuer must be in the mesh's namespace")
	flags.StringVar(&p.issuer.Kind, "cert-manager-issuer-kind", "", "kind of the issuer: Issuer, ClusterIssuer, or that of an external issuer")
	flags.StringVar(&p.issuer.Group, "cert-manager-issuer-group", "", "API group of the issuer")
}

// changed are those of the flags that were given, as --name; all that begin with one of the names.
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

// valid judges each flag alone.
func (p *providerFlags) valid() error {
	name, key, pair := strings.Cut(p.vault.token, "/")
	switch {
	case p.kind != "" && !slices.Contains(api.ProviderKinds(), p.kind):
		return fmt.Errorf("--provider: %q is not a provider; use tresor, vault or cert-manager", p.kind)
	case p.vault.port < 0 || p.vault.port > 65535:
		return fmt.Errorf("--vault-port: %d is not a port; use 1 to 65535", p.vault.port)
	case !slices.Contains([]string{"", "http", "https"}, p.vault.protocol):
		return fmt.Errorf("--vault-protocol: %q is not allowed; use https or http", p.vault.protocol)
	case p.vault.token != "" && (!pair || key == "" || len(validation.IsDNS1123Subdomain(name)) > 0):
		return fmt.Errorf("--vault-token-secret: %q does not name a Secret and a key; use NAME/KEY", p.vault.token)
	}
	return nil
}

// fits refuses flags of another provider than the one that is to sign.
func (p *providerFlags) fits(flags *pflag.FlagSet, kind string) error {
	for _, other := range []string{api.ProviderVault, api.ProviderCertManager} {
		if given := changed(flags, other); other != kind && len(given) > 0 {
			return fmt.Errorf("%s: the new root is one of %s, which takes no such flag; add --provider %s, or leave it out", strings.Join(given, ", "), kind, other)
		}
	}
	return nil
}

// complete is the provider of a new root of the kind, except for the Secret of the built-in one.
func (p *providerFlags) complete(kind string, present v1alpha2.ProviderSpec, values release.Values, namespace string) (v1alpha2.ProviderSpec, error) {
	base := present
	if kindOf(present) != kind {
		base = specOf(kind, values, namespace)
	}
	switch kind {
	case api.ProviderVault:
		return p.completeVault(*base.Vault, namespace)
	case api.ProviderCertManager:
		issuer := *base.CertManager
		issuer.IssuerName = cmp.Or(p.issuer.Name, issuer.IssuerName)
		issuer.IssuerKind = cmp.Or(p.issuer.Kind, issuer.IssuerKind, "Issuer")
		issuer.IssuerGroup = cmp.Or(p.issuer.Group, issuer.IssuerGroup, "cert-manager.io")
		if issuer.IssuerName == "" {
			return v1alpha2.ProviderSpec{}, errors.New("--cert-manager-issuer: name the issuer that is to sign")
		}
		return v1alpha2.ProviderSpec{CertManager: &issuer}, nil
	}
	return v1alpha2.ProviderSpec{Tresor: &v1alpha2.TresorProviderSpec{}}, nil
}

func (p *providerFlags) completeVault(vault v1alpha2.VaultProviderSpec, namespace string) (v1alpha2.ProviderSpec, error) {
	vault.Host = cmp.Or(p.vault.host, vault.Host)
	vault.Port = cmp.Or(int32(p.vault.port), vault.Port, 8200) //nolint:gosec // at most 65535
	vault.Protocol = cmp.Or(p.vault.protocol, vault.Protocol, "https")
	vault.Role = cmp.Or(p.vault.role, vault.Role, "openservicemesh")
	if name, key, ok := strings.Cut(p.vault.token, "/"); ok {
		vault.Token = &v1alpha2.VaultTokenSpec{SecretKeyRef: v1alpha2.SecretKeyRef{SecretRef: v1alpha2.SecretRef{Name: name, Namespace: namespace}, Key: key}}
	}
	if vault.Host == "" {
		return v1alpha2.ProviderSpec{}, errors.New("--vault-host: say where Vault is")
	}
	return v1alpha2.ProviderSpec{Vault: &vault}, nil
}

// specOf is the provider of a kind as the chart's values have it.
func specOf(kind string, values release.Values, namespace string) v1alpha2.ProviderSpec {
	switch kind {
	case api.ProviderVault:
		port, _ := values.Int("osm.vault.port")
		vault := &v1alpha2.VaultProviderSpec{
			Host: values.String("osm.vault.host"), Port: int32(port), //nolint:gosec // the chart's schema bounds it
			Protocol: values.String("osm.vault.protocol"), Role: values.String("osm.vault.role"),
		}
		if name := values.String("osm.vault.secret.name"); name != "" {
			ref := v1alpha2.SecretRef{Name: name, Namespace: namespace}
			vault.Token = &v1alpha2.VaultTokenSpec{SecretKeyRef: v1alpha2.SecretKeyRef{SecretRef: ref, Key: values.String("osm.vault.secret.key")}}
		}
		return v1alpha2.ProviderSpec{Vault: vault}
	case api.ProviderCertManager:
		return v1alpha2.ProviderSpec{CertManager: &v1alpha2.CertManagerProviderSpec{
			IssuerName: values.String("osm.certmanager.issuerName"), IssuerKind: values.String("osm.certmanager.issuerKind"), IssuerGroup: values.String("osm.certmanager.issuerGroup"),
		}}
	}
	return tresorSpec(values.String("osm.caBundleSecretName"), namespace)
}

func tresorSpec(secret, namespace string) v1alpha2.ProviderSpec {
	return v1alpha2.ProviderSpec{Tresor: &v1alpha2.TresorProviderSpec{CA: v1alpha2.TresorCASpec{SecretRef: v1alpha2.SecretRef{Name: secret, Namespace: namespace}}}}
}

func kindOf(spec v1alpha2.ProviderSpec) string {
	switch {
	case spec.Vault != nil:
		return api.ProviderVault
	case spec.CertManager != nil:
		return api.ProviderCertManager
	}
	return api.ProviderTresor
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
		return fmt.Sprintf("role %s of Vault at %s://%s:%d", spec.Vault.Role, cmp.Or(spec.Vault.Protocol, "https"), spec.Vault.Host, spec.Vault.Port)
	case spec.CertManager != nil:
		return fmt.Sprintf("cert-manager's %s %s", cmp.Or(spec.CertManager.IssuerKind, "Issuer"), spec.CertManager.IssuerName)
	}
	return "Secret " + secretOf(spec)
}

// checkedProvider converts a provider for the checks.
func checkedProvider(spec v1alpha2.ProviderSpec) check.Provider {
	p := check.Provider{Kind: kindOf(spec)}
	if vault := spec.Vault; vault != nil {
		p.Vault = fmt.Sprintf("%s://%s:%d", cmp.Or(vault.Protocol, "https"), vault.Host, vault.Port)
		if vault.Token != nil {
			p.Secret, p.Key = vault.Token.SecretKeyRef.Name, vault.Token.SecretKeyRef.Key
		}
	}
	if issuer := spec.CertManager; issuer != nil {
		p.Issuer = check.Issuer{Name: issuer.IssuerName, Kind: cmp.Or(issuer.IssuerKind, "Issuer"), Group: cmp.Or(issuer.IssuerGroup, "cert-manager.io")}
	}
	return p
}

func validRootName(name string) error {
	if faults := validation.IsDNS1123Subdomain(name); len(faults) > 0 {
		return fmt.Errorf("%q cannot be the name of an object: %s", name, faults[0])
	}
	return nil
}
