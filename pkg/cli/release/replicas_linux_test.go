package release_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	toolswatch "k8s.io/client-go/tools/watch"
	"k8s.io/client-go/util/retry"

	"github.com/osm-edge/osm/pkg/cli/release"
	"github.com/osm-edge/osm/tests/realapi"
)

const meshNamespace = "osm-system"

// scaled is a release on a real API server, which defaults spec.replicas as a cluster does.
type scaled struct {
	t      *testing.T
	ctx    context.Context //nolint:containedctx // of every operation: one that hangs fails with what it waits for
	client *kubernetes.Clientset
	engine *release.Engine
	chart  *release.Chart
}

func newScaled(t *testing.T) *scaled {
	server := realapi.Start(t)
	flags := genericclioptions.NewConfigFlags(false)
	flags.WithWrapConfigFn(func(*rest.Config) *rest.Config { return server.Config() })
	engine, err := release.New(flags, meshNamespace, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	t.Cleanup(cancel)
	s := &scaled{t, ctx, server.Client(t), engine, builtIn(t)}
	s.standIn()
	return s
}

// standIn reports every Deployment as ready until the test ends, as the controllers do. It survives a watch
// that ends and an update that fails: without it, an operation under test would wait forever.
func (s *scaled) standIn() {
	factory := informers.NewSharedInformerFactoryWithOptions(s.client, 0, informers.WithNamespace(meshNamespace))
	ctx, cancel := context.WithCancel(s.t.Context())
	report := func(obj any) { s.reportReady(ctx, obj.(*appsv1.Deployment).Name) }
	_, err := factory.Apps().V1().Deployments().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: report, UpdateFunc: func(_, obj any) { report(obj) },
	})
	if err != nil {
		s.t.Fatal(err)
	}
	factory.Start(ctx.Done())
	s.t.Cleanup(func() { cancel(); factory.Shutdown() })
}

func (s *scaled) reportReady(ctx context.Context, name string) {
	deployments := s.client.AppsV1().Deployments(meshNamespace)
	transient := func(err error) bool { return ctx.Err() == nil && !apierrors.IsNotFound(err) }
	err := retry.OnError(wait.Backoff{Duration: 50 * time.Millisecond, Factor: 2, Steps: 10}, transient, func() error {
		d, err := deployments.Get(ctx, name, metav1.GetOptions{})
		if err != nil || d.Status.ObservedGeneration == d.Generation {
			return err
		}
		n := *d.Spec.Replicas
		d.Status = appsv1.DeploymentStatus{ObservedGeneration: d.Generation, Replicas: n, UpdatedReplicas: n, ReadyReplicas: n, AvailableReplicas: n}
		_, err = deployments.UpdateStatus(ctx, d, metav1.UpdateOptions{})
		return err
	})
	if err != nil && transient(err) {
		s.t.Errorf("report Deployment %s as ready: %v", name, err)
	}
}

func (s *scaled) request(sets ...string) release.Request {
	return release.Request{Name: "osm", Chart: s.chart, Values: user(s.t, sets...), CreateNamespace: true, SkipHooks: true}
}

