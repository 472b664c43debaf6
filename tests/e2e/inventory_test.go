//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
)

// inventory lists every object of a cluster, "resource.group namespace/name", with the details that must
// not change: the labels and annotations of a namespace.
type inventory map[string]string

// noise returns why an object may appear and disappear without the mesh, or "".
func noise(resource schema.GroupResource, object *metav1.PartialObjectMetadata) string {
	system := object.Namespace == metav1.NamespaceSystem
	switch {
	case resource.Resource == "events":
		return "anything that happens writes one, and they expire"
	case resource.Resource == "leases" && object.Namespace == "kube-node-lease":
		return "kubelets' heartbeat"
	case resource.Group == "metrics.k8s.io":
		return "not objects, but measurements of pods and nodes that are listed anyway"
	case resource.Resource == "componentstatuses":
		return "not objects, but the results of a health check"
	case resource.Resource == "pods" && system:
		return "the drained node's pods were recreated elsewhere, under new names"
	case resource.Resource == "replicasets" && system:
		return "a step restarts the cluster's DNS, and its Deployment keeps the old ones"
	case resource.Resource == "endpointslices" && system:
		return "follow those pods"
	}
	return ""
}

func (s *story) inventory(t *testing.T) inventory {
	t.Helper()
	return must(s.list(t.Context()))(t)
}

// list returns the names of all objects that can be listed.
func (s *story) list(ctx context.Context) (inventory, error) {
	lists, err := s.kube.Discovery().ServerPreferredResources()
	if err != nil {
		return nil, fmt.Errorf("discover all resources: %w", err)
	}
	all := inventory{}
	for _, list := range discovery.FilteredBy(discovery.SupportsAllVerbs{Verbs: []string{"list"}}, lists) {
		version, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			return nil, fmt.Errorf("read group version %q: %w", list.GroupVersion, err)
		}
		for i := range list.APIResources {
			resource := version.WithResource(list.APIResources[i].Name)
			if err := s.add(ctx, all, resource); err != nil {
				return nil, err
			}
		}
	}
	if len(all) == 0 {
		return nil, errors.New("the cluster lists no objects")
	}
	return all, nil
}

func (s *story) add(ctx context.Context, all inventory, resource schema.GroupVersionResource) error {
	list, err := s.metadata.Resource(resource).List(ctx, metav1.ListOptions{})
	if apierrors.IsNotFound(err) || apierrors.IsMethodNotSupported(err) {
		return nil // a kind that was removed after discovery
	}
	if err != nil {
		return fmt.Errorf("list %s: %w", resource, err)
	}
	for i := range list.Items {
		object := &list.Items[i]
		if noise(resource.GroupResource(), object) != "" {
			continue
		}
		detail := ""
		if resource.GroupResource() == (schema.GroupResource{Resource: "namespaces"}) {
			detail = fmt.Sprint(object.Labels, object.Annotations)
		}
		all[fmt.Sprintf("%s %s/%s", resource.GroupResource(), object.Namespace, object.Name)] = detail
	}
	return nil
}

// difference lists the added, removed and changed objects; "" if there are none.
func (now inventory) difference(before inventory) string {
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(now)) {
		if old, found := before[name]; !found {
			lines = append(lines, "left over: "+name)
		} else if old != now[name] {
			lines = append(lines, fmt.Sprintf("changed: %s is %s, was %s", name, now[name], old))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if _, found := now[name]; !found {
			lines = append(lines, "lost: "+name)
		}
	}
	return strings.Join(lines, "; ")
}

// unchangedSince waits until the cluster holds exactly the objects that it held before.
func (s *story) unchangedSince(t *testing.T, before inventory) {
	t.Helper()
	s.awaitInventory(t, before, s.list)
}

// awaitInventory waits until list returns the wanted inventory. A last attempt that runs out of time does not
// hide the result of the one before.
func (s *story) awaitInventory(t *testing.T, want inventory, list func(context.Context) (inventory, error)) {
	t.Helper()
	seen := ""
	eventually(t, podTime, func(ctx context.Context) string {
		now, err := list(ctx)
		if err != nil {
			return strings.TrimPrefix(seen+"; "+err.Error(), "; ")
		}
		seen = now.difference(want)
		return seen
	})
}
