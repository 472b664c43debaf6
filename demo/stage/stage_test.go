package stage_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	kubefake "k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/kubernetes/scheme"
	clienttesting "k8s.io/client-go/testing"

	"github.com/osm-edge/osm/demo/stage"
)

func mapper() meta.RESTMapper {
	m := meta.NewDefaultRESTMapper(nil)
	m.Add(corev1.SchemeGroupVersion.WithKind("Namespace"), meta.RESTScopeRoot)
	m.Add(appsv1.SchemeGroupVersion.WithKind("Deployment"), meta.RESTScopeNamespace)
	return m
}

func object(apiVersion, kind, namespace, name string) *unstructured.Unstructured {
	o := &unstructured.Unstructured{}
	o.SetAPIVersion(apiVersion)
	o.SetKind(kind)
	o.SetNamespace(namespace)
	o.SetName(name)
	return o
}

func objects() []*unstructured.Unstructured {
	return []*unstructured.Unstructured{
		object("v1", "Namespace", "", "bookstore"),
		object("apps/v1", "Deployment", "bookstore", "bookstore-v1"),
	}
}

// recorder is a Stage whose progress is kept, with the fake clusters behind it.
type recorder struct {
	stage.Stage
	dynamic  *dynamicfake.FakeDynamicClient
	kube     *kubefake.Clientset
	progress []string
}

func newRecorder(kubeObjects ...runtime.Object) *recorder {
	r := &recorder{dynamic: dynamicfake.NewSimpleDynamicClient(scheme.Scheme), kube: kubefake.NewClientset(kubeObjects...)}
	r.Stage = stage.Stage{Dynamic: r.dynamic, Kube: r.kube, Mapper: mapper(), Progress: func(s string) { r.progress = append(r.progress, s) }}
	return r
}

func TestApply(t *testing.T) {
	r := newRecorder()
	var applied []string
	r.dynamic.PrependReactor("patch", "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
		patch := action.(clienttesting.PatchActionImpl)
		options := patch.PatchOptions
		if patch.PatchType != types.ApplyPatchType || options.FieldManager != "osm-demo" || options.Force == nil || !*options.Force {
			t.Errorf("patch of type %s with %+v, want a forced server-side apply as osm-demo", patch.PatchType, options)
		}
		o := &unstructured.Unstructured{}
		if err := json.Unmarshal(patch.Patch, &o.Object); err != nil {
			return true, nil, err
		}
		applied = append(applied, patch.GetResource().Resource+" "+patch.GetNamespace()+"/"+patch.GetName())
		return true, o, nil
	})
	if err := r.Apply(t.Context(), objects()); err != nil {
		t.Fatal(err)
	}
	if want := []string{"namespaces /bookstore", "deployments bookstore/bookstore-v1"}; !slices.Equal(applied, want) {
		t.Errorf("applied %q, want %q", applied, want)
	}
	if want := []string{"applied Namespace bookstore", "applied Deployment bookstore/bookstore-v1"}; !slices.Equal(r.progress, want) {
		t.Errorf("progress = %q, want %q", r.progress, want)
	}
}

func TestApplyNamesTheObject(t *testing.T) {
	r := newRecorder()
	r.dynamic.PrependReactor("patch", "*", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("refused by the API server")
	})
	err := r.Apply(t.Context(), objects()[1:])
	if err == nil || err.Error() != "apply Deployment bookstore/bookstore-v1: refused by the API server" {
		t.Errorf("Apply = %v, want the object and the reason", err)
	}
	if err := r.Apply(t.Context(), []*unstructured.Unstructured{object("v1", "Gadget", "a", "b")}); !meta.IsNoMatchError(errors.Unwrap(err)) {
		t.Errorf("Apply of an unknown kind = %v, want a NoMatch error", err)
	}
}

// newKinds is a mapper that knows the kind Gadget from the third query on.
type newKinds struct {
	meta.RESTMapper
	resets int
}

func (m *newKinds) Reset() {
	if m.resets++; m.resets == 3 {
		m.RESTMapper.(*meta.DefaultRESTMapper).Add(schema.GroupVersionKind{Group: "example.test", Version: "v1", Kind: "Gadget"}, meta.RESTScopeNamespace)
	}
}

// TestApplyOfANewKind: the API server serves a kind only some time after its definition was created.
func TestApplyOfANewKind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder()
		known := mapper().(*meta.DefaultRESTMapper)
		known.Add(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"}, meta.RESTScopeRoot)
		kinds := &newKinds{RESTMapper: known}
		r.Mapper = kinds
		r.dynamic.PrependReactor("patch", "*", func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, object("v1", "Any", "", "any"), nil
		})
		definition := object("apiextensions.k8s.io/v1", "CustomResourceDefinition", "", "gadgets.example.test")
		definition.Object["spec"] = map[string]any{"group": "example.test"}
		gadget := object("example.test/v1", "Gadget", "bookstore", "one")
		if err := r.Apply(t.Context(), []*unstructured.Unstructured{definition, gadget}); err != nil || kinds.resets != 3 {
			t.Errorf("Apply = %v after %d attempts, want success after 3", err, kinds.resets)
		}
	})
}

func TestRemoveOfAKindThatIsGone(t *testing.T) {
	r := newRecorder()
	if err := r.Remove(t.Context(), []*unstructured.Unstructured{object("example.test/v1", "Gadget", "bookstore", "one")}, time.Second); err != nil {
		t.Errorf("Remove = %v, want no error", err)
	}
}

func TestWaitReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder()
		statuses := []map[string]any{nil, {"type": "Ready", "status": "False", "message": "no CA yet"}, {"type": "Other", "status": "True"}, {"type": "Ready", "status": "True"}}
		r.dynamic.PrependReactor("get", "*", func(clienttesting.Action) (bool, runtime.Object, error) {
			o := object("apps/v1", "Deployment", "bookstore", "one")
			if statuses[0] != nil {
				o.Object["status"] = map[string]any{"conditions": []any{statuses[0]}}
			}
			if len(statuses) > 1 {
				statuses = statuses[1:]
			}
			return true, o, nil
		})
		one := object("apps/v1", "Deployment", "bookstore", "one")
		err := r.WaitReady(t.Context(), one, 2*time.Second)
		if err == nil || !strings.HasPrefix(err.Error(), "wait for Deployment bookstore/one (no CA yet): ") {
			t.Errorf("WaitReady = %v, want the condition's message", err)
		}
		if err := r.WaitReady(t.Context(), one, time.Minute); err != nil || !slices.Equal(r.progress, []string{"Deployment bookstore/one is ready"}) {
			t.Errorf("WaitReady = %v, progress %q", err, r.progress)
		}
	})
}

func deployment(status appsv1.DeploymentStatus) *appsv1.Deployment {
	replicas := int32(2)
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "bookstore", Name: "bookstore-v1", Generation: 3},
		Spec:       appsv1.DeploymentSpec{Replicas: &replicas},
		Status:     status,
	}
}

func TestWaitRolledOutReportsEachStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder()
		steps := []appsv1.DeploymentStatus{
			{ObservedGeneration: 2, Replicas: 2, UpdatedReplicas: 2, AvailableReplicas: 2},
			{ObservedGeneration: 3, Replicas: 2, UpdatedReplicas: 1, AvailableReplicas: 2},
			{ObservedGeneration: 3, Replicas: 3, UpdatedReplicas: 2, AvailableReplicas: 3},
			{ObservedGeneration: 3, Replicas: 2, UpdatedReplicas: 2, AvailableReplicas: 1},
			{ObservedGeneration: 3, Replicas: 2, UpdatedReplicas: 2, AvailableReplicas: 1},
			{ObservedGeneration: 3, Replicas: 2, UpdatedReplicas: 2, AvailableReplicas: 2},
		}
		calls := 0
		r.kube.PrependReactor("get", "deployments", func(clienttesting.Action) (bool, runtime.Object, error) {
			calls++
			if calls == 1 {
				return true, nil, apierrors.NewNotFound(schema.GroupResource{Resource: "deployments"}, "bookstore-v1")
			}
			return true, deployment(steps[calls-2]), nil
		})
		if err := r.WaitRolledOut(t.Context(), objects(), time.Minute); err != nil {
			t.Fatal(err)
		}
		want := []string{
			"Deployment bookstore/bookstore-v1: not readable yet",
			"Deployment bookstore/bookstore-v1: the Deployment controller has not seen it yet",
			"Deployment bookstore/bookstore-v1: 1 of 2 new pods created",
			"Deployment bookstore/bookstore-v1: 1 old pods left",
			"Deployment bookstore/bookstore-v1: 1 of 2 pods available",
			"Deployment bookstore/bookstore-v1 is rolled out",
		}
		if !slices.Equal(r.progress, want) {
			t.Errorf("progress:\n%s\nwant:\n%s", strings.Join(r.progress, "\n"), strings.Join(want, "\n"))
		}
	})
}

func TestWaitRolledOutExplainsATimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "bookstore", Name: "bookstore-v1-x"},
			Status: corev1.PodStatus{
				Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "no node fits"}},
				ContainerStatuses: []corev1.ContainerStatus{
					{Name: "bookstore", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: "no such image"}}},
					{Name: "other", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "PodInitializing"}}},
				},
			},
		}
		r := newRecorder(pod, deployment(appsv1.DeploymentStatus{ObservedGeneration: 3}))
		began := time.Now()
		err := r.WaitRolledOut(t.Context(), objects(), time.Minute)
		if took := time.Since(began); took != time.Minute {
			t.Errorf("gave up after %s, want 1m", took)
		}
		for _, want := range []string{"Deployment bookstore/bookstore-v1", "0 of 2 new pods created", "Unschedulable: no node fits", "container bookstore: ErrImagePull: no such image"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error %v does not contain %q", err, want)
			}
		}
		if err != nil && strings.Contains(err.Error(), "PodInitializing") {
			t.Errorf("error %v lists containers that only wait for others", err)
		}
	})
}

func TestRemove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder()
		r.dynamic = dynamicfake.NewSimpleDynamicClient(scheme.Scheme, objects()[0])
		r.Dynamic = r.dynamic
		if err := r.Remove(t.Context(), objects(), time.Minute); err != nil {
			t.Fatal(err)
		}
		if want := []string{"removed Namespace bookstore", "removed Deployment bookstore/bookstore-v1"}; !slices.Equal(r.progress, want) {
			t.Errorf("progress = %q, want %q", r.progress, want)
		}
		if err := r.Remove(t.Context(), objects(), time.Minute); err != nil {
			t.Errorf("a second Remove = %v, want nil", err)
		}
	})
}

func TestRemoveGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder()
		r.dynamic.PrependReactor("get", "namespaces", func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, objects()[0], nil
		})
		err := r.Remove(t.Context(), objects()[:1], time.Minute)
		if err == nil || !strings.Contains(err.Error(), "wait for the end of Namespace bookstore (still there)") {
			t.Errorf("Remove = %v, want that the namespace is still there", err)
		}
	})
}
