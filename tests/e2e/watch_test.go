//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// source is a watchable set of objects of one kind.
type source struct {
	client    rest.Interface
	resource  string
	namespace string // "" is all
	labels    string // selector
	name      string // "" is all
}

func (o source) listWatch() *cache.ListWatch {
	return cache.NewFilteredListWatchFromClient(o.client, o.resource, o.namespace, func(options *metav1.ListOptions) {
		options.LabelSelector = o.labels
		if o.name != "" {
			options.FieldSelector = "metadata.name=" + o.name
		}
	})
}

func (c *cluster) pods(namespace, labels string) source {
	return source{client: c.kube.CoreV1().RESTClient(), resource: "pods", namespace: namespace, labels: labels}
}

func (c *cluster) deployments(namespace, name string) source {
	return source{client: c.kube.AppsV1().RESTClient(), resource: "deployments", namespace: namespace, name: name}
}

func (c *cluster) slices(namespace string) source {
	return source{client: c.kube.DiscoveryV1().RESTClient(), resource: "endpointslices", namespace: namespace}
}

func (c *cluster) jobsNamed(namespace, name string) source {
	return source{client: c.kube.BatchV1().RESTClient(), resource: "jobs", namespace: namespace, name: name}
}

func (c *cluster) autoscalers(namespace string) source {
	return source{client: c.kube.AutoscalingV2().RESTClient(), resource: "horizontalpodautoscalers", namespace: namespace}
}

func (c *cluster) budgets(namespace string) source {
	return source{client: c.kube.PolicyV1().RESTClient(), resource: "poddisruptionbudgets", namespace: namespace}
}

func (c *cluster) nodes(name string) source {
	return source{client: c.kube.CoreV1().RESTClient(), resource: "nodes", name: name}
}

// until watches objects until unmet returns "", and returns those objects. If that does not
// happen in time, the test fails with the last result of unmet.
func until[T runtime.Object](t *testing.T, objects source, within time.Duration, unmet func([]T) string) []T {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	changed := make(chan struct{}, 1)
	notify := func() {
		select {
		case changed <- struct{}{}:
		default: // a pending check includes this change
		}
	}
	var kind T
	store, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: objects.listWatch(),
		ObjectType:    kind, // only its type matters
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc:    func(any) { notify() },
			UpdateFunc: func(any, any) { notify() },
			DeleteFunc: func(any) { notify() },
		},
	})
	done := make(chan struct{})
	go func() { defer close(done); informer.RunWithContext(ctx) }()
	defer func() { cancel(); <-done }()
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		t.Fatalf("list %s in namespace %q: not done after %s", objects.resource, objects.namespace, within)
	}
	for {
		var now []T
		for _, object := range store.List() {
			now = append(now, object.(T))
		}
		reason := unmet(now)
		if reason == "" {
			return now
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("%s in namespace %q: after %s still: %s", objects.resource, objects.namespace, within, reason)
		}
	}
}

// eventually is for conditions that no watch shows, such as a request that starts to succeed: it retries once a
// second until unmet returns "".
func eventually(t *testing.T, within time.Duration, unmet func(context.Context) string) {
	t.Helper()
	reason := "not tried"
	err := wait.PollUntilContextTimeout(t.Context(), time.Second, within, true, func(ctx context.Context) (bool, error) {
		if latest := unmet(ctx); ctx.Err() == nil {
			reason = latest
		}
		return reason == "", nil
	})
	if err != nil {
		t.Fatalf("after %s still: %s (%v)", within, reason, err)
	}
}

// only is for objects watched by name: it reports when there is none.
func only[T runtime.Object](unmet func(T) string) func([]T) string {
	return func(all []T) string {
		if len(all) != 1 {
			return fmt.Sprintf("there are %d, want 1", len(all))
		}
		return unmet(all[0])
	}
}
