package cluster

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/api/membership"
)

// Workload is the controller of some pods in a namespace, or a pod without a controller.
type Workload struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	Pods int    `json:"pods"`
	// Command restarts its pods; "" if they must be deleted and created again.
	Command string `json:"command,omitempty"`
}

// WithoutSidecar lists the workloads whose running pods have no sidecar although new ones get it.
func WithoutSidecar(ctx context.Context, client kubernetes.Interface, namespace string, injects bool) ([]Workload, error) {
	return workloads(ctx, client, namespace, func(pod *corev1.Pod) bool {
		return pod.Labels[api.LabelProxyUUID] == "" && gets(pod, injects)
	})
}

// WithSidecar lists the workloads that have pods with a sidecar.
func WithSidecar(ctx context.Context, client kubernetes.Interface, namespace string) ([]Workload, error) {
	return workloads(ctx, client, namespace, func(pod *corev1.Pod) bool { return pod.Labels[api.LabelProxyUUID] != "" })
}

// gets reports whether a new pod like this one would get a sidecar, by the rules of the injector.
func gets(pod *corev1.Pod, injects bool) bool {
	if membership.CannotInject(pod) != "" || pod.Labels[api.LabelName] == api.NameValue {
		return false
	}
	if enabled, set, err := membership.Injection(pod.Annotations); set && err == nil {
		return enabled
	}
	return injects
}

func workloads(ctx context.Context, client kubernetes.Interface, namespace string, counts func(*corev1.Pod) bool) ([]Workload, error) {
	pods, err := client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list the pods of namespace %q: %w", namespace, err)
	}
	found := []Workload{}
	for i := range pods.Items {
		pod := &pods.Items[i]
		ended := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed || pod.DeletionTimestamp != nil
		if ended || !counts(pod) {
			continue
		}
		workload := workloadOf(pod)
		same := func(w Workload) bool { return w.Kind == workload.Kind && w.Name == workload.Name }
		if i := slices.IndexFunc(found, same); i >= 0 {
			found[i].Pods++
			continue
		}
		found = append(found, workload)
	}
	slices.SortFunc(found, func(a, b Workload) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name)) })
	return found, nil
}

// workloadOf is the controller of a pod. A Deployment's name is that of its ReplicaSet without the hash,
// which the pod has as a label, so no permission to read ReplicaSets is needed.
func workloadOf(pod *corev1.Pod) Workload {
	owner := metav1.GetControllerOf(pod)
	if owner == nil {
		return Workload{Kind: "Pod", Name: pod.Name, Pods: 1}
	}
	kind, name := owner.Kind, owner.Name
	if hash := pod.Labels["pod-template-hash"]; kind == "ReplicaSet" && hash != "" && strings.HasSuffix(name, "-"+hash) {
		kind, name = "Deployment", strings.TrimSuffix(name, "-"+hash)
	}
	workload := Workload{Kind: kind, Name: name, Pods: 1}
	switch kind {
	case "Deployment", "StatefulSet", "DaemonSet":
		workload.Command = fmt.Sprintf("kubectl rollout restart %s/%s -n %s", strings.ToLower(kind), name, pod.Namespace)
	case "ReplicaSet", "ReplicationController":
		selector := make([]string, 0, len(pod.Labels))
		for key, value := range pod.Labels {
			selector = append(selector, key+"="+value)
		}
		slices.Sort(selector)
		workload.Command = fmt.Sprintf("kubectl delete pods -n %s -l %s", pod.Namespace, strings.Join(selector, ","))
	}
	return workload
}
