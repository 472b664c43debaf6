package cluster

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"

	"github.com/osm-edge/osm/pkg/cli/suggest"
)

// maxListed limits how many workloads an error lists.
const maxListed = 8

// PodTarget is what a user may name where a command needs a pod: a pod, a workload, or a label selector.
type PodTarget struct {
	Kind, Name string // such as Pod, Deployment; "" with a selector
	Selector   string
}

// podKinds are the kinds that a target may have, by the names that kubectl accepts for them.
func podKinds() map[string]string {
	kinds := map[string]string{"po": "Pod", "deploy": "Deployment", "ds": "DaemonSet", "sts": "StatefulSet", "rs": "ReplicaSet"}
	for _, kind := range []string{"Pod", "Deployment", "DaemonSet", "StatefulSet", "ReplicaSet", "Job"} {
		kinds[strings.ToLower(kind)], kinds[strings.ToLower(kind)+"s"] = kind, kind
	}
	return kinds
}

// ParsePodTarget reads NAME, a pod, or KIND/NAME, as kubectl writes it. The kind may have its API group:
// deployment.apps/till.
func ParsePodTarget(text string) (PodTarget, error) {
	const usage = "use a pod's name, or pod/NAME, deploy/NAME, sts/NAME, ds/NAME, rs/NAME or job/NAME"
	before, name, found := strings.Cut(text, "/")
	if !found {
		before, name = "pod", text
	}
	short, _, _ := strings.Cut(strings.ToLower(before), ".")
	kind := podKinds()[short]
	switch {
	case name == "" || strings.Contains(name, "/"):
		return PodTarget{}, fmt.Errorf("%q names no pod; %s", text, usage)
	case kind == "":
		return PodTarget{}, fmt.Errorf("%q: %q is not a kind that has pods; %s; a namespace is given with -n: %s -n %s", text, before, usage, name, before)
	}
	return PodTarget{Kind: kind, Name: name}, nil
}

// ParsePodSelector reads a label selector, as kubectl writes it.
func ParsePodSelector(text string) (PodTarget, error) {
	selector, err := labels.Parse(text)
	if err != nil {
		return PodTarget{}, fmt.Errorf("%q is not a label selector: %w; use one such as app=till", text, err)
	}
	if selector.Empty() {
		return PodTarget{}, fmt.Errorf("%q selects every pod; use a label selector such as app=till", text)
	}
	return PodTarget{Selector: text}, nil
}

// String reads "deployment/till" or "selector app=till".
func (t PodTarget) String() string {
	if t.Selector != "" {
		return "selector " + t.Selector
	}
	return strings.ToLower(t.Kind) + "/" + t.Name
}

// One reports whether the target is a single pod that the user has named.
func (t PodTarget) One() bool { return t.Kind == "Pod" }

// Pods lists the pods of the target in a namespace, sorted by name. It is an error if there is none.
func (t PodTarget) Pods(ctx context.Context, client kubernetes.Interface, namespace string) ([]corev1.Pod, error) {
	if t.One() {
		return t.pod(ctx, client, namespace)
	}
	// Pods name their owners, so no permission to read workloads is needed.
	pods, err := client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: t.Selector})
	if err != nil {
		return nil, fmt.Errorf("list the pods of namespace %q: %w", namespace, err)
	}
	found := slices.DeleteFunc(slices.Clone(pods.Items), func(pod corev1.Pod) bool { return !t.matches(&pod) })
	if len(found) == 0 {
		return nil, fmt.Errorf("there is no pod of %s in namespace %q%s", t, namespace, t.instead(pods.Items))
	}
	slices.SortFunc(found, func(a, b corev1.Pod) int { return cmp.Compare(a.Name, b.Name) })
	return found, nil
}

func (t PodTarget) matches(pod *corev1.Pod) bool {
	if t.Selector != "" {
		return true // the API server has looked
	}
	if owner := metav1.GetControllerOf(pod); owner != nil && owner.Kind == t.Kind && owner.Name == t.Name {
		return true
	}
	workload := workloadOf(pod)
	return workload.Kind == t.Kind && workload.Name == t.Name
}

func (t PodTarget) pod(ctx context.Context, client kubernetes.Interface, namespace string) ([]corev1.Pod, error) {
	pod, err := client.CoreV1().Pods(namespace).Get(ctx, t.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		hint := "; give its namespace with -n"
		if pods, err := client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{}); err == nil {
			hint = t.instead(pods.Items)
		}
		return nil, fmt.Errorf("pod %s/%s does not exist%s", namespace, t.Name, hint)
	case err != nil:
		return nil, fmt.Errorf("read pod %s/%s: %w", namespace, t.Name, err)
	}
	return []corev1.Pod{*pod}, nil
}

// instead says what the user may mean, of what the namespace has.
func (t PodTarget) instead(pods []corev1.Pod) string {
	targets := map[string]string{} // by name
	for i := range pods {
		workload := workloadOf(&pods[i])
		targets[workload.Name] = PodTarget{Kind: workload.Kind, Name: workload.Name}.String()
	}
	workloads := slices.Sorted(maps.Values(targets))
	for i := range pods {
		if name := pods[i].Name; targets[name] == "" {
			targets[name] = PodTarget{Kind: "Pod", Name: name}.String()
		}
	}
	if near := suggest.Nearest(t.Name, slices.Sorted(maps.Keys(targets))); near != "" && t.Selector == "" {
		return fmt.Sprintf("; did you mean %s?", targets[near])
	}
	if len(workloads) == 0 {
		return "; give its namespace with -n"
	}
	more := ""
	if n := len(workloads) - maxListed; n > 0 {
		workloads, more = workloads[:maxListed], fmt.Sprintf(" and %d more", n)
	}
	return fmt.Sprintf("; it has %s%s; another namespace is given with -n", strings.Join(workloads, ", "), more)
}
