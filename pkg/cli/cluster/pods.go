package cluster

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/osm-edge/osm/pkg/api"
)

// InjectedPods lists the pods of a mesh that have a sidecar and have not terminated, as
// "namespace/name", sorted.
func InjectedPods(ctx context.Context, client kubernetes.Interface, mesh string) ([]string, error) {
	pods, err := SidecarPods(ctx, client, mesh)
	if err != nil {
		return nil, err
	}
	var names []string
	for i := range pods {
		if phase := pods[i].Status.Phase; phase != corev1.PodSucceeded && phase != corev1.PodFailed {
			names = append(names, pods[i].Namespace+"/"+pods[i].Name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// Connecting are the pods whose proxy should be connected, by UID. A pod runs only after its sidecar does, and a
// terminating pod may have lost it already.
func Connecting(pods []corev1.Pod) map[types.UID]bool {
	running := map[types.UID]bool{}
	for i := range pods {
		if pods[i].Status.Phase == corev1.PodRunning && pods[i].DeletionTimestamp == nil {
			running[pods[i].UID] = true
		}
	}
	return running
}

// SidecarPods lists the pods of a mesh that have a sidecar.
func SidecarPods(ctx context.Context, client kubernetes.Interface, mesh string) ([]corev1.Pod, error) {
	members, err := Members(ctx, client, mesh)
	if err != nil {
		return nil, err
	}
	var injected []corev1.Pod
	for _, namespace := range members {
		pods, err := client.CoreV1().Pods(namespace.Name).List(ctx, metav1.ListOptions{LabelSelector: api.LabelProxyUUID})
		if err != nil {
			return nil, fmt.Errorf("list the injected pods of namespace %q: %w", namespace.Name, err)
		}
		injected = append(injected, pods.Items...)
	}
	return injected, nil
}

// ControlPlanePods lists the pods of one component (api.AppController, api.AppInjector) of the
// mesh in a namespace, sorted by name.
func ControlPlanePods(ctx context.Context, client kubernetes.Interface, namespace, app string) ([]corev1.Pod, error) {
	pods, err := client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: api.LabelApp + "=" + app})
	if err != nil {
		return nil, fmt.Errorf("list the pods of %s in namespace %q: %w", app, namespace, err)
	}
	slices.SortFunc(pods.Items, func(a, b corev1.Pod) int { return cmp.Compare(a.Name, b.Name) })
	return pods.Items, nil
}

// Placement says where the replicas of one component run.
type Placement struct {
	Component string
	Nodes     map[string]int // node name -> ready replicas; "" for those without a node
}

// String reads "osm-controller: node-1 2, node-2 1".
func (p Placement) String() string {
	parts := make([]string, 0, len(p.Nodes))
	for _, node := range slices.Sorted(maps.Keys(p.Nodes)) {
		parts = append(parts, fmt.Sprintf("%s %d", cmp.Or(node, "(no node)"), p.Nodes[node]))
	}
	if len(parts) == 0 {
		return p.Component + ": no ready replica"
	}
	return p.Component + ": " + strings.Join(parts, ", ")
}

// Placements counts the ready replicas of every component of the mesh in a namespace per node.
func Placements(ctx context.Context, client kubernetes.Interface, namespace string) ([]Placement, error) {
	var placements []Placement
	for _, app := range []string{api.AppController, api.AppInjector} {
		pods, err := ControlPlanePods(ctx, client, namespace, app)
		if err != nil {
			return nil, err
		}
		placement := Placement{Component: app, Nodes: map[string]int{}}
		for i := range pods {
			if Ready(&pods[i]) {
				placement.Nodes[pods[i].Spec.NodeName]++
			}
		}
		placements = append(placements, placement)
	}
	return placements, nil
}

// Ready reports whether a pod is ready and not terminating.
func Ready(pod *corev1.Pod) bool {
	if pod.DeletionTimestamp != nil {
		return false
	}
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

// HasSidecar reports whether a pod is marked as one with a sidecar.
func HasSidecar(pod corev1.Pod) bool { return pod.Labels[api.LabelProxyUUID] != "" }

// PodNames returns pods as a set of "namespace/name".
func PodNames(pods []corev1.Pod) map[string]bool {
	names := map[string]bool{}
	for i := range pods {
		names[pods[i].Namespace+"/"+pods[i].Name] = true
	}
	return names
}

// Running returns the pods that run.
func Running(pods []corev1.Pod) []corev1.Pod {
	return slices.DeleteFunc(slices.Clone(pods), func(pod corev1.Pod) bool { return pod.Status.Phase != corev1.PodRunning })
}
