package vault

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/controlplane/ca/source"
)

// DefaultLoginToken is where the chart mounts the token that Vault receives.
const DefaultLoginToken = "/etc/osm/vault-login/token" // #nosec G101 -- a path

// apiToken is the directory of the token that the API server accepts, which no other server may receive.
const apiToken = "secrets/kubernetes.io/serviceaccount"

// errAddress does not repeat the address, which may hold a password.
var errAddress = errors.New("--vault-address: want https:// with a host and a port and nothing else, such as https://vault.vault:8200")

// Flags are what the installation says about Vault. It is a source.Kind.
type Flags struct {
	// Address is the URL of the Vault that signs by default.
	Address string
	// Role of the PKI engine signs by default.
	Role string
	// Mount, Namespace and LoginMount are paths in every Vault, LoginRole is the auth method's role;
	// empty means the name of the PKI engine's role.
	Mount, Namespace, LoginMount, LoginRole string
	// LoginTokenFile holds the ServiceAccount token to log in with, for an audience of Vault's own.
	LoginTokenFile string
	// TokenFile holds a ready-made token; empty means a login by ServiceAccount.
	TokenFile string
	// TokenSecret names the Secret that TokenFile is mounted from, as NAME/KEY: this is how a
	// MeshRootCertificate refers to it.
	TokenSecret string
	// CAFile holds the certificates that verify the server; empty means those of the system.
	CAFile string
	// AllowedHosts are further servers, as HOST:PORT, that MeshRootCertificates may name.
	AllowedHosts []string
	// AllowHTTP lets MeshRootCertificates ask for plain http.
	AllowHTTP bool
}

var _ source.Kind = (*Flags)(nil)

// Name is the kind.
func (f *Flags) Name() string { return api.ProviderVault }

// Bind adds the flags to a set, with their defaults.
func (f *Flags) Bind(set *pflag.FlagSet) {
	set.StringVar(&f.Address, "vault-address", "", "URL of Vault, such as https://vault.vault:8200")
	set.StringVar(&f.Mount, "vault-mount", DefaultMount, "path of Vault's PKI engine")
	set.StringVar(&f.Role, "vault-role", v1alpha2.DefaultVaultRole, "role of the PKI engine that signs")
	set.StringVar(&f.Namespace, "vault-namespace", "", "namespace inside Vault, if it has namespaces")
	set.StringVar(&f.LoginMount, "vault-login-mount", DefaultLoginMount, "path of the auth method that takes ServiceAccount tokens")
	set.StringVar(&f.LoginRole, "vault-login-role", "", "role of the auth method (default: the name of --vault-role)")
	set.StringVar(&f.LoginTokenFile, "vault-login-token-file", DefaultLoginToken, "file with the ServiceAccount token that Vault receives, projected for an audience of its own; never the pod's token for the API server")
	set.StringVar(&f.TokenFile, "vault-token-file", "", "file with a Vault token, read before each request (default: log in by ServiceAccount)")
	set.StringVar(&f.TokenSecret, "vault-token-secret", "", "Secret that --vault-token-file is mounted from, as NAME/KEY: MeshRootCertificates refer to it")
	set.StringVar(&f.CAFile, "vault-ca-file", "", "PEM file with the CA certificates that verify Vault (default: those of the system)")
	set.StringSliceVar(&f.AllowedHosts, "vault-allowed-hosts", nil, "servers, as HOST:PORT, that MeshRootCertificates may name in addition to that of --vault-address; no other server ever receives a token")
	set.BoolVar(&f.AllowHTTP, "vault-allow-http", false, "let MeshRootCertificates use plain http, as an http --vault-address does")
}

// withDefaults fills in what flags that were not bound lack.
func (f Flags) withDefaults() Flags {
	f.Mount = cmp.Or(f.Mount, DefaultMount)
	f.Role = cmp.Or(f.Role, v1alpha2.DefaultVaultRole)
	f.LoginMount = cmp.Or(f.LoginMount, DefaultLoginMount)
	f.LoginTokenFile = cmp.Or(f.LoginTokenFile, DefaultLoginToken)
	return f
}

// Validate returns an error that names the wrong flag and what to write instead.
func (f *Flags) Validate(selected string) error {
	return errors.Join(f.validateSigner(selected), f.validateHosts())
}

func (f *Flags) validateSigner(selected string) error {
	if selected == f.Name() {
		_, err := f.Spec("")
		return err
	}
	if f.Address != "" { // the user meant Vault to sign
		return fmt.Errorf("--vault-address %s is given while --certificate-provider is %s: use --certificate-provider=vault, or omit --vault-address", f.Address, selected)
	}
	return nil
}

func (f *Flags) validateHosts() error {
	var errs []error
	for _, server := range f.AllowedHosts {
		host, port, err := net.SplitHostPort(server)
		if number, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil || number == 0 || host == "" || strings.ContainsAny(host, "/@?#") {
			errs = append(errs, fmt.Errorf("--vault-allowed-hosts %q: want HOST:PORT, such as vault.vault.svc:8200", server))
		}
	}
	return errors.Join(errs...)
}

