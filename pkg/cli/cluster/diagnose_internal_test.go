package cluster

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// The reason that is shown is the most telling one.
func TestPodFault(t *testing.T) {
	waiting := func(reason string) corev1.ContainerState {
		return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: "m"}}
	}
	ended := func(code int32, reason string) corev1.ContainerState {
		return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason}}
	}
	running := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	tests := []struct {
		name   string
		status corev1.PodStatus
		want   fault
		hinted bool
	}{
		{"nothing known", corev1.PodStatus{}, fault{reason: "phase Pending"}, false},
		{"no node", corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "0/3 nodes"}}},
			fault{reason: "Unschedulable: 0/3 nodes"}, true},
		{"image", corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Name: "c", State: waiting("ImagePullBackOff")}}},
			fault{reason: "container c: ImagePullBackOff m"}, true},
		{"still creating", corev1.PodStatus{Phase: corev1.PodPending, ContainerStatuses: []corev1.ContainerStatus{{Name: "c", State: waiting("ContainerCreating")}}},
			fault{reason: "phase Pending"}, false},
		{"crash loop", corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Name: "c", State: waiting("CrashLoopBackOff"), LastTerminationState: ended(137, "OOMKilled")}}},
			fault{"container c: CrashLoopBackOff m (last exit code 137, OOMKilled)", "c", true}, true},
		{"ended", corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Name: "c", State: ended(1, "Error")}}},
			fault{"container c: exited with code 1 (Error)", "c", false}, false},
		{"init container first", corev1.PodStatus{
			InitContainerStatuses: []corev1.ContainerStatus{{Name: "i", State: ended(2, "Error")}},
			ContainerStatuses:     []corev1.ContainerStatus{{Name: "c", State: waiting("PodInitializing")}},
		}, fault{"container i: exited with code 2 (Error)", "i", false}, false},
		{"not ready", corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Name: "c", State: running}}},
			fault{"container c: running, but its readiness probe fails", "c", false}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := podFault(&corev1.Pod{Status: tt.status})
			if got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
			if hinted := hint(got.reason) != ""; hinted != tt.hinted {
				t.Errorf("hint %q for %q", hint(got.reason), got.reason)
			}
		})
	}
}
