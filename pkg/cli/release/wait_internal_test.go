package release

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"helm.sh/helm/v3/pkg/kube"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apischema "k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/resource"
)

func TestDeploymentComponent(t *testing.T) {
	two := int32(2)
	sound := appsv1.DeploymentStatus{ObservedGeneration: 3, Replicas: 2, UpdatedReplicas: 2, AvailableReplicas: 2}
	tests := []struct {
		name   string
		floor  int32
		change func(*appsv1.Deployment)
		ready  int32
		done   bool
	}{
		{name: "sound", ready: 2, done: true},
		{name: "not observed yet", change: func(d *appsv1.Deployment) { d.Generation = 4 }, ready: 2},
		{name: "one not available", change: func(d *appsv1.Deployment) { d.Status.AvailableReplicas = 1 }, ready: 1},
		{name: "one not updated", change: func(d *appsv1.Deployment) { d.Status.UpdatedReplicas = 1 }, ready: 1},
		{name: "an old one left", change: func(d *appsv1.Deployment) { d.Status.Replicas = 3 }, ready: 2},
		{name: "autoscaler has yet to scale", floor: 3, ready: 2},
		{name: "autoscaler has scaled", floor: 2, ready: 2, done: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "d", Generation: 3}, Spec: appsv1.DeploymentSpec{Replicas: &two}, Status: sound}
			if tt.change != nil {
				tt.change(d)
			}
			got, err := deploymentComponent(d, tt.floor)
			want := Component{Kind: "Deployment", Name: "d", Ready: tt.ready, Desired: max(two, tt.floor), Done: tt.done}
			if err != nil || got != want {
				t.Errorf("got %+v, %v; want %+v", got, err, want)
			}
		})
	}
}

// States that waiting will not change end the wait.
func TestFinalStates(t *testing.T) {
	stuck := &appsv1.Deployment{Status: appsv1.DeploymentStatus{Conditions: []appsv1.DeploymentCondition{{Type: appsv1.DeploymentProgressing, Reason: "ProgressDeadlineExceeded"}}}}
	failed := &batchv1.Job{Status: batchv1.JobStatus{Conditions: []batchv1.JobCondition{{Type: batchv1.JobFailed, Status: corev1.ConditionTrue, Reason: "BackoffLimitExceeded"}}}}
	var final finalError
	if _, err := deploymentComponent(stuck, 0); !errors.As(err, &final) {
		t.Errorf("deployment: %v", err)
	}
	if _, err := jobComponent(failed); !errors.As(err, &final) {
		t.Errorf("job: %v", err)
	}
}

// The wait survives errors of the API server, does not poll what is done, and ends with its context,
// with an error that says why and what it waited for.
func TestPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		resources := kube.ResourceList{info("a"), info("b")}
		w := waiter{interval: time.Second}
		var asked []string
		start := time.Now()
		err := w.poll(t.Context(), resources, func(_ context.Context, i *resource.Info) (bool, error) {
			asked = append(asked, i.Name)
			if i.Name == "b" && len(asked) < 4 {
				return false, errors.New("away")
			}
			return true, nil
		})
		if err != nil || !slices.Equal(asked, []string{"a", "b", "b", "b"}) || time.Since(start) != 2*time.Second {
			t.Errorf("err %v, asked %v, took %s", err, asked, time.Since(start))
		}

		reason := errors.New("time is up")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, reason)
		defer cancel()
		err = w.poll(ctx, resources, func(_ context.Context, i *resource.Info) (bool, error) { return i.Name == "a", errors.New("away") })
		if !errors.Is(err, reason) || !strings.Contains(err.Error(), "Deployment b") || strings.Contains(err.Error(), "Deployment a") || !strings.Contains(err.Error(), "away") {
			t.Errorf("err %v", err)
		}
	})
}

func info(name string) *resource.Info {
	return &resource.Info{Name: name, Mapping: &meta.RESTMapping{GroupVersionKind: apischema.GroupVersionKind{Kind: "Deployment"}}}
}
