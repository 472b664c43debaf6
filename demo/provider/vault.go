package provider

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"

	"github.com/osm-edge/osm/pkg/api"
)

// Where OpenBao runs, and the name that its certificate holds.
const (
	VaultNamespace = "openbao"
	VaultName      = "openbao"
	VaultHost      = VaultName + "." + VaultNamespace + ".svc"
	VaultPort      = 8200
	// VaultKeys is the Secret with all its keys; see the constants below.
	VaultKeys = "openbao-keys"
)

// Keys of the Secret VaultKeys.
const (
	// KeyOperatorToken has all rights.
	KeyOperatorToken = "operator-token"
	// KeyTLSCA verifies the server; the chart calls it osm.vault.caBundle.
	KeyTLSCA = "tls-ca.crt"
	// KeyCA is the CA that signs for the mesh: key and certificate (PEM).
	KeyCA = "ca.pem"

	keySeal = "seal"
)

// Vault returns OpenBao with a CA, a role that signs for the mesh, and a login for the controller's
// ServiceAccount. It uses the keys on the cluster, or new ones, valid from now, if there are none.
func Vault(ctx context.Context, kube kubernetes.Interface, image string, now time.Time) (*Deployment, error) {
	if image == "" {
		return nil, errors.New("OpenBao image is empty: give the reference that bin/images printed for osm-openbao")
	}
	keys, err := vaultKeys(ctx, kube, now)
	if err != nil {
		return nil, err
	}
	objects, err := manifest("openbao.yaml", map[string]string{"Image": image, "Namespace": api.DefaultNamespace})
	if err != nil {
		return nil, err
	}
	return &Deployment{
		// After the namespace, before the pod.
		Objects: slices.Insert(objects, 1, keySecret(keys)),
		Values: map[string]any{
			"certificateProvider": map[string]any{"kind": KindVault},
			"vault":               map[string]any{"host": VaultHost, "port": VaultPort, "protocol": "https", "caBundle": string(keys[KeyTLSCA])},
		},
	}, nil
}

func vaultKeys(ctx context.Context, kube kubernetes.Interface, now time.Time) (map[string][]byte, error) {
	secret, err := kube.CoreV1().Secrets(VaultNamespace).Get(ctx, VaultKeys, metav1.GetOptions{})
	switch {
	case err == nil:
		return secret.Data, nil
	case !apierrors.IsNotFound(err):
		return nil, fmt.Errorf("read OpenBao's keys: %w", err)
	}
	keys, err := newVaultKeys(now)
	if err != nil {
		return nil, fmt.Errorf("make OpenBao's keys: %w", err)
	}
	return keys, nil
}

func newVaultKeys(now time.Time) (map[string][]byte, error) {
	seal, err := randomHex(sealBytes)
	if err != nil {
		return nil, err
	}
	token, err := randomHex(tokenBytes)
	if err != nil {
		return nil, err
	}
	mesh, err := newAuthority("osm-ca", now)
	if err != nil {
		return nil, err
	}
	transport, err := newAuthority("openbao-tls", now)
	if err != nil {
		return nil, err
	}
	cert, key, err := transport.server(VaultHost, now)
	if err != nil {
		return nil, err
	}
	return map[string][]byte{
		keySeal: []byte(seal), KeyOperatorToken: []byte("operator-" + token),
		KeyCA: append(slices.Clone(mesh.keyPEM), mesh.certPEM...), KeyTLSCA: transport.certPEM,
		corev1.TLSCertKey: cert, corev1.TLSPrivateKeyKey: key,
	}, nil
}

func keySecret(keys map[string][]byte) *unstructured.Unstructured {
	data := map[string]any{}
	for name, value := range keys {
		data[name] = base64.StdEncoding.EncodeToString(value)
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Secret",
		"metadata": map[string]any{"namespace": VaultNamespace, "name": VaultKeys},
		"data":     data,
	}}
}
