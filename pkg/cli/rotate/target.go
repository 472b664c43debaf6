package rotate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/cli/check"
	"github.com/osm-edge/osm/pkg/cli/cluster"
	"github.com/osm-edge/osm/pkg/cli/command"
	"github.com/osm-edge/osm/pkg/controlplane/rotation"
)

// firstRoot is the object of the root that a mesh was installed with; later ones have a number.
const firstRoot = "osm-mesh-root-certificate"

// addPresent finds the root that signs. Without MeshRootCertificates, the values describe it.
func (r *rotator) addPresent(plan *rotationPlan, roots []cluster.RootCertificate) error {
	if len(roots) == 0 {
		if r.values == nil {
			return fmt.Errorf("mesh [%s] has no MeshRootCertificate and Helm has no release %q in namespace %q, so its root is unknown; create a MeshRootCertificate with role active for it, see docs/certificates.md", r.mesh.Name, r.mesh.Name, r.mesh.Namespace)
		}
		spec := r.values.Provider(r.values.ProviderKind(), r.mesh.Namespace)
		plan.present, plan.adopt = r.newRoot(firstRoot, v1alpha2.RootRoleActive, spec, r.values.String("osm.trustDomain")), true
		plan.former = []cluster.RootCertificate{*plan.present}
		return nil
	}
	signer, ok := rotation.Signer(rootsOf(roots))
	if !ok {
		return fmt.Errorf("no MeshRootCertificate of mesh [%s] is active: %s; set spec.role of the root that signs to passive, then to active", r.mesh.Name, listed(roots))
	}
	for i := range roots {
		if roots[i].Name == signer.Name {
			plan.present = &roots[i]
		}
		if roots[i].Spec.Role != v1alpha2.RootRoleInactive && roots[i].Name != r.to {
			plan.former = append(plan.former, roots[i])
		}
	}
	return nil
}

func (r *rotator) newRoot(name string, role v1alpha2.RootRole, spec v1alpha2.ProviderSpec, domain string) *cluster.RootCertificate {
	root := &cluster.RootCertificate{Spec: v1alpha2.MeshRootCertificateSpec{Provider: spec, TrustDomain: domain, Role: role}}
	root.APIVersion, root.Kind = v1alpha2.GroupVersion().String(), v1alpha2.RootCertificateKind
	root.Name, root.Namespace = name, r.mesh.Namespace
	root.Labels = map[string]string{api.LabelName: api.NameValue, api.LabelInstance: r.mesh.Name}
	return root
}

// addTarget finds the root to rotate to, or describes a new one.
func (r *rotator) addTarget(ctx context.Context, plan *rotationPlan, roots []cluster.RootCertificate) error {
	if r.to != "" {
		return r.addExisting(plan, roots)
	}
	kind := cmp.Or(r.provider.kind, plan.present.Spec.Provider.Kind(), api.ProviderTresor)
	if err := r.provider.fits(r.cmd.Flags(), kind); err != nil {
		return command.Usage(r.cmd, err)
	}
	spec, err := r.provider.complete(kind, plan.present.Spec.Provider, r.values, r.mesh.Namespace)
	if err != nil {
		return command.Usage(r.cmd, err)
	}
	if kind == api.ProviderTresor {
		if spec, err = r.freeSecret(ctx, plan, roots); err != nil {
			return err
		}
	}
	name, err := r.freeName(roots)
	if err != nil {
		return err
	}
	plan.target, plan.create = r.newRoot(name, v1alpha2.RootRoleInactive, spec, plan.present.Spec.TrustDomain), true
	return r.another(plan)
}

func (r *rotator) addExisting(plan *rotationPlan, roots []cluster.RootCertificate) error {
	i := slices.IndexFunc(roots, func(root cluster.RootCertificate) bool { return root.Name == r.to })
	if i < 0 {
		return fmt.Errorf("--to: there is no MeshRootCertificate %q in namespace [%s]; it has: %s", r.to, r.mesh.Namespace, cmp.Or(listed(roots), "none"))
	}
	if roots[i].Spec.Role == v1alpha2.RootRoleActive {
		return fmt.Errorf("--to: MeshRootCertificate %q is active already; the namespace has: %s", r.to, listed(roots))
	}
	plan.target = &roots[i]
	return r.another(plan)
}

