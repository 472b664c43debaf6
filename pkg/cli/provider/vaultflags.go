package provider

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
)

// defaultVaultPort is the port that Vault listens on unless it is told otherwise.
const defaultVaultPort = 8200

type vaultFlags struct {
	vault v1alpha2.VaultProviderSpec // without port and token
	port  int
	token string // NAME/KEY
}

func (f *vaultFlags) Bind(set *pflag.FlagSet) {
	set.StringVar(&f.vault.Host, "vault-host", "", "host name or IP address of Vault")
	set.IntVar(&f.port, "vault-port", 0, "port of Vault (1-65535)")
	set.StringVar(&f.vault.Protocol, "vault-protocol", "", "protocol to reach Vault: https or http")
	set.StringVar(&f.vault.Role, "vault-role", "", "role of Vault's PKI engine that signs")
	set.StringVar(&f.token, "vault-token-secret", "", "NAME/KEY of a Secret in the mesh's namespace with a Vault token, instead of a login with the ServiceAccount")
}

func (f *vaultFlags) Validate() error {
	name, key, pair := strings.Cut(f.token, "/")
	switch {
	case f.port < 0 || f.port > 65535:
		return fmt.Errorf("--vault-port: %d is not a port; use 1 to 65535", f.port)
	case !slices.Contains([]string{"", "http", "https"}, f.vault.Protocol):
		return fmt.Errorf("--vault-protocol: %q is not allowed; use https or http", f.vault.Protocol)
	case f.token != "" && (!pair || key == "" || len(validation.IsDNS1123Subdomain(name)) > 0):
		return fmt.Errorf("--vault-token-secret: %q does not name a Secret and a key; use NAME/KEY", f.token)
	}
	return nil
}

func (f *vaultFlags) Complete(base v1alpha2.ProviderSpec, namespace string) (v1alpha2.ProviderSpec, error) {
	vault := *base.Vault
	vault.Host = cmp.Or(f.vault.Host, vault.Host)
	vault.Port = cmp.Or(int32(f.port), vault.Port, defaultVaultPort) //nolint:gosec // at most 65535
	vault.Protocol = cmp.Or(f.vault.Protocol, vault.Protocol, v1alpha2.DefaultVaultProtocol)
	vault.Role = cmp.Or(f.vault.Role, vault.Role, v1alpha2.DefaultVaultRole)
	if name, key, ok := strings.Cut(f.token, "/"); ok {
		vault.Token = v1alpha2.VaultToken(namespace, name, key)
	}
	if vault.Host == "" {
		return v1alpha2.ProviderSpec{}, errors.New("--vault-host: set the host name or IP address of Vault")
	}
	return v1alpha2.ProviderSpec{Vault: &vault}, nil
}
