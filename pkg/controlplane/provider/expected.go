package provider

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/controlplane/rotation"
)

// expectedOf returns what is known of a root apart from where it is kept. Where the mesh signs with it, that is
// the fingerprint in its status, or while there is none the roots that the webhook trusts. A root that does not sign
// is known only as long as the webhook trusts it: a former one may have been replaced meanwhile.
func (c *Config) expectedOf(root rotation.Root) func(context.Context) ([]string, string, error) {
	if root.Fingerprint == "" && root.Role != rotation.Active {
		return nil
	}
	return func(ctx context.Context) ([]string, string, error) {
		status := "the status of MeshRootCertificate " + c.Namespace + "/" + root.Name
		if root.Role == rotation.Active && root.Fingerprint != "" {
			return []string{root.Fingerprint}, status, nil
		}
		trusted, where, err := c.webhookRoots(ctx)
		switch {
		case err != nil || root.Role == rotation.Active:
			return trusted, where, err
		case slices.Contains(trusted, root.Fingerprint):
			return []string{root.Fingerprint}, status, nil
		}
		return nil, "", nil
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
