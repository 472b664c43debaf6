package provider

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/controlplane/rotation"
)

// expectedOf returns what is known of a root apart from where it is kept: that of a MeshRootCertificate is in
// its status once a replica has loaded it, and that of the installation in the webhook, which trusts it.
func (c *Config) expectedOf(root rotation.Root) func(context.Context) ([]string, string, error) {
	if root.Name == Installation {
		return c.webhookRoots
	}
	return func(context.Context) ([]string, string, error) {
		if root.Fingerprint == "" {
			return nil, "", nil
		}
		return []string{root.Fingerprint}, "the status of MeshRootCertificate " + c.Namespace + "/" + root.Name, nil
	}
}

// webhookRoots are the fingerprints of the roots that the API server trusts to call the mesh's injectors.
// The leader writes them as soon as the mesh has a root, and they go with the mesh.
func (c *Config) webhookRoots(ctx context.Context) ([]string, string, error) {
	name := api.WebhookConfigName(c.Mesh)
	configuration, err := c.Client.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", fmt.Errorf("look in MutatingWebhookConfiguration %s for the root CA that the mesh uses: %w", name, err)
	}
	var fingerprints []string
	for i := range configuration.Webhooks {
		bundle := configuration.Webhooks[i].ClientConfig.CABundle
		for block, rest := pem.Decode(bundle); block != nil; block, rest = pem.Decode(rest) {
			sum := sha256.Sum256(block.Bytes)
			fingerprints = append(fingerprints, hex.EncodeToString(sum[:]))
		}
	}
	return fingerprints, "caBundle of MutatingWebhookConfiguration " + name, nil
}
