//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	toolswatch "k8s.io/client-go/tools/watch"
)

// guard follows every single change of a namespace's pods, without gaps or merging, and records when
// an app has no available pod.
type guard struct {
	apps   []string
	cancel context.CancelFunc
	done   chan struct{}

	// Owned by the goroutine until done is closed.
	pods    map[string]*corev1.Pod
	changes int
	least   map[string]int
	gaps    []string
}

// startGuard starts with the current state.
func (s *story) startGuard(t *testing.T, namespace string, apps ...string) *guard {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	list := must(s.kube.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{}))(t)
	changes, err := toolswatch.NewRetryWatcherWithContext(ctx, list.ResourceVersion, s.pods(namespace, "").listWatch())
	if err != nil {
		cancel()
		t.Fatalf("watch pods of %s: %v", namespace, err)
	}
	g := &guard{apps: apps, cancel: cancel, done: make(chan struct{}), pods: map[string]*corev1.Pod{}, least: map[string]int{}}
	for i := range list.Items {
		g.pods[list.Items[i].Name] = &list.Items[i]
	}
	for _, app := range apps {
		g.least[app] = g.count(app)
	}
	g.look("at the start")
	go g.follow(changes)
	t.Cleanup(func() { cancel(); <-g.done })
	return g
}

func (g *guard) follow(changes watch.Interface) {
	defer close(g.done)
	for change := range changes.ResultChan() {
		pod, ok := change.Object.(*corev1.Pod)
		if !ok {
			g.gaps = append(g.gaps, fmt.Sprintf("the watch ended, so later changes are unknown: %v", apierrors.FromObject(change.Object)))
			return
		}
		if change.Type == watch.Deleted {
			delete(g.pods, pod.Name)
		} else {
			g.pods[pod.Name] = pod
		}
		g.changes++
		g.look(fmt.Sprintf("%s pod %s, version %s", strings.ToLower(string(change.Type)), pod.Name, pod.ResourceVersion))
	}
}

func (g *guard) count(app string) int {
	n := 0
	for _, pod := range g.pods {
		if pod.Labels["app"] == app && available(pod) {
			n++
		}
	}
	return n
}

func (g *guard) look(when string) {
	for _, app := range g.apps {
		n := g.count(app)
		g.least[app] = min(g.least[app], n)
		if n == 0 {
			g.gaps = append(g.gaps, fmt.Sprintf("%s had no available pod: %s", app, when))
		}
	}
}

// finish stops watching and returns the times at which an app had no available pod.
func (g *guard) finish() []string {
	g.cancel()
	<-g.done
	return g.gaps
}

// end stops watching and reports gaps as errors.
func (g *guard) end(t *testing.T) {
	t.Helper()
	for _, gap := range g.finish() {
		t.Error(gap)
	}
	var least []string
	for app, n := range g.least {
		least = append(least, fmt.Sprintf("%s %d", app, n))
	}
	slices.Sort(least)
	t.Logf("fewest available pods over %d changes: %s", g.changes, strings.Join(least, ", "))
}
