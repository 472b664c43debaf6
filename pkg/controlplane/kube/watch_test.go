package kube

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/controlplane/ingest"
)

func meshConfig(validity any) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": v1alpha2.GroupVersion().String(), "kind": v1alpha2.Kind,
		"metadata": map[string]any{"namespace": "osm-system", "name": api.MeshConfigName},
		"spec": map[string]any{
			"traffic":     map[string]any{"enableEgress": true},
			"certificate": map[string]any{"serviceCertValidityDuration": validity},
		},
	}}
}

type rig struct {
	watch   *Watch
	dynamic *dynamicfake.FakeDynamicClient
	client  *fake.Clientset
	changes chan struct{}
}

// start runs a Watch on fakes until the test ends.
func start(t *testing.T, config *unstructured.Unstructured, objects ...runtime.Object) *rig {
	t.Helper()
	scheme := runtime.NewScheme()
	kinds := map[schema.GroupVersionResource]string{v1alpha2.GroupVersionResource(): "MeshConfigList"}
	r := &rig{
		dynamic: dynamicfake.NewSimpleDynamicClientWithCustomListKinds(scheme, kinds, config),
		client:  fake.NewClientset(objects...), changes: make(chan struct{}, 1000),
	}
	var err error
	r.watch, err = New(Config{
		Client: r.client, Dynamic: r.dynamic, MeshName: "osm", Namespace: "osm-system", Log: slog.New(slog.DiscardHandler),
		Changed: func(string) { r.changes <- struct{}{} }, MembersChanged: func() {},
	}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.watch.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("the watch ended with %v", err)
		}
		goleak.VerifyNone(t)
	})
	return r
}

// TestWhatChanged: each new pod has a new name, so its name does not show how often
// pods change.
func TestWhatChanged(t *testing.T) {
	meta := metav1.ObjectMeta{Namespace: "shop", Name: "store-1"}
	for what, cases := range map[string][]any{
		"pods shop":                   {&corev1.Pod{ObjectMeta: meta}, cache.DeletedFinalStateUnknown{Key: "shop/store-1", Obj: &corev1.Pod{ObjectMeta: meta}}},
		"endpointslices shop/store-1": {&discoveryv1.EndpointSlice{ObjectMeta: meta}},
	} {
		name, object, _ := strings.Cut(what, " ")
		for _, changed := range cases {
			s := &source{name: name, changed: map[cache.ObjectName]struct{}{}}
			if got, want := s.note(changed), name+"/"+object; got != want {
				t.Errorf("%T: got %q, want %q", changed, got, want)
			}
		}
	}
}

// until waits for a condition after each change that the Watch reports.
func (r *rig) until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	retry := time.NewTicker(10 * time.Millisecond) // syncing is not reported as a change
	defer retry.Stop()
	for !holds() {
		select {
		case <-r.changes:
		case <-retry.C:
		case <-deadline:
			t.Fatalf("not after 20 s: %s; waiting for %v", what, r.watch.Waiting())
		}
	}
}

// TestWatchReportsEveryEvent: a Service that appears, changes and goes is reported each time, and Update tells its
// state. Fails if one kind of event is ignored.
func TestWatchReportsEveryEvent(t *testing.T) {
	r := start(t, meshConfig("24h"))
	r.until(t, "synced", func() bool { return len(r.watch.Waiting()) == 0 })
	services, ctx := r.client.CoreV1().Services("shop"), t.Context()
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "store"}, Spec: corev1.ServiceSpec{ClusterIP: "10.0.0.1"}}
	// told takes what has been reported, and returns the Service's address: "" without a report, "gone" if it went.
	told := func() (address string) {
		update(r.watch.services, func(_, name string, now *corev1.Service) {
			if address = "gone"; now != nil {
				address = name + " " + now.Spec.ClusterIP
			}
		})
		return address
	}
	expect := func(want string, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		r.until(t, want, func() bool { return told() == want })
	}
	_, err := services.Create(ctx, service, metav1.CreateOptions{})
	expect("store 10.0.0.1", err)
	service.Spec.ClusterIP = "10.0.0.2"
	_, err = services.Update(ctx, service, metav1.UpdateOptions{})
	expect("store 10.0.0.2", err)
	expect("gone", services.Delete(ctx, "store", metav1.DeleteOptions{}))
}

