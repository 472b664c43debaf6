package namespace

import (
	"context"
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/osm-edge/osm/pkg/api"
)

// noMembership is a patch that removes every label and annotation of a mesh from a namespace.
func noMembership() (labels, annotations map[string]any) {
	return map[string]any{api.LabelMonitoredBy: nil, api.LabelIgnore: nil}, map[string]any{api.AnnotationInjection: nil, api.AnnotationMetrics: nil}
}

// Leave removes every label and annotation of a mesh from a namespace.
func Leave(ctx context.Context, client kubernetes.Interface, name string) error {
	labels, annotations := noMembership()
	return patchNamespace(ctx, client, name, labels, annotations)
}

func patchNamespace(ctx context.Context, client kubernetes.Interface, name string, labels, annotations map[string]any) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": labels, "annotations": annotations}})
	if err != nil {
		return fmt.Errorf("change namespace [%s]: %w", name, err)
	}
	if _, err := client.CoreV1().Namespaces().Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "osm"}); err != nil {
		return fmt.Errorf("change the labels of namespace [%s]: %w", name, err)
	}
	return nil
}
