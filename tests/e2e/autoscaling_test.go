//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	toolswatch "k8s.io/client-go/tools/watch"

	"github.com/osm-edge/osm/pkg/api"
	meshcluster "github.com/osm-edge/osm/pkg/cli/cluster"
)

// TestAutoscaling keeps the CPUs of the controllers busy until the autoscaler adds one, and stops, until it has removed it again.
// The number goes up once and down once, and the mesh's requests do not notice. The work is to answer for metrics, which costs
// the same CPU time as configuration does, and needs no thousands of proxies.
func TestAutoscaling(t *testing.T) {
	env := must(readEnvironment())(t)
	s := &story{cluster: connect(t, env.kubeconfig), env: env}
	s.empty(t)
	t.Cleanup(func() { s.cleanUp(t); s.awaitRemoval(t) })
	t.Cleanup(func() { s.keepEvidence(t) })
	const least, most = 2, 3
	scale := "--set=osm.osmController.autoScale."
	s.osm(t, slices.Concat([]string{
		"install", scale + "enable=true", fmt.Sprintf("%sminReplicas=%d", scale, least), fmt.Sprintf("%smaxReplicas=%d", scale, most),
		// The default of ten minutes is for connections that come back; here it would only be waited for.
		scale + "behavior.scaleDown.stabilizationWindowSeconds=30",
	}, s.narrowed(t), s.env.imageValues())...)
	until(t, s.pods(api.DefaultNamespace, "app="+api.AppController), podTime, allAvailable(least))
	s.deployPair(t)
	_, client := s.onlyPod(t, s.apps.client)
	load := flow(t, client, s.apps.everything()...)
	numbers := s.followReplicas(t, api.DefaultNamespace, api.AppController)

	busy := s.keepBusy(t)
	until(t, s.pods(api.DefaultNamespace, "app="+api.AppController), metricsTime, allAvailable(most))
	load.more(t, 200)
	busy()
	until(t, s.pods(api.DefaultNamespace, "app="+api.AppController), metricsTime, allAvailable(least))
	load.more(t, 200)
	if got, want := numbers(), []int32{least, most, least}; !slices.Equal(got, want) {
		t.Errorf("the controllers were %d in turn, want %d", got, want)
	}
	load.stop(t)
}

// keepBusy asks all controllers for their metrics, again and again, until the function that it returns is called.
func (s *story) keepBusy(t *testing.T) func() {
	t.Helper()
	const workers = 12
	config := rest.CopyConfig(s.config)
	config.QPS = -1 // no limit
	kube := must(kubernetes.NewForConfig(config))(t)
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for ctx.Err() == nil {
				pods, err := kube.CoreV1().Pods(api.DefaultNamespace).List(ctx, metav1.ListOptions{LabelSelector: "app=" + api.AppController})
				if err != nil {
					continue
				}
				for range 50 { // new pods are found now and then
					for i := range pods.Items {
						if available(&pods.Items[i]) {
							_, _ = meshcluster.ProxyGet(ctx, kube, &pods.Items[i], api.PortHTTP, "/metrics") // one that leaves does not answer
						}
					}
				}
			}
		})
	}
	stop := func() { cancel(); all.Wait() }
	t.Cleanup(stop)
	return stop
}

// followReplicas watches the number of replicas that a Deployment is to have. The function that it returns ends the watch and
// returns the numbers in turn.
func (s *story) followReplicas(t *testing.T, namespace, name string) func() []int32 {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	list := must(s.kube.AppsV1().Deployments(namespace).List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name}))(t)
	numbers := []int32{*list.Items[0].Spec.Replicas}
	changes, err := toolswatch.NewRetryWatcherWithContext(ctx, list.ResourceVersion, s.deployments(namespace, name).listWatch())
	if err != nil {
		cancel()
		t.Fatalf("watch Deployment %s: %v", name, err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for change := range changes.ResultChan() {
			if d, ok := change.Object.(*appsv1.Deployment); ok {
				numbers = append(numbers, *d.Spec.Replicas)
			}
		}
	}()
	end := func() { cancel(); <-done }
	t.Cleanup(end)
	return func() []int32 { end(); return slices.Compact(numbers) }
}
