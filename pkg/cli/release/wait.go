package release

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"helm.sh/helm/v3/pkg/kube"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/resource"
	"k8s.io/client-go/kubernetes"
)

// Component is one workload of a release at one moment while its readiness is awaited.
type Component struct {
	Kind    string
	Name    string
	Ready   int32 // replicas that are up to date and available; completions of a Job
	Desired int32
	Done    bool
}

// Observer is called with each change of a component, from one goroutine.
type Observer func(Component)

// guard is Helm's client with a context. Helm's own operations take none: a cancelled operation
// continues in the background and leaves "pending-*" behind. With guard, every call that changes or
// waits for something ends with the context, and Helm handles the error. It also protects the objects of
// other releases.
type guard struct {
	*kube.Client
	ctx       context.Context //nolint:containedctx // see above: Helm's interface has no room for it
	wait      waiter
	name      string // of the release
	namespace string
}

func (g *guard) ended() error { return context.Cause(g.ctx) }

func (g *guard) Create(resources kube.ResourceList) (*kube.Result, error) {
	if err := g.ended(); err != nil {
		return nil, err
	}
	return g.Client.Create(resources)
}

func (g *guard) Wait(resources kube.ResourceList, _ time.Duration) error {
	return g.wait.until(g.ctx, resources)
}

func (g *guard) WaitWithJobs(resources kube.ResourceList, _ time.Duration) error {
	return g.wait.until(g.ctx, resources)
}

func (g *guard) WatchUntilReady(resources kube.ResourceList, _ time.Duration) error {
	return g.wait.until(g.ctx, resources)
}

// WaitForDelete waits until all resources are gone.
func (g *guard) WaitForDelete(resources kube.ResourceList, _ time.Duration) error {
	return g.wait.poll(g.ctx, resources, func(_ context.Context, info *resource.Info) (bool, error) {
		_, err := resource.NewHelper(info.Client, info.Mapping).Get(info.Namespace, info.Name)
		if apierrors.IsNotFound(err) {
			return true, nil
		}
		return false, err
	})
}

// waiter waits for objects by polling: there are few of them, and a poll survives a temporary outage of
// the API server.
type waiter struct {
	client   kubernetes.Interface
	interval time.Duration
	observe  Observer
	tick     func(context.Context) // may be nil
	log      Log
}

// finalError marks a state that waiting will not change.
type finalError struct{ error }

func (w waiter) until(ctx context.Context, resources kube.ResourceList) error {
	seen := map[string]Component{}
	floors := floorsOf(resources)
	checker := kube.NewReadyChecker(w.client, w.log, kube.PausedAsReady(true), kube.CheckJobs(true))
	return w.poll(ctx, resources, func(ctx context.Context, info *resource.Info) (bool, error) {
		component, err := w.component(ctx, info, floors)
		if err != nil || component.Kind == "" {
			if err != nil {
				return false, err
			}
			return checker.IsReady(ctx, info)
		}
		if key := component.Kind + "/" + component.Name; seen[key] != component {
			seen[key] = component
			if w.observe != nil {
				w.observe(component)
			}
		}
		return component.Done, nil
	})
}

// poll reads each resource until all are done. Errors of the API server are retried until the context
// ends; the last one is then part of the error.
func (w waiter) poll(ctx context.Context, resources kube.ResourceList, done func(context.Context, *resource.Info) (bool, error)) error {
	pending := slices.Clone(resources)
	ticker := time.NewTicker(w.interval)
	defer ticker.Stop()
	for {
		var left kube.ResourceList
		var lastErr error
		for _, info := range pending {
			ok, err := done(ctx, info)
			var final finalError
			if errors.As(err, &final) {
				return final.error
			}
			if err != nil {
				lastErr = err
			}
			if !ok {
				left = append(left, info)
			}
		}
		if len(left) == 0 {
			return nil
		}
		pending = left
		if w.tick != nil {
			w.tick(ctx)
		}
		select {
		case <-ctx.Done():
			return waitError(context.Cause(ctx), pending, lastErr)
		case <-ticker.C:
		}
	}
}

func waitError(cause error, pending kube.ResourceList, last error) error {
	var names []string
	for _, info := range pending {
		names = append(names, info.Mapping.GroupVersionKind.Kind+" "+info.Name)
	}
	err := fmt.Errorf("%w while waiting for %s", cause, strings.Join(names, ", "))
	if last != nil && !errors.Is(last, context.Canceled) && !errors.Is(last, context.DeadlineExceeded) {
		return fmt.Errorf("%w (last answer of the API server: %w)", err, last)
	}
	return err
}

func (w waiter) component(ctx context.Context, info *resource.Info, floors map[string]int32) (Component, error) {
	switch info.Mapping.GroupVersionKind.Kind {
	case "Deployment":
		deployment, err := w.client.AppsV1().Deployments(info.Namespace).Get(ctx, info.Name, metav1.GetOptions{})
		if err != nil {
			return Component{}, err
		}
		return deploymentComponent(deployment, floors[info.Name])
	case "Job":
		job, err := w.client.BatchV1().Jobs(info.Namespace).Get(ctx, info.Name, metav1.GetOptions{})
		if err != nil {
			return Component{}, err
		}
		return jobComponent(job)
	}
	return Component{}, nil
}

func deploymentComponent(d *appsv1.Deployment, floor int32) (Component, error) {
	desired := replicas(d)
	scaled := desired >= floor
	desired = max(desired, floor)
	ready := min(d.Status.UpdatedReplicas, d.Status.AvailableReplicas)
	settled := d.Status.ObservedGeneration >= d.Generation && scaled && d.Status.Replicas == d.Status.UpdatedReplicas
	for _, condition := range d.Status.Conditions {
		if condition.Type == appsv1.DeploymentProgressing && condition.Reason == "ProgressDeadlineExceeded" && d.Status.ObservedGeneration >= d.Generation {
			return Component{}, finalError{fmt.Errorf("deployment %s made no progress: %s", d.Name, condition.Message)}
		}
	}
	return Component{Kind: "Deployment", Name: d.Name, Ready: min(ready, desired), Desired: desired, Done: settled && ready >= desired}, nil
}

func jobComponent(job *batchv1.Job) (Component, error) {
	desired := int32(1)
	if job.Spec.Completions != nil {
		desired = *job.Spec.Completions
	}
	component := Component{Kind: "Job", Name: job.Name, Ready: job.Status.Succeeded, Desired: desired}
	for _, condition := range job.Status.Conditions {
		switch {
		case condition.Status != corev1.ConditionTrue:
		case condition.Type == batchv1.JobFailed:
			return component, finalError{fmt.Errorf("job %s failed: %s %s", job.Name, condition.Reason, condition.Message)}
		case condition.Type == batchv1.JobComplete:
			component.Done = true
		}
	}
	return component, nil
}
