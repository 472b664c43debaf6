package cluster

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Why a pod does not run: what its containers wait for, and why it has no node. FindStuck and Diagnose both read it here.

// waiting is what a container waits for.
type waiting struct {
	kind    string // the same for reasons that take turns
	text    string
	lasting bool // it does not go away by itself
}

// waitsFor returns what a container waits for, or false if it does not wait or only starts.
func waitsFor(status corev1.ContainerStatus) (waiting, bool) {
	state := status.State.Waiting
	if state == nil || state.Reason == "" || slices.Contains(startReasons(), state.Reason) {
		return waiting{}, false
	}
	w := waiting{kind: state.Reason, text: strings.TrimSpace(fmt.Sprintf("container %s: %s %s", status.Name, state.Reason, state.Message))}
	switch {
	case slices.Contains(imageReasons(), state.Reason):
		w.kind, w.lasting = "image", true
	case slices.Contains(otherReasons(), state.Reason):
		w.lasting = true
	}
	return w, true
}

// startReasons are the waiting reasons of a container that is about to start.
func startReasons() []string { return []string{"PodInitializing", "ContainerCreating"} }

// imageReasons are the waiting reasons of a container whose image cannot be had. They take turns.
func imageReasons() []string {
	return []string{"ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError", "RegistryUnavailable"}
}

// otherReasons are further waiting reasons that do not go away by themselves.
func otherReasons() []string {
	return []string{"CrashLoopBackOff", "CreateContainerConfigError", "CreateContainerError", "RunContainerError"}
}

// unscheduled returns why a pod has no node, or nil.
func unscheduled(pod *corev1.Pod) *corev1.PodCondition {
	i := slices.IndexFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse
	})
	if i < 0 {
		return nil
	}
	return &pod.Status.Conditions[i]
}

// hint says what to do about a reason; it may be empty.
func hint(reason string) string {
	switch {
	case strings.Contains(reason, "ImagePull"), strings.Contains(reason, "ErrImage"), strings.Contains(reason, "InvalidImageName"):
		return "check osm.image.registry and osm.image.tag, and osm.imagePullSecrets for a private registry"
	case strings.Contains(reason, "Unschedulable"):
		return "add nodes, or lower osm.osmController.resource.requests and osm.injector.resource.requests, or set tolerations"
	case strings.Contains(reason, "OOMKilled"):
		return "raise resource.limits.memory of the component"
	case strings.Contains(reason, "CreateContainerConfigError"):
		return "a ConfigMap or Secret that the pod mounts is missing"
	}
	return ""
}
