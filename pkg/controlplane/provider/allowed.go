package provider

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/osm-edge/osm/pkg/api"

	"github.com/spf13/pflag"

	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/controlplane/ca/certmanager"
)

// Allowed bounds what MeshRootCertificates may name, beside what the flags of the installation name
// themselves. Whoever may write such an object is not thereby trusted with the control plane's
// credentials: where they may go, the installation says. The zero value allows nothing more.
type Allowed struct {
	// Kinds are further kinds of providers.
	Kinds []string
	// VaultHosts are further Vault servers, as host:port.
	VaultHosts []string
	// VaultHTTP lets objects ask Vault over plain http.
	VaultHTTP bool
}

// Bind adds the flags to a set.
func (a *Allowed) Bind(set *pflag.FlagSet) {
	set.StringSliceVar(&a.Kinds, "additional-certificate-providers", nil, "kinds that MeshRootCertificates may name beside --certificate-provider: tresor, vault, cert-manager")
	set.StringSliceVar(&a.VaultHosts, "vault-allowed-hosts", nil, "servers, as HOST:PORT, that MeshRootCertificates may name beside that of --vault-address; no other is ever sent a token")
	set.BoolVar(&a.VaultHTTP, "vault-allow-http", false, "let MeshRootCertificates ask Vault over plain http, as an http --vault-address does")
}

// Validate says which flag is wrong and what to write instead.
func (a Allowed) Validate() error {
	var errs []error
	for _, kind := range a.Kinds {
		if !slices.Contains(api.ProviderKinds(), kind) {
			errs = append(errs, fmt.Errorf("--additional-certificate-providers %q: use tresor, vault or cert-manager", kind))
		}
	}
	for _, server := range a.VaultHosts {
		host, port, err := net.SplitHostPort(server)
		if number, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil || number == 0 || host == "" || strings.ContainsAny(host, "/@?#") {
			errs = append(errs, fmt.Errorf("--vault-allowed-hosts %q: want HOST:PORT, such as vault.vault.svc:8200", server))
		}
	}
	return errors.Join(errs...)
}

// vaultHosts are all servers that may be sent a token, as host:port.
func (c Config) vaultHosts() []string {
	hosts := slices.Clone(c.Allowed.VaultHosts)
	if own, err := url.Parse(c.Vault.Address); err == nil && own.Host != "" {
		hosts = append(hosts, net.JoinHostPort(own.Hostname(), cmp.Or(own.Port(), map[string]string{"http": "80", "https": "443"}[own.Scheme])))
	}
	return hosts
}

// allows says why an object may not name a kind of provider.
func (c Config) allows(kind Kind) error {
	if kind == cmp.Or(c.Kind, Tresor) || slices.Contains(c.Allowed.Kinds, string(kind)) {
		return nil
	}
	// --set replaces a list: the kinds that are allowed already stay.
	return fmt.Errorf("spec.provider is of kind %s, which is neither osm.certificateProvider.kind (%s) nor in additionalKinds (%s): make another MeshRootCertificate, or allow the kind with osm upgrade --set osm.certificateProvider.additionalKinds={%s}",
		kind, cmp.Or(c.Kind, Tresor), cmp.Or(strings.Join(c.Allowed.Kinds, ", "), "none"), strings.Join(append(slices.Clone(c.Allowed.Kinds), string(kind)), ","))
}

// allowsVault says why an object may not have a server asked.
func (c Config) allowsVault(p *v1alpha2.VaultProviderSpec) error {
	server := net.JoinHostPort(p.Host, strconv.Itoa(int(p.Port)))
	if hosts := c.vaultHosts(); !slices.Contains(hosts, server) {
		return fmt.Errorf("spec.provider.vault names the server %q, and a token may be sent to %s only: make another MeshRootCertificate, or add the server to osm.vault.allowedHosts with osm upgrade",
			server, cmp.Or(strings.Join(hosts, ", "), "none"))
	}
	switch p.Protocol {
	case "", "https":
		return nil
	case "http":
		if c.Allowed.VaultHTTP || strings.HasPrefix(c.Vault.Address, "http://") {
			return nil
		}
		return errors.New("spec.provider.vault.protocol is http, so that whoever reads along gets the token: make another MeshRootCertificate with https; http is for installations with osm.vault.protocol=http")
	}
	return fmt.Errorf("spec.provider.vault.protocol is %q: make another MeshRootCertificate with https", p.Protocol)
}

// allowsIssuer says why an object may not have an issuer of a kind asked. Its name is free: an issuer
// is shown no credential.
func (c Config) allowsIssuer(ref certmanager.IssuerRef) error {
	own := c.withDefaults().Issuer
	if ref.Kind == own.Kind && ref.Group == own.Group {
		return nil
	}
	return fmt.Errorf("spec.provider.certManager names an issuer of kind %q in group %q, and the installation allows %s in group %s: make another MeshRootCertificate, or change osm.certmanager.issuerKind and osm.certmanager.issuerGroup with osm upgrade",
		ref.Kind, ref.Group, own.Kind, own.Group)
}
