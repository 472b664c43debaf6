package provider

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"text/template"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/osm-edge/osm/demo/stage"
)

// The kinds, as the chart's value osm.certificateProvider.kind has them.
const (
	KindTresor      = "tresor"
	KindVault       = "vault"
	KindCertManager = "cert-manager"
)

// Kinds lists all providers.
func Kinds() []string { return []string{KindTresor, KindVault, KindCertManager} }

//go:embed manifests
var files embed.FS

const decodeBuffer = 4096

// Deployment is a provider that is ready to be deployed on a cluster.
type Deployment struct {
	// Objects are the provider's objects, in the order of their creation.
	Objects []*unstructured.Unstructured
	// Issuers are in the mesh's namespace, the namespace itself first; they are deleted with the mesh.
	Issuers []*unstructured.Unstructured
	// Values are the chart values below the key "osm". They contain no secret.
	Values map[string]any
}

// Start deploys the provider on the cluster and waits until it can sign.
func (d *Deployment) Start(ctx context.Context, s *stage.Stage, timeout time.Duration) error {
	if err := s.Apply(ctx, append(append([]*unstructured.Unstructured{}, d.Objects...), d.Issuers...)); err != nil {
		return err
	}
	if err := s.WaitRolledOut(ctx, d.Objects, timeout); err != nil {
		return err
	}
	for _, o := range d.Issuers {
		if o.GetKind() != "Issuer" {
			continue
		}
		if err := s.WaitReady(ctx, o, timeout); err != nil {
			return err
		}
	}
	return nil
}

// Remove removes the provider, and leaves the mesh's namespace alone.
func (d *Deployment) Remove(ctx context.Context, s *stage.Stage, timeout time.Duration) error {
	return s.Remove(ctx, d.Objects, timeout)
}

// WriteValues writes the chart values as a YAML file for `osm install -f`.
func (d *Deployment) WriteValues(w io.Writer) error {
	text, err := sigsyaml.Marshal(map[string]any{"osm": d.Values})
	if err == nil {
		_, err = w.Write(text)
	}
	if err != nil {
		return fmt.Errorf("write chart values: %w", err)
	}
	return nil
}

// Tresor is the provider built into the mesh: there is nothing to deploy.
func Tresor() *Deployment {
	return &Deployment{Values: map[string]any{"certificateProvider": map[string]any{"kind": KindTresor}}}
}

// manifest fills in one of the package's files and decodes it.
func manifest(name string, values map[string]string) ([]*unstructured.Unstructured, error) {
	t, err := template.New(name).Option("missingkey=error").ParseFS(files, "manifests/"+name)
	if err != nil {
		return nil, fmt.Errorf("parse manifest %s: %w", name, err)
	}
	var text bytes.Buffer
	if err := t.Execute(&text, values); err != nil {
		return nil, fmt.Errorf("fill manifest %s in: %w", name, err)
	}
	objects, err := decode(&text)
	if err != nil {
		return nil, fmt.Errorf("decode manifest %s: %w", name, err)
	}
	return objects, nil
}

func decode(text io.Reader) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	decoder := yaml.NewYAMLOrJSONDecoder(text, decodeBuffer)
	for {
		o := &unstructured.Unstructured{}
		err := decoder.Decode(&o.Object)
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, err
		}
		if len(o.Object) > 0 {
			objects = append(objects, o)
		}
	}
}
