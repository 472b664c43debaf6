package cluster

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"

	"github.com/osm-edge/osm/pkg/api"
)

// replicaTime limits how long the replicas of a mesh may take to serve their metrics.
const replicaTime = 5 * time.Second

// Found is what was read from the cluster, or why it could not be read.
type Found[T any] struct {
	Value T
	Err   error
}

func found[T any](value T, err error) Found[T] { return Found[T]{value, err} }

// Availability is everything in a cluster that says how a mesh survives the loss of a part.
type Availability struct {
	Mesh       Mesh
	Now        time.Time // when it was read
	Components []Component
	Nodes      Found[[]corev1.Node]
	Lease      Found[*coordinationv1.Lease]                                 // nil when there is none
	Webhook    Found[*admissionregistrationv1.MutatingWebhookConfiguration] // nil when there is none
	// Endpoints counts the ready endpoints of the webhook's Service.
	Endpoints Found[int]
	// Injected counts the mesh's pods with a sidecar that ran during the whole reading.
	Injected Found[int]
	// Hanging are those whose sidecar does not become ready; unknown when Injected is.
	Hanging []Starting
}

// Component is a part of the control plane that scales on its own.
type Component struct {
	App         string
	Deployment  Found[*appsv1.Deployment] // nil when there is none
	Pods        Found[[]corev1.Pod]
	Replicas    []Replica                                      // of the ready pods
	Budgets     Found[[]policyv1.PodDisruptionBudget]          // that cover its pods, whoever created them
	Autoscalers Found[[]autoscalingv2.HorizontalPodAutoscaler] // that scale its Deployment
}

// Ready are the pods of the component that are ready.
func (c Component) Ready() []corev1.Pod {
	var ready []corev1.Pod
	for i := range c.Pods.Value {
		if Ready(&c.Pods.Value[i]) {
			ready = append(ready, c.Pods.Value[i])
		}
	}
	return ready
}

// ReadAvailability reads all of it. If a part cannot be read, the others still are.
func ReadAvailability(ctx context.Context, clients *Clients, mesh Mesh, now time.Time) Availability {
	client := clients.Kube
	a := Availability{Mesh: mesh, Now: now}
	// Pods come and go while the replicas are asked; only those that ran before and after count.
	before, err := SidecarPods(ctx, client, mesh.Name)
	a.Injected.Err = err
	for _, app := range []string{api.AppController, api.AppInjector} {
		a.Components = append(a.Components, readComponent(ctx, clients, mesh.Namespace, app, now))
	}
	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		a.Nodes.Err = fmt.Errorf("list nodes: %w", err)
	} else {
		a.Nodes.Value = nodes.Items
	}
	lease, err := client.CoordinationV1().Leases(mesh.Namespace).Get(ctx, api.ControllerLease, metav1.GetOptions{})
	a.Lease = found(existing(lease, err, "Lease", mesh.Namespace+"/"+api.ControllerLease))
	name := api.WebhookConfigName(mesh.Name)
	webhook, err := client.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(ctx, name, metav1.GetOptions{})
	a.Webhook = found(existing(webhook, err, "MutatingWebhookConfiguration", name))
	a.Endpoints = found(readyEndpoints(ctx, client, mesh.Namespace, api.AppInjector))
	after, err := SidecarPods(ctx, client, mesh.Name)
	a.Injected.Err = cmp.Or(a.Injected.Err, err)
	ran := Connecting(before)
	for uid := range Connecting(after) {
		if ran[uid] {
			a.Injected.Value++
		}
	}
	a.Hanging = Hanging(after, now)
	return a
}

// Unreadable returns an error if nothing could be read: one fault explains it all, such as an API server that has gone.
func (a Availability) Unreadable() error {
	faults := []error{a.Nodes.Err, a.Lease.Err, a.Webhook.Err, a.Endpoints.Err, a.Injected.Err}
	for _, c := range a.Components {
		faults = append(faults, c.Deployment.Err, c.Pods.Err, c.Budgets.Err, c.Autoscalers.Err)
	}
	if slices.Contains(faults, nil) {
		return nil
	}
	return fmt.Errorf("nothing of mesh [%s] in namespace [%s] could be read: %w", a.Mesh.Name, a.Mesh.Namespace, faults[0])
}

func readComponent(ctx context.Context, clients *Clients, namespace, app string, now time.Time) Component {
	client := clients.Kube
	c := Component{App: app}
	deployment, err := client.AppsV1().Deployments(namespace).Get(ctx, app, metav1.GetOptions{})
	c.Deployment = found(existing(deployment, err, "Deployment", namespace+"/"+app))
	c.Pods = found(ControlPlanePods(ctx, client, namespace, app))
	c.Replicas = AskReplicas(ctx, clients.Reach, c.Ready(), replicaTime, now)
	c.Budgets = found(budgets(ctx, client, namespace, c.Deployment.Value))
	c.Autoscalers = found(autoscalers(ctx, client, namespace, app))
	return c
}

// existing returns nil, not an error, if there is no such object.
func existing[T any](object *T, err error, kind, name string) (*T, error) {
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil //nolint:nilnil // none is an answer
	case err != nil:
		return nil, fmt.Errorf("read %s %s: %w", kind, name, err)
	}
	return object, nil
}

// budgets are found by their selectors and not by name: a budget that somebody else created blocks a
// drain just the same.
func budgets(ctx context.Context, client kubernetes.Interface, namespace string, deployment *appsv1.Deployment) ([]policyv1.PodDisruptionBudget, error) {
	all, err := client.PolicyV1().PodDisruptionBudgets(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list the PodDisruptionBudgets of namespace %q: %w", namespace, err)
	}
	if deployment == nil {
		return nil, nil
	}
	var covering []policyv1.PodDisruptionBudget
	for _, budget := range all.Items {
		selector, err := metav1.LabelSelectorAsSelector(budget.Spec.Selector)
		if err != nil {
			return nil, fmt.Errorf("read the selector of PodDisruptionBudget %s/%s: %w", namespace, budget.Name, err)
		}
		if selector.Matches(labels.Set(deployment.Spec.Template.Labels)) {
			covering = append(covering, budget)
		}
	}
	return covering, nil
}

func autoscalers(ctx context.Context, client kubernetes.Interface, namespace, deployment string) ([]autoscalingv2.HorizontalPodAutoscaler, error) {
	all, err := client.AutoscalingV2().HorizontalPodAutoscalers(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list the HorizontalPodAutoscalers of namespace %q: %w", namespace, err)
	}
	var scaling []autoscalingv2.HorizontalPodAutoscaler
	for _, autoscaler := range all.Items {
		if target := autoscaler.Spec.ScaleTargetRef; target.Kind == "Deployment" && target.Name == deployment {
			scaling = append(scaling, autoscaler)
		}
	}
	return scaling, nil
}

// readyEndpoints counts the ready addresses of a Service. An address may be in several slices.
func readyEndpoints(ctx context.Context, client kubernetes.Interface, namespace, service string) (int, error) {
	all, err := client.DiscoveryV1().EndpointSlices(namespace).List(ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + service})
	if err != nil {
		return 0, fmt.Errorf("list the endpoints of Service %s/%s: %w", namespace, service, err)
	}
	ready := map[string]bool{}
	for _, slice := range all.Items {
		for _, endpoint := range slice.Endpoints {
			if endpoint.Conditions.Ready == nil || *endpoint.Conditions.Ready { // absent means ready
				for _, address := range endpoint.Addresses {
					ready[address] = true
				}
			}
		}
	}
	return len(ready), nil
}
