package cluster

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/osm-edge/osm/pkg/api"
)

// startTime is how long a sidecar may take to start: the kubelet mounts volumes again after waits of up to two minutes,
// but a pod of a healthy mesh has its proxy within seconds.
const startTime = time.Minute

// Starting is a pod that has a node, and whose sidecar does not become ready.
type Starting struct {
	Pod string        // as "namespace/name"
	For time.Duration // since it has a node, or its node was started again
	Why string        // what the sidecar waits for
	// Unclear says that nothing of the pod has started, which may be no fault of the mesh.
	Unclear bool
}

// Hanging returns the pods whose sidecar has not become ready in startTime, the oldest first. A pod that waits for
// anything else, such as an init container of its own, is not the mesh's.
func Hanging(pods []corev1.Pod, now time.Time) []Starting {
	var found []Starting
	for i := range pods {
		pod := &pods[i]
		if pod.Status.Phase != corev1.PodPending || pod.DeletionTimestamp != nil {
			continue
		}
		since, scheduled := scheduledAt(pod)
		why, unclear := sidecarWaits(pod)
		if waited := now.Sub(since); scheduled && why != "" && waited >= startTime {
			found = append(found, Starting{pod.Namespace + "/" + pod.Name, waited, why, unclear})
		}
	}
	slices.SortFunc(found, func(a, b Starting) int { return cmp.Or(cmp.Compare(b.For, a.For), cmp.Compare(a.Pod, b.Pod)) })
	return found
}

// scheduledAt returns since when a pod has a node on which it may start. A node that was started again starts it anew.
func scheduledAt(pod *corev1.Pod) (since time.Time, scheduled bool) {
	for _, condition := range pod.Status.Conditions {
		switch condition.Type {
		case corev1.PodScheduled:
			scheduled = condition.Status == corev1.ConditionTrue
		case corev1.PodReadyToStartContainers, corev1.PodInitialized:
		default:
			continue
		}
		if at := condition.LastTransitionTime.Time; at.After(since) {
			since = at
		}
	}
	return since, scheduled
}

// sidecarWaits returns what osm-init or the sidecar of a pod waits for, or "" if both have done what they do before
// the pod's own containers start. It is unclear who is at fault if nothing of the pod has started.
func sidecarWaits(pod *corev1.Pod) (why string, unclear bool) {
	begun := false
	for _, status := range pod.Status.InitContainerStatuses {
		begun = begun || status.State.Waiting == nil
	}
	for _, status := range pod.Status.InitContainerStatuses {
		if status.Name != api.ContainerInit && status.Name != api.ContainerEnvoy {
			continue
		}
		waits, explained := waitsFor(status)
		ended, proxy := status.State.Terminated, status.Name == api.ContainerEnvoy
		switch {
		case proxy && (status.State.Running != nil || status.RestartCount > 0) && (status.Started == nil || !*status.Started):
			return fmt.Sprintf("its proxy has started %d time(s) and has no configuration yet: it does not reach a controller, or none knows the pod",
				1+status.RestartCount), false
		case explained:
			return waits.text, false
		case ended != nil && ended.ExitCode != 0:
			return fmt.Sprintf("container %s: exited with code %d (%s)", status.Name, ended.ExitCode, ended.Reason), false
		case !begun:
			return "no container has started: it waits for a volume, such as the Secret of its proxy, for an image, or for its node", true
		}
	}
	return "", false
}
