package certmanager

import (
	"cmp"
	"fmt"

	"github.com/spf13/pflag"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/controlplane/ca/source"
)

// DefaultIssuer is the issuer of an installation that names none.
const DefaultIssuer = "osm-ca"

// Flags are what the installation says about cert-manager. It is a source.Kind.
type Flags struct {
	Issuer IssuerRef
}

var _ source.Kind = (*Flags)(nil)

// Name is the kind.
func (f *Flags) Name() string { return api.ProviderCertManager }

// Bind adds the flags to a set, with their defaults.
func (f *Flags) Bind(set *pflag.FlagSet) {
	set.StringVar(&f.Issuer.Name, "cert-manager-issuer", DefaultIssuer, "name of cert-manager's issuer")
	set.StringVar(&f.Issuer.Kind, "cert-manager-issuer-kind", KindIssuer, "Issuer, in --osm-namespace, or ClusterIssuer, or the kind of an external issuer")
	set.StringVar(&f.Issuer.Group, "cert-manager-issuer-group", Group, "API group of the issuer")
}

// issuer is the issuer of the flags, even if they were not bound.
func (f *Flags) issuer() IssuerRef {
	return IssuerRef{Name: cmp.Or(f.Issuer.Name, DefaultIssuer), Kind: cmp.Or(f.Issuer.Kind, KindIssuer), Group: cmp.Or(f.Issuer.Group, Group)}
}

// Validate returns an error that names the wrong flag, if cert-manager signs.
func (f *Flags) Validate(selected string) error {
	if selected != f.Name() {
		return nil
	}
	return validIssuer(f.issuer())
}

func validIssuer(ref IssuerRef) error {
	if ref.Group == Group && ref.Kind != KindIssuer && ref.Kind != KindClusterIssuer {
		return fmt.Errorf("--cert-manager-issuer-kind %q: use Issuer or ClusterIssuer, or give the group of an external issuer by --cert-manager-issuer-group", ref.Kind)
	}
	return nil
}

// Spec is the issuer of the flags.
func (f *Flags) Spec(string) (v1alpha2.ProviderSpec, error) {
	issuer := f.issuer()
	return v1alpha2.ProviderSpec{CertManager: &v1alpha2.CertManagerProviderSpec{
		IssuerName: issuer.Name, IssuerKind: issuer.Kind, IssuerGroup: issuer.Group,
	}}, validIssuer(issuer)
}

// Accept rejects issuers of another kind or group than the installation's. The name is not restricted: an
// issuer receives no credentials.
func (f *Flags) Accept(spec v1alpha2.ProviderSpec, _ string) (v1alpha2.ProviderSpec, error) {
	own, issuer := f.issuer(), spec.CertManager.WithDefaults()
	issuer.IssuerName = cmp.Or(issuer.IssuerName, DefaultIssuer)
	if issuer.IssuerKind != own.Kind || issuer.IssuerGroup != own.Group {
		return v1alpha2.ProviderSpec{}, fmt.Errorf("spec.provider.certManager names an issuer of kind %q in group %q, and the installation allows %s in group %s: make another MeshRootCertificate, or change osm.certmanager.issuerKind and osm.certmanager.issuerGroup with osm upgrade",
			issuer.IssuerKind, issuer.IssuerGroup, own.Kind, own.Group)
	}
	if err := validIssuer(own); err != nil {
		return v1alpha2.ProviderSpec{}, err
	}
	return v1alpha2.ProviderSpec{CertManager: &issuer}, nil
}

// Open opens the issuer of a spec.
func (f *Flags) Open(spec v1alpha2.ProviderSpec, env source.Env) (source.Source, error) {
	issuer := spec.CertManager
	config := Config{
		Client: env.Dynamic, Namespace: env.Namespace, Mesh: env.Mesh, TrustDomain: env.TrustDomain,
		Issuer: IssuerRef{Name: issuer.IssuerName, Kind: issuer.IssuerKind, Group: issuer.IssuerGroup},
		Report: env.Report, Now: env.Now, Log: env.Log,
	}
	authority, err := New(config)
	if err != nil {
		return nil, err
	}
	return source.Remote(authority, config.String(), env.Metrics), nil
}
