package release

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/resource"
)

// Deviation is an object of a release whose state in the cluster is not that of its manifest.
type Deviation struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	Why       string `json:"why"` // Missing, Edited or NotReady
}

// Why an object deviates from its manifest.
const (
	Missing  = "missing"
	Edited   = "edited"
	NotReady = "not ready"
)

// Deviations compares the objects of a rendered document with the cluster's. Objects of hooks are left out: they do not
// outlive their hook. Fields that the manifest does not set may have any value.
func (e *Engine) Deviations(ctx context.Context, document string) ([]Deviation, error) {
	infos, err := e.kube.Build(strings.NewReader(document), false)
	if err != nil {
		return nil, fmt.Errorf("read the rendered chart: %w", err)
	}
	floors := floorsOf(infos)
	var found []Deviation
	for _, info := range infos {
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		if accessor, err := meta.Accessor(info.Object); err == nil && isHook(accessor) {
			continue
		}
		why, err := e.deviates(ctx, info, floors)
		if err != nil {
			return nil, fmt.Errorf("compare %s with the cluster: %w", title(info), err)
		}
		if why != "" {
			found = append(found, Deviation{info.Mapping.GroupVersionKind.Kind, info.Namespace, info.Name, why})
		}
	}
	return found, nil
}

// deviates lets the API server compare: it knows which spellings of a value are equal, and it merges lists by their keys.
func (e *Engine) deviates(ctx context.Context, info *resource.Info, floors map[string]int32) (why string, err error) {
	live, err := resource.NewHelper(info.Client, info.Mapping).Get(info.Namespace, info.Name)
	if apierrors.IsNotFound(err) {
		return Missing, nil
	}
	if err != nil {
		return "", err
	}
	component, err := waiter{client: e.client, log: e.log}.component(ctx, info, floors)
	if errors.As(err, new(finalError)) || err == nil && component.Kind != "" && !component.Done {
		return NotReady, nil
	}
	if err != nil {
		return "", err
	}
	applied, err := try(info)
	if err != nil {
		return "", err
	}
	if same, err := equal(live, applied); err != nil || !same {
		return Edited, err
	}
	return "", nil
}

// equal ignores what the API server writes at each request, and the status, which controllers may have written since.
func equal(a, b runtime.Object) (bool, error) {
	left, err := runtime.DefaultUnstructuredConverter.ToUnstructured(a)
	if err != nil {
		return false, err
	}
	right, err := runtime.DefaultUnstructuredConverter.ToUnstructured(b)
	if err != nil {
		return false, err
	}
	for _, object := range []map[string]any{left, right} {
		delete(object, "status")
		for _, field := range []string{"managedFields", "resourceVersion", "generation"} {
			unstructured.RemoveNestedField(object, "metadata", field)
		}
	}
	return equality.Semantic.DeepEqual(left, right), nil
}
