package rotate

import (
	"cmp"
	"context"
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
	"github.com/osm-edge/osm/pkg/cli/provider"
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
		spec := provider.FromValues(r.values, r.mesh.Namespace)
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

// another rejects a new root whose provider is that of a root in use: there is nothing to rotate.
func (r *rotator) another(plan *rotationPlan) error {
	for i := range plan.former {
		if former := &plan.former[i]; apiequality.Semantic.DeepEqual(former.Spec.Provider, plan.target.Spec.Provider) {
			return fmt.Errorf("the new root would be the same as %s: %s; name another one with the flags of its provider", former.Name, provider.Of(former.Spec.Provider).Location(former.Spec.Provider))
		}
	}
	return nil
}

// freeSecret chooses the Secret of a new built-in CA: the one of the two that the control plane may read
// that no root in use has. A root that was in use earlier is removed from it.
func (r *rotator) freeSecret(ctx context.Context, plan *rotationPlan, roots []cluster.RootCertificate) (v1alpha2.ProviderSpec, error) {
	secret := ""
	for _, candidate := range command.RootSecrets(r.info) {
		if !slices.ContainsFunc(plan.former, func(root cluster.RootCertificate) bool { return provider.RootSecret(root.Spec.Provider) == candidate }) {
			secret = candidate
			break
		}
	}
	if secret == "" {
		return v1alpha2.ProviderSpec{}, fmt.Errorf("both Secrets that can hold a CA (%s) have a root in use: %s; rotate to another provider, or make one of the roots inactive", strings.Join(command.RootSecrets(r.info), ", "), listed(plan.former))
	}
	for i := range roots {
		if provider.RootSecret(roots[i].Spec.Provider) != secret {
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
	installation := provider.Installation{Values: r.values, Namespace: r.mesh.Namespace, Upgrade: r.command("upgrade")}
	if r.values != nil {
		// The values determine what an object cannot: which files the pods have, and where the control plane may
		// send its credentials.
		if err := provider.Of(spec).Prepared(installation, spec); err != nil {
			return err
		}
	}
	root := check.NewRoot{Namespace: r.mesh.Namespace, Provider: spec, Fix: installation.Fix(spec)}
	return check.Err(check.Run(ctx, root.Checks(r.clients), func(result check.Result) {
		if result.Status == check.Warned {
			r.env.Warnf("%s", result.Message)
		}
	}))
}

// listed names roots with their roles.
func listed(roots []cluster.RootCertificate) string {
	names := make([]string, len(roots))
	for i := range roots {
		names[i] = fmt.Sprintf("%s (%s)", roots[i].Name, roots[i].Spec.Role)
	}
	return strings.Join(names, ", ")
}
