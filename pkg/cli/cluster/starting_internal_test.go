package cluster

import (
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A pod hangs because of the mesh only if it has a node and its sidecar does not become ready for a minute.
func TestHanging(t *testing.T) {
	now := time.Date(2027, 1, 1, 12, 0, 0, 0, time.UTC)
	yes := true
	waits := func(reason string) corev1.ContainerState {
		return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: "why"}}
	}
	exited := func(code int32) corev1.ContainerState {
		return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: "Error"}}
	}
	runs := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	status := func(name string, state corev1.ContainerState) corev1.ContainerStatus {
		return corev1.ContainerStatus{Name: name, State: state}
	}
	noneStarted := []corev1.ContainerStatus{status("osm-init", waits("PodInitializing")), status("envoy", waits("PodInitializing"))}
	unconfigured := []corev1.ContainerStatus{status("osm-init", exited(0)), status("envoy", runs)}
	tests := []struct {
		name     string
		statuses []corev1.ContainerStatus
		change   func(*corev1.Pod)
		want     string // of what it says; "" if it does not hang
	}{
		{name: "volume", statuses: noneStarted, want: "no container has started: it waits for a volume"},
		{name: "image", statuses: []corev1.ContainerStatus{status("osm-init", waits("ImagePullBackOff")), status("envoy", waits("PodInitializing"))}, want: "container osm-init: ImagePullBackOff why"},
		{name: "redirection fails", statuses: []corev1.ContainerStatus{status("osm-init", exited(2)), status("envoy", waits("PodInitializing"))}, want: "container osm-init: exited with code 2 (Error)"},
		{name: "no configuration", statuses: unconfigured, want: "its proxy has started 1 time(s) and has no configuration yet"},
		{name: "no configuration, restarted by its startup probe", statuses: []corev1.ContainerStatus{status("osm-init", exited(0)), {Name: "envoy", State: waits("CrashLoopBackOff"), RestartCount: 3}}, want: "its proxy has started 4 time(s)"},
		{name: "an init container of its own", statuses: []corev1.ContainerStatus{status("osm-init", exited(0)), {Name: "envoy", State: runs, Started: &yes}, status("migrate", runs)}},
		{name: "an init container of its own comes first", statuses: []corev1.ContainerStatus{status("fetch", runs), status("osm-init", waits("PodInitializing")), status("envoy", waits("PodInitializing"))}},
		{name: "for less than a minute", statuses: unconfigured, change: func(pod *corev1.Pod) {
			pod.Status.Conditions[0].LastTransitionTime = metav1.NewTime(now.Add(time.Second - time.Minute))
		}},
		{name: "without a node", statuses: nil, change: func(pod *corev1.Pod) { pod.Status.Conditions[0].Status = corev1.ConditionFalse }},
		{name: "after its node was started again", statuses: unconfigured, change: func(pod *corev1.Pod) {
			pod.Status.Conditions[0].LastTransitionTime = metav1.NewTime(now.Add(-time.Hour))
			pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{Type: corev1.PodInitialized, Status: corev1.ConditionFalse, LastTransitionTime: metav1.NewTime(now.Add(-time.Second))})
		}},
		{name: "on its way out", statuses: unconfigured, change: func(pod *corev1.Pod) { pod.DeletionTimestamp = &metav1.Time{Time: now} }},
		{name: "running", statuses: unconfigured, change: func(pod *corev1.Pod) { pod.Status.Phase = corev1.PodRunning }},
		{name: "nothing reported yet", statuses: nil},
	}
	pod := func(name string, statuses []corev1.ContainerStatus, since time.Duration) corev1.Pod {
		return corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, Status: corev1.PodStatus{
			Phase: corev1.PodPending, InitContainerStatuses: statuses,
			Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(now.Add(-since))}},
		}}
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := pod("till", tt.statuses, time.Minute)
			if tt.change != nil {
				tt.change(&p)
			}
			found := Hanging([]corev1.Pod{p}, now)
			switch {
			case tt.want == "" && len(found) > 0:
				t.Errorf("found %+v, want none", found)
			case tt.want != "" && (len(found) != 1 || !strings.Contains(found[0].Why, tt.want) || found[0].Pod != "shop/till" || found[0].For != time.Minute || found[0].Unclear != (tt.name == "volume")):
				t.Errorf("found %+v, want %q", found, tt.want)
			}
		})
	}

	found := Hanging([]corev1.Pod{pod("b", noneStarted, 2*time.Minute), pod("c", noneStarted, time.Hour), pod("a", noneStarted, 2*time.Minute)}, now)
	var order []string
	for _, p := range found {
		order = append(order, p.Pod)
	}
	if want := []string{"shop/c", "shop/a", "shop/b"}; !slices.Equal(order, want) {
		t.Errorf("order %v, want %v", order, want)
	}
}
