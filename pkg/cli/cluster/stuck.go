package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/osm-edge/osm/pkg/api"
)

// Stuck is a reason why a part of a control plane does not become ready, and which waiting alone does not remove.
type Stuck struct {
	App    string // the component
	Kind   string // the same for all wordings of one reason
	Reason string
	Hint   string // may be empty
}

// FindStuck returns the lasting reasons why a mesh's components are not ready, at most one of a kind for each
// component. It is cheap enough to be asked again and again, unlike Diagnose.
func FindStuck(ctx context.Context, client kubernetes.Interface, namespace string) ([]Stuck, error) {
	options := metav1.ListOptions{LabelSelector: fmt.Sprintf("%s in (%s,%s,%s)", api.LabelApp, api.AppController, api.AppInjector, api.AppBootstrap)}
	pods, err := client.CoreV1().Pods(namespace).List(ctx, options)
	if err != nil {
		return nil, fmt.Errorf("list the control plane's pods in namespace %q: %w", namespace, err)
	}
	var found []Stuck
	for i := range pods.Items {
		if stuck := stuckPod(&pods.Items[i]); stuck.Kind != "" {
			found = append(found, stuck)
		}
	}
	deployments, err := client.AppsV1().Deployments(namespace).List(ctx, options)
	if err != nil {
		return nil, fmt.Errorf("list the control plane's Deployments in namespace %q: %w", namespace, err)
	}
	for _, deployment := range deployments.Items {
		for _, condition := range deployment.Status.Conditions {
			if condition.Type == "ReplicaFailure" && condition.Status == corev1.ConditionTrue {
				found = append(found, refusedPods(deployment.Labels[api.LabelApp], condition.Message))
			}
		}
	}
	jobs, err := refusedByJob(ctx, client, namespace)
	if err != nil {
		return nil, err
	}
	return distinct(append(found, jobs...)), nil
}

// distinct keeps the first of each kind for each component, in a fixed order.
func distinct(found []Stuck) []Stuck {
	slices.SortStableFunc(found, func(a, b Stuck) int { return strings.Compare(a.App+" "+a.Kind, b.App+" "+b.Kind) })
	return slices.CompactFunc(found, func(a, b Stuck) bool { return a.App == b.App && a.Kind == b.Kind })
}

func stuckPod(pod *corev1.Pod) Stuck {
	stuck := Stuck{App: pod.Labels[api.LabelApp]}
	if Ready(pod) || pod.DeletionTimestamp != nil {
		return stuck
	}
	for _, status := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if waits, ok := waitsFor(status); ok && waits.lasting {
			stuck.Kind, stuck.Reason, stuck.Hint = waits.kind, waits.text, hint(waits.text)
			return stuck
		}
	}
	if condition := unscheduled(pod); condition != nil {
		stuck.Kind = condition.Reason + " " + condition.Message
		stuck.Reason = condition.Reason + ": " + condition.Message
		stuck.Hint = hint(stuck.Reason)
	}
	return stuck
}

// refusedPods is the reason of a controller whose pods the API server refuses. The message begins with the pod's
// name, which is another one each time.
func refusedPods(app, message string) Stuck {
	why := message
	if _, rest, found := strings.Cut(message, "is forbidden: "); found {
		why = rest
	}
	return Stuck{App: app, Kind: "refused " + why, Reason: "its pods are refused: " + why, Hint: refusalHint(why)}
}

func refusalHint(why string) string {
	switch {
	case strings.Contains(why, "exceeded quota"), strings.Contains(why, "failed quota"):
		return "raise the namespace's ResourceQuota, or lower the resources of the component"
	case strings.Contains(why, "violates PodSecurity"):
		return "the namespace's Pod Security level must be restricted or lower"
	}
	return "a quota, the Pod Security level or an admission webhook of the namespace refuses them"
}

// refusedByJob looks at the events of the install hook: a Job's status does not say why it has no pod. Events outlive
// their Job by an hour, and the Job of the next attempt has the same name.
func refusedByJob(ctx context.Context, client kubernetes.Interface, namespace string) ([]Stuck, error) {
	job, err := client.BatchV1().Jobs(namespace).Get(ctx, api.AppBootstrap, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the install hook's Job in namespace %q: %w", namespace, err)
	}
	events, err := client.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=" + api.AppBootstrap})
	if err != nil {
		return nil, fmt.Errorf("list the install hook's events in namespace %q: %w", namespace, err)
	}
	var found []Stuck
	for _, event := range events.Items {
		if event.InvolvedObject.Kind == "Job" && event.InvolvedObject.UID == job.UID && event.Reason == "FailedCreate" {
			found = append(found, refusedPods(api.AppBootstrap, event.Message))
		}
	}
	return found, nil
}
