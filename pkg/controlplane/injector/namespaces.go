package injector

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"

	"github.com/osm-edge/osm/pkg/api"
)

// namespaceCache holds the namespaces of one mesh. If one is missing, as right after its creation, it asks
// the API server.
type namespaceCache struct {
	client   metadata.Interface
	informer cache.SharedIndexInformer
}

func newNamespaceCache(client metadata.Interface, mesh string) (*namespaceCache, error) {
	ofMesh := func(o *metav1.ListOptions) {
		o.LabelSelector = metav1.FormatLabelSelector(&metav1.LabelSelector{MatchLabels: map[string]string{api.LabelMonitoredBy: mesh}})
	}
	informer := metadatainformer.NewFilteredMetadataInformer(client, corev1.SchemeGroupVersion.WithResource("namespaces"), "", 0, cache.Indexers{}, ofMesh).Informer()
	if err := informer.SetTransform(trimNamespace); err != nil {
		return nil, fmt.Errorf("watch namespaces: %w", err)
	}
	return &namespaceCache{client: client, informer: informer}, nil
}

// Known returns a namespace of the mesh that the cache holds.
func (c *namespaceCache) Known(name string) (Namespace, bool) {
	stored, ok, err := c.informer.GetStore().GetByKey(name)
	if err != nil || !ok {
		return Namespace{}, false
	}
	return newNamespace(stored.(*metav1.PartialObjectMetadata)), true
}

// Namespace returns a namespace by name.
func (c *namespaceCache) Namespace(ctx context.Context, name string) (Namespace, error) {
	if known, ok := c.Known(name); ok {
		return known, nil
	}
	live, err := c.client.Resource(corev1.SchemeGroupVersion.WithResource("namespaces")).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return Namespace{}, fmt.Errorf("get namespace %s: %w", name, err)
	}
	return newNamespace(live), nil
}

func newNamespace(m *metav1.PartialObjectMetadata) Namespace {
	return Namespace{Name: m.Name, Labels: m.Labels, Annotations: m.Annotations}
}

// trimNamespace keeps what decisions read; tombstones pass as they are.
func trimNamespace(object any) (any, error) {
	m, ok := object.(*metav1.PartialObjectMetadata)
	if !ok {
		return object, nil
	}
	return &metav1.PartialObjectMetadata{TypeMeta: m.TypeMeta, ObjectMeta: metav1.ObjectMeta{
		Name: m.Name, UID: m.UID, ResourceVersion: m.ResourceVersion,
		Labels:      only(m.Labels, api.LabelMonitoredBy, api.LabelIgnore),
		Annotations: only(m.Annotations, api.AnnotationInjection, api.AnnotationMetrics),
	}}, nil
}

func only(values map[string]string, keys ...string) map[string]string {
	kept := map[string]string{}
	for _, key := range keys {
		if value, ok := values[key]; ok {
			kept[key] = value
		}
	}
	return kept
}
