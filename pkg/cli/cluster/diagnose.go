package cluster

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/osm-edge/osm/pkg/api"
)

// How many events and log lines a diagnosis contains.
const (
	lastEvents   = 5
	lastLogLines = 10
	maxLogBytes  = 16 << 10
)

// Diagnosis is the reason why one workload of a control plane is not ready.
type Diagnosis struct {
	Object string   // such as "pod osm-controller-abc"
	Reason string   // why it is not ready
	Hint   string   // what to do about it; may be empty
	Events []string // the last ones, oldest first
	Logs   []string // the last lines of the container at fault
}

// Diagnose examines everything in a mesh's namespace that is not ready: pods of the control plane and
// of the install hook, and Deployments that cannot create pods.
func Diagnose(ctx context.Context, client kubernetes.Interface, namespace string) ([]Diagnosis, error) {
	options := metav1.ListOptions{LabelSelector: fmt.Sprintf("%s in (%s,%s,%s)", api.LabelApp, api.AppController, api.AppInjector, api.AppBootstrap)}
	pods, err := client.CoreV1().Pods(namespace).List(ctx, options)
	if err != nil {
		return nil, fmt.Errorf("list the control plane's pods in namespace %q: %w", namespace, err)
	}
	slices.SortFunc(pods.Items, func(a, b corev1.Pod) int { return cmp.Compare(a.Name, b.Name) })
	var found []Diagnosis
	withPods := map[string]bool{}
	for i := range pods.Items {
		pod := &pods.Items[i]
		withPods[pod.Labels[api.LabelApp]] = true
		if !Ready(pod) && pod.Status.Phase != corev1.PodSucceeded {
			found = append(found, diagnosePod(ctx, client, pod))
		}
	}
	deployments, err := client.AppsV1().Deployments(namespace).List(ctx, options)
	if err != nil {
		return nil, fmt.Errorf("list the control plane's Deployments in namespace %q: %w", namespace, err)
	}
	for _, deployment := range deployments.Items {
		if withPods[deployment.Labels[api.LabelApp]] {
			continue
		}
		for _, condition := range deployment.Status.Conditions {
			if condition.Type == "ReplicaFailure" && condition.Status == corev1.ConditionTrue {
				found = append(found, Diagnosis{Object: "deployment " + deployment.Name, Reason: condition.Reason + ": " + condition.Message,
					Hint: "the namespace's quota, Pod Security level or an admission webhook refuses the pods"})
			}
		}
	}
	return found, nil
}

func diagnosePod(ctx context.Context, client kubernetes.Interface, pod *corev1.Pod) Diagnosis {
	fault := podFault(pod)
	return Diagnosis{
		Object: "pod " + pod.Name,
		Reason: fault.reason,
		Hint:   hint(fault.reason),
		Events: podEvents(ctx, client, pod),
		Logs:   podLogs(ctx, client, pod, fault),
	}
}

type fault struct {
	reason    string
	container string // whose log tells more; "" when nothing has run yet
	previous  bool   // the log of the run before the current one
}

// podFault picks the most informative reason: what a container waits for, then how it terminated, then
// why the pod has no node.
func podFault(pod *corev1.Pod) fault {
	for _, status := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if waits, ok := waitsFor(status); ok {
			f := fault{reason: waits.text}
			if status.LastTerminationState.Terminated != nil {
				f.container, f.previous = status.Name, true
				f.reason += fmt.Sprintf(" (last exit code %d, %s)", status.LastTerminationState.Terminated.ExitCode, status.LastTerminationState.Terminated.Reason)
			}
			return f
		}
		if ended := status.State.Terminated; ended != nil && ended.ExitCode != 0 {
			return fault{reason: fmt.Sprintf("container %s: exited with code %d (%s)", status.Name, ended.ExitCode, ended.Reason), container: status.Name}
		}
	}
	if condition := unscheduled(pod); condition != nil {
		return fault{reason: condition.Reason + ": " + condition.Message}
	}
	for _, status := range pod.Status.ContainerStatuses {
		if status.State.Running != nil && !status.Ready {
			return fault{reason: fmt.Sprintf("container %s: running, but its readiness probe fails", status.Name), container: status.Name}
		}
	}
	return fault{reason: "phase " + string(cmp.Or(pod.Status.Phase, corev1.PodPending))}
}

func podEvents(ctx context.Context, client kubernetes.Interface, pod *corev1.Pod) []string {
	events, err := client.CoreV1().Events(pod.Namespace).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=" + pod.Name})
	if err != nil {
		return []string{"events cannot be read: " + err.Error()}
	}
	slices.SortStableFunc(events.Items, func(a, b corev1.Event) int { return a.LastTimestamp.Compare(b.LastTimestamp.Time) })
	var lines []string
	for _, event := range events.Items {
		if event.InvolvedObject.Name == pod.Name {
			lines = append(lines, fmt.Sprintf("%s %s: %s", event.Type, event.Reason, strings.TrimSpace(event.Message)))
		}
	}
	return lines[max(0, len(lines)-lastEvents):]
}

func podLogs(ctx context.Context, client kubernetes.Interface, pod *corev1.Pod, f fault) []string {
	if f.container == "" {
		return nil
	}
	lines, bytes := int64(lastLogLines), int64(maxLogBytes)
	stream, err := client.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, &corev1.PodLogOptions{
		Container: f.container, Previous: f.previous, TailLines: &lines, LimitBytes: &bytes,
	}).Stream(ctx)
	if err != nil {
		return []string{"the log cannot be read: " + err.Error()}
	}
	defer stream.Close()
	data, err := io.ReadAll(io.LimitReader(stream, maxLogBytes))
	if err != nil && len(data) == 0 {
		return []string{"the log cannot be read: " + err.Error()}
	}
	all := strings.Split(strings.TrimSpace(string(data)), "\n")
	return all[max(0, len(all)-lastLogLines):]
}
