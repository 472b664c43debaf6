package provider

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"

	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/controlplane/ca/certmanager"
	"github.com/osm-edge/osm/pkg/controlplane/rotation"
)

// Installation is the name of the root that the flags say, in a mesh without MeshRootCertificates.
const Installation = "installation"

// wantedRoot is a root that the mesh wants, with its role.
type wantedRoot struct {
	rotation.Root
	rootSource rootSource
	// proven reports that a replica has loaded it: its certificates may be in use.
	proven bool
}

// rootSource is where a root comes from. Equal sources are one root.
type rootSource struct {
	flags    Flags
	caSecret string
}

// used says whether the root is to be loaded.
func (w wantedRoot) used() bool { return w.Role != rotation.Inactive && w.Problem == "" }

// needed says whether a replica must not serve before it has loaded the root. One that is new to
// the mesh may be misconfigured; that holds up its rotation, not the start of replicas.
func (w wantedRoot) needed() bool {
	return w.Role == rotation.Active || w.Role == rotation.Passive && w.proven
}

// MeshRoots reads the mesh's MeshRootCertificates as they are now, not as some cache has them. A
// cluster that does not know the kind has none.
func MeshRoots(ctx context.Context, client dynamic.Interface, namespace string) ([]v1alpha2.MeshRootCertificate, error) {
	list, err := client.Resource(v1alpha2.RootCertificateGroupVersionResource()).Namespace(namespace).List(ctx, metav1.ListOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read MeshRootCertificates in namespace %s: %w", namespace, err)
	}
	objects := make([]v1alpha2.MeshRootCertificate, len(list.Items))
	for i := range list.Items {
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(list.Items[i].Object, &objects[i]); err != nil {
			return nil, fmt.Errorf("read MeshRootCertificate %s/%s: %w", namespace, list.Items[i].GetName(), err)
		}
	}
	return objects, nil
}

// wanted are the roots of the objects, or that of the flags if there are none.
func (c Config) wanted(objects []v1alpha2.MeshRootCertificate) []wantedRoot {
	if len(objects) == 0 {
		return []wantedRoot{{Root: rotation.Root{Name: Installation, Role: rotation.Active}, rootSource: rootSource{flags: c.Flags, caSecret: c.CASecret}}}
	}
	wanted := make([]wantedRoot, len(objects))
	for i := range objects {
		w := wantedRoot{Root: rotation.RootOf(&objects[i]), proven: objects[i].Status.Fingerprint != ""}
		from, err := c.sourceOf(&objects[i].Spec)
		if err != nil {
			w.Problem = cmp.Or(w.Problem, err.Error())
		}
		w.rootSource = from
		wanted[i] = w
	}
	return wanted
}

// sourceOf says where the root of an object comes from. What an object cannot say, such as where
// Vault's PKI engine is mounted, is as the flags have it.
func (c Config) sourceOf(spec *v1alpha2.MeshRootCertificateSpec) (rootSource, error) {
	if spec.TrustDomain != string(c.TrustDomain) {
		return rootSource{}, fmt.Errorf("spec.trustDomain is %q, and the mesh's is %q: make another MeshRootCertificate", spec.TrustDomain, c.TrustDomain)
	}
	from := rootSource{flags: Flags{Vault: c.Vault, Issuer: c.Issuer}, caSecret: c.CASecret}
	kind, err := kindOf(spec.Provider)
	if err != nil {
		return rootSource{}, err
	}
	if err := c.allows(kind); err != nil {
		return rootSource{}, err
	}
	switch p := spec.Provider; kind {
	case Tresor:
		ref := p.Tresor.CA.SecretRef
		if ref.Namespace != c.Namespace {
			return rootSource{}, fmt.Errorf("spec.provider.tresor.ca.secretRef.namespace is %q: only Secrets of the mesh's namespace %s can be read", ref.Namespace, c.Namespace)
		}
		from.flags.Kind, from.flags.Vault.Address, from.caSecret = Tresor, "", ref.Name
	case Vault:
		if from.flags, err = c.vaultOf(p.Vault); err != nil {
			return rootSource{}, err
		}
	case CertManager:
		from.flags.Kind, from.flags.Vault.Address = CertManager, ""
		from.flags.Issuer = certmanager.IssuerRef{
			Name: p.CertManager.IssuerName, Kind: cmp.Or(p.CertManager.IssuerKind, certmanager.KindIssuer), Group: cmp.Or(p.CertManager.IssuerGroup, certmanager.Group),
		}
		if err := c.allowsIssuer(from.flags.Issuer); err != nil {
			return rootSource{}, err
		}
	}
	from.flags = from.flags.withDefaults()
	if err := from.flags.Validate(); err != nil {
		return rootSource{}, err
	}
	return from, nil
}

// kindOf is the kind of the one provider that a spec names.
func kindOf(spec v1alpha2.ProviderSpec) (Kind, error) {
	var kinds []Kind
	if spec.Tresor != nil {
		kinds = append(kinds, Tresor)
	}
	if spec.Vault != nil {
		kinds = append(kinds, Vault)
	}
	if spec.CertManager != nil {
		kinds = append(kinds, CertManager)
	}
	if len(kinds) != 1 {
		return "", fmt.Errorf("spec.provider names %d of tresor, vault and certManager: it takes exactly one", len(kinds))
	}
	return kinds[0], nil
}

func (c Config) vaultOf(p *v1alpha2.VaultProviderSpec) (Flags, error) {
	if err := c.allowsVault(p); err != nil {
		return Flags{}, err
	}
	flags := Flags{Kind: Vault, Vault: c.Vault, Issuer: c.Issuer}
	flags.Vault.Address = cmp.Or(p.Protocol, "https") + "://" + net.JoinHostPort(p.Host, strconv.Itoa(int(p.Port)))
	flags.Vault.Role = p.Role
	if p.Protocol == "http" {
		flags.Vault.CAFile = ""
	}
	if p.Token == nil {
		flags.Vault.TokenFile, flags.Vault.TokenSecret = "", ""
		return flags, nil
	}
	if ref := p.Token.SecretKeyRef; ref.Namespace != c.Namespace || ref.Name+"/"+ref.Key != c.Vault.TokenSecret {
		return Flags{}, fmt.Errorf("spec.provider.vault.token is key %s of Secret %s/%s, which the control plane does not mount: set osm.vault.secret.name and osm.vault.secret.key to it with osm upgrade",
			ref.Key, ref.Namespace, ref.Name)
	}
	return flags, nil
}