func TestWatchKeepsTheLastMeshConfigThatCouldBeRead(t *testing.T) {
	r := start(t, meshConfig("24h"))
	r.until(t, "synced", func() bool { return len(r.watch.Waiting()) == 0 })
	if config := r.watch.MeshConfig(); config == nil || !config.Spec.Traffic.EnableEgress {
		t.Fatalf("MeshConfig is %v", config)
	}
	configs := r.dynamic.Resource(v1alpha2.GroupVersionResource()).Namespace("osm-system")
	if _, err := configs.Update(t.Context(), meshConfig("1 day"), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	r.until(t, "the invalid one arrived", func() bool { return len(all[unstructured.Unstructured](r.watch.config)) == 1 })
	if config := r.watch.MeshConfig(); config == nil || !config.Spec.Traffic.EnableEgress {
		t.Errorf("a MeshConfig that cannot be read replaced the last valid one by %v", config)
	}
	if waiting := r.watch.Waiting(); len(waiting) != 0 {
		t.Errorf("a replica that has a valid MeshConfig waits for %v", waiting)
	}
}

func TestWatchIsNotReadyWithAMeshConfigThatCannotBeRead(t *testing.T) {
	r := start(t, meshConfig("1 day"))
	r.until(t, "reports what it waits for", func() bool {
		return strings.Contains(strings.Join(r.watch.Waiting(), ","), "MeshConfig osm-system/osm-mesh-config")
	})
}

func TestWatchReportsOnlyWhatIsRead(t *testing.T) {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", ResourceVersion: "1"}}
	r := start(t, meshConfig("24h"), ns)
	r.until(t, "synced", func() bool { return len(r.watch.Waiting()) == 0 && len(r.watch.Namespaces()) == 1 })
	if !sameContent(trimmed(t, ns, "1", nil), trimmed(t, ns, "2", map[string]string{"note": "not read"})) {
		t.Error("an annotation that nothing reads counts as a change")
	}
	labelled := ns.DeepCopy()
	labelled.Labels = map[string]string{api.LabelMonitoredBy: "osm"}
	if sameContent(trimmed(t, ns, "1", nil), trimmed(t, labelled, "2", nil)) {
		t.Error("joining the mesh does not count as a change")
	}
}

func trimmed(t *testing.T, ns *corev1.Namespace, version string, annotations map[string]string) any {
	t.Helper()
	copied := ns.DeepCopy()
	copied.ResourceVersion, copied.Annotations = version, annotations
	result, err := trimNamespace(copied)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// A refused connection is noticed at the request, and cleared by the next response.
func TestSourceNotesOutages(t *testing.T) {
	now := time.Unix(1000, 0)
	var refused error
	s := &source{name: "pods"}
	lists := s.noting(&cache.ListWatch{
		ListWithContextFunc: func(context.Context, metav1.ListOptions) (runtime.Object, error) {
			return &corev1.PodList{}, refused
		},
		WatchFuncWithContext: func(context.Context, metav1.ListOptions) (watch.Interface, error) {
			return watch.NewFake(), refused
		},
	}, slog.New(slog.DiscardHandler), func() time.Time { return now })
	w := &Watch{sources: []*source{{name: "services"}, s}}
	request := func() { _, _ = lists.WatchFuncWithContext(t.Context(), metav1.ListOptions{}) }

	if request(); w.failed() {
		t.Error("an API server that responds is reported as failing")
	}
	refused = errors.New("connection refused")
	request()
	now = now.Add(time.Minute)
	request()
	if since, err, ok := w.Failing(); !ok || !since.Equal(time.Unix(1000, 0)) || !errors.Is(err, refused) {
		t.Errorf("failing since %v with %v, %t; want since the first refusal", since, err, ok)
	}
	refused = nil
	if _, _ = lists.ListWithContextFunc(t.Context(), metav1.ListOptions{}); w.failed() {
		t.Error("an API server that responds again is still reported as failing")
	}
}

func (w *Watch) failed() bool {
	_, _, ok := w.Failing()
	return ok
}

// However many events there are, and whatever they carry, Update reports each object once, and
// as the store holds it.
func TestUpdateTellsWhatTheStoreHolds(t *testing.T) {
	src := &source{changed: map[cache.ObjectName]struct{}{}, informer: cache.NewSharedIndexInformer(&cache.ListWatch{}, &corev1.Pod{}, 0, nil)}
	pod := func(name, ip string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, Status: corev1.PodStatus{PodIP: ip}}
	}
	if err := src.informer.GetStore().Add(pod("store", "10.0.0.2")); err != nil {
		t.Fatal(err)
	}
	src.note(pod("store", "10.0.0.1"))
	src.note(pod("store", "10.0.0.2"))
	src.note(pod("store", "10.0.0.1")) // an outdated event
	src.note(cache.DeletedFinalStateUnknown{Key: "shop/buyer", Obj: pod("buyer", "10.0.0.9")})
	src.note(cache.DeletedFinalStateUnknown{Key: "shop/unknown"}) // its last state is not known
	reported := map[string]string{}
	update(src, func(namespace, name string, pod *corev1.Pod) {
		if _, again := reported[name]; again {
			t.Errorf("%s/%s was reported twice", namespace, name)
		}
		if reported[name] = "gone"; pod != nil {
			reported[name] = pod.Status.PodIP
		}
	})
	want := map[string]string{"store": "10.0.0.2", "buyer": "gone", "unknown": "gone"}
	if !maps.Equal(reported, want) {
		t.Errorf("reported %v, want %v", reported, want)
	}
	update(src, func(_, name string, _ *corev1.Pod) { t.Errorf("%s was reported again without a change", name) })
}

// The first Update after Waiting is empty reports everything.
func TestFirstUpdateIsComplete(t *testing.T) {
	objects := []runtime.Object{&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", Labels: map[string]string{api.LabelMonitoredBy: "osm"}}}}
	for i := range 300 {
		objects = append(objects, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: fmt.Sprint("service-", i)}})
	}
	r := start(t, meshConfig("24h"), objects...)
	state := ingest.NewState("osm", "cluster.local")
	r.until(t, "synced", func() bool { return len(r.watch.Waiting()) == 0 })
	r.watch.Update(state)
	if snapshot, _ := state.Snapshot(); len(snapshot.Services()) != 300 || !snapshot.Settings().Egress {
		t.Errorf("the first snapshot has %d services of 300, settings %+v", len(snapshot.Services()), snapshot.Settings())
	}
}
