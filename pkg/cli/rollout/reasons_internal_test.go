package rollout

import (
	"bytes"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/osm-edge/osm/pkg/cli/command"
)

func waitingPod(name, reason, message string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "osm-system", Labels: map[string]string{"app": "osm-controller"}},
		Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{
			Name: "osm-controller", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}},
		}}},
	}
}

// A lasting reason is shown after 15 s and at each change; not before, not twice, and not in each of its wordings.
func TestReasonsWhileWaiting(t *testing.T) {
	pods := []*corev1.Pod{waitingPod("a", "ErrImagePull", "not found"), waitingPod("b", "ErrImagePull", "not found")}
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "osm-injector", Namespace: "osm-system", Labels: map[string]string{"app": "osm-injector"}}}
	client := fake.NewClientset(pods[0], pods[1], deployment)
	var out bytes.Buffer
	now := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	env := &command.Env{Err: &out, Now: func() time.Time { return now }}
	r := newReasons(env, client, "osm-system")
	step := func(what string, after time.Duration, want ...string) {
		t.Helper()
		out.Reset()
		now = now.Add(after)
		r.look(t.Context())
		if lines := strings.Count(out.String(), "is not ready after"); lines != len(want) {
			t.Errorf("%s: %d reasons, want %d:\n%s", what, lines, len(want), out.String())
		}
		for _, text := range want {
			if !strings.Contains(out.String(), text) {
				t.Errorf("%s: %q is not in:\n%s", what, text, out.String())
			}
		}
	}
	update := func(pod *corev1.Pod) {
		t.Helper()
		if _, err := client.CoreV1().Pods("osm-system").Update(t.Context(), pod, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	step("too early", 14*time.Second)
	step("the first time", time.Second, "osm-controller is not ready after 15s: container osm-controller: ErrImagePull not found\n  hint: check osm.image.registry")
	step("too soon again", time.Second)
	update(waitingPod("a", "ImagePullBackOff", "Back-off"))
	update(waitingPod("b", "ImagePullBackOff", "Back-off"))
	step("the same in other words", time.Minute)

	unscheduled := waitingPod("a", "", "")
	unscheduled.Status = corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "0/3 nodes are available"}}}
	update(unscheduled)
	step("another reason", time.Minute, "Unschedulable: 0/3 nodes are available\n  hint: add nodes")

	quota := func(pod, why string) {
		t.Helper()
		deployment.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Reason: "FailedCreate",
			Message: `pods "` + pod + `" is forbidden: ` + why}}
		if _, err := client.AppsV1().Deployments("osm-system").Update(t.Context(), deployment, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	quota("osm-injector-1", "exceeded quota: small")
	step("quota", time.Minute, "osm-injector is not ready after 3m16s: its pods are refused: exceeded quota: small\n  hint: raise the namespace's ResourceQuota")
	quota("osm-injector-2", "exceeded quota: small")
	step("quota, another pod", time.Minute)
	quota("osm-injector-3", `violates PodSecurity "restricted:latest"`)
	step("Pod Security", time.Minute, `violates PodSecurity "restricted:latest"`)

	refused := func(job string) *corev1.Event {
		return &corev1.Event{ObjectMeta: metav1.ObjectMeta{Name: "of-" + job, Namespace: "osm-system"}, Reason: "FailedCreate",
			InvolvedObject: corev1.ObjectReference{Kind: "Job", Name: "osm-bootstrap", UID: types.UID(job)}, Message: `Error creating: pods "osm-bootstrap-x" is forbidden: exceeded quota: small`}
	}
	add := func(object runtime.Object) {
		t.Helper()
		if err := client.Tracker().Add(object); err != nil {
			t.Fatal(err)
		}
	}
	add(refused("earlier"))
	step("the install hook of an earlier attempt", time.Minute)
	add(&batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "osm-bootstrap", Namespace: "osm-system", UID: "now"}})
	step("that, while a new one is at work", time.Minute)
	add(refused("now"))
	step("the install hook", time.Minute, "osm-bootstrap is not ready after")
}