// during runs a change and returns every number of replicas that each Deployment had, from before it to
// after it, without repetitions.
func (s *scaled) during(change func()) map[string][]int32 {
	s.t.Helper()
	ctx, deployments := s.t.Context(), s.client.AppsV1().Deployments(meshNamespace)
	list, err := deployments.List(ctx, metav1.ListOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	numbers := map[string][]int32{}
	for _, d := range list.Items {
		numbers[d.Name] = []int32{*d.Spec.Replicas}
	}
	changes, err := toolswatch.NewRetryWatcherWithContext(ctx, list.ResourceVersion, &cache.ListWatch{WatchFuncWithContext: deployments.Watch})
	if err != nil {
		s.t.Fatal(err)
	}
	defer changes.Stop()
	change()
	end := time.Now().String()
	for name := range numbers {
		mark := []byte(`{"metadata":{"annotations":{"test/end":"` + end + `"}}}`)
		if _, err := deployments.Patch(ctx, name, types.MergePatchType, mark, metav1.PatchOptions{}); err != nil {
			s.t.Fatal(err)
		}
	}
	for open := len(numbers); open > 0; {
		event, ok := <-changes.ResultChan()
		d, isDeployment := event.Object.(*appsv1.Deployment)
		if !ok || !isDeployment {
			s.t.Fatalf("the watch ended early: %v", event.Object)
		}
		if numbers[d.Name] = append(numbers[d.Name], *d.Spec.Replicas); d.Annotations["test/end"] == end {
			open--
		}
	}
	for name := range numbers {
		numbers[name] = slices.Compact(numbers[name])
	}
	return numbers
}

func (s *scaled) expect(what string, want map[string][]int32, change func()) {
	s.t.Helper()
	if got := s.during(change); !maps.EqualFunc(got, want, slices.Equal) {
		s.t.Errorf("%s: the replicas were %v, want %v", what, got, want)
	}
}

func (s *scaled) upgrade(sets ...string) func() {
	return func() {
		s.t.Helper()
		if err := s.engine.Upgrade(s.ctx, s.request(sets...)); err != nil {
			s.t.Fatal(err)
		}
	}
}

// scale does what an autoscaler does.
func (s *scaled) scale(app string, n int32) {
	s.t.Helper()
	_, err := s.client.AppsV1().Deployments(meshNamespace).UpdateScale(s.t.Context(), app,
		&autoscalingv1.Scale{ObjectMeta: metav1.ObjectMeta{Name: app, Namespace: meshNamespace}, Spec: autoscalingv1.ScaleSpec{Replicas: n}}, metav1.UpdateOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *scaled) autoscalers() int {
	s.t.Helper()
	list, err := s.client.AutoscalingV2().HorizontalPodAutoscalers(meshNamespace).List(s.t.Context(), metav1.ListOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	return len(list.Items)
}

const (
	on    = "osm.osmController.autoScale.enable=true,osm.injector.autoScale.enable=true,osm.osmController.autoScale.minReplicas=2,osm.injector.autoScale.minReplicas=2"
	three = "osm.osmController.replicaCount=3,osm.injector.replicaCount=3"
	four  = "osm.osmController.replicaCount=4,osm.injector.replicaCount=4"
)

// Autoscaling is turned on and off without ever having fewer replicas than the smaller of the old and the new
// number; a watch sees every change.
func TestAutoscalingHandsOver(t *testing.T) {
	s := newScaled(t)
	if err := s.engine.Install(s.ctx, s.request(three)); err != nil {
		t.Fatal(err)
	}
	both := func(numbers ...int32) map[string][]int32 {
		return map[string][]int32{"osm-controller": numbers, "osm-injector": numbers}
	}
	s.expect("on", both(3), s.upgrade(on))
	s.expect("the autoscalers scale", both(3, 5), func() { s.scale("osm-controller", 5); s.scale("osm-injector", 5) })
	s.expect("an upgrade while on", both(5), s.upgrade(on, "osm.controllerLogLevel=debug"))
	s.expect("off", both(5, 4), s.upgrade(four))
	if n := s.autoscalers(); n != 0 {
		t.Errorf("%d autoscalers are left", n)
	}
	s.expect("on again", both(4), s.upgrade(on))
	s.expect("one replica, off", both(4, 1), s.upgrade("osm.osmController.replicaCount=1"))
	s.expect("on from fewer than the minimum", both(1, 2), s.upgrade(on))
	if n := s.autoscalers(); n != 2 {
		t.Errorf("%d autoscalers, want 2", n)
	}
}

// A change that fails is rolled back without fewer replicas, in both directions.
func TestAutoscalingRollsBack(t *testing.T) {
	s := newScaled(t)
	if err := s.engine.Install(s.ctx, s.request(three)); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, before, after string
		want                []int32
	}{
		{"turned on", three, on, []int32{3}},
		{"turned off", on, four, []int32{3, 4}},
	} {
		s.upgrade(tt.before)()
		s.expect(tt.name, map[string][]int32{"osm-controller": tt.want, "osm-injector": tt.want}, func() {
			ctx, cancel := context.WithCancelCause(s.ctx)
			failure := errors.New("the test ends the upgrade")
			request := s.request(tt.after)
			request.Observe = func(release.Component) { cancel(failure) }
			if err := s.engine.Upgrade(ctx, request); !errors.Is(err, failure) {
				t.Fatalf("Upgrade = %v, want it to fail", err)
			}
			if err := s.engine.Rollback(s.ctx, "osm", nil); err != nil {
				t.Fatal(err)
			}
		})
	}
}
