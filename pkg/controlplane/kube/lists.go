package kube

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
)

// lister is implemented by every typed client of client-go.
type lister[L runtime.Object] interface {
	List(context.Context, metav1.ListOptions) (L, error)
	Watch(context.Context, metav1.ListOptions) (watch.Interface, error)
}

func listWatch[L runtime.Object](client lister[L], selector string) *cache.ListWatch {
	narrow := func(options metav1.ListOptions) metav1.ListOptions {
		options.LabelSelector = selector
		return current(options)
	}
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			return client.List(ctx, narrow(options))
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			return client.Watch(ctx, narrow(options))
		},
	}
}

// current requests the most recent state where a reflector would accept any state from an API server's
// cache: a replica that starts must not serve a state older than the one that proxies have, nor one without
// the MeshConfig that was created a moment ago.
func current(options metav1.ListOptions) metav1.ListOptions {
	if options.ResourceVersion == "0" {
		options.ResourceVersion = ""
	}
	return options
}

// namespaceLists covers all namespaces: one that leaves the mesh must be noticed.
func namespaceLists(client kubernetes.Interface) *cache.ListWatch {
	return listWatch(client.CoreV1().Namespaces(), "")
}

// podLists omits pods without a proxy, which in most clusters are the majority.
func podLists(client kubernetes.Interface) *cache.ListWatch {
	return listWatch(client.CoreV1().Pods(metav1.NamespaceAll), api.LabelProxyUUID)
}

func serviceLists(client kubernetes.Interface) *cache.ListWatch {
	return listWatch(client.CoreV1().Services(metav1.NamespaceAll), "")
}

func accountLists(client kubernetes.Interface) *cache.ListWatch {
	return listWatch(client.CoreV1().ServiceAccounts(metav1.NamespaceAll), "")
}

func sliceLists(client kubernetes.Interface) *cache.ListWatch {
	return listWatch(client.DiscoveryV1().EndpointSlices(metav1.NamespaceAll), "")
}

// meshConfigLists follows the one MeshConfig of a namespace. While its CRD does not exist the list is empty
// instead of an error: a mesh without configuration denies everything, which is a valid state.
func meshConfigLists(client dynamic.Interface, namespace string) *cache.ListWatch {
	resource := client.Resource(v1alpha2.GroupVersionResource()).Namespace(namespace)
	narrow := func(options metav1.ListOptions) metav1.ListOptions {
		options.FieldSelector = fields.OneTermEqualSelector("metadata.name", api.MeshConfigName).String()
		return current(options)
	}
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			list, err := resource.List(ctx, narrow(options))
			if apierrors.IsNotFound(err) {
				return &unstructured.UnstructuredList{}, nil
			}
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			return resource.Watch(ctx, narrow(options))
		},
	}
}

// meshConfigObject is the type that the informer of meshConfigLists expects.
func meshConfigObject() runtime.Object { return &unstructured.Unstructured{} }
