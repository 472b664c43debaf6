package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
)

// MeshConfigClient applies MeshConfigs of one namespace; a dynamic client satisfies it.
type MeshConfigClient interface {
	Apply(ctx context.Context, name string, obj *unstructured.Unstructured, opts metav1.ApplyOptions, subresources ...string) (*unstructured.Unstructured, error)
}

// applyMeshConfig applies the fields of spec that nobody else owns. A conflict names fields that someone else
// has set to another value; applyMeshConfig drops them and applies the rest again.
func applyMeshConfig(ctx context.Context, client MeshConfigClient, namespace string, spec map[string]any, log *slog.Logger) error {
	spec = cloneObject(spec)
	for {
		_, err := client.Apply(ctx, api.MeshConfigName, meshConfig(namespace, spec), metav1.ApplyOptions{FieldManager: FieldManager})
		if err == nil {
			log.Info("applied MeshConfig", "namespace", namespace, "name", api.MeshConfigName)
			return nil
		}
		kept := conflicts(err)
		if !dropFields(spec, ".spec", kept) {
			return fmt.Errorf("apply MeshConfig %s/%s: %w", namespace, api.MeshConfigName, err)
		}
		for field, owner := range kept {
			log.Info("kept a MeshConfig field that someone else has set", "field", field, "cause", owner)
		}
	}
}

func meshConfig(namespace string, spec map[string]any) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": v1alpha2.GroupVersion().String(),
		"kind":       v1alpha2.Kind,
		"metadata": map[string]any{
			"name":      api.MeshConfigName,
			"namespace": namespace,
			"labels":    map[string]any{api.LabelName: api.NameValue},
		},
		"spec": cloneObject(spec),
	}}
}

// conflicts returns the fields that another manager owns, as the API server spells them
// (.spec.traffic.enableEgress), each with the API server's message. It is empty for other errors.
func conflicts(err error) map[string]string {
	var status apierrors.APIStatus
	if !apierrors.IsConflict(err) || !errors.As(err, &status) || status.Status().Details == nil {
		return nil
	}
	fields := map[string]string{}
	for _, cause := range status.Status().Details.Causes {
		if cause.Type == metav1.CauseTypeFieldManagerConflict {
			fields[cause.Field] = cause.Message
		}
	}
	return fields
}

// dropFields deletes the named fields and everything below them from object, whose own name is path. It
// compares names as the API server spells them instead of parsing them, because the name of a resource may
// contain dots. It reports whether it deleted anything.
func dropFields(object map[string]any, path string, fields map[string]string) bool {
	dropped := false
	for key, value := range object {
		name := path + "." + key
		if _, named := fields[name]; named {
			delete(object, key)
			dropped = true
			continue
		}
		child, isObject := value.(map[string]any)
		if !isObject || !dropFields(child, name, fields) {
			continue
		}
		dropped = true
		// An empty object would still be applied, and owned.
		if len(child) == 0 {
			delete(object, key)
		}
	}
	return dropped
}

// cloneObject copies the maps of a JSON object, but not its lists, which are never changed here.
func cloneObject(object map[string]any) map[string]any {
	clone := make(map[string]any, len(object))
	for key, value := range object {
		if child, ok := value.(map[string]any); ok {
			value = cloneObject(child)
		}
		clone[key] = value
	}
	return clone
}

// missingNamespace reports whether err means that the namespace itself does not exist, as opposed to a kind
// that the API server does not serve yet.
func missingNamespace(err error, namespace string) bool {
	var status apierrors.APIStatus
	if !apierrors.IsNotFound(err) || !errors.As(err, &status) || status.Status().Details == nil {
		return false
	}
	details := status.Status().Details
	return details.Name == namespace && slices.Contains([]string{"namespace", "namespaces"}, strings.ToLower(details.Kind))
}