// another refuses a new root whose provider is that of a root in use: there is nothing to rotate.
func (r *rotator) another(plan *rotationPlan) error {
	for i := range plan.former {
		if former := &plan.former[i]; apiequality.Semantic.DeepEqual(former.Spec.Provider, plan.target.Spec.Provider) {
			return fmt.Errorf("the new root would be the same as %s: %s; name another one with the flags of its provider", former.Name, rootLocation(former.Spec.Provider))
		}
	}
	return nil
}

// freeSecret chooses the Secret of a new built-in CA: the one of the two that the control plane may read
// that no root in use has. A root that was in use earlier is removed from it.
func (r *rotator) freeSecret(ctx context.Context, plan *rotationPlan, roots []cluster.RootCertificate) (v1alpha2.ProviderSpec, error) {
	secret := ""
	for _, candidate := range command.RootSecrets(r.info) {
		if !slices.ContainsFunc(plan.former, func(root cluster.RootCertificate) bool { return secretOf(root.Spec.Provider) == candidate }) {
			secret = candidate
			break
		}
	}
	if secret == "" {
		return v1alpha2.ProviderSpec{}, fmt.Errorf("both Secrets that can hold a CA (%s) have a root in use: %s; rotate to another provider, or make one of the roots inactive", strings.Join(command.RootSecrets(r.info), ", "), listed(plan.former))
	}
	for i := range roots {
		if secretOf(roots[i].Spec.Provider) != secret {
			continue
		}
		if roots[i].Status.Fingerprint == "" && roots[i].Labels[api.LabelInstance] != r.mesh.Name {
			return v1alpha2.ProviderSpec{}, fmt.Errorf("MeshRootCertificate %s, which was never used, has the Secret %s that a new root needs; rotate to it with --to %s, or delete it", roots[i].Name, secret, roots[i].Name)
		}
		plan.retired = append(plan.retired, roots[i])
	}
	if len(plan.retired) > 0 {
		return v1alpha2.TresorProvider(r.mesh.Namespace, secret), nil
	}
	_, err := r.clients.Metadata.Resource(corev1.SchemeGroupVersion.WithResource("secrets")).Namespace(r.mesh.Namespace).Get(ctx, secret, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsForbidden(err) {
		return v1alpha2.ProviderSpec{}, fmt.Errorf("look for Secret %s/%s: %w", r.mesh.Namespace, secret, err)
	}
	plan.reused = err == nil
	return v1alpha2.TresorProvider(r.mesh.Namespace, secret), nil
}

func (r *rotator) freeName(roots []cluster.RootCertificate) (string, error) {
	taken := map[string]bool{firstRoot: true}
	for i := range roots {
		taken[roots[i].Name] = true
	}
	if r.name != "" {
		if taken[r.name] {
			return "", fmt.Errorf("--name: %q is the name of another root; choose one that is free", r.name)
		}
		return r.name, nil
	}
	for i := 2; ; i++ {
		if name := fmt.Sprintf("%s-%d", firstRoot, i); !taken[name] {
			return name, nil
		}
	}
}

// checkProvider checks, as far as the CLI can, that the control plane can sign with the new root.
func (r *rotator) checkProvider(ctx context.Context, plan *rotationPlan) error {
	spec := plan.target.Spec.Provider
	if err := r.prepared(spec); err != nil {
		return err
	}
	root := check.NewRoot{Namespace: r.mesh.Namespace, Provider: spec, Fix: r.fix(spec)}
	return check.Err(check.Run(ctx, root.Checks(r.clients), func(result check.Result) {
		if result.Status == check.Warned {
			r.env.Warnf("%s", result.Message)
		}
	}))
}

// prepared checks what the values must say and an object cannot: which files the pods have, and where the
// control plane may send its credentials.
func (r *rotator) prepared(spec v1alpha2.ProviderSpec) error {
	switch {
	case r.values == nil:
		return nil
	case spec.Vault != nil:
		return r.preparedVault(spec)
	case spec.CertManager != nil && slices.Contains(r.kinds(), api.ProviderCertManager):
		return r.preparedIssuer(spec.CertManager)
	}
	return nil
}

// preparedIssuer refuses issuers of a kind that the control plane would refuse.
func (r *rotator) preparedIssuer(issuer *v1alpha2.CertManagerProviderSpec) error {
	kind, group := r.values.String("osm.certmanager.issuerKind"), r.values.String("osm.certmanager.issuerGroup")
	if issuer.IssuerKind == kind && issuer.IssuerGroup == group {
		return nil
	}
	return fmt.Errorf("the control plane uses issuers of kind %s in group %s only, and the new root's issuer is of kind %s in group %s; change that first: %s --set osm.certmanager.issuerKind=%s,osm.certmanager.issuerGroup=%s",
		kind, group, issuer.IssuerKind, issuer.IssuerGroup, r.command("upgrade"), issuer.IssuerKind, issuer.IssuerGroup)
}

// allowedVault refuses servers that the control plane would not send a token to.
func (r *rotator) allowedVault(vault *v1alpha2.VaultProviderSpec) error {
	own := r.values.Provider(api.ProviderVault, r.mesh.Namespace).Vault.Server()
	allowed := r.values.Strings("osm.vault.allowedHosts")
	server := vault.Server()
	if server != own && !slices.Contains(allowed, server) {
		// --set replaces a list: those that are allowed already stay.
		return fmt.Errorf("the control plane sends no token to %s, which is neither osm.vault.host with osm.vault.port nor in osm.vault.allowedHosts; add it first: %s --set osm.vault.allowedHosts={%s}",
			server, r.command("upgrade"), strings.Join(append(allowed, server), ","))
	}
	if vault.Protocol == "http" && r.values.String("osm.vault.protocol") != "http" {
		return errors.New("the control plane reaches Vault by https only, because http would expose its token; use --vault-protocol https")
	}
	return nil
}

func (r *rotator) preparedVault(spec v1alpha2.ProviderSpec) error {
	if !slices.Contains(r.kinds(), api.ProviderVault) {
		return fmt.Errorf("the control plane is not prepared for Vault; set osm.vault.caBundle and the login in a values file first: %s -f FILE", r.fix(spec))
	}
	if err := r.allowedVault(spec.Vault); err != nil {
		return err
	}
	https := r.values.String("osm.vault.protocol") == "https" && r.values.String("osm.vault.caBundle") != ""
	if spec.Vault.Protocol != "http" && !https {
		return fmt.Errorf("the control plane has no CA certificate to verify Vault with; set osm.vault.protocol to https and osm.vault.caBundle first: %s -f FILE", r.command("upgrade"))
	}
	if token := spec.Vault.Token; token != nil {
		name, key := token.SecretKeyRef.Name, token.SecretKeyRef.Key
		if name != r.values.String("osm.vault.secret.name") || key != r.values.String("osm.vault.secret.key") {
			return fmt.Errorf("the control plane does not mount Secret %s with key %s, which holds Vault's token; mount it first: %s", name, key, r.fix(spec))
		}
	}
	return nil
}

// kinds are the providers that the control plane is prepared for.
func (r *rotator) kinds() []string {
	kinds := []string{r.values.String("osm.certificateProvider.kind")}
	for _, kind := range r.values.Strings("osm.certificateProvider.additionalKinds") {
		if !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
	}
	return kinds
}

// fix is the command that prepares the control plane for a provider.
func (r *rotator) fix(spec v1alpha2.ProviderSpec) string {
	kinds, kind := r.kinds(), cmp.Or(spec.Kind(), api.ProviderTresor)
	command := r.command("upgrade")
	if kind != kinds[0] {
		if kinds = kinds[1:]; !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
		command += fmt.Sprintf(" --set osm.certificateProvider.additionalKinds={%s}", strings.Join(kinds, ","))
	}
	if vault := spec.Vault; vault != nil && vault.Token != nil {
		command += fmt.Sprintf(" --set osm.vault.secret.name=%s,osm.vault.secret.key=%s", vault.Token.SecretKeyRef.Name, vault.Token.SecretKeyRef.Key)
	}
	return command
}

// listed names roots with their roles.
func listed(roots []cluster.RootCertificate) string {
	names := make([]string, len(roots))
	for i := range roots {
		names[i] = fmt.Sprintf("%s (%s)", roots[i].Name, roots[i].Spec.Role)
	}
	return strings.Join(names, ", ")
}
