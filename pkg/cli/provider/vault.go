package provider

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/cli/cluster"
)

// vault is the PKI engine of Vault.
type vault struct{}

func (vault) Name() string { return api.ProviderVault }

func (vault) FromValues(values Values, namespace string) v1alpha2.ProviderSpec {
	port, _ := values.Int("osm.vault.port")
	spec := &v1alpha2.VaultProviderSpec{
		Host: strings.Trim(values.String("osm.vault.host"), "[]"), Port: int32(port), //nolint:gosec // the chart's schema bounds it
		Protocol: values.String("osm.vault.protocol"), Role: values.String("osm.vault.role"),
	}
	if name := values.String("osm.vault.secret.name"); name != "" {
		spec.Token = v1alpha2.VaultToken(namespace, name, values.String("osm.vault.secret.key"))
	}
	return v1alpha2.ProviderSpec{Vault: spec}
}

func (vault) Location(spec v1alpha2.ProviderSpec) string {
	return fmt.Sprintf("role %s of Vault at %s", spec.Vault.Role, spec.Vault.Address())
}

func (vault) Flags() Flags { return new(vaultFlags) }

// Check checks the token's Secret. Vault itself can only be reached from inside the cluster.
func (vault) Check(ctx context.Context, clients *cluster.Clients, target Target) (unchecked, err error) {
	spec := target.Spec.Vault
	if spec.Token != nil {
		if err := checkTokenSecret(ctx, clients, target, spec.Token.SecretKeyRef); err != nil {
			return nil, err
		}
	}
	hint := target.name("if it does not, the rotation reports it and waits, and the present root still signs", "if the pods do not become ready, their logs say why")
	return fmt.Errorf("cannot check from here whether Vault at %s answers the control plane and its role signs; %s", spec.Address(), hint), nil
}

func checkTokenSecret(ctx context.Context, clients *cluster.Clients, target Target, ref v1alpha2.SecretKeyRef) error {
	setting := target.name("--vault-token-secret", "osm.vault.secret")
	secret, err := clients.Kube.CoreV1().Secrets(target.Namespace).Get(ctx, ref.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		consequence := target.name("nothing could be signed", "no pod could start")
		return fmt.Errorf("%s: Secret %s is not in namespace %s, so %s; create it: kubectl create secret generic %s -n %s --from-file=%s=FILE",
			setting, ref.Name, target.Namespace, consequence, ref.Name, target.Namespace, ref.Key)
	case apierrors.IsForbidden(err):
		return nil // the user need not be allowed to read it
	case err != nil:
		return fmt.Errorf("look for Secret %s of %s in namespace %s: %w", ref.Name, setting, target.Namespace, err)
	case len(secret.Data[ref.Key]) == 0:
		return fmt.Errorf("%s: Secret %s in namespace %s has no key %q; put Vault's token there, or name the right key in %s",
			setting, ref.Name, target.Namespace, ref.Key, target.name("--vault-token-secret", "osm.vault.secret.key"))
	}
	return nil
}

// Permission is none: a token comes as a file, and the login needs no permission in the cluster.
func (vault) Permission(Target) authorizationv1.ResourceAttributes {
	return authorizationv1.ResourceAttributes{}
}

// Prepared checks which files the pods have, and where the control plane may send its credentials.
func (v vault) Prepared(i Installation, spec v1alpha2.ProviderSpec) error {
	if !slices.Contains(i.Kinds(), api.ProviderVault) {
		return fmt.Errorf("the control plane is not prepared for Vault; set osm.vault.caBundle and the login in a values file first: %s -f FILE", i.Fix(spec))
	}
	if err := v.allowed(i, spec.Vault); err != nil {
		return err
	}
	https := i.Values.String("osm.vault.protocol") == "https" && i.Values.String("osm.vault.caBundle") != ""
	if spec.Vault.Protocol != "http" && !https {
		return fmt.Errorf("the control plane has no CA certificate to verify Vault with; set osm.vault.protocol to https and osm.vault.caBundle first: %s -f FILE", i.Upgrade)
	}
	if token := spec.Vault.Token; token != nil {
		name, key := token.SecretKeyRef.Name, token.SecretKeyRef.Key
		if name != i.Values.String("osm.vault.secret.name") || key != i.Values.String("osm.vault.secret.key") {
			return fmt.Errorf("the control plane does not mount Secret %s with key %s, which holds Vault's token; mount it first: %s", name, key, i.Fix(spec))
		}
	}
	return nil
}

// allowed refuses servers that the control plane would not send a token to.
func (v vault) allowed(i Installation, spec *v1alpha2.VaultProviderSpec) error {
	own := v.FromValues(i.Values, i.Namespace).Vault.Server()
	allowed := i.Values.Strings("osm.vault.allowedHosts")
	server := spec.Server()
	if server != own && !slices.Contains(allowed, server) {
		// --set replaces a list: those that are allowed already stay.
		return fmt.Errorf("the control plane sends no token to %s, which is neither osm.vault.host with osm.vault.port nor in osm.vault.allowedHosts; add it first: %s --set osm.vault.allowedHosts={%s}",
			server, i.Upgrade, strings.Join(append(allowed, server), ","))
	}
	if spec.Protocol == "http" && i.Values.String("osm.vault.protocol") != "http" {
		return errors.New("the control plane reaches Vault by https only, because http would expose its token; use --vault-protocol https")
	}
	return nil
}

func (vault) Settings(spec v1alpha2.ProviderSpec) string {
	if spec.Vault.Token == nil {
		return ""
	}
	ref := spec.Vault.Token.SecretKeyRef
	return fmt.Sprintf("osm.vault.secret.name=%s,osm.vault.secret.key=%s", ref.Name, ref.Key)
}
