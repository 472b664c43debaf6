// Package manifests holds the demo's Kubernetes objects: the bookstore's namespaces and workloads.
//
// It is data with one parameter, the image. It accesses no cluster, and nothing here belongs to
// the mesh. Its invariant: the objects are in an order in which they can be created one by one.
package manifests

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
)

//go:embed *.yaml
var files embed.FS

// placeholder is the image in the files. It cannot be run by mistake.
const placeholder = "osm-demo"

const decodeBuffer = 4096

// Namespaces returns the demo's Namespace objects.
func Namespaces() ([]*unstructured.Unstructured, error) {
	return decode("00-namespaces.yaml")
}

// Objects returns all objects of the demo, the namespaces first, with image as the image of
// every container.
func Objects(image string) ([]*unstructured.Unstructured, error) {
	if image == "" {
		return nil, errors.New("demo image is empty: give the reference that bin/images printed for osm-demo")
	}
	names, err := fs.Glob(files, "*.yaml") // sorted, as in every directory of an embed.FS
	if err != nil {
		return nil, fmt.Errorf("list manifests: %w", err)
	}
	var objects []*unstructured.Unstructured
	for _, name := range names {
		more, err := decode(name)
		if err != nil {
			return nil, err
		}
		for _, o := range more {
			if err := setImage(o, image); err != nil {
				return nil, fmt.Errorf("manifest %s: %s %s: %w", name, o.GetKind(), o.GetName(), err)
			}
		}
		objects = append(objects, more...)
	}
	return objects, nil
}

func decode(name string) ([]*unstructured.Unstructured, error) {
	content, err := files.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read manifest %s: %w", name, err)
	}
	var objects []*unstructured.Unstructured
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(content), decodeBuffer)
	for {
		o := &unstructured.Unstructured{}
		err := decoder.Decode(&o.Object)
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, fmt.Errorf("decode manifest %s: %w", name, err)
		}
		if len(o.Object) > 0 {
			objects = append(objects, o)
		}
	}
}

// setImage replaces the placeholder in a Deployment's containers.
func setImage(o *unstructured.Unstructured, image string) error {
	if o.GetKind() != "Deployment" {
		return nil
	}
	path := []string{"spec", "template", "spec", "containers"}
	containers, _, err := unstructured.NestedSlice(o.Object, path...)
	if err != nil {
		return err
	}
	for _, c := range containers {
		container, ok := c.(map[string]any)
		if !ok || container["image"] != placeholder {
			return fmt.Errorf("container image is not %q", placeholder)
		}
		container["image"] = image
	}
	return unstructured.SetNestedSlice(o.Object, containers, path...)
}