// Spec is the Vault of the flags.
func (f *Flags) Spec(namespace string) (v1alpha2.ProviderSpec, error) {
	if f.Address == "" {
		return v1alpha2.ProviderSpec{}, errors.New("--certificate-provider=vault needs --vault-address, such as https://vault.vault:8200")
	}
	vault, err := parseAddress(f.Address)
	if err != nil {
		return v1alpha2.ProviderSpec{}, err
	}
	if vault.Protocol == "http" && f.CAFile != "" {
		return v1alpha2.ProviderSpec{}, fmt.Errorf("--vault-ca-file %s has no effect on the plain http of --vault-address %s: use https, or omit --vault-ca-file", f.CAFile, f.Address)
	}
	vault.Role = cmp.Or(f.Role, v1alpha2.DefaultVaultRole)
	if f.TokenFile != "" {
		name, key, _ := strings.Cut(f.TokenSecret, "/") // a file without a Secret is a token without a name
		vault.Token = v1alpha2.VaultToken(namespace, name, key)
	}
	return v1alpha2.ProviderSpec{Vault: &vault}, f.validateFiles(vault.Token != nil)
}

// parseAddress reads protocol, host and port from a URL that holds nothing else.
func parseAddress(address string) (v1alpha2.VaultProviderSpec, error) {
	u, err := url.Parse(address)
	if err != nil || u.Hostname() == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return v1alpha2.VaultProviderSpec{}, errAddress
	}
	port, known := map[string]string{"http": "80", "https": "443"}[u.Scheme]
	number, err := strconv.ParseUint(cmp.Or(u.Port(), port), 10, 16)
	if !known || err != nil || number == 0 {
		return v1alpha2.VaultProviderSpec{}, errAddress
	}
	return v1alpha2.VaultProviderSpec{Protocol: u.Scheme, Host: u.Hostname(), Port: int32(number)}, nil
}

// validateFiles returns an error if a file must not be used. token reports whether the provider uses a ready-made token.
func (f *Flags) validateFiles(token bool) error {
	if strings.Contains(path.Clean(f.LoginTokenFile), apiToken) || token && strings.Contains(path.Clean(f.TokenFile), apiToken) {
		return errors.New("--vault-login-token-file and --vault-token-file must not be the pod's token for the API server, with which Vault could act as the control plane: project a token with an audience of Vault's own")
	}
	if token && f.LoginRole != "" {
		return errors.New("--vault-token-file and --vault-login-role are mutually exclusive: omit one of them")
	}
	return nil
}

// Accept rejects servers, protocols and tokens that the installation does not name.
func (f *Flags) Accept(spec v1alpha2.ProviderSpec, namespace string) (v1alpha2.ProviderSpec, error) {
	vault := spec.Vault.WithDefaults()
	vault.Role = cmp.Or(vault.Role, v1alpha2.DefaultVaultRole)
	if err := f.allowsServer(vault); err != nil {
		return v1alpha2.ProviderSpec{}, err
	}
	if vault.Token != nil {
		if ref := vault.Token.SecretKeyRef; f.TokenFile == "" || ref.Namespace != namespace || ref.Name+"/"+ref.Key != f.TokenSecret {
			return v1alpha2.ProviderSpec{}, fmt.Errorf("spec.provider.vault.token is key %s of Secret %s/%s, which the control plane does not mount: set osm.vault.secret.name and osm.vault.secret.key to it with osm upgrade",
				ref.Key, ref.Namespace, ref.Name)
		}
	}
	if err := f.validateFiles(vault.Token != nil); err != nil {
		return v1alpha2.ProviderSpec{}, err
	}
	return v1alpha2.ProviderSpec{Vault: &vault}, nil
}

// allowsServer returns an error if an object may not name the server.
func (f *Flags) allowsServer(vault v1alpha2.VaultProviderSpec) error {
	if hosts := f.hosts(); !slices.Contains(hosts, vault.Server()) {
		return fmt.Errorf("spec.provider.vault names the server %q, and a token may be sent to %s only: make another MeshRootCertificate, or add the server to osm.vault.allowedHosts with osm upgrade",
			vault.Server(), cmp.Or(strings.Join(hosts, ", "), "none"))
	}
	switch {
	case vault.Protocol == "https", vault.Protocol == "http" && (f.AllowHTTP || strings.HasPrefix(f.Address, "http://")):
		return nil
	case vault.Protocol == "http":
		return errors.New("spec.provider.vault.protocol is http, which would expose the token to the network: make another MeshRootCertificate with https; http is for installations with osm.vault.protocol=http")
	}
	return fmt.Errorf("spec.provider.vault.protocol is %q: make another MeshRootCertificate with https", vault.Protocol)
}

// hosts are all servers that may receive a token, as HOST:PORT.
func (f *Flags) hosts() []string {
	hosts := slices.Clone(f.AllowedHosts)
	if own, err := parseAddress(f.Address); err == nil {
		hosts = append(hosts, own.Server())
	}
	return hosts
}
