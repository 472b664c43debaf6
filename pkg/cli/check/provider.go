package check

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
)

// certManagerGroup is the API group of cert-manager, with the version that osm uses.
const (
	certManagerGroup   = v1alpha2.DefaultIssuerGroup
	certManagerVersion = certManagerGroup + "/v1"
)

// words are the names of a provider's settings, and the consequence of a wrong one.
type words struct {
	kind, token, key, issuer, issuerNames, consequence, hint string
}

func (p preflight) words() words {
	if p.newRoot {
		return words{
			kind: "--provider", token: "--vault-token-secret", key: "--vault-token-secret", issuer: "--cert-manager-issuer", issuerNames: "--cert-manager-issuer and --cert-manager-issuer-kind",
			consequence: "nothing could be signed", hint: "if it does not, the rotation reports it and waits, and the present root still signs",
		}
	}
	return words{
		kind: "osm.certificateProvider.kind", token: "osm.vault.secret", key: "osm.vault.secret.key", issuer: "osm.certmanager", issuerNames: "osm.certmanager.issuerName and issuerKind",
		consequence: "no pod could start", hint: "if the pods do not become ready, their logs say why",
	}
}

// provider checks what the control plane would otherwise wait for forever.
func (p preflight) provider(ctx context.Context) error {
	switch spec := p.plan.Provider; {
	case spec.Vault != nil:
		return p.vault(ctx, spec.Vault)
	case spec.CertManager != nil:
		return p.certManager(ctx, spec.CertManager.WithDefaults())
	}
	return nil
}

// vault checks the token's Secret. Vault itself can only be reached from inside the cluster.
func (p preflight) vault(ctx context.Context, vault *v1alpha2.VaultProviderSpec) error {
	if vault.Token != nil {
		if err := p.tokenSecret(ctx, vault.Token.SecretKeyRef); err != nil {
			return err
		}
	}
	return Warning(fmt.Errorf("cannot check from here whether Vault at %s answers the control plane and its role signs; %s", vault.Address(), p.words().hint))
}

func (p preflight) tokenSecret(ctx context.Context, ref v1alpha2.SecretKeyRef) error {
	where, words := p.plan.Namespace, p.words()
	secret, err := p.Kube.CoreV1().Secrets(where).Get(ctx, ref.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return fmt.Errorf("%s: Secret %s is not in namespace %s, so %s; create it: kubectl create secret generic %s -n %s --from-file=%s=FILE",
			words.token, ref.Name, where, words.consequence, ref.Name, where, ref.Key)
	case apierrors.IsForbidden(err):
		return nil // the user need not be allowed to read it
	case err != nil:
		return fmt.Errorf("look for Secret %s of %s in namespace %s: %w", ref.Name, words.token, where, err)
	case len(secret.Data[ref.Key]) == 0:
		return fmt.Errorf("%s: Secret %s in namespace %s has no key %q; put Vault's token there, or name the right key in %s", words.token, ref.Name, where, ref.Key, words.key)
	}
	return nil
}

// certManager checks that the issuer exists and is ready.
func (p preflight) certManager(ctx context.Context, issuer v1alpha2.CertManagerProviderSpec) error {
	resources, err := p.Discovery.ServerResourcesForGroupVersion(certManagerVersion)
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("look for cert-manager (%s): %w", certManagerVersion, err)
	}
	if err != nil || !slices.ContainsFunc(resources.APIResources, func(r metav1.APIResource) bool { return r.Kind == "CertificateRequest" }) {
		return fmt.Errorf("%s is cert-manager, but the cluster does not serve CertificateRequests of %s; install cert-manager first", p.words().kind, certManagerVersion)
	}
	if issuer.IssuerGroup != certManagerGroup {
		return Warning(fmt.Errorf("cannot check from here whether the external issuer %s.%s %q signs", issuer.IssuerKind, issuer.IssuerGroup, issuer.IssuerName))
	}
	return p.issuer(ctx, issuer)
}

func (p preflight) issuer(ctx context.Context, issuer v1alpha2.CertManagerProviderSpec) error {
	name, path := fmt.Sprintf("ClusterIssuer %q", issuer.IssuerName), "clusterissuers/"+issuer.IssuerName
	if issuer.IssuerKind == v1alpha2.DefaultIssuerKind {
		name, path = fmt.Sprintf("Issuer %q in namespace %s", issuer.IssuerName, p.plan.Namespace), "namespaces/"+p.plan.Namespace+"/issuers/"+issuer.IssuerName
	}
	data, err := p.Discovery.RESTClient().Get().AbsPath("/apis/" + certManagerVersion + "/" + path).DoRaw(ctx)
	switch {
	case apierrors.IsNotFound(err):
		return fmt.Errorf("%s: there is no %s; create it, or name the right one with %s", p.words().issuer, name, p.words().issuerNames)
	case apierrors.IsForbidden(err):
		return Warning(fmt.Errorf("cannot check whether the %s is ready: you are not allowed to read it", name))
	case err != nil:
		return fmt.Errorf("read the %s: %w", name, err)
	}
	var found struct {
		Status struct{ Conditions []metav1.Condition }
	}
	if err := json.Unmarshal(data, &found); err != nil {
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
