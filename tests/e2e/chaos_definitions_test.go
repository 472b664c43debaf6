//go:build e2e

package e2e

import (
	"context"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/osm-edge/osm/pkg/api"
)

func definitions() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
}

// definitionOf returns the CustomResourceDefinition of MeshConfigs.
func (c *chaosMesh) definitionOf(t *testing.T) *unstructured.Unstructured {
	t.Helper()
	return must(c.dynamic.Resource(definitions()).Get(t.Context(), meshConfigs().GroupResource().String(), metav1.GetOptions{}))(t)
}

// deleteDefinition deletes the definition of MeshConfigs, and with it the mesh's, until heal.
func deleteDefinition(c *chaosMesh, t *testing.T) {
	definition := c.definitionOf(t)
	config := must(c.dynamic.Resource(meshConfigs()).Namespace(api.DefaultNamespace).Get(t.Context(), api.MeshConfigName, metav1.GetOptions{}))(t)
	all := c.dynamic.Resource(definitions())
	c.undone = func() {
		err := wait.PollUntilContextTimeout(withoutTest(t), time.Second, podTime, true, func(ctx context.Context) (bool, error) {
			if _, err := all.Create(ctx, fresh(definition), metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
				return false, nil
			}
			// It can be created when the API server serves the definition.
			_, err := c.dynamic.Resource(meshConfigs()).Namespace(api.DefaultNamespace).Create(ctx, fresh(config), metav1.CreateOptions{})
			return err == nil || apierrors.IsAlreadyExists(err), nil
		})
		if err != nil {
			t.Errorf("put the definition and the MeshConfig back: %v", err)
		}
	}
	if err := all.Delete(t.Context(), definition.GetName(), metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, podTime, func(ctx context.Context) string {
		if _, err := all.Get(ctx, definition.GetName(), metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			return "the definition is still there"
		}
		return ""
	})
}

// olderDefinition takes newer settings out of the definition of MeshConfigs, as an older version of osm would have
// it, until heal. The API server drops them from what it returns.
func olderDefinition(c *chaosMesh, t *testing.T) {
	definition := c.definitionOf(t)
	older := definition.DeepCopy()
	versions, _, _ := unstructured.NestedSlice(older.Object, "spec", "versions")
	removed := 0
	for _, version := range versions {
		spec, _ := version.(map[string]any)
		properties, _, _ := unstructured.NestedFieldNoCopy(spec, "schema", "openAPIV3Schema", "properties", "spec", "properties")
		if all, ok := properties.(map[string]any); ok {
			delete(all, "sidecar")
			removed++
		}
	}
	if removed == 0 {
		t.Fatal("the definition of MeshConfigs has no settings, so there is no older one")
	}
	if err := unstructured.SetNestedSlice(older.Object, versions, "spec", "versions"); err != nil {
		t.Fatal(err)
	}
	all := c.dynamic.Resource(definitions())
	must(all.Update(t.Context(), older, metav1.UpdateOptions{}))(t)
	c.undone = func() {
		now := must(all.Get(withoutTest(t), definition.GetName(), metav1.GetOptions{}))(t)
		now.Object["spec"] = definition.Object["spec"]
		must(all.Update(withoutTest(t), now, metav1.UpdateOptions{}))(t)
	}
}

// fresh is an object as it was created.
func fresh(object *unstructured.Unstructured) *unstructured.Unstructured {
	again := object.DeepCopy()
	delete(again.Object, "status")
	for _, field := range []string{"uid", "resourceVersion", "creationTimestamp", "deletionTimestamp", "generation", "managedFields", "finalizers", "deletionGracePeriodSeconds"} {
		unstructured.RemoveNestedField(again.Object, "metadata", field)
	}
	return again
}
