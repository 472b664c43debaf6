package provider

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/pflag"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/cli/cluster"
)

// certManagerGroup is the API group of cert-manager, with the version that osm uses.
const (
	certManagerGroup   = v1alpha2.DefaultIssuerGroup
	certManagerVersion = certManagerGroup + "/v1"
)

// certManager is an issuer of cert-manager.
type certManager struct{}

func (certManager) Name() string { return api.ProviderCertManager }

func (certManager) FromValues(values Values, _ string) v1alpha2.ProviderSpec {
	return v1alpha2.ProviderSpec{CertManager: &v1alpha2.CertManagerProviderSpec{
		IssuerName: values.String("osm.certmanager.issuerName"), IssuerKind: values.String("osm.certmanager.issuerKind"), IssuerGroup: values.String("osm.certmanager.issuerGroup"),
	}}
}

func (certManager) Location(spec v1alpha2.ProviderSpec) string {
	return fmt.Sprintf("cert-manager's %s %s", spec.CertManager.WithDefaults().IssuerKind, spec.CertManager.IssuerName)
}

func (certManager) Flags() Flags { return new(certManagerFlags) }

// Check checks that the issuer exists and is ready.
func (c certManager) Check(ctx context.Context, clients *cluster.Clients, target Target) (unchecked, err error) {
	resources, err := clients.Discovery.ServerResourcesForGroupVersion(certManagerVersion)
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("look for cert-manager (%s): %w", certManagerVersion, err)
	}
	if err != nil || !slices.ContainsFunc(resources.APIResources, func(r metav1.APIResource) bool { return r.Kind == "CertificateRequest" }) {
		return nil, fmt.Errorf("%s is cert-manager, but the cluster does not serve CertificateRequests of %s; install cert-manager first",
			target.name("--provider", "osm.certificateProvider.kind"), certManagerVersion)
	}
	issuer := target.Spec.CertManager.WithDefaults()
	if issuer.IssuerGroup != certManagerGroup {
		return fmt.Errorf("cannot check from here whether the external issuer %s.%s %q signs", issuer.IssuerKind, issuer.IssuerGroup, issuer.IssuerName), nil
	}
	return checkIssuer(ctx, clients, target, issuer)
}

func checkIssuer(ctx context.Context, clients *cluster.Clients, target Target, issuer v1alpha2.CertManagerProviderSpec) (unchecked, err error) {
	name, path := fmt.Sprintf("ClusterIssuer %q", issuer.IssuerName), "clusterissuers/"+issuer.IssuerName
	if issuer.IssuerKind == v1alpha2.DefaultIssuerKind {
		name, path = fmt.Sprintf("Issuer %q in namespace %s", issuer.IssuerName, target.Namespace), "namespaces/"+target.Namespace+"/issuers/"+issuer.IssuerName
	}
	data, err := clients.Discovery.RESTClient().Get().AbsPath("/apis/" + certManagerVersion + "/" + path).DoRaw(ctx)
	switch {
	case apierrors.IsNotFound(err):
		return nil, fmt.Errorf("%s: there is no %s; create it, or name the right one with %s", target.name("--cert-manager-issuer", "osm.certmanager"), name,
			target.name("--cert-manager-issuer and --cert-manager-issuer-kind", "osm.certmanager.issuerName and issuerKind"))
	case apierrors.IsForbidden(err):
		return fmt.Errorf("cannot check whether the %s is ready: you are not allowed to read it", name), nil
	case err != nil:
		return nil, fmt.Errorf("read the %s: %w", name, err)
	}
	return nil, issuerReady(name, data)
}

// issuerReady reads an issuer's condition.
func issuerReady(name string, issuer []byte) error {
	var found struct {
		Status struct{ Conditions []metav1.Condition }
	}
	if err := json.Unmarshal(issuer, &found); err != nil {
		return fmt.Errorf("read the %s: %w", name, err)
	}
	for _, c := range found.Status.Conditions {
		if c.Type == "Ready" && c.Status == metav1.ConditionTrue {
			return nil
		}
		if c.Type == "Ready" {
			return fmt.Errorf("the %s is not ready: %s; fix it first, or the control plane will wait for it", name, c.Message)
		}
	}
	return fmt.Errorf("the %s does not report yet that it is ready; check that cert-manager runs, or the control plane will wait for it", name)
}

func (certManager) Permission(target Target) authorizationv1.ResourceAttributes {
	return authorizationv1.ResourceAttributes{Verb: "create", Group: certManagerGroup, Resource: "certificaterequests", Namespace: target.Namespace}
}

// Prepared refuses issuers of a kind that the control plane would refuse.
func (certManager) Prepared(i Installation, spec v1alpha2.ProviderSpec) error {
	if !slices.Contains(i.Kinds(), api.ProviderCertManager) {
		return nil // the check of the permission says what to do
	}
	issuer := spec.CertManager
	kind, group := i.Values.String("osm.certmanager.issuerKind"), i.Values.String("osm.certmanager.issuerGroup")
	if issuer.IssuerKind == kind && issuer.IssuerGroup == group {
		return nil
	}
	return fmt.Errorf("the control plane uses issuers of kind %s in group %s only, and the new root's issuer is of kind %s in group %s; change that first: %s --set osm.certmanager.issuerKind=%s,osm.certmanager.issuerGroup=%s",
		kind, group, issuer.IssuerKind, issuer.IssuerGroup, i.Upgrade, issuer.IssuerKind, issuer.IssuerGroup)
}

func (certManager) Settings(v1alpha2.ProviderSpec) string { return "" }

type certManagerFlags struct {
	issuer v1alpha2.CertManagerProviderSpec
}

func (f *certManagerFlags) Bind(set *pflag.FlagSet) {
	set.StringVar(&f.issuer.IssuerName, "cert-manager-issuer", "", "name of the issuer; an Issuer must be in the mesh's namespace")
	set.StringVar(&f.issuer.IssuerKind, "cert-manager-issuer-kind", "", "kind of the issuer: Issuer, ClusterIssuer, or the kind of an external issuer")
	set.StringVar(&f.issuer.IssuerGroup, "cert-manager-issuer-group", "", "API group of the issuer")
}

func (f *certManagerFlags) Validate() error { return nil }

func (f *certManagerFlags) Complete(base v1alpha2.ProviderSpec, _ string) (v1alpha2.ProviderSpec, error) {
	issuer := *base.CertManager
	issuer.IssuerName = cmp.Or(f.issuer.IssuerName, issuer.IssuerName)
	issuer.IssuerKind = cmp.Or(f.issuer.IssuerKind, issuer.IssuerKind, v1alpha2.DefaultIssuerKind)
	issuer.IssuerGroup = cmp.Or(f.issuer.IssuerGroup, issuer.IssuerGroup, v1alpha2.DefaultIssuerGroup)
	if issuer.IssuerName == "" {
		return v1alpha2.ProviderSpec{}, errors.New("--cert-manager-issuer: set the name of the issuer")
	}
	return v1alpha2.ProviderSpec{CertManager: &issuer}, nil
}
