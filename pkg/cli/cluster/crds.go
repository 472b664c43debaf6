package cluster

import (
	"context"
	"fmt"
	"slices"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var definitions = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

// Definition returns a CustomResourceDefinition, or nil if the cluster has none of that name.
func (c *Clients) Definition(ctx context.Context, name string) (*apiextensionsv1.CustomResourceDefinition, error) {
	object, err := c.Dynamic.Resource(definitions).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil //nolint:nilnil // none is an answer
	}
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err == nil {
		err = runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, crd)
	}
	if err != nil {
		return nil, fmt.Errorf("read CustomResourceDefinition %s: %w", name, err)
	}
	return crd, nil
}

// DefinitionObject is a CustomResourceDefinition as an object to be removed.
func DefinitionObject(name string) Object {
	return Object{Resource: definitions, Kind: "CustomResourceDefinition", Name: name}
}

// Defined lists the objects of a definition that are not in a namespace.
func (c *Clients) Defined(ctx context.Context, crd *apiextensionsv1.CustomResourceDefinition, except string) ([]Object, error) {
	i := slices.IndexFunc(crd.Spec.Versions, func(v apiextensionsv1.CustomResourceDefinitionVersion) bool { return v.Served })
	if i < 0 {
		return nil, nil
	}
	resource := schema.GroupVersionResource{Group: crd.Spec.Group, Version: crd.Spec.Versions[i].Name, Resource: crd.Spec.Names.Plural}
	all, err := c.list(ctx, kindOf{resource, crd.Spec.Names.Kind}, "")
	return slices.DeleteFunc(all, func(o Object) bool { return o.Namespace == except }), err
}
