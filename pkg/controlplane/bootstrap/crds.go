package bootstrap

import (
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/yaml"

	"github.com/osm-edge/osm/pkg/api"
)

// FieldManager owns what this package applies, whoever runs it.
const FieldManager = "osm-bootstrap"

// establishPoll is how often the API server is asked whether it accepts a new CRD.
const establishPoll = 200 * time.Millisecond

//go:embed crds/*.yaml
var crdFiles embed.FS

// CRDClient is the part of a CustomResourceDefinition client that ApplyCRDs needs; the
// generated clientset satisfies it.
type CRDClient interface {
	Get(ctx context.Context, name string, opts metav1.GetOptions) (*apiextensionsv1.CustomResourceDefinition, error)
	Patch(ctx context.Context, name string, pt types.PatchType, data []byte, opts metav1.PatchOptions, subresources ...string) (*apiextensionsv1.CustomResourceDefinition, error)
}

// CRDs returns the mesh's CustomResourceDefinitions, labelled as the mesh's, ordered by file name.
func CRDs() ([]*apiextensionsv1.CustomResourceDefinition, error) {
	names, err := fs.Glob(crdFiles, "crds/*.yaml")
	if err != nil {
		return nil, fmt.Errorf("list embedded CRDs: %w", err)
	}
	crds := make([]*apiextensionsv1.CustomResourceDefinition, 0, len(names))
	for _, name := range names {
		crd, err := readCRD(name)
		if err != nil {
			return nil, err
		}
		crds = append(crds, crd)
	}
	return crds, nil
}

func readCRD(file string) (*apiextensionsv1.CustomResourceDefinition, error) {
	text, err := crdFiles.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read embedded CRD: %w", err)
	}
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict(text, crd); err != nil {
		return nil, fmt.Errorf("decode embedded CRD %s: %w", file, err)
	}
	if crd.Labels == nil {
		crd.Labels = map[string]string{}
	}
	crd.Labels[api.LabelName] = api.NameValue
	return crd, nil
}

// ApplyCRDs applies every CRD by server-side apply, taking over fields that others own, and
// returns when the API server has established all of them or ctx ends. It does not retry.
func ApplyCRDs(ctx context.Context, client CRDClient, log *slog.Logger) error {
	crds, err := CRDs()
	if err != nil {
		return err
	}
	for _, crd := range crds {
		if err := applyCRD(ctx, client, crd); err != nil {
			return err
		}
		log.Info("applied CRD", "crd", crd.Name)
	}
	for _, crd := range crds {
		if err := awaitEstablished(ctx, client, crd.Name); err != nil {
			return err
		}
	}
	return nil
}

// applyCRD sends the CRD without its status, which is the API server's own.
func applyCRD(ctx context.Context, client CRDClient, crd *apiextensionsv1.CustomResourceDefinition) error {
	data, err := json.Marshal(struct {
		metav1.TypeMeta `json:",inline"`
		Metadata        metav1.ObjectMeta                            `json:"metadata"`
		Spec            apiextensionsv1.CustomResourceDefinitionSpec `json:"spec"`
	}{crd.TypeMeta, crd.ObjectMeta, crd.Spec})
	if err != nil {
		return fmt.Errorf("encode CRD %s: %w", crd.Name, err)
	}
	force := true
	opts := metav1.PatchOptions{FieldManager: FieldManager, Force: &force}
	if _, err := client.Patch(ctx, crd.Name, types.ApplyPatchType, data, opts); err != nil {
		return fmt.Errorf("apply CRD %s: %w", crd.Name, err)
	}
	return nil
}

func awaitEstablished(ctx context.Context, client CRDClient, name string) error {
	state := "no status yet"
	err := wait.PollUntilContextCancel(ctx, establishPoll, true, func(ctx context.Context) (bool, error) {
		crd, err := client.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		var done bool
		done, state = established(crd)
		return done, nil
	})
	if err != nil {
		return fmt.Errorf("wait for CRD %s to be established (%s): %w", name, state, err)
	}
	return nil
}

// established says whether the API server accepts objects of the CRD's kind, else why not.
func established(crd *apiextensionsv1.CustomResourceDefinition) (bool, string) {
	state := "no status yet"
	for _, c := range crd.Status.Conditions {
		if c.Type == apiextensionsv1.Established && c.Status == apiextensionsv1.ConditionTrue {
			return true, ""
		}
		if c.Status == apiextensionsv1.ConditionFalse {
			state = fmt.Sprintf("%s: %s", c.Reason, c.Message)
		}
	}
	return false, state
}
