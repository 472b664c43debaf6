package provider

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"path"
	"strings"

	"github.com/osm-edge/osm/pkg/api"

	"github.com/spf13/pflag"

	"github.com/osm-edge/osm/pkg/controlplane/ca/certmanager"
	"github.com/osm-edge/osm/pkg/controlplane/ca/vault"
)

// Kind is who signs, as the flag and the chart spell it.
type Kind string

// The kinds.
const (
	// Tresor is the built-in CA, whose key is in a Secret of the mesh.
	Tresor Kind = api.ProviderTresor
	// Vault is the PKI engine of a server that speaks Vault's API.
	Vault Kind = api.ProviderVault
	// CertManager is an issuer of cert-manager.
	CertManager Kind = api.ProviderCertManager
)

// DefaultIssuer and DefaultVaultRole are OSM's names.
const (
	DefaultIssuer    = "osm-ca"
	DefaultVaultRole = "openservicemesh"
)

// DefaultVaultLoginToken is where the chart mounts the token that Vault is shown; apiToken is the
// folder of the one that the API server accepts, which nobody else is shown.
const (
	DefaultVaultLoginToken = "/etc/osm/vault-login/token" // #nosec G101 -- a path
	apiToken               = "secrets/kubernetes.io/serviceaccount"
)

// Flags choose the provider. The zero value is Tresor.
type Flags struct {
	Kind   Kind
	Vault  VaultFlags
	Issuer certmanager.IssuerRef
}

// VaultFlags say where Vault is and how to prove who asks.
type VaultFlags struct {
	Address, Mount, Role, Namespace string
	LoginMount, LoginRole           string
	// LoginTokenFile holds the ServiceAccount token to log in with, for an audience of Vault's own.
	LoginTokenFile string
	// TokenFile holds a token that somebody else made; empty means a login by ServiceAccount.
	TokenFile string
	// TokenSecret names the Secret that TokenFile is mounted from, as name/key: how a
	// MeshRootCertificate refers to it.
	TokenSecret string
	// CAFile holds the certificates that verify the server; empty means those of the system.
	CAFile string
}

// Bind adds the flags to a set, with their defaults.
func (f *Flags) Bind(set *pflag.FlagSet) {
	set.StringVar((*string)(&f.Kind), "certificate-provider", string(Tresor), "who signs certificates: tresor, vault or cert-manager")
	v := &f.Vault
	set.StringVar(&v.Address, "vault-address", "", "URL of Vault, such as https://vault.vault:8200")
	set.StringVar(&v.Mount, "vault-mount", vault.DefaultMount, "path of Vault's PKI engine")
	set.StringVar(&v.Role, "vault-role", DefaultVaultRole, "role of the PKI engine that signs")
	set.StringVar(&v.Namespace, "vault-namespace", "", "namespace inside Vault, where it has such")
	set.StringVar(&v.LoginMount, "vault-login-mount", vault.DefaultLoginMount, "path of the auth method that takes ServiceAccount tokens")
	set.StringVar(&v.LoginRole, "vault-login-role", "", "role of the auth method (default: the name of --vault-role)")
	set.StringVar(&v.LoginTokenFile, "vault-login-token-file", DefaultVaultLoginToken, "file with the ServiceAccount token that Vault is shown, projected for an audience of its own; never the pod's token for the API server")
	set.StringVar(&v.TokenFile, "vault-token-file", "", "file with a Vault token, read before each request (default: log in by ServiceAccount)")
	set.StringVar(&v.TokenSecret, "vault-token-secret", "", "what --vault-token-file is mounted from, as NAME/KEY of a Secret: what MeshRootCertificates call it")
	set.StringVar(&v.CAFile, "vault-ca-file", "", "PEM file with the CA certificates that verify Vault (default: those of the system)")
	set.StringVar(&f.Issuer.Name, "cert-manager-issuer", DefaultIssuer, "name of cert-manager's issuer")
	set.StringVar(&f.Issuer.Kind, "cert-manager-issuer-kind", certmanager.KindIssuer, "Issuer, in --osm-namespace, or ClusterIssuer, or the kind of an external issuer")
	set.StringVar(&f.Issuer.Group, "cert-manager-issuer-group", certmanager.Group, "API group of the issuer")
}

// withDefaults fills in what a Flags that was not bound lacks.
func (f Flags) withDefaults() Flags {
	f.Kind = cmp.Or(f.Kind, Tresor)
	f.Vault.Mount = cmp.Or(f.Vault.Mount, vault.DefaultMount)
	f.Vault.Role = cmp.Or(f.Vault.Role, DefaultVaultRole)
	f.Vault.LoginMount = cmp.Or(f.Vault.LoginMount, vault.DefaultLoginMount)
	f.Vault.LoginTokenFile = cmp.Or(f.Vault.LoginTokenFile, DefaultVaultLoginToken)
	f.Issuer.Name = cmp.Or(f.Issuer.Name, DefaultIssuer)
	f.Issuer.Kind = cmp.Or(f.Issuer.Kind, certmanager.KindIssuer)
	f.Issuer.Group = cmp.Or(f.Issuer.Group, certmanager.Group)
	return f
}

// Validate says which flag is wrong and what to write instead.
func (f Flags) Validate() error {
	f = f.withDefaults()
	switch f.Kind {
	case Tresor:
		return f.withoutVault()
	case Vault:
		return f.Vault.validate()
	case CertManager:
		if err := f.withoutVault(); err != nil {
			return err
		}
		return validIssuer(f.Issuer)
	}
	return fmt.Errorf("--certificate-provider %q: use tresor, vault or cert-manager", string(f.Kind))
}

// withoutVault refuses an address that nobody would ask: the wish was another one.
func (f Flags) withoutVault() error {
	if f.Vault.Address == "" {
		return nil
	}
	return fmt.Errorf("--vault-address %s is given while --certificate-provider is %s: use --certificate-provider=vault, or leave the address out", f.Vault.Address, f.Kind)
}

func (v VaultFlags) validate() error {
	if v.Address == "" {
		return errors.New("--certificate-provider=vault needs --vault-address, such as https://vault.vault:8200")
	}
	u, err := url.Parse(v.Address)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.User != nil {
		return errors.New("--vault-address: want https:// with a host and a port and nothing else, such as https://vault.vault:8200")
	}
	if u.Scheme == "http" && v.CAFile != "" {
		return fmt.Errorf("--vault-ca-file %s has no effect on the plain http of --vault-address %s: use https, or leave the file out", v.CAFile, v.Address)
	}
	if strings.Contains(path.Clean(v.LoginTokenFile), apiToken) || strings.Contains(path.Clean(v.TokenFile), apiToken) {
		return errors.New("--vault-login-token-file and --vault-token-file must not be the pod's token for the API server, with which Vault could act as the control plane: project a token with an audience of Vault's own")
	}
	if v.TokenFile != "" && v.LoginRole != "" {
		return errors.New("--vault-token-file and --vault-login-role exclude each other: leave out the one that is not to be used")
	}
	return nil
}

func validIssuer(ref certmanager.IssuerRef) error {
	if ref.Group == certmanager.Group && ref.Kind != certmanager.KindIssuer && ref.Kind != certmanager.KindClusterIssuer {
		return fmt.Errorf("--cert-manager-issuer-kind %q: use Issuer or ClusterIssuer, or give the group of an external issuer by --cert-manager-issuer-group", ref.Kind)
	}
	return nil
}
