package provider

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/osm-edge/osm/pkg/api"
)

// Where cert-manager runs, and the Secret of the mesh's namespace that holds the CA of its issuer.
const (
	CertManagerNamespace = "cert-manager"
	CertManagerName      = "cert-manager"
	CertManagerCASecret  = "osm-ca-key"
)

// CertManager returns cert-manager's controllers, and the Issuer osm-ca whose CA cert-manager creates itself.
// definitions is the YAML of its CustomResourceDefinitions.
func CertManager(image string, definitions []byte) (*Deployment, error) {
	if image == "" {
		return nil, errors.New("cert-manager image is empty: give the reference that bin/images printed for osm-cert-manager")
	}
	objects, err := decode(bytes.NewReader(definitions))
	if err != nil {
		return nil, fmt.Errorf("decode cert-manager's definitions: %w", err)
	}
	if len(objects) == 0 {
		return nil, errors.New("cert-manager's definitions are empty: give the file crds.yaml beside the program that scripts/certmanager.sh prints")
	}
	controller, err := manifest("certmanager.yaml", map[string]string{"Image": image})
	if err != nil {
		return nil, err
	}
	issuers, err := manifest("issuer.yaml", map[string]string{"Namespace": api.DefaultNamespace})
	if err != nil {
		return nil, err
	}
	return &Deployment{
		Objects: append(objects, controller...),
		Issuers: issuers,
		Values: map[string]any{
			"certificateProvider": map[string]any{"kind": KindCertManager},
			"certmanager":         map[string]any{"issuerName": "osm-ca", "issuerKind": "Issuer", "issuerGroup": "cert-manager.io"},
		},
	}, nil
}
